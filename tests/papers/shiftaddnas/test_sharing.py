"""Searched paths keep their limits, supernet runs resume, and the page's view shows the kernel that was chosen."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from repro.errors import InputError
from repro.papers.data import load_splits
from repro.papers.shiftaddnas import f02, f06, fbnet_space, networks, recipes, sharing, t06, t07
from repro.papers.shiftaddnas.kernel_view import kernel_explorer
from repro.papers.shiftaddnas.path_search import COSTS, Search, dearest, form_of, path_costs, search_paths
from repro.papers.tuning import tuning_of
from repro.runs import Outcome
from repro.runs.store import RunContext
from repro.search.hybrid_space import HybridSpace, Level
from repro.search.hybrid_supernet import HybridNetwork, HybridSupernet
from repro.train import History
from repro.train.data import prepare

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


def test_a_limit_that_no_path_meets_is_told_before_a_supernet_is_trained(tmp_path):
    run = sharing.supernet_specs(RECIPE, ["w/ HWS"], [0])["w/ HWS", 0].recipe
    run = dataclasses.replace(run, search=dataclasses.replace(run.search, limits={"energy_uj": 1e-6}))
    with pytest.raises(InputError, match=r"limit energy_uj=.* is met by no genome of the space"):
        sharing.train_supernet(run, 0, RunContext(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_ranked_paths_are_fixed_and_all_ways_of_sharing_rank_the_same():
    assert RECIPE.ranked() == RECIPE.ranked() and len(set(RECIPE.ranked())) == RECIPE.paths
    specs = sharing.supernet_specs(RECIPE, sharing.MODES, [0])  # those that only study runs, too
    assert len({spec.recipe.paths for spec in specs.values()}) == 1
    assert len({spec.identity for spec in specs.values()}) == len(sharing.MODES)
    assert {mode for (mode, _), spec in specs.items() if spec.recipe.search} == set(sharing.PRINTED)


def test_controls_start_the_last_norm_of_every_block_with_one_and_are_else_as_the_way_that_they_are_named_after():
    specs = {mode: spec.recipe for (mode, _), spec in sharing.supernet_specs(RECIPE, sharing.MODES, [0]).items()}
    assert {mode for mode, run in specs.items() if run.last_gamma} == set(sharing.LAST_GAMMAS)
    for mode in sharing.LAST_GAMMAS:
        run, plain = specs[mode], specs[mode.removesuffix(", last gamma 1")]
        assert dataclasses.replace(run, last_gamma=0.0) == plain
    made = {}
    for gamma in (0.0, 1.0):
        torch.manual_seed(0)
        made[gamma] = HybridSupernet(RECIPE.space, sharing.MODES["T fitted"], **form_of(RECIPE.data), last_gamma=gamma)
    changed = {
        name for name, tensor in made[0.0].state_dict().items() if not torch.equal(tensor, made[1.0].state_dict()[name])
    }
    assert changed == {name for name in made[0.0].state_dict() if name.endswith("leave.norm.weight")}
    with pytest.raises(InputError, match="last_gamma=-1 is not allowed; it must be a finite number at least 0"):
        HybridSupernet(RECIPE.space, sharing.MODES["T fitted"], **form_of(RECIPE.data), last_gamma=-1)


def test_shortcuts_with_convolutions_are_a_control_of_their_own_with_its_own_truth():
    study = recipes.RECIPES["study", "digits"]
    part = study.with_conv_shortcuts()
    assert set(part.modes) == set(recipes.CONTRASTS) >= {*sharing.PRINTED, "one factor", "T fitted"}
    plain = sharing.supernet_specs(study, part.modes, [0])
    for key, spec in sharing.supernet_specs(part, part.modes, [0]).items():
        wanted = dataclasses.replace(plain[key].recipe, projection="conv", search=None)
        assert spec.recipe == wanted and spec.identity != plain[key].identity
    alone, ours = sharing.path_specs(study, [0]), sharing.path_specs(part, [0])
    differing = {path for path, _ in ours if ours[path, 0].identity != alone[path, 0].identity}
    assert differing == {path for path in study.ranked() if any(block[-1] == "+" for block in path)}


def judged_by(splits, monkeypatch, module):
    """Networks that are judged get the loss 1 on held-out images, 2 on test and 3 on training images; no training.

    Returns what was judged: (paths, name of the images, name of those that batch norm was re-estimated with).
    """
    known = {name: prepare(getattr(splits, name)).images for name in ("held_out", "test", "train")}
    seen = []

    def name_of(images):
        return next(name for name, each in known.items() if torch.equal(images.images, each))

    def evaluate_paths(supernet, paths, data, *, calibration, **_):
        where = name_of(data)
        seen.append((tuple(paths), where, name_of(calibration)))
        loss = 1.0 + list(known).index(where)
        return [{"path": path, "accuracy_pct": 10 * loss, "loss": loss} for path in paths]

    monkeypatch.setattr(module, "evaluate_paths", evaluate_paths)
    monkeypatch.setattr(module, "fit_logged", lambda *_: History())
    return seen


def test_the_ranking_and_the_search_go_by_held_out_images_and_test_images_choose_nothing(tmp_path, monkeypatch):
    run = sharing.supernet_specs(RECIPE, ["w/ HWS"], [0])["w/ HWS", 0].recipe
    seen = judged_by(load_splits(run.data), monkeypatch, sharing)
    value = sharing.train_supernet(run, 0, RunContext(tmp_path / "run"))
    assert {calibration for _, _, calibration in seen} == {"train"}
    assert [paths for paths, where, _ in seen if where != "held_out"] == [run.paths]  # once, for the record
    assert len([where for _, where, _ in seen if where == "held_out"]) > 1 and value["found"]["loss"] == 1.0
    assert {(each["loss"], each["test_loss"]) for each in value["scores"].values()} == {(1.0, 2.0)}
    assert value["top1_pct"] == 10.0


def test_a_search_of_the_fbnet_space_goes_by_held_out_images(tmp_path, monkeypatch):
    run = fbnet_space.RECIPES["smoke", "digits"].spec("All", 0).recipe
    seen = judged_by(load_splits(run.data), monkeypatch, fbnet_space)
    assert fbnet_space.search(run, 0, RunContext(tmp_path / "run"))["found"]["loss"] == 1.0
    assert {(where, calibration) for _, where, calibration in seen} == {("held_out", "train")}


def test_ways_of_sharing_are_what_their_names_say():
    ways = sharing.MODES
    for mode, control in t06.CONTROLS.items():  # with T and without, and in nothing else
        assert dataclasses.replace(ways[mode], remap=ways[control].remap) == ways[control] != ways[mode]
        assert ways[mode].remap == "transform" and ways[mode].divergence == ways[control].divergence == "none"
    assert ways["one factor"].remap == "constant" and ways["naive, N(0, 1)"].remap == "none"
    naive = ways["w/ Naive WS"]
    assert (naive.start, naive.remap, naive.divergence) == ("he", "none", "none")
    assert dataclasses.replace(naive, start="unit") == ways["naive, N(0, 1)"]
    hws = ways["w/ HWS"]
    assert (hws.start, hws.remap, hws.pieces, hws.divergence, hws.weight, hws.scale) == (
        *("unit", "transform", 200, "entropy", 1.0, 1.0),
    )
    assert dataclasses.replace(hws, divergence="none") == ways["HWS w/o KL"]
    assert {way.factors for way in ways.values() if way.remap == "transform"} >= {"ones", "fitted"}
    assert {way.divergence for way in ways.values()} == {"none", "entropy", "closed", "softmax"}
    assert all(way.shared != name.startswith("w/o WS") for name, way in ways.items())
    assert set(sharing.PRINTED) | set(t06.CONTROLS) | set(t06.CONTROLS.values()) <= set(ways)


def test_what_is_shown_of_a_supernet_is_what_its_operators_compute_with():
    """Figure 4: equation 8 by hand. Figures 3 and 7: the pool, powers of two of it, and T of it."""
    torch.manual_seed(0)
    way = dataclasses.replace(sharing.MODES["w/ HWS"], pieces=20)
    net = HybridSupernet(RECIPE.space, way, in_channels=1, num_classes=10)
    cells = {(layer, level): net.layers[layer][str(level)] for layer, level in sharing.middle_cells(RECIPE.space)}
    shown, curves = sharing.shown_weights(net), {row["level"]: row for row in sharing.kernels_of(net)}
    assert set(curves) == {0, 1}
    for (layer, level), cell in cells.items():
        kernel = cell.kernels["conv_conv"]
        torch.nn.init.normal_(kernel.alpha)
        pool = cell.pool["conv_conv"].detach().double().numpy().ravel()
        falling = np.sort(pool)[::-1]
        pieces = np.array_split(falling, 20)
        mapped = np.concatenate([a * each for a, each in zip(kernel.alpha.detach().double().numpy(), pieces)])
        curve = next(row for row in sharing.kernels_of(net) if row["level"] == level)
        np.testing.assert_allclose(curve["pool"], falling, rtol=1e-6)
        np.testing.assert_allclose(curve["remapped"], mapped, rtol=1e-5)
        np.testing.assert_allclose(curve["share"], np.linspace(0, 1, falling.size), atol=1e-6)
        np.testing.assert_allclose(shown[layer, level, "conv"], pool, rtol=1e-6)
        exponents = np.log2(np.abs(shown[layer, level, "shift"]))
        assert (exponents == exponents.round()).all()
        now = sharing.shown_weights(net)[layer, level, "adder"]
        np.testing.assert_allclose(np.sort(now), np.sort(mapped), rtol=1e-5)
    own = HybridSupernet(RECIPE.space, sharing.MODES["w/o WS"], in_channels=1, num_classes=10)
    assert sharing.kernels_of(own) == [] and set(sharing.shown_weights(own)) == set(shown)


def test_the_supernets_choices_are_those_of_every_division_of_table_2():
    """Figure 2, counted anew: which resolutions a layer may have, and whether it may halve the map."""
    ranges = ((1, 4), (1, 4), (3, 7), (4, 9))
    splits = [each for each in itertools.product(*(range(a, b + 1) for a, b in ranges)) if sum(each) == 16]
    wanted: dict[tuple[int, int], set[bool]] = {}
    for split in splits:
        sides = [side for side, count in zip((56, 28, 14, 7), split) for _ in range(count)]
        for layer, side in enumerate(sides):
            wanted.setdefault((layer, side), set()).add(layer == 0 or sides[layer - 1] != side)
    frame = f02.computed()
    found = frame.drop_duplicates(["layer", "resolution"]).set_index(["layer", "resolution"])["first"]
    assert found.to_dict() == {place: any(first) for place, first in wanted.items()}
    sets = frame.groupby("resolution")["op"].agg(set).to_dict()
    assert sets[56] == sets[28] == {"conv", "shift", "adder"} and sets[7] == {"attention", "conv"}
    assert sets[14] == {"attention", "conv", "shift", "adder"} and f"{len(splits)} ways" in frame.attrs["convention"]
    shared, own = f02.params_m("w/ Naive WS"), f02.params_m("w/o WS")
    # 1x1 entrances (same, finer), 3x3, exit, and 3x3 shortcut of a stride; the finest maps have the stem before them.
    pool = sum((4 + 2 + 9 + 4 + 72) * planes**2 for planes in (64, 128, 256)) + (1 + 9 + 4 + 4) * 32**2
    assert f02.pool_everywhere_m() == pytest.approx(16 * pool / 1e6)
    assert shared < own and all(f"{number:.1f}" in frame.attrs["convention"] for number in (shared, own))
    (drawing,) = f02.draw(frame)
    assert len(drawing.figure.axes[1].patches) == len(frame)


def test_figure_6_trains_all_networks_on_the_same_images_for_as_many_epochs():
    for (preset, dataset), recipe in f06.RECIPES.items():
        assert recipe.networks.data == recipe.sharing.data == recipes.RECIPES[preset, dataset].data
        jobs = [recipe.networks.job(row) for row in recipe.networks.rows]
        assert {job.train.epochs for job in jobs} == {recipe.sharing.found.epochs} and {job.data for job in jobs} == {
            recipe.sharing.data
        }


def test_figure_6_has_known_networks_and_those_found_here_each_with_its_energy():
    recipe, path = f06.RECIPES["smoke", "digits"], RECIPE.ranked()[0]

    def run(specs):
        done = {}
        for key, spec in specs.items():
            value = {"outcome": "done", "top1_pct": 80.0 + key[1], "examples": 0, "correct": {}}
            if spec.kind == "shiftaddnas_supernet":
                costs = {"macs_m": 1.0, "energy_uj": 2000.0, "latency_us": 3000.0}
                value = {"found": {"path": list(path), "loss": 0.5, **costs, "limits": {"macs_m": 1.0}}}
            elif spec.kind == "shiftaddnas_path":
                assert spec.recipe.path == path and spec.recipe.train == recipe.sharing.found
                value["top1_pct"] = 90.0
            done[key] = Outcome(spec, "done", value, {})
        return done

    frame = f06.trained(recipe, [0, 1], run)
    found, known = (frame[(frame["family"] == f06.FOUND) == mine] for mine in (True, False))
    assert set(found["model"]) == {f"found {way}" for way in sharing.PRINTED} and len(found) == 4
    assert (found[["energy_mj", "latency_ms", "top1_pct"]] == [2.0, 3.0, 90.0]).all(axis=None)
    assert known["model"].tolist() == ["ShiftAddNAS-T0"] * 2 and known["top1_pct"].tolist() == [80.0, 81.0]
    assert (known["energy_mj"] == networks.energy(recipe.networks.job("ShiftAddNAS-T0"))["energy_mj"]).all()
    (drawing,) = f06.draw(frame)
    assert "energy" in drawing.figure.axes[0].get_xlabel() and "accuracy" in drawing.figure.axes[0].get_ylabel()


def test_the_kernel_view_shows_what_was_chosen():
    curves = pd.DataFrame(
        [
            {"setting": name, "seed": 0, "level": 0, "share": share, "pool": w, "remapped": factor * w}
            for name, factor in (("T fitted", 2.5), ("w/ HWS, lambda 2", 3.5))
            for share, w in ((0.0, 1.0), (0.25, 0.5), (0.5, 0.0), (0.75, -0.5), (1.0, -1.0))
        ]
    )
    view = kernel_explorer(curves)
    controls, chart = view.children[0].children[0].children, view.children[1].chart
    assert "50 % of the pool below" in controls[-1].value and "2.25" in controls[-1].value  # 95 % of T(pool), by hand
    np.testing.assert_allclose(chart.data[2].x, [-0.5, 0.0, 0.5])
    np.testing.assert_allclose(chart.data[2].y, [-np.log(2), 0.0, np.log(2)], atol=1e-12)
    controls[0].value = "w/ HWS, lambda 2"
    assert "3.15" in controls[-1].value and "2.25" not in controls[-1].value
    np.testing.assert_allclose(chart.data[2].y, [-2 * np.log(2), 0.0, 2 * np.log(2)], atol=1e-12)
    assert chart.data[2].name == "Laplace(0, 2)"


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
