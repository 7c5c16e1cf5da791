"""AutoShiftNet figure 4 (Sec. 5.4): accuracy during the search, with the learning rate reset and without it."""

from __future__ import annotations

import pandas as pd

from repro.papers.autoshiftnet import found
from repro.papers.autoshiftnet.recipes import SCALE, SEARCHES, SEEDS
from repro.papers.table import Drawing, Table
from repro.report.figures import legend_below, new_figure
from repro.report.palette import SERIES

SETTINGS = {"reset": "whole", "no reset": "none"}


def trained(recipe, seeds, run):
    """setting, seed, accuracy_pct after the last epoch; `attrs["extra"]["epochs"]`: the accuracies of every epoch.

    Accuracy is that of the mixed supernet on held-out images, which no step sees; DOTS's code takes the test set. One
    search of a setting is that of the other until step two begins.
    """
    specs = {
        (name, seed): found.spec(found.variant(recipe, reset=reset), seed)
        for name, reset in SETTINGS.items()
        for seed in seeds
    }
    known = found.finished(run(specs))
    columns = ["setting", "seed", "accuracy_pct"]
    frame = pd.DataFrame([(*key, search.held_out_accuracy_pct) for key, search in known.items()], columns=columns)
    names = ("epoch", "step", "phase", "lr", "train_accuracy_pct", "held_out_accuracy_pct")
    frame.attrs["extra"] = {
        "epochs": pd.DataFrame(
            [
                (setting, seed, *(row[name] for name in names))
                for (setting, seed), search in known.items()
                for row in search.rows
            ],
            columns=["setting", "seed", *names],
        )
    }
    return frame


def draw(ours):
    """Accuracy of the supernet against the epoch, a line per search."""
    epochs = ours.attrs["extra"]["epochs"]
    figure, panels = new_figure(1, 2, width_in=3.6, height_in=2.8, share_y=True)
    columns = {"held_out_accuracy_pct": "held-out images", "train_accuracy_pct": "training images"}
    for axes, (column, title) in zip(panels[0], columns.items()):
        for setting, colour in zip(SETTINGS, SERIES):
            for place, (_, mine) in enumerate(epochs[epochs["setting"] == setting].groupby("seed")):
                label = setting if place == 0 else None
                axes.plot(mine["epoch"], mine[column], color=colour, linewidth=1.2, label=label)
        axes.set(xlabel="epoch of the search", ylabel="accuracy of the supernet (%)", title=title)
    if panels[0, 0].lines:
        legend_below(figure, panels[0, 0])
    caption = "Accuracy of the mixed supernet in every epoch; it falls where step two begins with new weights."
    return [Drawing(figure, caption)]


TABLE = Table(
    "Accuracy during the search with and without learning rate reset",
    trained=trained,
    draw=draw,
    recipes=SEARCHES,
    seeds=SEEDS,
    scale=SCALE,
    keeps=("epochs",),
    unit="search",
)
