"""Figures of the ACGhostNet search and its networks: figures 1, 5 and 6, the replayed front, the gap of table 1.

Each function draws from one tidy frame and returns a matplotlib figure; saving is `repro.report.figures`' business.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from repro.errors import InputError
from repro.report.figures import COLOURS, label_points, new_figure
from repro.report.published import published

FAINT = "#9aa0a6"
GROUP_COLOURS = {
    "CNNs": COLOURS["conv"],
    "AdderNets": COLOURS["adder"],
    "Hybrid Add-Convolution Networks": COLOURS["shift"],
}


def _needs(frame: pd.DataFrame, columns: list[str], what: str) -> None:
    missing = [name for name in columns if name not in frame]
    if missing:
        raise InputError(f"the frame for {what} lacks the column {missing[0]!r}.")


def generation_fronts(candidates: pd.DataFrame, models: pd.DataFrame | None = None, *, shown: int = 4) -> Figure:
    """Candidates of a search and the survivors' front after some of its generations.

    Args:
        candidates: generation, accuracy_pct, energy_uj, on_front, of one search. models: model, energy_uj,
            inherited_accuracy_pct of the picked networks. shown: how many generations' fronts, the last one included.
    """
    _needs(candidates, ["generation", "accuracy_pct", "energy_uj", "on_front"], "the fronts of a search")
    numbers = sorted(candidates["generation"].unique())
    step = max(1, -(-(len(numbers) - 1) // max(1, shown - 1)))
    picked = sorted({*numbers[::step], numbers[-1]})
    figure, panels = new_figure(width_in=5.4, height_in=3.4)
    axis = panels[0, 0]
    axis.scatter(candidates["energy_uj"], candidates["accuracy_pct"], s=7, color=FAINT, alpha=0.4, linewidths=0)
    for place, number in enumerate(picked):
        front = candidates[(candidates["generation"] == number) & candidates["on_front"]].sort_values("energy_uj")
        shade = 0.25 + 0.75 * (place + 1) / len(picked)
        axis.plot(
            front["energy_uj"],
            front["accuracy_pct"],
            marker="o",
            markersize=4,
            linewidth=1.2,
            color=COLOURS["ours"],
            alpha=shade,
            label=f"generation {number}",
        )
    if models is not None:
        for row in models.itertuples():
            where = (row.energy_uj, row.inherited_accuracy_pct)
            axis.annotate(row.model[-1], where, textcoords="offset points", xytext=(3, 5), fontweight="bold")
    axis.set(xlabel="energy per image (µJ)", ylabel="accuracy with inherited weights (%)")
    axis.legend(fontsize=8)
    return figure


def searched_networks(frame: pd.DataFrame) -> Figure:
    """Figure 5: one row per model, one cell per block; upper half the first operation, lower half the second.

    Hatched cells have groups N/2. Of several searches the first one is drawn.
    """
    from matplotlib.patches import Patch, Rectangle

    _needs(frame, ["model", "stage", "block", "first_op", "second_op", "groups"], "the searched networks")
    if "seed" in frame:
        frame = frame[frame["seed"] == frame["seed"].min()]
    models = list(dict.fromkeys(frame["model"]))
    figure, panels = new_figure(width_in=7.2, height_in=0.6 * len(models) + 1.0)
    axis = panels[0, 0]
    first = frame[frame["model"] == models[0]]
    for row, model in enumerate(models):
        for column, cell in enumerate(frame[frame["model"] == model].itertuples()):
            for top, operator in ((0.42, cell.first_op), (0.04, cell.second_op)):
                axis.add_patch(
                    Rectangle(
                        (column + 0.06, len(models) - 1 - row + top),
                        0.88,
                        0.38,
                        facecolor=COLOURS[operator],
                        edgecolor="white",
                        hatch="////" if cell.groups == "N/2" else None,
                        linewidth=0.5,
                    )
                )
    axis.set(xlim=(0, len(first)), ylim=(0, len(models)), xlabel="stage.block", ylabel="model")
    axis.set_xticks([i + 0.5 for i in range(len(first))], [f"{r.stage}.{r.block}" for r in first.itertuples()])
    axis.set_yticks(
        [len(models) - 0.5 - i for i in range(len(models))], [m.removeprefix("ACGhostNet-") for m in models]
    )
    axis.tick_params(length=0)
    axis.grid(False)
    handles = [
        Patch(facecolor=COLOURS[name], label=label) for name, label in (("conv", "convolution"), ("adder", "adder"))
    ]
    handles.append(Patch(facecolor="#bbbbbb", hatch="////", edgecolor="white", label="groups N/2"))
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=8)
    return figure


def block_shares(frame: pd.DataFrame) -> Figure:
    """Figure 6: energy and FLOPs of every block, the mean over models and searches."""
    _needs(frame, ["block", "flops_m", "energy_uj"], "the blocks")
    mean = frame.groupby("block")[["energy_uj", "flops_m"]].mean()
    figure, panels = new_figure(1, 2)
    for axis, (column, label) in zip(panels[0], (("energy_uj", "energy (µJ)"), ("flops_m", "FLOPs (million)"))):
        top = mean[column].idxmax()
        axis.bar(
            mean.index, mean[column], color=[COLOURS["adder"] if b == top else COLOURS["ours"] for b in mean.index]
        )
        axis.set(xlabel="block", ylabel=label, title=f"most in block {top}")
        axis.set_xticks(mean.index[::3])
    return figure


def energy_accuracy(frame: pd.DataFrame, *, dataset: str) -> Figure:
    """Figure 1: left the published points of table 5, right ours; the data sets differ, so no axis is shared."""
    _needs(frame, ["group", "model", "energy_mj", "top1_pct"], "the energy-accuracy front")
    ours = frame.groupby(["group", "model"], as_index=False)[["energy_mj", "top1_pct"]].mean()
    figure, panels = new_figure(1, 2, width_in=4.4, height_in=3.4)
    named = [
        points.assign(energy_uj=1000 * points["energy_mj"].astype(float), name=points["model"].map(_short))
        for points in (published("acghostnet_t05"), ours)
    ]
    for axis, points, title in zip(panels[0], named, ("ImageNet, published", dataset)):
        for group, colour in GROUP_COLOURS.items():
            mine = points[points["group"] == group]
            axis.scatter(mine["energy_uj"], mine["top1_pct"], s=22, color=colour, label=group, linewidths=0)
        axis.set(xlabel="energy per image (µJ)", ylabel="top-1 accuracy (%)", title=title)
    panels[0, 0].legend(fontsize=7, loc="lower right")
    figure.draw_without_rendering()
    for axis, points in zip(panels[0], named):
        label_points(axis, points.dropna(subset=["energy_uj", "top1_pct"]), "energy_uj", "top1_pct")
    return figure


def _short(name: str) -> str:
    for long, short in (("Adder-GhostNet-", "AG "), ("ACGhostNet-", ""), ("GhostNet-", "G "), ("MobileNetV3-", "MV3 ")):
        if name.startswith(long):
            return name.replace(long, short, 1)
    return name


def width_gap(frame: pd.DataFrame) -> Figure:
    """Table 1: accuracy of convolution and adder GhostNet by width multiplier, printed and ours."""
    columns = {"cnn_accuracy_pct": ("convolution", "conv"), "addernet_accuracy_pct": ("adder", "adder")}
    _needs(frame, ["width_mult", *columns], "the gap by width")
    figure, panels = new_figure(1, 2)
    for axis, points, title in zip(panels[0], (published("acghostnet_t01"), frame), ("published", "ours")):
        by_width = points.groupby("width_mult")[list(columns)]
        mean, spread = by_width.mean(), by_width.std(ddof=1).fillna(0)
        for column, (label, colour) in columns.items():
            axis.errorbar(
                mean.index, mean[column], yerr=spread[column], marker="o", capsize=3, color=COLOURS[colour], label=label
            )
        axis.set(xlabel="width multiplier", ylabel="accuracy (%)", title=title)
    panels[0, 0].legend(fontsize=8)
    return figure
