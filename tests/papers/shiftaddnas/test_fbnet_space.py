"""Searches of the FBNet space keep their limit, and tables 5 and 7 say what came of them; outcomes made by hand."""

import dataclasses

import pytest

from repro.errors import InputError
from repro.papers import entry
from repro.papers.shiftaddnas import fbnet_space, recipes
from repro.papers.shiftaddnas.fbnet_space import SETS, largest, operations
from repro.runs import Outcome, RunContext

RECIPE = fbnet_space.RECIPES["smoke", "digits"]
CONV, MIXED = ("k3_e1:conv", "k3_e1:conv"), ("k3_e1:adder", "skip")


def test_operations_are_counted_by_operator():
    space, data = RECIPE.space, RECIPE.data
    conv, mixed = (operations(space, data, path) for path in (CONV, MIXED))
    block = 64 * (2 * 16 * 16 + 9 * 16) / 1e6  # two 1x1 and a depthwise 3x3 of 16 channels on 8x8 pixels
    ends = 64 * (9 * 16 + 16 * 16) / 1e6 + 160 / 1e6  # stem, head, classifier
    assert conv["macs_m"] == conv["mult_m"] == pytest.approx(2 * block + ends) == pytest.approx(largest(space, data))
    assert mixed["mult_m"] == pytest.approx(ends) and mixed["shift_m"] == 0
    assert mixed["add_m"] == pytest.approx(ends + 2 * block)  # two additions a tap
    shift_add = dataclasses.replace(space, operators=SETS["Shift&Add"])
    assert largest(shift_add, data) == largest(space, data)


def test_a_search_keeps_the_limit_and_ends_with_the_same_value_after_a_stop(tmp_path):
    run = RECIPE.spec("All", 0).recipe
    whole = fbnet_space.search(run, 0, RunContext(tmp_path / "run"))
    again = fbnet_space.search(run, 0, RunContext(tmp_path / "run"))  # from the checkpoints, nothing left to train
    assert whole == again and whole["outcome"] == "done"
    found = whole["found"]
    assert found["macs_m"] <= found["limit_macs_m"] == pytest.approx(0.6 * largest(run.space, run.data))
    assert found["macs_m"] == operations(run.space, run.data, tuple(found["path"]))["macs_m"]
    assert found["loss"] == min(found["rounds"]) and len(found["rounds"]) == 2


def test_a_limit_that_no_path_meets_is_told_before_a_supernet_is_trained(tmp_path):
    run = RECIPE.spec("All", 0).recipe
    run = dataclasses.replace(run, search=dataclasses.replace(run.search, limits={"macs_m": 1e-6}))
    with pytest.raises(InputError, match=r"limit macs_m=.* is met by no genome"):
        fbnet_space.search(run, 0, RunContext(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def by_hand(specs):
    """Searches find two convolutions, or an adder where there is one; networks with an adder have 90 %, others 80 %."""
    done = {}
    for key, spec in specs.items():
        if spec.kind == "shiftaddnas_fbnet":
            path = MIXED if "adder" in spec.recipe.space.operators else CONV
            value = {"found": {"path": list(path), "loss": 1.0, "limit_macs_m": 0.2}}
        elif spec.kind == "network":
            accuracy = 90.0 if "k3_e1:adder" in spec.recipe.options["choices"] else 80.0
            value = {"outcome": "done", "top1_pct": accuracy, "examples": 0, "correct": {}}
        else:
            value = {}
        done[key] = Outcome(spec, "done", value)
    return done


def test_table_5_compares_with_what_the_same_search_finds_among_convolutions():
    frame = entry("shiftaddnas_t05").trained(RECIPE, [0, 1], by_hand)
    ours = frame[frame["method"] == "ShiftAddNAS"]
    assert frame["accuracy_pct"].tolist() == [80, 80, 90, 90] and ours["accuracy_gain_pct"].tolist() == [10, 10]
    assert (ours["mult_m"] < frame.loc[0, "mult_m"]).all() and (ours["latency_savings_pct"] > 0).all()
    assert frame.loc[:1, ["accuracy_gain_pct", "latency_savings_pct"]].isna().all(axis=None)
    assert set(frame.attrs["extra"]["found"]["method"]) == {"FBNet", "ShiftAddNAS"}


def test_table_7_has_rows_of_both_spaces_and_a_search_that_found_nothing_has_none():
    table = entry("shiftaddnas_t07")
    frame = table.trained(table.recipes["smoke", "digits"], [0], by_hand)
    assert frame["operators"].tolist() == list(SETS) and set(frame["space"]) == {"FBNet Space"}
    assert frame["accuracy_pct"].tolist() == [80, 90, 90, 90]
    assert frame.set_index("operators")["shift_m"].tolist() == [0] * 4


def test_tables_5_and_7_share_their_searches():
    for key, recipe in entry("shiftaddnas_t07").recipes.items():
        assert recipe.fbnet == entry("shiftaddnas_t05").recipes[key] and recipe.own == recipes.RECIPES[key]
