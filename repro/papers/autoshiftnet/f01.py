"""AutoShiftNet figure 1 (Sec. 3): overview of space, strategy and regularisation, from the objects that search."""

from __future__ import annotations

import pandas as pd
import torch

from repro.layers import ShiftLinear
from repro.models.genotypes import genotype
from repro.ops import shift_exponents
from repro.papers.autoshiftnet.recipes import PAPER
from repro.papers.table import Drawing, Table
from repro.report.cell_graphs import cell_edges, draw_cell
from repro.report.figures import new_figure
from repro.report.palette import COLOURS, SERIES, lighter
from repro.search.cell_supernet import CONVOLUTIONS, TOPOLOGY, edges_of
from repro.search.gradient import search_rate
from repro.search.topology import input_pairs, topology_weights
from repro.train.shift import adaptive_l2

PENALTIES = {"adaptive, 4^P": "code", "conventional, P² + S²": "conventional"}


def computed():
    """One row per edge of the supernet's cell at the paper's settings.

    node (from 1), input (0 and 1 are the cell's, k + 1 is node k), topology_operations and convolutions (candidates of
    step one), pairs (of inputs of its node), pairs_with_edge, start_weight (eq. 9 without 1/N(c), equal betas).
    `attrs["extra"]`: `schedule`, a row per epoch of the search; `penalties`, the L2 terms of one weight with S = 1.
    """
    rows = []
    for node, source in edges_of(PAPER.nodes):
        pairs = input_pairs(node + 2)
        weights = topology_weights(torch.zeros(len(pairs)), node + 2, normalize=PAPER.normalize)
        rows.append(
            {
                "node": node + 1,
                "input": source,
                "topology_operations": ";".join(TOPOLOGY),
                "convolutions": ";".join(CONVOLUTIONS),
                "pairs": len(pairs),
                "pairs_with_edge": sum(source in pair for pair in pairs),
                "start_weight": weights[source].item(),
            }
        )
    frame = pd.DataFrame(rows)
    frame.attrs["convention"] = "edges, operations and pairs as the search at the paper's settings begins with them"
    frame.attrs["extra"] = {"schedule": _schedule(), "penalties": _penalties()}
    return frame


def _schedule() -> pd.DataFrame:
    phases = [
        (step, phase)
        for step, epochs in PAPER.steps.items()
        for phase, length in zip(("weights", "search"), epochs)
        for _ in range(length)
    ]
    rows = [(epoch + 1, *phase, search_rate(PAPER, epoch)) for epoch, phase in enumerate(phases)]
    return pd.DataFrame(rows, columns=["epoch", "step", "phase", "lr"])


@torch.no_grad()
def _penalties() -> pd.DataFrame:
    weight = ShiftLinear(1, 1, bias=False, mode="ps", weight_bits=PAPER.weight_bits)
    weight.sign.fill_(1.0)
    low, high = shift_exponents(PAPER.weight_bits)
    rows = []
    for exponent in range(low, high + 1):
        weight.shift.fill_(float(exponent))
        rows += [(name, exponent, adaptive_l2(weight, form).item()) for name, form in PENALTIES.items()]
    return pd.DataFrame(rows, columns=["penalty", "exponent", "value"])


def draw(ours):
    """Space, step one, step two, the cell that is left, the schedule and the L2 terms."""
    figure, panels = new_figure(2, 3, width_in=3.9, height_in=3.1)
    edges = list(zip(ours["input"], ours["node"] + 1))
    _groups(panels[0, 0], ours)
    _supernet(panels[0, 1], edges)
    _pairs(panels[0, 2], ours)
    printed = genotype("autoshiftnet_cifar10")
    draw_cell(panels[1, 0], cell_edges(printed.normal), concat=printed.normal_concat)
    panels[1, 0].set_title("4  what is cut (here the printed cell of CIFAR-10)")
    _rates(panels[1, 1], ours.attrs["extra"]["schedule"])
    _terms(panels[1, 2], ours.attrs["extra"]["penalties"])
    per_edge = len(ours["topology_operations"].iloc[0].split(";")) + len(ours["convolutions"].iloc[0].split(";"))
    pairs = ours.drop_duplicates("node")["pairs"]
    caption = (
        f"Each of {len(ours)} edges begins with {per_edge} operations in two groups; step one keeps one of each group, "
        f"step two weighs {pairs.sum()} pairs of edges ({', '.join(map(str, pairs))} by node) in each kind of cell. "
        "The conventional L2 term draws P to 0, a weight to ±1; the adaptive one draws the weight to 0."
    )
    return [Drawing(figure, caption)]


def _groups(axes, ours: pd.DataFrame) -> None:
    columns = {
        "topology group\n(no weights but a skip's\nat stride 2)": ("topology_operations", COLOURS["faint"]),
        "convolution group\n(every weight is 0 or ±2^P)": ("convolutions", COLOURS["shift"]),
    }
    for x, (title, (column, colour)) in enumerate(columns.items()):
        axes.text(x, 4.45, title, ha="center", va="bottom", fontsize=8)
        for y, operation in enumerate(ours[column].iloc[0].split(";")):
            box = {"boxstyle": "round,pad=0.35", "facecolor": lighter(colour, 0.75), "edgecolor": colour}
            axes.text(x, 3.7 - y, operation, ha="center", va="center", fontsize=8, bbox=box)
    axes.set(xlim=(-0.6, 1.6), ylim=(0.2, 5.8))
    axes.set_title("1  space: the candidates of an edge")
    axes.set_axis_off()


def _supernet(axes, edges: list[tuple[int, int]]) -> None:
    """Every edge in two colours, one a group; the output joins all nodes."""
    nodes = sorted({state for _, state in edges})
    for operation, width in (("sep_conv_3x3", 0.9), ("avg_pool_3x3", 0.1)):
        drawn = [(operation, source, state) for source, state in edges]
        draw_cell(axes, drawn, concat=nodes, weights=[width] * len(edges), labels=False)
    axes.set_title(f"2  step one: operations on {len(edges)} edges (eq. 7)")


def _pairs(axes, ours: pd.DataFrame) -> None:
    """The pairs of the last node, one a row, and the weight with which each edge begins."""
    last = ours[ours["node"] == ours["node"].max()]
    pairs = input_pairs(len(last))
    for y, pair in enumerate(pairs):
        axes.plot(pair, [y, y], color=COLOURS["ink"], linewidth=1, zorder=1)
        for source in last["input"]:
            held = source in pair
            face, edge = (COLOURS["ink"], COLOURS["ink"]) if held else ("white", COLOURS["faint"])
            axes.scatter(source, y, s=26, facecolors=face, edgecolors=edge, zorder=2)
    labels = [f"in {source + 1}" if source < 2 else f"node {source - 1}" for source in last["input"]]
    axes.set_xticks(
        last["input"], [f"{name}\nγ = {start:.2g}" for name, start in zip(labels, last["start_weight"])], fontsize=8
    )
    axes.set_yticks(range(len(pairs)), range(1, len(pairs) + 1), fontsize=7)
    axes.set(
        xlabel="input and its weight at the start (eq. 9 without 1/N)", ylabel="pair", ylim=(len(pairs) - 0.5, -0.5)
    )
    axes.set_title(f"3  step two: pairs into node {last['node'].iloc[0]} (eq. 8 to 10)")
    axes.grid(False)


def _rates(axes, schedule: pd.DataFrame) -> None:
    spans = schedule.groupby(["step", "phase"], sort=False)["epoch"].agg(["min", "max"])
    for (_, phase), (first, last) in spans.iterrows():
        if phase == "search":
            axes.axvspan(first - 0.5, last + 0.5, color=lighter(COLOURS["hybrid"], 0.7), linewidth=0)
    axes.plot(schedule["epoch"], schedule["lr"], color=COLOURS["ink"])
    axes.set(
        xlabel="epoch (shaded: architecture is trained too)", ylabel="learning rate of the weights", ylim=(0, None)
    )
    axes.set_title("5  the rate begins again at step two")


def _terms(axes, penalties: pd.DataFrame) -> None:
    for (name, mine), colour in zip(penalties.groupby("penalty", sort=False), SERIES):
        axes.plot(mine["exponent"], mine["value"], color=colour, label=name)
    axes.set(xlabel="exponent P of a weight (S = 1)", ylabel="L2 term", yscale="log")
    axes.set_title("6  regularisation of P")
    axes.legend(fontsize=8)


TABLE = Table("Overview of the search", computed=computed, draw=draw, keeps=("schedule", "penalties"))
