"""Figures of the ranking experiments: ACGhostNet figures 3 and 4, the toy pairs of table 3, weight distributions.

Each function draws from one tidy frame and returns a matplotlib figure; saving is `repro.report.figures`' business.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

STRATEGY_NAMES = {
    (0, 0): "adaptive rate on adders only",
    (0, 1): "+ separate warm-up",
    (1, 0): "adaptive rate on both",
    (1, 1): "adaptive rate on both + separate warm-up",
}
OPERATOR_COLOURS = {"conv": "#3b6fb6", "shift": "#c77d0a", "adder": "#2a8a57"}
INK, FAINT = "#222222", "#9aa0a6"


def ranking_scatter(points: pd.DataFrame, intervals: pd.DataFrame) -> Figure:
    """Figure 4: supernet against stand-alone accuracy, one panel per strategy, a point per network, with the fit.

    Args:
        points: adaptive_lr, separate_warmup, seed, path, true_accuracy_pct, predicted_accuracy_pct.
        intervals: adaptive_lr, separate_warmup, kendall_tau, low, high.
    """
    figure, axes = plt.subplots(2, 2, figsize=(7.6, 6.6), sharex=True, layout="constrained")
    for axis, (strategy, name) in zip(axes.flat, STRATEGY_NAMES.items()):
        mine = points[(points["adaptive_lr"] == strategy[0]) & (points["separate_warmup"] == strategy[1])]
        mean = mine.groupby("path")[["true_accuracy_pct", "predicted_accuracy_pct"]].mean().dropna()
        adders = [path.count("A") for path in mean.index]
        true, predicted = mean["true_accuracy_pct"], mean["predicted_accuracy_pct"]
        dots = axis.scatter(true, predicted, c=adders, cmap="viridis", vmin=0, vmax=6, s=18, edgecolors="none")
        if len(mean) > 2 and true.nunique() > 1:
            fit = stats.linregress(true, predicted)
            ends = np.array([true.min(), true.max()])
            axis.plot(ends, fit.intercept + fit.slope * ends, color=INK, linewidth=1)
        row = intervals[(intervals["adaptive_lr"] == strategy[0]) & (intervals["separate_warmup"] == strategy[1])]
        axis.set_title(f"{name}\n{_tau_text(row)}", fontsize=9)
        axis.set_ylabel("supernet accuracy (%)")
        axis.set_xlabel("stand-alone accuracy (%)")
    figure.colorbar(dots, ax=axes, label="adder blocks (of 6)", shrink=0.6)
    return figure


def _tau_text(row: pd.DataFrame) -> str:
    if row.empty:
        return "not run"
    value, low, high = row.iloc[0][["kendall_tau", "low", "high"]]
    interval = f" [{low:.2f}, {high:.2f}]" if np.isfinite(low) else ""
    return f"Kendall tau {value:.2f}{interval}"


def pair_ranks(frame: pd.DataFrame) -> Figure:
    """Table 3 as a picture: accuracy of each pair in the search and trained alone, a line per pair, by family."""
    figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.6), sharey=True, layout="constrained")
    for axis, family in zip(axes, ("adder", "conv")):
        for row in frame[frame["op_family"] == family].itertuples():
            means = [row.search_accuracy_mean_pct, row.train_accuracy_mean_pct]
            spreads = [row.search_accuracy_std_pct, row.train_accuracy_std_pct]
            axis.errorbar([0, 1], means, yerr=spreads, marker="o", capsize=3, linewidth=1, label=row.model)
        axis.set_xticks([0, 1], ["in the supernet", "trained alone"])
        axis.set_xlim(-0.3, 1.3)
        axis.set_title(f"{family} candidates", fontsize=10)
        axis.legend(fontsize=8, frameon=False, title="layer 1, layer 2")
    axes[0].set_ylabel("test accuracy (%), mean and deviation")
    return figure


def front_panels(frame: pd.DataFrame) -> Figure:
    """Figure 3: what the networks on each setting's predicted front reach alone, against their energy."""
    figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.8), sharey=True, layout="constrained")
    titles = {"warmup": "separate warm-up threshold", "adaptive_lr": "adaptive rate on"}
    for axis, (panel, title) in zip(axes, titles.items()):
        for setting, mine in frame[frame["panel"] == panel].groupby("setting", sort=False):
            curve = mine.groupby("path")[["energy_uj", "accuracy_pct"]].mean().sort_values("energy_uj")
            axis.plot(curve["energy_uj"], curve["accuracy_pct"], marker="o", markersize=4, linewidth=1, label=setting)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("energy per image (µJ), 0.9 pJ an addition, 3.7 pJ a multiplication")
        axis.xaxis.label.set_size(7.5)
        axis.legend(fontsize=8, frameon=False)
    axes[0].set_ylabel("stand-alone accuracy (%)")
    return figure


def weight_histograms(histograms: pd.DataFrame, fits: pd.DataFrame, *, layer: int) -> Figure:
    """Histogram of one layer's weights per operator with the fitted Gaussian and Laplace densities (first seed)."""
    operators = [op for op in OPERATOR_COLOURS if op in set(histograms["op"])]
    figure, axes = plt.subplots(
        1, len(operators), figsize=(3.2 * len(operators), 3.1), layout="constrained", squeeze=False
    )
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
        axis.set_title(f"{op}: better fit {fit['better_fit']}", fontsize=10)
        axis.set_xlabel("weight")
        if op == "shift":  # spikes at powers of two would hide everything else
            axis.set_yscale("symlog", linthresh=1)
    axes.flat[0].set_ylabel("density")
    axes.flat[0].legend(fontsize=8, frameon=False)
    return figure
