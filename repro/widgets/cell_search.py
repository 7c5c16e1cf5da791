"""A search of cells epoch by epoch: what every edge weighs, which cells would be cut, where the time went."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pandas as pd
import torch

from repro.errors import InputError, check_choice
from repro.report.cell_graphs import cell_edges, draw_cell
from repro.report.figures import new_figure
from repro.search.cell_supernet import KINDS, OPERATIONS, edges_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from repro.models.genotypes import Genotype
    from repro.search.gradient import CellSearch

KIND_NAMES = {"normal": "normal cell", "reduce": "reduction cell"}
STEP_NAMES = {"operations": "one: operations", "topology": "two: topology"}
PHASE_NAMES = {"weights": "weights only", "search": "weights and architecture"}


def state_name(state: int) -> str:
    """States 0 and 1 are a cell's inputs, k + 1 is node k."""
    return f"in {state + 1}" if state < 2 else f"node {state - 1}"


def edge_names(search: CellSearch) -> dict[str, int]:
    """Name of every edge of a cell -> its place in the order of `edges_of`."""
    edges = edges_of(search.recipe.nodes)
    return {f"{state_name(source)} → {state_name(node + 2)}": place for place, (node, source) in enumerate(edges)}


def check_search(search: CellSearch) -> CellSearch:
    """The search itself. Raises: InputError when no epoch of it has ended."""
    if not search.rows:
        raise InputError("search has no epochs; run it for one at least.")
    return search


@torch.no_grad()
def edge_view(search: CellSearch, epoch: int, kind: str) -> pd.DataFrame:
    """One row per edge of a cell after an epoch (from 1).

    Returns: node (from 1), input (a state), operation: the one that the edge would keep, weight: in step one that of
        this operation among its group, in step two the probability that the node's pair holds the edge (eq. 9 without
        1 / N(c)); cut: whether the edge is in the cell that `CellSearch.genotype_at` gives.
    Raises: InputError for an epoch that the search does not have, or another kind than "normal" and "reduce".
    """
    check_choice("kind", kind, KINDS)
    architecture = search.architecture_at(epoch)
    edges = edges_of(search.recipe.nodes)
    if search.rows[epoch - 1]["step"] == "topology":
        larger = getattr(architecture, f"{kind}_balance").argmax(1).tolist()
        chosen = [
            convolution if first == "none" or index else first
            for index, (first, convolution) in zip(larger, architecture.candidates[kind])
        ]
        weights = architecture.edge_weights(kind) * (2 if architecture.normalize else 1)
    else:
        weights, best = architecture.coefficients(kind)[:, 1:].max(1)  # "none" is not cut
        chosen = [OPERATIONS[1 + index] for index in best.tolist()]
    nodes = architecture.genotype().nodes(kind)
    frame = pd.DataFrame(edges, columns=["node", "input"]).assign(operation=chosen, weight=weights.tolist())
    frame["cut"] = [(operation, source) in nodes[node] for (node, source), operation in zip(edges, chosen)]
    frame["node"] += 1
    return frame


@torch.no_grad()
def coefficient_history(search: CellSearch, kind: str, edge: int) -> pd.DataFrame:
    """What every candidate of an edge contributes after each epoch: epoch, operation, coefficient (eq. 10 in step two).

    Args:
        edge: its place in the order of `edge_names`.
    """
    check_choice("kind", kind, KINDS)
    rows = []
    for epoch, row in enumerate(check_search(search).rows, start=1):
        architecture = search.architecture_at(epoch)
        names = architecture.candidates[kind][edge] if row["step"] == "topology" else OPERATIONS
        values = architecture.coefficients(kind)[edge].tolist()
        rows += [(epoch, name, value) for name, value in zip(names, values)]
    return pd.DataFrame(rows, columns=["epoch", "operation", "coefficient"])


def shared_edges(one: Genotype, other: Genotype) -> int:
    """Edges that both have with the same operation, into the same node, over both kinds of cell."""
    nodes = [pair for kind in KINDS for pair in zip(one.nodes(kind), other.nodes(kind))]
    return sum((Counter(ours) & Counter(theirs)).total() for ours, theirs in nodes)


def history(search: CellSearch) -> pd.DataFrame:
    """One row per epoch: the search's own rows, and `edges_as_final`, see below.

    Edges as final: those of the cells that would be cut after the epoch which the found cells have too; NaN where the
    search found none.
    """
    frame = pd.DataFrame(check_search(search).rows).drop(columns="architecture")
    final = search.genotype
    epochs = range(1, len(frame) + 1)
    shared = [float("nan") if final is None else shared_edges(search.genotype_at(epoch), final) for epoch in epochs]
    return frame.assign(edges_as_final=shared)


def phases(search: CellSearch) -> pd.DataFrame:
    """Where the time went: step, phase, epochs, seconds_per_epoch, seconds, share_pct; of training and evaluation."""
    frame = pd.DataFrame(check_search(search).rows)
    parts = frame.groupby(["step", "phase"], sort=False)["seconds"].agg(["size", "mean", "sum"]).reset_index()
    parts.columns = ["step", "phase", "epochs", "seconds_per_epoch", "seconds"]
    return parts.assign(share_pct=100 * parts["seconds"] / parts["seconds"].sum())


def epoch_figure(search: CellSearch, epoch: int, kind: str) -> Figure:
    """A cell after an epoch: left every edge, its width by its weight; right the cell that would be cut."""
    view = edge_view(search, epoch, kind)
    cells, space = search.genotype_at(epoch), search.recipe.space
    figure, panels = new_figure(1, 2, width_in=4.6, height_in=3.2, share_y=True)
    edges = list(zip(view["operation"], view["input"], view["node"] + 1))
    draw_cell(panels[0, 0], edges, weights=view["weight"].tolist(), space=space, labels=False)
    panels[0, 0].set_title(f"{KIND_NAMES[kind]} after epoch {epoch}: weight of every edge")
    draw_cell(panels[0, 1], cell_edges(getattr(cells, kind)), concat=getattr(cells, f"{kind}_concat"), space=space)
    panels[0, 1].set_title("what would be cut now")
    return figure
