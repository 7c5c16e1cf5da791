"""Tables 8 to 10 read the seconds of the searches that tables 3 and 6 run; outcomes made by hand."""

import math

import pytest

from repro.papers import entry
from repro.papers.shiftaddnas import recipes, search_costs, sharing, translation_search
from repro.papers.shiftaddnas.translation_recipes import HAT, HYBRID, RECIPES
from repro.report import compare
from repro.runs import Outcome

QUICK = RECIPES["quick", "grammar"]


class Runs:
    """Gives every run the same seconds, twice as many to searches among attention alone, and remembers what it ran."""

    def __init__(self, **seconds):
        self.seconds, self.folders = seconds, set()

    def __call__(self, specs):
        self.folders |= {spec.folder for spec in specs.values()}
        factor = {key: 2 if "HAT" in key else 1 for key in specs}
        return {
            key: Outcome(
                spec,
                "done",
                {"seconds": {name: factor[key] * each for name, each in self.seconds.items()}},
                {"device": "a machine"},
            )
            for key, spec in specs.items()
        }


def test_days_are_those_of_the_searches_that_table_3_runs():
    run = Runs(predictor=10.0, supernet=80.0, evolution=10.0)
    frame = entry("shiftaddnas_t08").trained(QUICK, [0], run)
    days = frame.set_index("method")["search_cost_gpu_days"]
    assert days.to_dict() == pytest.approx({"ShiftAddNAS": 100 / 86_400, "HAT": 200 / 86_400})
    assert set(frame["note"]) == {"100 s on a machine", "200 s on a machine"}
    assert run.folders == {
        translation_search.spec(mine.search_in(space), 0).folder
        for mine in QUICK.pairs.values()
        for space in (HAT, HYBRID)
    }
    compared = compare("shiftaddnas_t08", frame).set_index("method")
    assert compared.loc["Evolved Trans.", "note"] == "not run" and compared.loc["HAT", "n_seeds"] == 1


def test_a_vision_search_is_its_supernet_and_its_evolution_without_the_ranked_paths():
    recipe, run = recipes.RECIPES["quick", "digits"], Runs(train=30.0, score=1000.0, search=10.0)
    frame = entry("shiftaddnas_t09").trained(recipe, [0, 1], run)
    assert frame["search_cost_gpu_days"].tolist() == pytest.approx([40 / 86_400] * 2)
    assert run.folders == {spec.folder for spec in sharing.supernet_specs(recipe, ["w/ HWS"], [0, 1]).values()}


def test_phases_add_up_to_the_searches_and_a_search_that_did_not_end_has_no_share():
    table = entry("shiftaddnas_t10")
    recipe = table.recipes["quick", "digits"]
    run = Runs(predictor=1.0, supernet=9.0, evolution=2.0, train=3.0, score=7.0, search=1.0)
    frame = table.trained(recipe, [0], run)
    shares = frame.attrs["extra"]["shares"].set_index(["domain", "phase"])["share_pct"]
    assert shares["NLP", search_costs.SUPERNET] == pytest.approx(75) == shares["CV", search_costs.SUPERNET]
    assert frame["search_cost_gpu_days"].sum() * 86_400 == pytest.approx(16)
    stopped = table.trained(recipe, [0], Runs(predictor=1.0, supernet=9.0, train=3.0, search=1.0))
    shares = stopped.attrs["extra"]["shares"].set_index(["domain", "phase"])["share_pct"]
    assert shares.loc["NLP"].isna().all() and shares["CV", search_costs.SEARCH] == pytest.approx(25)
    ended = stopped.set_index(["domain", "phase"])["note"]
    assert ended["NLP", search_costs.SEARCH] == "the search did not end" and math.isfinite(shares["CV"].sum())
