"""ShiftAddAug table 3 (Sec. 4.2): accuracy, counts, energy and latency of the five models under six methods.

Augmentation does not change the network that is deployed.
"""

from __future__ import annotations

import pandas as pd

from repro.cost import ACCOUNTINGS, CONVENTIONS, layers_cost
from repro.errors import check_choice
from repro.papers.analytic import analytic_frame, level_energies
from repro.papers.shiftaddaug.comparing import add_beside, method_dots, method_rows, target_costs, train_all
from repro.papers.shiftaddaug.counts import MODELS, OPERATORS, accountings, measures, network
from repro.papers.shiftaddaug.methods import CONTROLS, MAIN
from repro.papers.shiftaddaug.recipes import ALL_MODELS, SCALE, SEEDS, presets
from repro.papers.table import Drawing, Table, is_computed
from repro.report import charts
from repro.report.published import published

METHODS = {
    "Base": "conv",
    "NetAug": "conv",
    "Shift": "shift",
    "AugShift": "shift",
    "Add": "adder",
    "AugAdd": "adder",
}
NOTES = {
    "conv": "",
    "shift": "energy and latency match only with the classifier left out and the stem counted twice; the corrected "
    "reading is in the frame `accountings`",
    "adder": "depthwise convolutions and classifier multiply; adder layers pay neither DRAM nor buffer",
}


FAMILIES = {"conv": "Base", "shift": "Shift", "adder": "Add"}
DIRECT = {"AugShift": "Shift", "AugAdd": "Add"}
"""Row with a printed gain -> the row that it is a gain over."""


def trained(recipe, seeds, run):
    """Five models under six methods; counts and energy are of the networks as trained.

    `attrs["extra"]`: examples; paper_size, the same rows at the printed size; curves and losses of every training;
    controls, rows of the first model that the paper does not have (equal compute, the methods' parts one by one);
    scales, b of every adder layer's weights in the runs of Add, which AugAdd's R takes.
    """
    done = train_all(recipe, seeds, run, MAIN)
    frame = method_rows(recipe, done, lambda model, row: _key(recipe, model, row), statuses=True)
    accuracies = {(m, row, s): a for m, row, s, a in frame[["model", "method", "seed", "accuracy_pct"]].values}
    frame["gain_pct"] = [
        accuracies[model, row, seed] - accuracies[model, DIRECT[row], seed] if row in DIRECT else float("nan")
        for model, row, seed in done
    ]
    costs = {(m, op): target_costs(recipe, m, op) for m in recipe.models for op in FAMILIES}
    rows = [costs[model, MAIN[row].op] for model, row, _ in done]
    frame = frame.assign(**pd.DataFrame(rows, index=frame.index))
    add_beside(frame, recipe, seeds, run, CONTROLS, "controls")
    kept = ["model", "method", "params_m", "mult_m", "shift_m", "add_m", "energy_mj", "latency_ms"]
    frame.attrs["extra"] |= {"paper_size": computed()[kept], "scales": _scales(done)}
    return frame


def _scales(done) -> pd.DataFrame:
    """model, seed, layer, scale: b of the Laplace distribution nearest to the weights that adders trained alone."""
    rows = [
        {"model": model, "seed": seed, "layer": layer, "scale": scale}
        for (model, row, seed), outcome in done.items()
        if row == "Add"
        for layer, scale in (outcome.value or {}).get("laplace_scales", {}).items()
    ]
    return pd.DataFrame(rows, columns=["model", "seed", "layer", "scale"])


def _key(recipe, model, row):
    method = MAIN[row]
    return {
        "model": model,
        "method": row,
        "augmented": int(method.around is not None),
        "op_family": FAMILIES[method.op],
        "dataset": recipe.data.dataset,
    }


def computed(accounting: str = "published"):
    """One row per model and method.

    Args:
        accounting: "published", "corrected" (every layer once) or "unbiased"; see `repro.cost.eyeriss`.
    """
    check_choice("accounting", accounting, ACCOUNTINGS)
    values = {}
    for model in MODELS:
        for method, op in METHODS.items():
            measured = measures(model, op)
            values[model, method] = {
                **{name: measured[name] for name in ("params_m", "mult_m", "shift_m", "add_m")},
                "energy_mj": measured[f"energy_{accounting}_mj"],
                "latency_ms": measured[f"latency_{accounting}_ms"],
                "note": NOTES[op] if accounting == "published" else "",
            }
    return analytic_frame(
        "shiftaddaug_t03",
        values,
        convention=f"160 pixels, 100 classes; {CONVENTIONS['shiftaddaug'].text}; row-stationary model at 32 bit, "
        f"depthwise layers with one input channel, accounting {accounting}",
        extra={"accountings": accountings()},
    )


def draw(ours):
    """Trained: accuracies by model. Computed: MobileNetV2-w0.35 by memory level and layer, and accuracy over energy."""
    if not is_computed(ours):
        caption = (
            "Accuracy of each method on each model: a dot is a training, the bar their mean; a method without dots is "
            "dead or diverged."
        )
        return [Drawing(method_dots(ours, MAIN, "accuracy_pct", "test accuracy (%)"), caption)]
    levels = level_energies({op: network("MobileNetV2-w0.35", op)[1] for op in OPERATORS})
    layers = {
        f"{op}, as published": layers_cost(network("MobileNetV2-w0.35", op)[1], accounting="published").layers
        for op in OPERATORS
    }
    return [
        Drawing(
            charts.level_breakdown(levels),
            "MobileNetV2-w0.35 by memory level: operators differ in what they are charged, not in what they compute.",
            "levels",
        ),
        Drawing(
            charts.layer_breakdown(layers),
            "Energy of every layer of MobileNetV2-w0.35 as published; the shift network's last bar is its stem again.",
            "layers",
        ),
        Drawing(
            _front(ours.attrs["extra"]["accountings"]),
            "Printed accuracy against modelled energy: without bias the front belongs to the most accurate networks.",
            "front",
        ),
    ]


def _front(readings):
    operators = {"Base": "conv", "Shift": "shift", "Add": "adder"}
    printed = published("shiftaddaug_t03").drop(columns=["energy_mj", "latency_ms"])
    printed = printed.assign(op=printed["op_family"].map(operators))
    points = printed.merge(readings, on=["model", "op"]).dropna(subset=["accuracy_pct"])
    points = points.assign(series=points["method"], name=points["model"].where(points["method"] == "Base", ""))
    return charts.energy_accuracy(
        points.assign(run="published"),
        x="energy_mj",
        y="accuracy_pct",
        x_label="modelled energy (mJ)",
        y_label="printed CIFAR-100 accuracy (%)",
        panel="accounting",
        titles=charts.ACCOUNTING_NAMES,
        log_x=True,
        width_in=3.6,
        height_in=3.4,
    )


TABLE = Table(
    title="Accuracy, energy and latency of five tiny networks under six methods",
    trained=trained,
    computed=computed,
    draw=draw,
    recipes=presets(ALL_MODELS),
    seeds=SEEDS,
    scale=SCALE,
    keeps=("examples", "paper_size", "controls", "losses", "curves", "scales"),
    layout="wide",
    shown=("params_m", "mult_m", "shift_m", "add_m", "energy_mj", "latency_ms", "accuracy_pct"),
    models=tuple(name for name, _ in MODELS.values()),
)
