"""ShiftAddAug table 3 (Sec. 4.2): counts, energy and latency of the five models under six methods.

Augmentation does not change the network that is deployed. Accuracies are not trained yet.
"""

from __future__ import annotations

from repro.cost import ACCOUNTINGS, CONVENTIONS, layers_cost
from repro.errors import check_choice
from repro.papers.analytic import analytic_frame, level_energies
from repro.papers.shiftaddaug.counts import MODELS, OPERATORS, accountings, measures, network
from repro.papers.table import Drawing, Table
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
    """MobileNetV2-w0.35 by memory level and by layer, and printed accuracy against modelled energy."""
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
    title="Counts, energy and latency of five tiny networks under six methods",
    computed=computed,
    draw=draw,
    layout="wide",
    shown=("params_m", "mult_m", "shift_m", "add_m", "energy_mj", "latency_ms", "accuracy_pct"),
    models=tuple(name for name, _ in MODELS.values()),
)
