"""Figures of the records: every operator against the ordinary one, and the training step beside the published one."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from repro.report.figures import legend_below, new_figure, plain_ticks
from repro.report.palette import COLOURS

PARTS = {
    ("adder_conv2d", "forward", "dense"): "adder forward, dense",
    ("adder_conv2d", "forward", "depthwise"): "adder forward, depthwise",
    ("adder_conv2d", "input gradient", "dense"): "adder input gradient, dense",
    ("adder_conv2d", "weight gradient", "dense"): "adder weight gradient, dense",
    ("adder_conv2d", "forward+backward", "dense"): "adder forward + backward, dense",
    ("adder_conv2d", "forward+backward", "depthwise"): "adder forward + backward, depthwise",
    ("shift_conv2d", "forward+backward", "dense"): "shift forward + backward, dense",
    ("shift_conv2d", "forward+backward", "depthwise"): "shift forward + backward, depthwise",
}


def relative_times(records: pd.DataFrame) -> pd.DataFrame:
    """Rows against conv2d with a readable `part`: part, shape, ratio, in the order of PARTS."""
    parts = [PARTS.get(key) for key in zip(records["op"], records["mode"], records["kind"])]
    rows = records.assign(part=parts)[["part", "shape", "peer", "ratio"]]
    rows = rows[(rows["peer"] == "conv2d") & rows["part"].notna()].drop(columns="peer")
    order = {part: i for i, part in enumerate(PARTS.values())}
    return rows.sort_values("part", key=lambda column: column.map(order), kind="stable").reset_index(drop=True)


def ratio_chart(rows: pd.DataFrame) -> Figure:
    """Time over conv2d's: a bar to the median over shapes, a dot for each shape, from the rows of `relative_times`."""
    parts = list(dict.fromkeys(rows["part"]))
    figure, panels = new_figure(width_in=7.0, height_in=0.45 * len(parts) + 1.0)
    axis = panels[0, 0]
    for place, part in enumerate(parts):
        ratios = rows.loc[rows["part"] == part, "ratio"].to_numpy(float)
        colour = COLOURS["shift" if part.startswith("shift") else "adder"]
        middle = float(np.median(ratios))
        axis.barh(place, middle - 1, left=1, height=0.6, color=colour, alpha=0.45)
        spread = np.linspace(-0.2, 0.2, len(ratios)) if len(ratios) > 1 else [0.0]
        axis.plot(ratios, place + np.asarray(spread), ".", color=colour, markersize=4)
        # Beside the axes, where no dot hides it.
        axis.annotate(f"median {middle:.2f}", (1, place), (4, 0), xycoords=("axes fraction", "data"),
                      textcoords="offset points", va="center", fontsize=8)  # fmt: skip
    axis.axvline(1, color=COLOURS["conv"], linewidth=1)
    axis.set_xscale("log")
    ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20]
    low, high = rows["ratio"].min(), rows["ratio"].max()
    axis.set_xticks([tick for tick in ticks if low / 2 <= tick <= high * 2])
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.xaxis.set_minor_formatter(lambda value, _: "")
    axis.set_yticks(range(len(parts)), parts)
    axis.invert_yaxis()
    axis.set(xlabel="time over that of conv2d (log scale; left of 1 is faster)", ylabel="part")
    return figure


def ratio_caption(rows: pd.DataFrame, device: str, threads: int) -> str:
    """The finding of `ratio_chart` in words, from the same rows."""
    forward = rows.loc[rows["part"] == PARTS["adder_conv2d", "forward", "dense"], "ratio"]
    finding = ""
    if len(forward):
        faster = int((forward < 1).sum())
        finding = (
            f" A dense adder forward takes {forward.median():.2f} times conv2d's time in the median of {len(forward)} "
            f"shapes and less than conv2d at {faster} of them."
        )
    return f"Every distinct layer of three networks against conv2d on {device}, {threads} threads.{finding}"


def step_chart(ratios: pd.DataFrame) -> Figure:
    """Time and memory of a training step relative to Base, published beside ours, from `summary.training_ratios`."""
    figure, panels = new_figure(1, 2, width_in=3.8, height_in=3.4)
    places = np.arange(len(ratios))
    for axis, quantity in zip(panels[0], ("time", "memory")):
        for offset, whose in ((-0.2, "published"), (0.2, "ours")):
            axis.bar(places + offset, ratios[f"{quantity} {whose}"], 0.38, color=COLOURS[whose], label=whose)
        axis.axhline(1, color=COLOURS["fit"], linewidth=0.8)
        axis.set_xticks(places, ratios["method"], rotation=45, ha="right")
        axis.set(xlabel="method", ylabel=f"{quantity} of a step, Base = 1")
    panels[0, 0].set_yscale("log")
    plain_ticks(panels[0, 0].yaxis)
    legend_below(figure, panels[0, 0])
    return figure
