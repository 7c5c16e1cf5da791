"""ShiftAddAug supplement figure 1: accuracy of the target and of the network around it, epoch by epoch."""

from __future__ import annotations

import pandas as pd

from repro.papers.shiftaddaug.comparing import train_all
from repro.papers.shiftaddaug.methods import AUGSHIFT
from repro.papers.shiftaddaug.recipes import SCALE, SEEDS, presets
from repro.papers.table import Drawing, Table
from repro.report.figures import legend_below, new_figure
from repro.report.palette import COLOURS


def trained(recipe, seeds, run):
    """Runs of table 3, one row per epoch and seed: accuracies of both networks on training batches, in percent."""
    done = train_all(recipe, seeds, run, {"AugShift": AUGSHIFT})
    rows = [
        {
            "epoch": row["epoch"],
            "target_accuracy_pct": row["train_accuracy_pct"],
            "augmented_accuracy_pct": row["augmented_accuracy_pct"],
            "seed": seed,
        }
        for (_, _, seed), outcome in done.items()
        for row in (outcome.value or {}).get("curve", [])
    ]
    return pd.DataFrame(rows, columns=["epoch", "target_accuracy_pct", "augmented_accuracy_pct", "seed"])


def draw(ours):
    """Both accuracies against the epoch, a line per seed."""
    figure, panels = new_figure(1, 1, width_in=4.6, height_in=3.0)
    axes = panels[0, 0]
    for column, label, colour in (
        ("target_accuracy_pct", "target (shift)", "shift"),
        ("augmented_accuracy_pct", "a network around it", "conv"),
    ):
        for number, (_, curve) in enumerate(ours.groupby("seed")):
            shown = label if number == 0 else None
            axes.plot(curve["epoch"], curve[column], marker=".", linewidth=1, color=COLOURS[colour], label=shown)
    axes.set(xlabel="epoch", ylabel="accuracy on training batches (%)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    legend_below(figure, axes)
    return [Drawing(figure, "Target and augmented network during training, a line per seed.")]


TABLE = Table(
    title="Training curves of target and augmented network",
    trained=trained,
    draw=draw,
    recipes=presets(("MobileNetV2-w0.35",)),
    seeds=SEEDS,
    scale=SCALE,
)
