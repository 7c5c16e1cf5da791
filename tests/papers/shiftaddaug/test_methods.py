"""Rows of the main tables: what each is, what it is given, and what is said of those that do not train."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch

from repro.augment import augment, gaussian_to_laplacian
from repro.augment.remapping import FittedRemap
from repro.papers import entry
from repro.papers.shiftaddaug import f07, t03, t10, t11, training
from repro.papers.shiftaddaug.comparing import method_rows, status, train_all
from repro.papers.shiftaddaug.methods import CONTROLS, EQUAL_COMPUTE, MAIN, SHIFT
from repro.papers.shiftaddaug.networks import tiny
from repro.papers.shiftaddaug.recipes import STANDS_FOR, TUNED, presets
from repro.papers.shiftaddaug.training import channels, pack, packed_weights, train_tiny, unpack, wide_network
from repro.paths import results_root
from repro.report import judge, published
from repro.report.conform import folded
from repro.runs import Outcome, RunContext

RECIPE = presets(("MobileNetV2-w0.35",))["smoke", "glyphs"]


def test_a_run_that_failed_says_nothing_of_divergence():
    ends = {"done": "ok", "dead": "diverged", "diverged": "diverged"}
    assert {end: status(Outcome(None, "done", {"outcome": end})) for end in ends} == ends
    assert status(Outcome(None, "failed")) is status(Outcome(None, "crashed")) is None
    runs = published("shiftaddaug_t03")[["model", "method", "status"]]
    lost = runs.assign(status=runs["status"].where(runs["status"] == "ok", None))
    for frame, found in ((runs, "reproduced"), (lost, None)):
        ours = pd.concat([frame.assign(seed=seed) for seed in range(6)])
        ours.attrs = {"preset": "study", "dataset": "glyphs"}
        verdict = judge("shiftaddaug-c28", {"shiftaddaug_t03": ours})
        assert verdict.status == found if found else verdict.status not in ("reproduced", "not reproduced")


@pytest.mark.parametrize(
    ("above", "energy", "found"),
    [
        (1.0, 1.0, ("reproduced", "reproduced")),
        (0.0, 1.0, ("undecided", "reproduced")),
        (-1.0, 1.0, ("not reproduced", "not informative at this preset")),
        (1.0, 9.0, ("not informative at this preset", "not reproduced")),
    ],
)
def test_figure_5_asks_for_more_accuracy_where_the_energy_is_less_and_for_less_energy_at_equal_accuracy(
    above, energy, found
):
    networks = {("AugShift", "MCUNet-in3"): (energy, 45 + above), ("AugShift", "MobileNetV2-w0.35"): (0.9, 30.0)}
    networks |= {("DeepShift", "resnet20"): (5.0, 45.0), ("AdderNet", "resnet20"): (8.0, 43.0)}
    ours = pd.DataFrame(
        {"method": method, "model": model, "energy_mj": mj, "accuracy_pct": pct + 0.03 * (seed + len(model)) % 0.07}
        | {"dataset": "glyphs", "seed": seed}
        for (method, model), (mj, pct) in networks.items()
        for seed in range(3)
    )
    ours.attrs = {"preset": "study", "dataset": "glyphs"}
    verdicts = (judge(claim, {"shiftaddaug_f05": ours}) for claim in ("shiftaddaug-c68", "shiftaddaug-c70"))
    assert tuple(verdict.status for verdict in verdicts) == found


def test_every_data_set_is_tuned_or_takes_what_glyphs_chose():
    recorded = {path.stem.partition("-")[2] for path in (results_root() / "tuning").glob("shiftaddaug-*.csv")}
    assert "glyphs" in recorded
    assert all(dataset in recorded or chosen == TUNED["glyphs"] for dataset, chosen in TUNED.items())


@pytest.mark.parametrize(("preset", "dataset"), presets(("MobileNetV2-w0.35",)), ids=str)
def test_direct_and_augmented_networks_are_given_the_same(preset, dataset):
    """Rate, epochs, data and batch norm of an augmented network are those of its operator by itself."""
    recipe = presets(("MobileNetV2-w0.35",))[preset, dataset]
    jobs = {row: recipe.job("MobileNetV2-w0.35", method) for row, method in MAIN.items()}
    for direct, augmented in (("Base", "NetAug"), ("Shift", "AugShift"), ("Add", "AugAdd")):
        assert jobs[direct] == dataclasses.replace(jobs[augmented], method=MAIN[direct])
    epochs = {row: job.train.epochs for row, job in jobs.items()}
    assert jobs["Base"].calibration_images > 0
    if preset == "paper":
        assert epochs == {row: 300 if "Add" in row else 250 for row in MAIN} and recipe.data.size == 160
        train = jobs["Base"].train
        assert (train.batch_size, train.lr, train.schedule, train.label_smoothing) == (128, 0.05, "cosine", 0.1)
        assert (train.optimizer, train.momentum, train.nesterov, train.weight_decay) == ("sgd", 0.9, True, 4e-5)
        return
    assert len(set(epochs.values())) == 1
    rates = {method.op: jobs[row].train.lr for row, method in MAIN.items()}
    assert rates == {op: float(chosen.removeprefix("rate ")) for op, chosen in TUNED[dataset].items()}
    unlike = dict.fromkeys(rates, dataclasses.replace(jobs["Base"].train, lr=1.0))
    assert {method.op: dataclasses.replace(jobs[row].train, lr=1.0) for row, method in MAIN.items()} == unlike


def test_equal_compute_is_the_same_training_for_longer():
    """Three passes of an augmented step, and what they cost, for one of the plain network."""
    for row in ("Base", "Shift", "Add"):
        longer = CONTROLS[f"{row}, equal compute"]
        assert dataclasses.replace(longer, epochs=1) == MAIN[row] and longer.epochs == EQUAL_COMPUTE == 3


def test_a_training_keeps_its_loss_and_a_dead_network_its_name(tmp_path, monkeypatch):
    re_estimated = []
    original = training.reestimate_batch_norm
    monkeypatch.setattr(
        training, "reestimate_batch_norm", lambda model, batches: re_estimated.append(original(model, batches))
    )
    done = {}
    for number, (model, row) in enumerate((("MobileNetV2-w0.35", "AugShift"), ("MobileNetV3-w0.35", "Add"))):
        job = RECIPE.job(model, MAIN[row])
        done[model, row, 0] = Outcome(None, "done", train_tiny(job, 0, RunContext(tmp_path / str(number))))
    assert re_estimated == [1, 1], "in one batch, direct and augmented alike"
    frame = method_rows(RECIPE, done, lambda model, row: {"model": model, "method": row}, statuses=True)
    dead = frame.set_index("method").loc["Add"]
    assert done["MobileNetV3-w0.35", "Add", 0].value["outcome"] == "dead"
    assert dead["note"].startswith("dead: ") and dead["status"] == "diverged" and math.isnan(dead["accuracy_pct"])
    losses = frame.attrs["extra"]["losses"].set_index("row")["test_loss"]
    assert losses["Add"] == pytest.approx(math.log(10), abs=0.3) and 0 < losses["AugShift"] < 10
    assert frame.attrs["extra"]["curves"].groupby("row").size().to_dict() == {"AugShift": 1, "Add": 1}


def test_a_frozen_fc_is_fitted_to_the_network_that_the_same_seed_trained_by_itself(tmp_path):
    alone = train_tiny(RECIPE.job("MobileNetV2-w0.35", SHIFT), 0, RunContext(tmp_path / "alone"))
    fitted = dataclasses.replace(MAIN["AugShift"], remap="linear_skip_freeze")
    wide = wide_network(RECIPE.job("MobileNetV2-w0.35", fitted), 0, RunContext(tmp_path / "wide"))
    layers = dict(wide.wide_layers())
    for name, text in alone["weights"]["computed"].items():
        outputs = layers[name].target[1]
        trained = torch.tensor(unpack(text)).reshape(outputs, -1, *layers[name].weight.shape[2:])
        assert torch.equal(layers[name].remap.matrix, FittedRemap(trained, None).matrix), name


def test_adders_with_r_take_the_scale_of_each_layer_alone_unless_they_have_one():
    asked = {}

    def run(specs):
        asked.update({name[1]: each.recipe for name, each in specs.items() if len(name) == 3})
        value = {"outcome": "done", "laplace_scales": {"stem.conv": 0.98765, "head.conv": 2.0}}
        return {name: Outcome(each, "done", value) for name, each in specs.items()}

    done = train_all(RECIPE, [0], run, CONTROLS)
    scales = {
        row: job.method.adder_scale for row, job in asked.items() if job.method.remap and job.method.op == "adder"
    }
    measured = {"stem.conv": 0.988, "head.conv": 2.0}
    for row in ("AugAdd", "Add with HWS"):
        assert scales.pop(f"{row}, b of adders' start") == pytest.approx(math.sqrt(0.5))
    assert len(scales) == 4 and all(scale == measured for scale in scales.values())
    assert asked["Add with HWS"].method.around is None and len(done) == len(CONTROLS)
    kept = t03._scales({("m", row, 0): done["MobileNetV2-w0.35", "Add with HWS", 0] for row in MAIN})
    assert kept.values.tolist() == [["m", 0, "stem.conv", 0.98765], ["m", 0, "head.conv", 2.0]]


def test_figure_7_shows_the_whole_weight_in_memory_and_follows_channels_that_change_places():
    def run(specs):
        found = {}
        for name, each in specs.items():
            wide = wide_network(each.recipe, 0, None)
            saved = wide if each.recipe.method.remap else None
            moved.append(sum(wide.reorder_().values()) if saved is not None else 0)
            weights = packed_weights(wide.export_target(), saved)
            found[name] = Outcome(each, "done", {"outcome": "done", "weights": weights, "channels": channels(saved)})
        return found

    moved = []

    frame = f07.trained(RECIPE, [0], run)
    assert set(frame.attrs["extra"]["memory"]["row"]) == set(f07.IN_MEMORY)
    assert "AugShift 0 of 17, " in f07.draw(frame)[0].caption
    frame = frame.set_index(["state", "op"])
    start = frame["rank_correlation_with_start"]
    assert start["without sharing"].to_numpy() == pytest.approx(1, abs=0.03)
    assert sum(moved) > 0 and start["in memory"].to_numpy() == pytest.approx(1)  # nothing was trained
    assert start.loc["remapped", "adder"].to_numpy() == pytest.approx(1)
    assert start.loc["remapped", "shift"].to_numpy() == pytest.approx(1, abs=0.03)  # rounded
    wide = dict(wide_network(RECIPE.job("MobileNetV2-w0.35", MAIN["AugAdd"]), 0, None).wide_layers())
    memory = frame.loc[("in memory", "adder")].set_index("layer")["gaussian_scale"]
    assert len(memory) == 9
    for layer, deviation in memory.items():
        assert deviation == pytest.approx(float(wide[f"{layer}.conv"].weight.detach().std(correction=0)), rel=1e-4)


def test_one_weight_that_ran_off_is_most_of_the_variance():
    weights = np.concatenate([np.arange(-50, 51) / 50, [40.0]])
    value = {
        "weights": {
            "saved": {"stem.conv": pack(torch.from_numpy(weights)), "head.conv": pack(torch.from_numpy(weights[:-1]))}
        }
    }
    memory = f07._memory({("AugShift", 0): Outcome(None, "done", value), ("Base", 0): Outcome(None, "done", value)})
    assert memory["layer"].tolist() == ["stem", "head"]
    robust = 1.4826 * np.median(abs(weights - 0.01))
    assert memory["deviations"].tolist() == pytest.approx([39.99 / robust, 1 / (1.4826 * 0.5)], rel=1e-3)
    found = f07.outliers(memory)
    assert found.iloc[0, :3].tolist() == ["AugShift", 2, 1]
    assert found["farthest, most"].tolist() == [f"{memory['deviations'].max():.3g}"]


def test_without_a_network_around_r_goes_by_the_weights_that_are_trained(tmp_path):
    job = RECIPE.job("MobileNetV2-w0.35", t10.METHODS["w/o. aug. , with HWS"])
    kept = train_tiny(job, 0, RunContext(tmp_path))["weights"]
    assert kept["saved"].keys() == kept["computed"].keys()
    for name, text in kept["saved"].items():
        memory, computed = (torch.tensor(unpack(each)) for each in (text, kept["computed"][name]))
        by_hand = gaussian_to_laplacian(memory, float(memory.std(correction=0)) / math.sqrt(2))
        torch.testing.assert_close(computed, by_hand, rtol=1e-3, atol=1e-5)


def test_mutation_at_once_is_a_window_without_length():
    ((row, method),) = t11.AT_ONCE.items()
    assert row not in t11.METHODS and t11._flags(method) == t11.FLAGS["All"]
    assert [method.mutation.done(share, 7) for share in (0.09, 0.1)] == [0, 7]


@pytest.mark.filterwarnings("ignore:adder layers without a normalisation")
def test_mobilenet_v3_with_adders_is_dead():
    """No adder's output is positive: gates are shut, and the layer behind the pooling gives the classifier zeros."""
    torch.manual_seed(0)
    network = augment(tiny("MobileNetV3-w0.35", "small", in_channels=1, num_classes=10), op="adder").network
    gates = []
    for module in network.modules():
        if isinstance(module, torch.nn.Hardsigmoid):
            module.register_forward_hook(lambda _, __, y: gates.append(y.detach()))
    logits = network(torch.randn(8, 1, 16, 16))
    torch.nn.functional.cross_entropy(logits, torch.arange(8)).backward()
    assert len(gates) == 2 and all((gate == 0).all() for gate in gates)
    assert (logits == logits[0]).all() and logits.isfinite().all()
    learning = {name for name, parameter in network.named_parameters() if parameter.grad.abs().sum() > 0}
    assert learning == {"classifier.bias"}, "so it stays as it is, whatever the rate"


@pytest.mark.parametrize("table_id", ["shiftaddaug_t04", "shiftaddaug_t12", "shiftaddaug_supp_t02"])
def test_the_paper_preset_trains_on_the_data_sets_of_the_columns(table_id):
    sets = [dataset for preset, dataset in entry(table_id).recipes if preset == "paper"]
    assert {folded(STANDS_FOR.get(name, name)) for name in sets} == set(map(folded, published(table_id)["dataset"]))
