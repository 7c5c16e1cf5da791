"""Searched vision networks block by block (figures 9 and 10), read off the network as it is built and traced."""

from __future__ import annotations

import pandas as pd

from repro.cost import CONVENTIONS, count, traced
from repro.models.shiftaddnas import AttentionBlock
from repro.papers.analytic import MILLION
from repro.papers.shiftaddnas.counts import SEARCHED
from repro.papers.table import Drawing
from repro.report.figures import legend_below, new_figure
from repro.report.palette import COLOURS

LETTERS = {"attention": "Attn", "conv": "Conv", "shift": "Shift", "adder": "Add"}
"""Operator of a block -> the block's name in the paper."""
OPERATIONS = {"mults_m": "multiplications", "shifts_m": "shifts", "adds_m": "additions"}
_OPERATION_COLOURS = {"mults_m": COLOURS["conv"], "shifts_m": COLOURS["shift"], "adds_m": COLOURS["adder"]}


def blocks(network: str) -> pd.DataFrame:
    """One row per block of a printed network, in the order of execution.

    Args:
        network: a row of `SEARCHED`.
    Returns: network, block and stage (from 1), operator, resolution_px and channels of its output, heads (of attention,
        else 0), and its multiplications, shifts and additions in millions.
    """
    name, resolution = SEARCHED[network]
    model, layers = traced(name, resolution)
    counted = count(model, convention="shiftaddnas", layers=list(layers)).layers
    rows, stage, channels_before = [], 0, None
    for place, block in enumerate(model.blocks):
        mine = counted[counted["name"].str.startswith(f"blocks.{place}.")]
        attention = isinstance(block, AttentionBlock)
        (leave,) = mine[mine["name"].str.startswith(f"blocks.{place}.leave.")].itertuples()
        stage += leave.out_channels != channels_before
        channels_before = leave.out_channels
        rows.append(
            {
                "network": network,
                "block": place + 1,
                "stage": int(stage),
                "operator": "attention" if attention else leave.op,
                "resolution_px": leave.out_height,
                "channels": leave.out_channels,
                "heads": block.heads if attention else 0,
                **{f"{kind}_m": mine[kind].sum() / MILLION for kind in ("mults", "shifts", "adds")},
            }
        )
    frame = pd.DataFrame(rows)
    frame.attrs["convention"] = (
        f"blocks at {resolution} pixels, without stem and classifiers; {CONVENTIONS['shiftaddnas'].text}"
    )
    return frame


def draw(frame: pd.DataFrame) -> list[Drawing]:
    """Every network of a frame of `blocks`: its blocks by operator, and below them what each computes."""
    networks = list(frame.groupby("network", sort=False))
    figure, panels = new_figure(2 * len(networks), 1, width_in=8.0, height_in=1.8)
    for place, (network, mine) in enumerate(networks):
        _strip(panels[2 * place, 0], mine, network)
        _bars(panels[2 * place + 1, 0], mine)
    legend_below(figure, panels[-1, 0])
    sentences = []
    for network, mine in networks:
        numbers = mine["operator"].value_counts()
        parts = [f"{numbers[kind]} {LETTERS[kind]}" for kind in LETTERS if kind in numbers]
        half = len(mine) // 2
        attention = (mine["operator"] == "attention").to_numpy()
        sentences.append(
            f"{network}: {len(mine)} blocks, {', '.join(parts)}; attention in {attention[:half].sum()} of the first "
            f"{half} and {attention[half:].sum()} of the last {len(mine) - half}."
        )
    return [Drawing(figure, " ".join(sentences))]


def _strip(axes, mine: pd.DataFrame, title: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    for row in mine.itertuples():
        box = FancyBboxPatch(
            (row.block - 0.38, 0.1),
            0.76,
            0.5,
            boxstyle="round,pad=0.02",
            facecolor=COLOURS[row.operator],
            edgecolor="white",
        )
        axes.add_patch(box)
        text = LETTERS[row.operator] + (f"\nh = {row.heads}" if row.heads else "")
        axes.text(row.block, 0.35, text, ha="center", va="center", fontsize=7, color="white")
    for _, part in mine.groupby("stage"):
        first, last = part["block"].min(), part["block"].max()
        axes.plot([first - 0.38, last + 0.38], [0.74, 0.74], color=COLOURS["ink"], linewidth=1)
        side, channels = part[["resolution_px", "channels"]].iloc[-1]
        axes.text((first + last) / 2, 0.8, f"{side}² × {channels}", ha="center", va="bottom", fontsize=8)
    axes.set(xlim=(0.4, len(mine) + 0.6), ylim=(0, 1.05))
    axes.set_title(title, loc="left")
    axes.set_axis_off()


def _bars(axes, mine: pd.DataFrame) -> None:
    for place, (column, label) in enumerate(OPERATIONS.items()):
        axes.bar(
            mine["block"] + (place - 1) * 0.26,
            mine[column],
            width=0.24,
            color=_OPERATION_COLOURS[column],
            label=label,
        )
    axes.set(xlabel="block", ylabel="operations (M)", xlim=(0.4, len(mine) + 0.6))
    axes.set_xticks(mine["block"])
    axes.grid(axis="x", visible=False)
