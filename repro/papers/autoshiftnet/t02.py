"""AutoShiftNet table 2 (Sec. 5.2): ImageNet at 224 pixels with all layers shift layers; additions halved as printed."""

from __future__ import annotations

import pandas as pd

from repro.cost import CONVENTIONS, count, layers_cost, traced
from repro.cost.skeleton import skeleton
from repro.papers.analytic import MILLION, analytic_frame
from repro.papers.autoshiftnet.comparing import entry_of, table_of, train_rows
from repro.papers.autoshiftnet.networks import CELLS, IMAGENET, OURS
from repro.papers.autoshiftnet.recipes import imagenet_column
from repro.papers.table import Drawing, is_computed
from repro.report import charts
from repro.report.published import published


def _imagenet_row(name: str, options: dict, note: str, convention: str) -> dict[str, object]:
    model = skeleton(name, num_classes=1000, op="shift", keep=(), **options)
    result = count(model, 224, convention)
    return {
        "params_m": result.params / MILLION,
        "mult_m": result.mults / MILLION,
        "add_m": result.adds / MILLION,
        "note": note,
    }


def honest_additions() -> pd.DataFrame:
    """Additions under both readings, and the AutoShiftNet row with the cells of either data set.

    Columns: model, params_m, add_halved_m (the printed convention), add_m (one per shift-accumulate).
    """
    entries = {row: (name, options) for row, (name, options, _) in IMAGENET.items() if row != "AutoShiftNet"}
    for dataset in ("cifar10", "cifar100"):
        options = {"genotype": f"autoshiftnet_{dataset}", "form": "imagenet", "channels": 46}
        entries[f"AutoShiftNet ({dataset} cells)"] = (CELLS, options)
    rows = []
    for row, (name, options) in entries.items():
        full = _imagenet_row(name, options, "", "autoshiftnet-honest")
        rows.append((row, full["params_m"], full["add_m"] / 2, full["add_m"]))
    return pd.DataFrame(rows, columns=["model", "params_m", "add_halved_m", "add_m"])


def computed():
    """ImageNet at 224 pixels with all layers shift layers; additions halved as printed."""
    values = {
        row: _imagenet_row(name, options, note, "autoshiftnet") for row, (name, options, note) in IMAGENET.items()
    }
    return analytic_frame(
        "autoshiftnet_t02",
        values,
        convention=f"224 pixels, every layer a shift layer; {CONVENTIONS['autoshiftnet'].text}",
        extra={"honest_additions": honest_additions()},
    )


def addition_sentences(ours) -> list[str]:
    """How the printed additions relate to one addition per tap."""
    honest = ours.attrs["extra"]["honest_additions"].set_index("model")["add_m"]
    printed = published("autoshiftnet_t02").set_index("model")["add_m"]
    ratio = (printed / honest.reindex(printed.index)).dropna()
    near = ratio[(ratio - 0.5).abs() <= 0.025]
    others = ", ".join(f"{name} {value:.2f}" for name, value in ratio.drop(near.index).items())
    return [
        f"Printed additions are within 5 % of half of ours for {len(near)} of {len(ratio)} networks: "
        f"{', '.join(near.index)}.",
        f"The others, printed over ours: {others}.",
    ]


def cell_costs():
    """Name -> cost of the searched network (ImageNet form) without bias, by operator and word width."""
    options = {"genotype": "autoshiftnet_cifar10", "form": "imagenet", "channels": 46, "num_classes": 1000, "keep": ()}
    conv, shift = (traced("cells", 224, op=op, **options)[1] for op in ("conv", "shift"))
    return {
        "convolutions": layers_cost(conv, accounting="unbiased"),
        "shift layers, 10-bit words": layers_cost(shift, accounting="corrected"),
        "shift layers, 32-bit words": layers_cost(shift, accounting="unbiased"),
    }


def trained(recipe, seeds, run):
    """One row per network and seed: top-1, top-5 and status; on small images where they stand for ImageNet.

    Accuracies are those after the last epoch; the paper's rows with a star have the highest one in training.
    """
    done, _ = train_rows(recipe, recipe.rows, seeds, run)
    cells = [
        ({"model": row} | ({"search_seed": seed} if row == OURS and recipe.searches else {}), seed, name, outcome, name)
        for (row, _, _, seed), outcome in done.items()
        for name in ("top1_pct", "top5_pct")
    ]
    frame = table_of(cells)
    states = {(row, seed): status(outcome) for (row, _, _, seed), outcome in done.items()}
    frame["status"] = [states[key] for key in zip(frame["model"], frame["seed"])]
    return frame


def status(outcome) -> str:
    """ "ok", "diverged" for a loss that is not finite or a failed run, or "not_converged".

    Not converged: the accuracy at the end is at chance, or under half of the best that an epoch of the training had.
    """
    value = outcome.value or {}
    if value.get("outcome") not in ("done", "dead"):
        return "diverged"
    best = max(row["train_accuracy_pct"] for row in value["curve"])
    return "ok" if value["outcome"] == "done" and value["top1_pct"] >= best / 2 else "not_converged"


def draw(ours):
    """Printed accuracy against printed additions, and the energy of every cell of the searched network.

    Both belong to the computed part; accuracies on small images have no picture beside additions at 224 pixels.
    """
    if not is_computed(ours):
        return []
    points = charts.table_points(
        "autoshiftnet_t02", x="add_m", y="top1_pct", series="group", name="model", where={"status": "ok"}
    )
    front = charts.energy_accuracy(
        points,
        x="add_m",
        y="top1_pct",
        x_label="printed additions (million)",
        y_label="ImageNet top-1 (%)",
        log_x=True,
        width_in=6.4,
        height_in=4.0,
    )
    parts = {name: charts.parts_of(cost.layers, r"^(cells\.\d+|stem|[^.]+)") for name, cost in cell_costs().items()}
    cells = charts.layer_breakdown(parts, x_label="stem, 14 cells and classifier, in the order of execution")
    return [
        Drawing(
            front,
            "Printed top-1 accuracy of shift networks against printed additions; networks that converged only.",
            "front",
        ),
        Drawing(
            cells,
            "Energy of every cell of AutoShiftNet (ImageNet form) by memory level, by operator and word width.",
            "layers",
        ),
    ]


ROWS = tuple(row for row in IMAGENET if row != OURS)

TABLE = entry_of(
    "Networks with shift layers on ImageNet",
    trained,
    computed=computed,
    draw=draw,
    recipes=imagenet_column(
        {
            "smoke": ("DOTS",),
            "quick": ("ResNet18", "ResNet50", "ShuffleNet-v2", "DARTS-v2", "DOTS"),
            "study": ROWS,
            "paper": ROWS,
        }
    ),
    layout="wide",
    shown=("params_m", "mult_m", "add_m", "top1_pct"),
    models=tuple(dict.fromkeys(name for name, *_ in IMAGENET.values())),
    keeps=("examples",),
)
