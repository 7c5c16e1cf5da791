"""The ACGhostNet search and its tables: what smoke runs hold, counts against the lookup, resuming, views, bad input."""

import dataclasses
import math

import pandas as pd
import pytest
import torch

from repro import report
from repro.errors import InputError, MissingDataError
from repro.papers import drawings_of, jobs, keep
from repro.papers.acghostnet import f05, found, t01, t04, t05
from repro.papers.acghostnet.f05 import PLACES, drawn_models
from repro.papers.acghostnet.f06 import mean_blocks
from repro.papers.acghostnet.found import energy_lookup
from repro.papers.acghostnet.networks import ghost_job, model_job, network_counts
from repro.papers.acghostnet.recipes import MODELS, SCALE, SEARCHES, GhostShape
from repro.papers.acghostnet.supernet import ghost_space
from repro.papers.data import DataRecipe, data_fingerprint
from repro.papers.jobs import at_chance, right_answers
from repro.papers.regenerate import computed
from repro.paths import records_root
from repro.report.examples import unpack
from repro.runs import Outcome, RunContext
from repro.train import TensorData, TrainRecipe
from repro.widgets.search import best_within, generation_view

SMOKE = SEARCHES["smoke", "digits"]
PATHS = [("CCg1",) * 16, ("AAg2",) * 16, ("ACg1", "CAg2") * 8]


@pytest.fixture(scope="module")
def table_4(smoke_table):
    return smoke_table("acghostnet_t04")


@pytest.fixture(scope="module")
def figure_5(smoke_table):
    return smoke_table("acghostnet_f05")


def test_table_4_trains_what_the_search_found(table_4):
    assert not table_4.attrs["failed"]
    models, examples = (table_4.attrs["extra"][name] for name in ("models", "examples"))
    assert set(table_4["model"]) == {"GhostNet-1.0x", "Adder-GhostNet-1.0x", *models["model"]}
    assert table_4["accuracy_pct"].between(0, 100).all()
    # energies of the trained networks, counted on the real model, are those that the search saw
    trained = table_4.set_index("model")["energy_uj"][models["model"]]
    assert trained.tolist() == pytest.approx(models["energy_uj"].tolist(), rel=1e-7)
    # accuracies are the shares of right answers, which the record keeps
    for row, kept in zip(table_4.itertuples(), examples.itertuples(), strict=True):
        assert (row.model, row.seed, kept.examples) == (kept.model, kept.seed, 100)
        assert 100 * unpack(kept.correct, 100).mean() == pytest.approx(row.accuracy_pct)
    printed = table_4.attrs["extra"]["paper_size"].set_index("model")["energy_uj"]
    assert printed["GhostNet-1.0x"] == pytest.approx(computed("acghostnet_t04").set_index("model")["energy_uj"].iloc[0])
    keep(table_4)
    (record,) = report.load_records("acghostnet_t04", records_root())
    assert {"examples", "paper_size"} <= set(record.frame.attrs["extra"])
    assert report.judge("acghostnet-c16", {"acghostnet_t04": table_4}).status == "not informative at this preset"


def test_figure_5_draws_every_block_of_the_found_models(figure_5):
    models = figure_5.attrs["extra"]["models"]
    assert len(figure_5) == 16 * len(models)
    assert figure_5.attrs["extra"]["candidates"].groupby("generation")["kept"].sum().eq(4).all()
    verdict = report.judge("acghostnet-c40", {"acghostnet_f05": _at_study(figure_5)})
    assert (verdict.status, verdict.seeds) == ("undecided", 1)
    keep(figure_5)
    (record,) = report.load_records("acghostnet_f05", records_root())
    assert list(drawings_of(record.frame)) == ["acghostnet_f05-smoke-digits", "acghostnet_f05_search-smoke-digits"]


def test_figure_6_is_the_mean_of_the_found_models(smoke_table, figure_5):
    frame = smoke_table("acghostnet_f06")
    assert frame["block"].tolist() == list(range(16))
    models = figure_5.attrs["extra"]["models"]
    base = energy_lookup(SMOKE).base
    outside_uj = (0.9 * base["fadd"] + 3.7 * base["fmul"]) / 1e6
    assert frame["energy_uj"].sum() + outside_uj == pytest.approx(models["energy_uj"].mean(), rel=1e-7)
    verdict = report.judge("acghostnet-c41", {"acghostnet_f06": _at_study(frame)})
    assert (verdict.status, verdict.seeds) == ("undecided", 1)


def _at_study(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.copy()
    frame.attrs["preset"] = "study"
    return frame


def test_table_5_shares_the_networks_of_table_4(table_4):
    recipe = MODELS["smoke", "digits"]
    for name, model in t04.BASELINES.items():
        assert jobs.spec(t05.baselines(recipe)[name], 0).folder == jobs.spec(model_job(recipe, model), 0).folder


def test_scaled_models_keep_blocks_and_change_width_and_input_only():
    recipe = t05.RECIPES["study", "cifar10"]
    candidates = [
        {"path": "-".join(path), "accuracy_pct": 50.0 + i, "energy": 1e6 * (i + 1), "origin": "parent", "front": 0}
        | {"place": i}
        for i, path in enumerate([*PATHS, ("CCg2",) * 16])
    ]
    value = {"generations": [{"number": 1, "epoch": 40, "candidates": candidates, "seconds": {}}]}
    value["judged_pct"] = [candidate["accuracy_pct"] for candidate in candidates]
    runs = t05.searched(recipe, Outcome(found.spec(SMOKE, 0), "done", value))
    assert set(runs) == {f"ACGhostNet-{name}" for name in ("A", "B", "C", "D", "A-S", "C-S", "D-S1", "D-S2")}
    assert runs["ACGhostNet-D-S2"].options["choices"] == runs["ACGhostNet-D"].options["choices"] == ["CCg2"] * 16
    assert runs["ACGhostNet-D-S2"].options["width"] == pytest.approx(1.1 * recipe.shape.width)
    assert (runs["ACGhostNet-C-S"].data.size, runs["ACGhostNet-D-S2"].data.size) == (17, 18)


def test_a_diverged_search_leaves_the_searched_rows_out():
    def run(specs):
        return {
            key: Outcome(spec, "diverged", {"generations": [], "warmup": [], "seconds": {}})
            for key, spec in specs.items()
        }

    frame = t04.trained(MODELS["smoke", "digits"], [0], run)
    assert frame["model"].tolist() == list(t04.BASELINES) and frame["accuracy_pct"].isna().all()
    assert frame["note"].str.contains("diverged").all()


@pytest.mark.parametrize("path", PATHS)
def test_counts_of_a_run_equal_the_lookup(path):
    job = ghost_job("acghostnet", SMOKE.data, SMOKE.shape, TrainRecipe(), path=path)
    score = energy_lookup(SMOKE).score([list(path)]).iloc[0]
    counts = network_counts(job)
    assert counts["fadd_m"] * 1e6 == pytest.approx(score["fadd"], abs=0.5)
    assert counts["energy_uj"] == pytest.approx(score["energy_pj"] / 1e6, rel=1e-12)


def test_mean_blocks_add_up_to_the_mean_of_the_scores():
    lookup = energy_lookup(SMOKE)
    frame = mean_blocks(lookup, PATHS)
    scores = lookup.score([list(path) for path in PATHS])
    outside = lookup.base["fadd"] + lookup.base["fmul"]
    assert frame["flops_m"].sum() * 1e6 + outside == pytest.approx((scores["fadd"] + scores["fmul"]).mean())


def test_places_and_operators_of_the_blocks():
    frame = drawn_models({"ACGhostNet-A": PATHS[2]})
    assert [stage for stage, block in PLACES if block == 0] == [0, 1, 2, 3, 4, 5] and len(PLACES) == 16
    assert frame.iloc[0][["first_op", "second_op", "groups"]].tolist() == ["adder", "conv", "N"]
    assert frame.iloc[1][["first_op", "second_op", "groups"]].tolist() == ["conv", "adder", "N/2"]


def test_widths_keep_the_printed_ratios():
    for (preset, dataset), recipe in t01.TABLE.recipes.items():
        if dataset != "digits":
            continue
        asked = []

        def run(specs, asked=asked):
            asked += [spec.recipe.options["width"] for spec in specs.values()]
            return {key: Outcome(spec, "failed") for key, spec in specs.items()}

        t01.trained(recipe, [0], run)
        assert [width / asked[0] for width in asked[::2]] == [1.0, 0.5, 0.25], preset


def test_an_interrupted_search_ends_as_an_uninterrupted_one(tmp_path, monkeypatch):
    whole = found.search(SMOKE, 3, RunContext(tmp_path / "whole"))

    class Killed(Exception):
        pass

    def log_then_die(self, **row):
        if row["epoch"] == 5:  # after the first generation was written
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(RunContext, "log", log_then_die)
        found.search(SMOKE, 3, RunContext(tmp_path / "cut"))
    resumed = found.search(SMOKE, 3, RunContext(tmp_path / "cut"))
    for first, second in zip(whole["generations"], resumed["generations"], strict=True):
        assert first["candidates"] == second["candidates"]


def test_top_accuracies_count_the_first_and_the_first_five():
    class Fixed(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1)

    images = torch.eye(8)[:, :, None, None] + 0.01 * torch.arange(8.0, 0, -1)[None, :, None, None]
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 7, 0])  # rows 0 to 3 first; 4, 5 and 7 among five; 6 not at all
    right = right_answers(Fixed(), TensorData(images, labels), batch_size=3)
    assert right["top1_pct"].tolist() == [True] * 4 + [False] * 4
    assert right["top5_pct"].tolist() == [True] * 6 + [False, True]
    value = jobs.tested(Fixed(), TensorData(images, labels), classes=8, batch_size=3)
    assert (value["top1_pct"], value["top5_pct"], value["outcome"]) == (50.0, 87.5, "done")
    assert unpack(value["correct"]["top1_pct"], 8).tolist() == right["top1_pct"].tolist()


def test_nan_is_never_a_right_answer_and_a_network_at_chance_is_dead():
    class Constant(torch.nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = value

        def forward(self, x):
            return torch.full((len(x), 10), self.value)

    data = TensorData(torch.zeros(200, 1, 2, 2), torch.arange(200) % 10)
    assert not right_answers(Constant(math.nan), data)["top5_pct"].any()
    value = jobs.tested(Constant(1.0), data, classes=10)
    assert (value["top1_pct"], value["outcome"]) == (10.0, "dead")
    note = jobs.note_of(Outcome(found.spec(SMOKE, 0), "done", value))
    assert note == "dead: 10.0 % is no better than chance"
    assert at_chance(16.3, 10, 200) and not at_chance(16.5, 10, 200)


def test_imagenet_that_is_absent_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_DATA", str(tmp_path))
    with pytest.raises(MissingDataError, match="imagenet/train"):
        data_fingerprint(DataRecipe("imagenet", size=224))


@pytest.fixture
def candidates():
    rows = [(1, "a", 30.0, 1.0, True, True), (2, "a", 50.0, 1.0, True, True), (2, "b", 60.0, 2.0, True, False)]
    rows += [(2, "c", 60.0, 1.5, True, True), (2, "d", 90.0, 1.2, False, False), (2, "e", math.nan, 1.1, True, False)]
    frame = pd.DataFrame(rows, columns=["generation", "path", "accuracy_pct", "energy_uj", "kept", "on_front"])
    return frame.assign(seed=0, origin="parent")


def test_views_of_a_search(candidates):
    view = generation_view(candidates, 2)
    assert dict(zip(view["path"], view["state"])) == {
        "a": "front",
        "e": "kept",
        "d": "dropped",
        "c": "front",
        "b": "kept",
    }
    assert best_within(candidates, 1.2)["path"] == "a"  # d was dropped, e has no accuracy
    assert best_within(candidates, 9.0)["path"] == "c"  # as accurate as b and cheaper
    models = pd.DataFrame({"model": ["ACGhostNet-A"], "energy_uj": [1.0], "inherited_accuracy_pct": [50.0]})
    assert f05.generation_fronts(candidates, models).axes


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda frame: generation_view(frame, 3), "generation=3"),
        (lambda frame: generation_view(frame, 1, seed=4), "seed='4' is not known"),
        (lambda frame: generation_view(frame.drop(columns="path"), 1), "column of candidates='path'"),
        (lambda frame: best_within(frame, 0.5), "budget=0.5 µJ is not met .* cheapest needs 1 µJ"),
        (lambda frame: best_within(frame.iloc[:0], 0.5), "candidates is empty"),
    ],
)
def test_views_refuse_in_one_sentence(candidates, call, message):
    with pytest.raises(InputError, match=message):
        call(candidates)


def test_widgets_show_what_the_functions_say(candidates):
    from repro.widgets.search import budget_picker, search_replay

    picker = budget_picker(candidates)
    slider, message, readout = picker.children[1:]
    slider.value = slider.max
    assert "1.5 µJ" in readout.value and not message.value
    slider.value = slider.min
    assert "not met" in message.value and not readout.value
    controls = search_replay(candidates).children[0].children[0]
    _, generation, _, readout = controls.children
    generation.value = 2
    assert "5, 4, 2" in readout.value


def test_every_preset_states_its_scale_and_paper_has_the_papers_settings():
    paper = SEARCHES["paper", "cifar10"]
    assert (paper.search.population, paper.search.expanded, paper.search.generations) == (128, 256, 45)
    assert (paper.shape.width, paper.data.held_out) == (1.0, 0.5)
    assert set(SCALE) == {"smoke", "quick", "study", "paper"}
    assert ghost_space().size == 8**16
    assert dataclasses.replace(SMOKE, shape=GhostShape()) != SMOKE


def test_short_trainings_are_tested_with_re_estimated_batch_norm(monkeypatch, tmp_path):
    seen = []
    record = lambda _model, batches: seen.append([len(batch) for batch in batches])  # noqa: E731
    monkeypatch.setattr(jobs, "reestimate_batch_norm", record)
    context = RunContext(tmp_path)
    job = ghost_job("ghostnet", SMOKE.data, SMOKE.shape, TrainRecipe(epochs=0), calibration_images=70)
    jobs.train_network(job, 0, context)
    assert seen == [[70]]
    jobs.train_network(dataclasses.replace(job, calibration_images=0), 0, context)
    assert seen == [[70]]


def test_models_are_named_from_the_least_energy_to_the_most_at_the_papers_size():
    def survivor(path, accuracy, energy, place):
        return {
            "path": "-".join(path), "accuracy_pct": accuracy, "energy": energy,
            "origin": "parent", "front": 0, "place": place,
        }  # fmt: skip

    # At 32 pixels and width 1 they need 63, 51, 56 and 100 % of GhostNet's energy: the first keeps A's budget with the
    # best accuracy, the next two go to B and C, and nothing else keeps D's. The search's own energies do not count.
    paths = [(name,) * 16 for name in ("ACg2", "AAg1", "ACg1", "CCg1")]
    candidates = [survivor(path, 10.0, float(4 - place), place) for place, path in enumerate(paths)]
    value = {"generations": [{"number": 1, "epoch": 1, "candidates": candidates, "seconds": {"evolve": 1.0}}]}
    value |= {"warmup": [], "seconds": {"evolve": 1.0}, "judged_pct": [60.5, 40.5, 50.5, 70.5]}
    search = Outcome(found.spec(SMOKE, 0), "done", value)
    named = found.models(search)
    assert [named[letter].path[0] for letter in "ABCD"] == ["AAg1", "ACg1", "ACg2", "CCg1"]
    assert [named[letter].accuracy_pct for letter in "ABCD"] == [40.5, 50.5, 60.5, 70.5]  # on all held-out images
    assert [named[letter].energy for letter in "ABCD"] == [3.0, 2.0, 4.0, 1.0]
    models = found.frames({0: search})["models"]
    assert models["model"].tolist() == [f"ACGhostNet-{letter}" for letter in "ABCD"]
