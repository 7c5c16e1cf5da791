"""ShiftAddNAS figure 1 (Sec. 3.1): savings over a multiplication as quoted, with the platforms in the right order."""

from __future__ import annotations

import math

import numpy as np

from repro.cost.units import saving_ratio_table
from repro.papers.table import Drawing, Table
from repro.report.figures import legend_below, new_figure, plain_ticks
from repro.report.palette import COLOURS


def computed():
    """operation, number_format, node, ratio (quoted), computed_ratio (from unit energies, may be empty)."""
    frame = saving_ratio_table()
    frame.attrs["convention"] = "ratio of the energy of a multiplication to that of the operation"
    return frame


def draw(ours):
    """How many times less energy an operation needs than a multiplication, a panel per platform."""
    nodes = sorted(ours["node"].unique(), reverse=True)
    figure, panels = new_figure(1, len(nodes), width_in=3.4, height_in=2.8)
    for axes, node in zip(panels.flat, nodes):
        mine = ours[ours["node"] == node].reset_index(drop=True)
        places = np.arange(len(mine))
        axes.bar(places - 0.2, mine["ratio"], width=0.4, color=COLOURS["published"], label="quoted")
        axes.bar(places + 0.2, mine["computed_ratio"].fillna(0), width=0.4, color=COLOURS["ours"], label="computed")
        for place, row in zip(places, mine.itertuples()):
            axes.text(place - 0.2, row.ratio, f"{row.ratio:g}", ha="center", va="bottom", fontsize=7)
            if math.isfinite(row.computed_ratio):
                axes.text(place + 0.2, row.computed_ratio, f"{row.computed_ratio:.1f}", ha="center", fontsize=7)
        axes.set_xticks(places, [f"{row.operation}\n{row.number_format}" for row in mine.itertuples()])
        axes.set(xlabel="operation and format", ylabel="times less than a multiplication", title=node, yscale="log")
        plain_ticks(axes.yaxis)
    legend_below(figure, panels.flat[0])
    caption = (
        "How many times less energy an operation needs than a multiplication: quoted, and computed from 45 nm energies."
    )
    return [Drawing(figure, caption)]


TABLE = Table("Energy saved over a multiplication, by operation and platform", computed=computed, draw=draw)
