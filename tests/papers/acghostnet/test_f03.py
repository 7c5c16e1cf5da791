"""ACGhostNet figure 3: which searches it runs, what it picks from them, its picture and its verdicts."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from repro import report
from repro.models.acghostnet import NUM_BLOCKS
from repro.papers.acghostnet import f03, found
from repro.papers.acghostnet.f03 import RECIPES, network, settings
from repro.papers.acghostnet.found import energy_lookup
from repro.papers.acghostnet.front import chosen_models, front_scores, score_draws
from repro.papers.acghostnet.networks import ghost_job, network_counts
from repro.papers.acghostnet.supernet import ghost_supernet
from repro.runs import Outcome

SMOKE = RECIPES["smoke", "digits"]


@pytest.fixture(scope="module")
def figure_3(smoke_table):
    return smoke_table("acghostnet_f03")


def test_every_curve_has_a_search_of_its_own_and_shared_ones_run_once():
    for key, recipe in RECIPES.items():
        curves = settings(recipe)
        assert [panel for panel, _ in curves] == ["warmup"] * (1 + len(recipe.thresholds_pct)) + ["adaptive_lr"] * 2
        named = {curve: run.search for curve, run in curves.items()}
        assert named["warmup", "none"].separate is None
        for t in recipe.thresholds_pct:
            assert named["warmup", f"separate {t:g}%"].separate.threshold_pct == t
        assert named["adaptive_lr", "both operators"].train.adaptive == "all"
        assert named["adaptive_lr", "adders only"].train.adaptive == "adder"
        # all searches take the same number of epochs, and "both operators" is one of the left panel's
        assert len({(search.train.epochs, search.generations) for search in named.values()}) == 1
        assert named["adaptive_lr", "both operators"] in [
            named["warmup", f"separate {t:g}%"] for t in recipe.thresholds_pct
        ]
        if key[1] == "digits":
            folders = {found.spec(run, seed).folder for run in curves.values() for seed in (0, 1)}
            assert len(folders) == 2 * (len(curves) - 1)


def test_the_claimed_threshold_is_among_those_of_every_preset():
    assert all(70.0 in recipe.thresholds_pct for recipe in RECIPES.values())


def test_the_paper_preset_searches_all_sixteen_blocks():
    paper = RECIPES["paper", "cifar10"]
    assert paper.search.shape.blocks is None and paper.search.search.generations == 45
    assert paper.train.epochs == 600


def test_it_holds_models_of_every_search_trained_alone(figure_3):
    assert not figure_3.attrs["failed"]
    assert set(zip(figure_3["panel"], figure_3["setting"])) == set(settings(SMOKE))
    assert figure_3["accuracy_pct"].between(0, 100).all()
    assert figure_3["path"].str.split("-").str.len().eq(6).all()
    scores, draws = (figure_3.attrs["extra"][name] for name in ("scores", "draws"))
    assert len(scores) == len(settings(SMOKE)) and scores["front_score"].between(0, 100).all()
    assert draws.groupby(["panel", "setting"]).size().eq(200).all()
    middle = draws.groupby(["panel", "setting"])["value"].mean()
    spread = draws.groupby(["panel", "setting"])["value"].std()
    mine = scores.set_index(["panel", "setting"])["front_score"]
    assert ((middle - mine).abs() < 4 * spread / 200**0.5 + 1e-9).all()
    energies = [network_counts(network(SMOKE, path.split("-")))["energy_uj"] for path in figure_3["path"]]
    assert figure_3["energy_uj"].tolist() == pytest.approx(energies, rel=1e-7)
    for _, curve in figure_3.groupby(["panel", "setting", "seed"]):
        assert curve["model"].tolist() == sorted(curve["model"])  # by energy at the paper's size
    warmup = figure_3.attrs["extra"]["warmup"]
    assert len(warmup) == 3 * 2  # three sub-supernets of two searches; the one of both panels is told once
    assert warmup["sentence"].str.contains("did not reach 70 %").all()


def test_its_picture_and_its_verdicts(figure_3):
    (drawing,) = f03.draw(figure_3)
    assert [len(axis.lines) for axis in drawing.figure.axes] == [2, 2, 2, 2]
    at_study = figure_3.copy()
    at_study.attrs["preset"] = "study"
    for claim in ("acghostnet-c38", "acghostnet-c39"):
        verdict = report.judge(claim, {"acghostnet_f03": at_study})
        assert verdict.status in ("undecided", "not informative at this preset") and verdict.seeds <= 2


def test_a_diverged_search_leaves_its_curve_out():
    asked = []

    def run(specs):
        asked.extend(spec.kind for spec in specs.values())
        value = {"generations": [], "warmup": [], "seconds": {}}
        return {key: Outcome(spec, "diverged", value) for key, spec in specs.items()}

    frame = f03.trained(SMOKE, [0], run)
    assert set(asked) == {"acghostnet_search"}
    assert frame.empty and {"panel", "setting", "seed", "energy_uj", "accuracy_pct"} <= set(frame)


def test_a_search_in_fewer_blocks_has_their_supernet_and_energies():
    blocks, path = (1, 1, 1, 2, 1, 1), ["AAg1", "CCg2"] * 3 + ["ACg1"]
    shape = dataclasses.replace(SMOKE.search.shape, blocks=blocks)
    lookup = energy_lookup(dataclasses.replace(SMOKE.search, shape=shape))
    assert lookup.num_blocks == 7 < NUM_BLOCKS
    assert len(ghost_supernet(width=0.25, head=32, form="cifar", blocks=blocks).options) == 7
    counted = network_counts(ghost_job("acghostnet", SMOKE.data, shape, SMOKE.train, path=path))
    assert lookup.score([path])["energy_pj"].item() / 1e6 == pytest.approx(counted["energy_uj"], rel=1e-12)


def test_a_curve_is_chosen_by_the_search_and_scored_on_the_test_images():
    rows = [
        ("p", "a", 0, 1.0, 50.0, 60.0),
        ("p", "a", 0, 2.0, 70.0, 40.0),  # held for better by the search, worse by itself: it counts
        ("p", "b", 0, 2.0, 10.0, 90.0),
        ("p", "b", 0, 3.0, 5.0, 99.0),  # held for worse: it is never taken
    ]
    columns = ["panel", "setting", "seed", "energy_uj", "inherited_accuracy_pct", "accuracy_pct"]
    points = pd.DataFrame(rows, columns=columns)
    assert chosen_models(points) == {("p", "a", 0): [1, 1], ("p", "b", 0): [2, 2]}
    assert front_scores(points)["front_score"].tolist() == [40.0, 90.0]
    answers = {0: np.ones(10), 1: np.arange(10) < 4, 2: np.arange(10) < 9, 3: np.ones(10)}
    draws = score_draws(points, answers).pivot(index="draw", columns="setting", values="value")
    assert ((draws["b"] - draws["a"]) >= 0).all()  # the same images were drawn for both
    assert draws["a"].std() == pytest.approx(100 * (0.4 * 0.6 / 10) ** 0.5, rel=0.15)
