"""Searches of the FBNet space keep their limit, and tables 5 and 7 say what came of them; outcomes made by hand."""

import dataclasses

import pytest

from repro.errors import InputError
from repro.papers import entry
from repro.papers.data import load_splits
from repro.papers.shiftaddnas import fbnet_space, recipes, tuning_fbnet
from repro.papers.shiftaddnas.fbnet_space import FOUND, SETS, SUPERNET, FBNetRun, kind_of, largest, operations
from repro.papers.tuning import tuning_of
from repro.runs import Outcome, RunContext
from repro.train import History

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


def test_every_operator_sets_supernet_and_found_network_take_the_rate_that_they_chose_by_themselves():
    settings = fbnet_space.SUPERNET_RATES | fbnet_space.FOUND_RATES
    tuned = {kind: settings[name]["lr"] for kind, name in fbnet_space.TUNED["digits"].items()}
    assert set(tuned) == {kind_of(part, name) for part in (SUPERNET, FOUND) for name in SETS}
    assert all(
        name in fbnet_space.SUPERNET_RATES for kind, name in fbnet_space.TUNED["digits"].items() if SUPERNET in kind
    )
    asked = []

    def watched(specs):
        asked.extend((key[0], spec) for key, spec in specs.items())
        return by_hand(specs)

    fbnet_space.searched(RECIPE, SETS, [0], watched)
    parts = {"shiftaddnas_fbnet": SUPERNET, "network": FOUND}
    rates = {kind_of(parts[spec.kind], name): spec.recipe.train.lr for name, spec in asked}
    assert rates == tuned == fbnet_space.RECIPES["study", "digits"].rates
    paper = fbnet_space.RECIPES["paper", "cifar10"]
    assert {paper.run(name).train.lr for name in SETS} == {paper.supernet.lr}


def test_supernets_and_networks_are_tuned_on_images_that_train_nothing_and_without_a_search():
    recipe, asked = fbnet_space.RECIPES["study", "digits"], tuning_of("shiftaddnas_fbnet", "digits")
    assert {name.partition(": ")[0] for name in asked.jobs} == set(fbnet_space.TUNED["digits"])
    for (network, setting), job in asked.candidates().items():
        splits = load_splits(job.data)
        assert (splits.test.images == splits.held_out.images).all()
        alone = network.startswith(FOUND)
        assert setting in (fbnet_space.FOUND_RATES if alone else fbnet_space.SUPERNET_RATES)
        assert job.train.epochs == (recipe.found if alone else recipe.supernet).epochs
        assert asked.spec(job, 0).kind == ("network" if alone else "shiftaddnas_fbnet")
        assert alone or job.search is None


def test_a_supernet_is_tuned_by_paths_of_its_own_set_and_a_network_is_one_that_the_search_might_find():
    recipe, asked = fbnet_space.RECIPES["study", "digits"], tuning_of("shiftaddnas_fbnet", "digits")
    for name, operators in SETS.items():
        run = asked.jobs[kind_of(SUPERNET, name)]
        assert run.space.operators == operators and len(set(run.paths)) == tuning_fbnet.PATHS
        assert run.paths == tuning_fbnet.judged(recipe, name) == tuple(map(run.space.check, run.paths))
        (network,) = (job for kind, job in asked.jobs.items() if kind.startswith(f"{kind_of(FOUND, name)}: "))
        path = network.options["choices"]
        assert {block.partition(":")[2] for block in path} - {""} == set(operators) and path in run.paths
        assert operations(recipe.space, recipe.data, path)["macs_m"] <= 0.6 * largest(recipe.space, recipe.data)


def tried(monkeypatch, tmp_path, accuracies, history=None) -> dict:
    """What a run without a search says whose paths have these accuracies, and that it looked at held-out images."""
    run = RECIPE.run("All")
    run = FBNetRun(run.data, run.space, run.train, search=None, paths=(CONV, MIXED))
    splits = load_splits(run.data)

    def evaluate_paths(supernet, paths, data, *, calibration, **_):
        assert (
            paths == run.paths and len(data) == len(splits.held_out) and (data.labels == splits.held_out.labels).all()
        )
        assert (calibration.labels == splits.train.labels).all()
        return [{"path": path, "accuracy_pct": value, "loss": 1.0} for path, value in zip(paths, accuracies)]

    monkeypatch.setattr(fbnet_space, "evaluate_paths", evaluate_paths)
    monkeypatch.setattr(fbnet_space, "fit_logged", lambda *_: history or History())
    return fbnet_space.search(run, 0, RunContext(tmp_path / "run"))


def test_a_tried_supernet_says_the_mean_of_its_paths_on_held_out_images(tmp_path, monkeypatch):
    value = tried(monkeypatch, tmp_path, [50.0, 80.0])
    assert (value["outcome"], value["top1_pct"], value["found"]) == ("done", 65.0, None)
    assert tried(monkeypatch, tmp_path, [50.0, float("nan")])["top1_pct"] is None
    diverged = tried(monkeypatch, tmp_path, [50.0, 80.0], History(outcome="diverged"))
    assert (diverged["outcome"], diverged["top1_pct"], diverged["found"]) == ("diverged", None, None)
