"""Searched paths keep their limits, supernet runs resume, and the page's view shows the kernel that was chosen."""

import dataclasses

import pandas as pd
import pytest
import torch

from repro.errors import InputError
from repro.papers.data import load_splits
from repro.papers.shiftaddnas import recipes, sharing, t07
from repro.papers.shiftaddnas.kernel_view import kernel_explorer
from repro.papers.shiftaddnas.path_search import COSTS, Search, dearest, path_costs, search_paths
from repro.papers.tuning import tuning_of
from repro.runs.store import RunContext
from repro.search.hybrid_space import HybridSpace, Level
from repro.search.hybrid_supernet import HybridNetwork

RECIPE = recipes.RECIPES["smoke", "digits"]


def price(path):
    return path_costs(RECIPE.space, RECIPE.data, path)


def test_costs_of_a_path_follow_its_operators():
    conv, shift, adder = (price(("0C", f"1{letter}", f"1{letter}")) for letter in "CS+")
    assert conv["macs_m"] == pytest.approx(shift["macs_m"]) == pytest.approx(adder["macs_m"])
    assert shift["energy_uj"] < conv["energy_uj"] and adder["energy_uj"] < conv["energy_uj"]
    assert conv["shift_m"] == 0 < shift["shift_m"] and conv["mult_m"] == conv["macs_m"] > adder["mult_m"]
    assert conv["mult_m"] - shift["mult_m"] == pytest.approx(shift["shift_m"])
    network = HybridNetwork(RECIPE.space, ("0C", "1C", "1C"), in_channels=1, num_classes=10)
    sizes = []
    hooks = [
        module.register_forward_hook(lambda m, _, y: sizes.append(m.weight[0].numel() * y[0].numel()))
        for module in network.modules()
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)
    ]
    network.eval()(torch.zeros(1, 1, 8, 8))
    assert hooks and conv["macs_m"] == pytest.approx(sum(sizes) / 1e6)


def test_a_search_finds_the_best_path_within_its_limits(tmp_path):
    """Loss is lowest for convolutions, which the energy limit forbids everywhere at once."""
    search = Search({"energy_uj": 0.7, "latency_us": 1.0}, population=5, rounds=4)

    space = HybridSpace((Level(4, 1, 1, "CS+", stride=1), Level(4, 1, 1)), layers=2)

    def energy(path):
        return path_costs(space, RECIPE.data, path)["energy_uj"]

    def loss(paths):
        return [1.0 - 0.1 * sum(block.endswith("C") for block in path) for path in paths]

    found = search_paths(space, RECIPE.data, search, loss, seed=0, checkpoint=tmp_path / "search.json")
    allowed = [path for path in space.all_paths() if energy(path) <= found["limits"]["energy_uj"]]
    assert set(found) == {"path", "loss", *COSTS, "limits", "rounds", "best"} and 0 < len(allowed) < space.size
    best = [tuple(path) for path in found["best"]]
    assert best[0] == tuple(found["path"]) and len(set(best)) == len(best) and set(best) <= set(allowed)
    assert loss(best) == sorted(loss(best))
    assert tuple(found["path"]) in allowed and found["loss"] == pytest.approx(min(loss(allowed)))
    assert found["rounds"] == sorted(found["rounds"], reverse=True) and len(found["rounds"]) == 5
    plain = [energy(path) for path in space.all_paths() if all(b.endswith("C") for b in path)]
    assert found["limits"]["energy_uj"] == pytest.approx(0.7 * max(plain))
    assert dearest(t07.with_operators(space, "S+"), RECIPE.data) == dearest(space, RECIPE.data)
    none = Search({"energy_uj": 1e-6}, population=4, rounds=1)
    with pytest.raises(InputError, match=r"limit energy_uj=.* is met by no genome of the space"):
        search_paths(space, RECIPE.data, none, loss, seed=0, checkpoint=tmp_path / "none.json")


def test_operator_sets_keep_each_resolutions_own_operators():
    def of(space):
        spaces = {name: t07.with_operators(space, letters) for name, letters in t07.SETS.items()}
        return {name: [level.operators for level in each.levels] for name, each in spaces.items()}

    small, whole = of(RECIPE.space), of(sharing.PAPER_SPACE)
    assert small["Attn&Conv"] == ["C", "AC"] and small["Shift&Add"] == ["S+", "S+"]
    assert small["Attn&Conv&Add"] == ["C+", "AC+"] and small["All"] == ["CS+", "ACS+"]
    assert whole["Attn&Conv"] == ["C", "C", "AC", "AC"] and whole["All"] == ["CS+", "CS+", "ACS+", "AC"]
    assert whole["Attn&Conv&Add"] == ["C+", "C+", "AC+", "AC"]
    assert whole["Shift&Add"] == ["S+"] * 4  # neither attention nor convolution, also at 7x7


def test_a_supernet_run_that_was_killed_ends_with_the_same_value(tmp_path):
    run = sharing.supernet_specs(RECIPE, ["w/ HWS"], [0])["w/ HWS", 0].recipe
    whole = sharing.train_supernet(run, 0, RunContext(tmp_path / "run"))
    again = sharing.train_supernet(run, 0, RunContext(tmp_path / "run"))  # from the checkpoints, nothing left to train
    assert len(RunContext(tmp_path / "run").metrics()) == run.train.epochs
    spent, told = whole.pop("seconds"), again.pop("seconds")
    assert spent["train"] == told["train"] > 0 and whole == again  # the epochs' own seconds
    assert set(whole["scores"]) == {"-".join(path) for path in run.paths}
    assert {row["op"] for row in whole["weights"]} == {"conv", "shift", "adder"} and len(whole["kernels"]) == 2
    assert all(0 < row["correlation_with_start"] < 1 for row in whole["weights"])


def test_ranked_paths_are_fixed_and_all_ways_of_sharing_rank_the_same():
    assert RECIPE.ranked() == RECIPE.ranked() and len(set(RECIPE.ranked())) == RECIPE.paths
    specs = sharing.supernet_specs(RECIPE, sharing.MODES, [0])  # those that only study runs, too
    assert len({spec.recipe.paths for spec in specs.values()}) == 1
    assert len({spec.identity for spec in specs.values()}) == len(sharing.MODES)
    assert {mode for (mode, _), spec in specs.items() if spec.recipe.search} == set(sharing.PRINTED)


def test_the_kernel_view_shows_what_was_chosen():
    curves = pd.DataFrame(
        [
            {"setting": name, "seed": 0, "level": 0, "share": 0.0, "pool": w, "remapped": factor * w}
            for name, factor in (("a", 2.5), ("b", 3.5))
            for w in (-1.0, 1.0)
        ]
    )
    view = kernel_explorer(curves)
    controls = view.children[0].children[0].children
    assert "T(pool)" in controls[-1].value and "2.50" in controls[-1].value
    controls[0].value = "b"
    assert "3.50" in controls[-1].value and "2.50" not in controls[-1].value


def test_each_supernet_takes_the_rate_that_the_plain_one_of_its_scale_chose_on_held_out_images():
    tuned = {kind: recipes.TUNED_SETTINGS[name]["lr"] for kind, name in recipes.TUNED["digits"].items()}
    recipe = recipes.RECIPES["study", "digits"]
    rates = {
        mode: spec.recipe.train.lr for (mode, _), spec in sharing.supernet_specs(recipe, recipe.modes, [0]).items()
    }
    assert set(rates) == set(sharing.MODES)
    for mode, rate in rates.items():
        way = sharing.MODES[mode]
        assert rate == tuned["own weights" if not way.shared else "He's scale" if way.start == "he" else "unit scale"]
    assert recipe.alone.lr == recipe.found.lr == tuned[recipes.ALONE]
    asked = tuning_of("shiftaddnas", "digits")
    jobs = {name.split(": ")[0]: job for name, job in asked.jobs.items()}
    assert set(jobs) == set(tuned) and {type(job) for job in jobs.values()} == {sharing.SupernetRun, sharing.PathRun}
    for job in jobs.values():
        splits = load_splits(job.data)
        assert (splits.test.images == splits.held_out.images).all()
    with pytest.raises(InputError, match="dataset='imagenet' is not allowed"):
        tuning_of("shiftaddnas", "imagenet")


def test_a_tried_supernet_says_the_mean_of_its_paths_on_held_out_images(tmp_path):
    job = dataclasses.replace(tuning_of("shiftaddnas", "digits").jobs["unit scale"], space=RECIPE.space)
    job = dataclasses.replace(job, data=dataclasses.replace(RECIPE.data, tested_on="held out"), train=RECIPE.supernet)
    job = dataclasses.replace(job, paths=tuple(RECIPE.ranked()))
    value = sharing.train_supernet(job, 0, RunContext(tmp_path))
    scores = value["scores"].values()
    assert value["top1_pct"] == pytest.approx(sum(each["accuracy_pct"] for each in scores) / len(scores))
    assert all(each["test_loss"] == each["loss"] for each in scores)
