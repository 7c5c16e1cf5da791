"""Table 5 and figure 6: runs of segmentation networks, their frames and pictures, stray areas by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from PIL import Image

from repro.papers import entry
from repro.papers.data import DataRecipe
from repro.papers.segmentation_jobs import mask_splits
from repro.papers.shiftaddaug import f06, t05
from repro.papers.shiftaddaug.methods import MAIN
from repro.papers.shiftaddaug.recipes import TUNED
from repro.papers.shiftaddaug.segmentation_recipes import RECIPES
from repro.papers.shiftaddaug.segmentation_training import every_nth, spec, stray_areas, wide_network
from repro.papers.tuning import tune, tuning_of
from repro.report import compare, published
from repro.report.examples import unpack_counts
from repro.runs import Outcome
from repro.runs.executor import attempt, outcome_of

SMOKE = RECIPES["smoke", "eyes"]
ROWS = tuple(MAIN)


@pytest.fixture(scope="module")
def table(smoke_table):
    return smoke_table("shiftaddaug_t05")


@pytest.fixture(scope="module")
def figure(smoke_table):
    return smoke_table("shiftaddaug_f06")


def test_the_table_fills_the_rows_of_openeds_and_the_figure_trains_nothing_else(table, figure):
    assert table["method"].tolist() == figure["method"].tolist() == list(ROWS)
    assert table["augmented"].tolist() == [0, 1, 0, 1, 0, 1] and set(table["model"]) == {"MobileNetV2-w0.35"}
    compared = compare("shiftaddaug_t05", table)
    filled = compared[compared["ours"].notna()]
    assert len(filled) == len(ROWS) and set(filled["dataset"]) == {"OpenEDS"}
    assert figure["miou_pct"].tolist() == table["miou_pct"].tolist()
    assert figure.attrs["provenance"]["run_seconds"] == table.attrs["provenance"]["run_seconds"]


def test_scores_follow_from_the_matrices_that_runs_keep(table):
    extra = table.attrs["extra"]
    classes = extra["classes"].groupby("method")["iou_pct"].mean()
    assert classes.to_dict() == pytest.approx(table.set_index("method")["miou_pct"].to_dict(), abs=1e-3)
    shares = extra["confusions"].groupby(["method", "true"])["share_pct"].sum()
    assert len(shares) == 4 * len(ROWS) and shares.to_numpy() == pytest.approx(100, abs=1e-3)
    assert len(extra["draws"]) == 200 * len(ROWS) and len(extra["curves"]) == len(ROWS)
    around = extra["curves"].set_index("method")["augmented_accuracy_pct"].between(0, 100)
    assert around.to_dict() == {row: method.around is not None for row, method in MAIN.items()}


def test_augmented_adders_take_the_scale_that_adders_had_and_controls_train_longer():
    asked = {}

    def run(specs):
        asked.update({(each.recipe.method.epochs, name[1]): each.recipe for name, each in specs.items()})
        return {
            name: Outcome(each, "done", {"outcome": "done", "laplace_scales": {"a": 0.12345}})
            for name, each in specs.items()
        }

    recipe = dataclasses.replace(SMOKE, controls=("Base, equal compute",))
    frame = t05.trained(recipe, [0], run)
    assert asked[1, "AugAdd"].method.adder_scale == {"a": 0.123} and asked[1, "AugShift"].method.adder_scale is None
    assert asked[3, "Base, equal compute"].train == asked[1, "Base"].train
    assert frame["miou_pct"].isna().all() and frame.attrs["extra"]["controls"]["row"].tolist() == [*recipe.controls]


def test_the_figure_shows_test_images_under_the_masks_that_were_predicted(figure):
    pictures = figure.attrs["extra"]["pictures"].set_index("name")
    truth = unpack_counts(pictures.loc["truth", "packed"], (5, 48, 48))
    assert np.array_equal(truth, mask_splits(SMOKE.data).test.masks[:5].numpy())
    (drawing,) = entry("shiftaddaug_f06").draw(figure)
    labels = [axes.get_ylabel() for axes in drawing.figure.axes]
    assert [label for label in labels if label] == ["image", "truth", *ROWS]
    assert f"Base {figure.set_index('method').loc['Base', 'stray_areas']:.2f}" in drawing.caption


def test_a_dead_network_has_no_stray_areas_to_count(figure):
    value = {"outcome": "dead", "detail": "every pixel is called class 0", "miou_pct": 20.0, "stray_areas": 0.0}
    counted = {"outcome": "done", "miou_pct": 50.0, "stray_areas": 0.5}

    def run(specs):
        return {
            name: Outcome(each, "done", value if name[1] == "AugShift" else counted) for name, each in specs.items()
        }

    frame = f06.trained(SMOKE, [0], run).set_index("method")
    assert math.isnan(frame.loc["AugShift", "stray_areas"]) and frame.loc["Base", "stray_areas"] == 0.5
    assert frame.loc["AugShift", "note"] == "dead: every pixel is called class 0" and frame.loc["Base", "note"] == ""
    frame = frame.reset_index()
    frame.attrs = figure.attrs
    (drawing,) = f06.draw(frame)
    assert "Base 0.50, NetAug 0.50, Shift 0.50, AugShift none: dead, Add" in drawing.caption


def test_pictures_of_the_table_have_a_dot_per_training_and_a_matrix_per_method(table):
    dots, matrices = entry("shiftaddaug_t05").draw(table)
    offsets = [tuple(drawn.get_offsets()[0]) for drawn in dots.figure.axes[0].collections[::2]]
    assert offsets == [(place, score) for place, score in enumerate(table["miou_pct"])]
    assert [axes.get_title() for axes in matrices.figure.axes] == list(ROWS)
    assert all(len(axes.texts) == 16 for axes in matrices.figure.axes)


def test_methods_start_from_the_same_weights_and_a_spec_names_its_network():
    jobs = {row: SMOKE.job("MobileNetV2-w0.35", method) for row, method in MAIN.items()}
    wide = {row: wide_network(job, 7) for row, job in jobs.items()}
    plain = wide["Base"].network.state_dict()
    for row, network in wide.items():
        same = {name for name, weight in network.network.state_dict().items() if torch.equal(weight, plain[name])}
        bare = {f"{name}.weight" for name, layer in network.wide_layers() if layer.op == "adder" and row == "Add"}
        assert same == plain.keys() - bare and (len(bare) > 5) == (row == "Add")
    assert spec(jobs["Add"], 3).uses == ("repro.models.segmentation",)


def test_every_row_that_the_paper_prints_is_asked_for_at_its_settings():
    printed = published("shiftaddaug_t05").groupby("dataset")["method"].unique()
    for dataset, name in (("openeds", "OpenEDS"), ("voc2012", "VOC")):
        recipe = RECIPES["paper", dataset]
        assert set(recipe.rows) == set(printed[name]) and len(recipe.models) == 2
        assert recipe.job(recipe.models[1], MAIN["Add"]).train.epochs == 300


def test_stray_areas_by_hand():
    truth = np.zeros((2, 4, 6), dtype=np.uint8)
    truth[0, :2, :2], truth[0, 3, 5] = 1, 255
    ours = np.zeros_like(truth)
    ours[0, 1:3, 1:3] = 1  # touches the truth
    ours[0, 0, 4:] = 1  # does not
    ours[0, 3, 0] = 2  # nor does this
    ours[0, 3, 5] = 2  # nobody knows
    ours[1, 0, 0] = ours[1, 1, 1] = 1  # corners do not connect
    assert stray_areas(ours, truth, 3).tolist() == [2, 2]
    assert stray_areas(truth[:1] % 255, truth[:1], 3).tolist() == [0]


def test_large_pictures_are_thinned():
    large = np.arange(130 * 100).reshape(1, 130, 100)
    assert every_nth(large).shape == (1, 44, 34) and every_nth(large)[0, 1, 1] == large[0, 3, 3]
    assert every_nth(large[:, :64, :64]).shape == (1, 64, 64)


def test_rates_of_direct_networks_are_chosen_by_pixels_of_held_out_images():
    asked = tuning_of("shiftaddaug", "eyes")
    assert set(asked.jobs) == {"conv", "shift", "adder"} == set(TUNED["eyes"])
    for job in asked.candidates().values():
        assert job.method.around is None and (job.data.tested_on, job.data.held_out) == ("held out", 0.2)
    value = {"outcome": "done", "pixel_accuracy_pct": 91.0, "miou_pct": 60.0}
    tuned = tune(asked, lambda specs: {name: Outcome(each, "done", value) for name, each in specs.items()})
    assert len(tuned) == 3 * len(asked.settings) * 2 and (tuned["held_out_accuracy_pct"] == 91).all()


def written_openeds(root) -> None:
    """Two training and two test images of 40 x 32 pixels in the published layout: a class in each quarter."""
    mask = np.kron(np.array([[0, 1], [2, 3]]), np.ones((16, 20))).astype(np.uint8)
    for part, names in (("train", "ab"), ("validation", "cd")):
        top = root / "openeds" / part
        for folder in ("images", "labels"):
            (top / folder).mkdir(parents=True)
        for name in names:
            np.save(top / "labels" / f"{name}.npy", mask)
            Image.fromarray(60 * mask).save(top / "images" / f"{name}.png")


def test_files_of_the_published_layout_are_trained_on_and_shown(tmp_path, monkeypatch):
    for variable in ("REPRO_DATA", "REPRO_RUNS"):
        monkeypatch.setenv(variable, str(tmp_path))
    written_openeds(tmp_path)
    recipe = RECIPES["paper", "openeds"]
    train = dataclasses.replace(recipe.train, epochs=1, batch_size=2)
    data, models = DataRecipe("openeds", size=32), recipe.models[:1]
    recipe = dataclasses.replace(recipe, data=data, train=train, models=models, rows=("AugShift",), size="small")

    def run(specs):
        return {name: outcome_of(each, *attempt(each, False)) for name, each in specs.items()}

    table, figure = t05.trained(recipe, [0], run), f06.trained(recipe, [0], run)
    mask_splits.cache_clear()
    assert table["dataset"].tolist() == ["openeds"] and table["miou_pct"].between(0, 100).all()
    assert table.attrs["extra"]["classes"]["class"].tolist() == ["background", "sclera", "iris", "pupil"]
    pictures = figure.attrs["extra"]["pictures"].set_index("name")
    image, truth = (unpack_counts(pictures.loc[name, "packed"], (2, 32, 32)) for name in ("image", "truth"))
    assert truth[0, 8::16, 8::16].tolist() == [[0, 1], [2, 3]]
    assert image[0, 8::16, 8::16].tolist() == [[0, 85], [170, 255]]
    assert compare("shiftaddaug_t05", table)["ours"].notna().sum() == 1
