"""Figures of the first experiments: ACGhostNet figure 3, the toy pairs of table 3, weight distributions.

Each function draws from one tidy frame and returns a matplotlib figure; saving is `repro.report.figures`' business.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from repro.report.figures import new_figure

OPERATOR_COLOURS = {"conv": "#3b6fb6", "shift": "#c77d0a", "adder": "#2a8a57"}
INK, FAINT = "#222222", "#9aa0a6"


def pair_ranks(frame: pd.DataFrame) -> Figure:
    """Table 3 as a picture: accuracy of each pair in the search and trained alone, a line per pair, by family."""
    figure, panels = new_figure(1, 2, height_in=3.2)
    axes = panels[0]
    for axis, family in zip(axes, ("adder", "conv")):
        for row in frame[frame["op_family"] == family].itertuples():
            means = [row.search_accuracy_mean_pct, row.train_accuracy_mean_pct]
            spreads = [row.search_accuracy_std_pct, row.train_accuracy_std_pct]
            axis.errorbar([0, 1], means, yerr=spreads, marker="o", capsize=3, linewidth=1, label=row.model)
        axis.set_xticks([0, 1], ["in the supernet", "trained alone"])
        axis.set_xlim(-0.3, 1.3)
        axis.set(title=f"{family} candidates", xlabel="phase", ylabel="test accuracy (%)")
        axis.legend(fontsize=8, frameon=False, title="layer 1, layer 2")
    return figure


def front_panels(frame: pd.DataFrame, fronts: pd.DataFrame) -> Figure:
    """Figure 3, a colour per setting: the searches' last fronts (above), their models trained alone (below).

    A line per seed is the best accuracy within an energy, a dot a network.

    Args:
        frame: panel, setting, seed, energy_uj, accuracy_pct. fronts: the same with inherited_accuracy_pct.
    """
    titles = {"warmup": "separate warm-up to", "adaptive_lr": "adaptive rate on"}
    rows = ((fronts, "inherited_accuracy_pct", "inherited accuracy (%)"), (frame, "accuracy_pct", "accuracy alone (%)"))
    figure, panels = new_figure(2, 2, height_in=2.9)
    for axes, (points, column, label) in zip(panels, rows):
        for axis, (panel, title) in zip(axes, titles.items()):
            mine = points[points["panel"] == panel]
            for number, (setting, curves) in enumerate(mine.groupby("setting", sort=False)):
                colour, name = f"C{number}", setting.removeprefix("separate ")
                axis.scatter(curves["energy_uj"], curves[column], s=14, color=colour, label=name, zorder=3)
                for _, curve in curves.sort_values("energy_uj").groupby("seed"):
                    axis.step(curve["energy_uj"], curve[column].cummax(), where="post", linewidth=1, color=colour)
            axis.set(xlabel="energy per image (µJ)", ylabel=label)
            if points is fronts:
                axis.set(title=title)
            if points is fronts and axis.lines:
                axis.legend(fontsize=8, frameon=False)
    return figure


def weight_histograms(histograms: pd.DataFrame, fits: pd.DataFrame, *, layer: int) -> Figure:
    """Histogram of one layer's weights per operator with the fitted Gaussian and Laplace densities (first seed)."""
    operators = [op for op in OPERATOR_COLOURS if op in set(histograms["op"])]
    figure, axes = new_figure(1, len(operators), width_in=3.1)
    for axis, op in zip(axes.flat, operators):
        mine = histograms[(histograms["op"] == op) & (histograms["layer"] == layer)]
        mine = mine[mine["seed"] == mine["seed"].min()]
        fit = fits[(fits["op"] == op) & (fits["layer"] == layer)].sort_values("seed").iloc[0]
        width = np.diff(mine["weight"]).mean()
        axis.bar(mine["weight"], mine["density"], width=width, color=OPERATOR_COLOURS[op], alpha=0.55)
        grid = np.linspace(mine["weight"].min(), mine["weight"].max(), 400)
        axis.plot(grid, stats.norm(0, fit["gaussian_scale"]).pdf(grid), color=INK, linewidth=1, label="Gaussian fit")
        axis.plot(
            grid, stats.laplace(0, fit["laplace_scale"]).pdf(grid), color=INK, linewidth=1, ls="--", label="Laplace fit"
        )
        axis.set(title=f"{op}: better fit {fit['better_fit']}", xlabel="weight", ylabel="density")
        if op == "shift":  # spikes at powers of two would hide everything else
            axis.set_yscale("symlog", linthresh=1)
    axes.flat[0].legend(fontsize=8, frameon=False)
    return figure
