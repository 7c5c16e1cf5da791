"""Searched vision networks block by block (figures 9 and 10), read off the network as it is built and traced.

The printed ones, and those that table 6's searches rank first and second.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import pandas as pd
import torch
from torch import nn

from repro.cost import CONVENTIONS, count, traced
from repro.models.shiftaddnas import AttentionBlock
from repro.models.trace import Layer, trace
from repro.papers.analytic import MILLION
from repro.papers.shiftaddnas.counts import SEARCHED
from repro.papers.shiftaddnas.path_search import form_of
from repro.papers.shiftaddnas.recipes import RECIPES, SCALE, SEEDS
from repro.papers.shiftaddnas.sharing import SharingRecipe
from repro.papers.table import Drawing, Table, is_computed
from repro.report.figures import legend_below, new_figure
from repro.report.palette import COLOURS
from repro.runs import Outcome
from repro.search.hybrid_supernet import HybridNetwork

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
    frame = pd.DataFrame(_rows(network, model, list(layers)))
    frame.attrs["convention"] = (
        f"blocks at {resolution} pixels, without stem and classifiers; {CONVENTIONS['shiftaddnas'].text}"
    )
    return frame


def found(recipe: SharingRecipe, done: Mapping[tuple[str, int], Outcome], rank: int) -> pd.DataFrame:
    """As `blocks`, of the path that each search of table 6 has at a rank (from 1) by held-out loss, and its seed.

    Args:
        done: {(way of sharing, seed): outcome of its supernet}; a search that failed has no rows.
    """
    rows = []
    for (method, seed), outcome in done.items():
        for path in _best(outcome)[rank - 1 : rank]:
            with torch.device("meta"):
                network = HybridNetwork(recipe.space, path, **form_of(recipe.data))
            facts = recipe.data.facts
            layers = trace(network, (facts["in_channels"], facts["side"], facts["side"]))
            rows += [{**row, "seed": seed} for row in _rows(f"found {method}, rank {rank}", network, layers)]
    return pd.DataFrame(rows)


def shares(done: Mapping[tuple[str, int], Outcome]) -> pd.DataFrame:
    """Share of shift and adder blocks in the best paths of each search: method, rank, seed, shift_add_pct."""
    return pd.DataFrame(
        {
            "method": method,
            "rank": rank,
            "seed": seed,
            "shift_add_pct": 100 * sum(b[-1] in "S+" for b in path) / len(path),
        }
        for (method, seed), outcome in done.items()
        for rank, path in enumerate(_best(outcome), 1)
    )


def _best(outcome: Outcome) -> list[list[str]]:
    return ((outcome.value or {}).get("found") or {}).get("best", [])


def _rows(network: str, model: nn.Module, layers: list[Layer]) -> list[dict]:
    counted = count(model, convention="shiftaddnas", layers=layers).layers
    rows, stage, before = [], 0, None
    for place, block in enumerate(model.blocks):
        mine = counted[counted["name"].str.startswith(f"blocks.{place}.")]
        attention = next((module for module in block.modules() if isinstance(module, AttentionBlock)), None)
        (leave,) = mine[mine["name"].str.contains(".leave.", regex=False)].itertuples()
        stage += (leave.out_channels, leave.out_height) != before
        before = leave.out_channels, leave.out_height
        rows.append(
            {
                "network": network,
                "block": place + 1,
                "stage": int(stage),
                "operator": leave.op if attention is None else "attention",
                "resolution_px": leave.out_height,
                "channels": leave.out_channels,
                "heads": 0 if attention is None else attention.heads,
                **{f"{kind}_m": mine[kind].sum() / MILLION for kind in ("mults", "shifts", "adds")},
            }
        )
    return rows


def draw(ours: pd.DataFrame, network: str) -> list[Drawing]:
    """A printed network and those found in the first search: blocks by operator, and below what each computes."""
    frame = ours if is_computed(ours) else pd.concat([blocks(network), ours[ours["seed"] == ours["seed"].min()]])
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


Frames = Callable[..., pd.DataFrame]


def entry_of(
    title: str, network: str, model: str, trained: Frames, computed: Frames, keeps: tuple[str, ...] = ()
) -> Table:
    """The entry of a figure that draws a printed network (`model` of the register), with what searches found beside."""
    return Table(
        title,
        trained=trained,
        computed=computed,
        draw=functools.partial(draw, network=network),
        recipes=RECIPES,
        seeds=SEEDS,
        scale=SCALE,
        keeps=keeps,
        models=(model,),
        unit="search",
    )
