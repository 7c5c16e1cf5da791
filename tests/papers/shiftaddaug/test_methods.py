"""Rows of the main tables: what each is, what it is given, and what is said of those that do not train."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

from repro.augment import augment, gaussian_to_laplacian
from repro.papers import entry
from repro.papers.shiftaddaug import f07, t03, t10, t11
from repro.papers.shiftaddaug.comparing import status, train_all
from repro.papers.shiftaddaug.methods import CONTROLS, MAIN
from repro.papers.shiftaddaug.networks import tiny
from repro.papers.shiftaddaug.recipes import STANDS_FOR, TUNED, presets
from repro.papers.shiftaddaug.training import packed_weights, train_tiny, unpack, wide_network
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
        (-1.0, 1.0, ("not reproduced",) * 2),
        (1.0, 9.0, ("not informative at this preset",) * 2),
    ],
)
def test_figure_5_asks_for_more_accuracy_or_as_much_where_the_energy_is_less(above, energy, found):
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
    assert scales.pop("AugAdd, b of adders' start") == pytest.approx(math.sqrt(0.5))
    assert len(scales) == 3 and all(scale == measured for scale in scales.values())
    assert asked["Add with HWS"].method.around is None and len(done) == len(CONTROLS)
    kept = t03._scales({("m", row, 0): done["MobileNetV2-w0.35", "Add with HWS", 0] for row in MAIN})
    assert kept.values.tolist() == [["m", 0, "stem.conv", 0.98765], ["m", 0, "head.conv", 2.0]]


def test_figure_7_shows_the_whole_weight_in_memory_and_correlates_what_stays_in_place():
    def run(specs):
        found = {}
        for name, each in specs.items():
            wide = wide_network(each.recipe, 0, None)
            saved = wide if each.recipe.method.remap else None
            found[name] = Outcome(
                each, "done", {"outcome": "done", "weights": packed_weights(wide.export_target(), saved)}
            )
        return found

    frame = f07.trained(RECIPE, [0], run).set_index(["state", "op"])
    start = frame["rank_correlation_with_start"]
    assert start["without sharing"].to_numpy() == pytest.approx(1, abs=0.03)
    assert start["in memory"].isna().all() and start["remapped"].isna().all()
    wide = dict(wide_network(RECIPE.job("MobileNetV2-w0.35", MAIN["AugAdd"]), 0, None).wide_layers())
    memory = frame.loc[("in memory", "adder")].set_index("layer")["gaussian_scale"]
    assert len(memory) == 9
    for layer, deviation in memory.items():
        assert deviation == pytest.approx(float(wide[f"{layer}.conv"].weight.detach().std(correction=0)), rel=1e-4)


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
