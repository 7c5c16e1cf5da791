"""Tables 5 and 6: the printed cells, transcribed, beside the cells that our search finds, and what they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from repro.models.genotypes import Genotype, genotype
from repro.papers.analytic import analytic_frame
from repro.papers.autoshiftnet import found
from repro.papers.autoshiftnet.recipes import CellRun
from repro.papers.table import Drawing, is_computed
from repro.report.cell_graphs import cell_figure
from repro.search.cell_supernet import OPERATIONS

CELLS = {"normal": "normal", "reduction": "reduce"}
"""Kind of cell as the tables name it -> as a genotype does."""


def edge_rows(cells: Genotype) -> list[dict[str, object]]:
    """One row per cell, node and edge, in the order of the published tables, with op and input_index."""
    return [
        {"cell": name, "node": place // 2 + 1, "edge": place % 2 + 1, "op": op, "input_index": source}
        for name, kind in CELLS.items()
        for place, (op, source) in enumerate(getattr(cells, kind))
    ]


def printed_table(table_id: str, name: str) -> pd.DataFrame:
    """Operation and input of every edge of both cells of a known genotype, in the schema of the published table."""
    values = {(row["cell"], row["node"], row["edge"]): row for row in edge_rows(genotype(name))}
    values = {key: {part: row[part] for part in ("op", "input_index")} for key, row in values.items()}
    return analytic_frame(table_id, values, convention="inputs 0 and 1 are the cell's inputs, input k + 1 is node k")


def overlap(ours: Genotype, printed: Genotype) -> pd.DataFrame:
    """What two genotypes share, a row per cell: cell, edges, edges_shared, inputs_shared, and what chance would share.

    An edge is shared if the same node of the other has the same operation on the same input; an input, if it has any
    operation on it. By chance: both inputs of a node drawn at random, and the operation out of the seven that can
    remain.
    """
    rows = []
    for name, kind in CELLS.items():
        pairs = list(zip(ours.nodes(kind), printed.nodes(kind)))
        inputs = [[Counter(source for _, source in node) for node in pair] for pair in pairs]
        chance = sum(2 * 2 / (node + 2) for node in range(len(pairs)))
        rows.append(
            {
                "cell": name,
                "edges": 2 * len(pairs),
                "edges_shared": sum((Counter(own) & Counter(theirs)).total() for own, theirs in pairs),
                "inputs_shared": sum((own & theirs).total() for own, theirs in inputs),
                "edges_by_chance": chance / (len(OPERATIONS) - 1),
                "inputs_by_chance": chance,
                "skips": sum(op == "skip_connect" for op, _ in getattr(ours, kind)),
                "skips_printed": sum(op == "skip_connect" for op, _ in getattr(printed, kind)),
            }
        )
    return pd.DataFrame(rows)


def searched_table(name: str, recipe: CellRun, seeds: Sequence[int], run) -> pd.DataFrame:
    """The cells of the best of several searches, in the schema of the published tables.

    Best is the supernet with the highest accuracy on held-out images, never on test images. `attrs["extra"]`: `cells`,
    the edges of all searches by seed, and `overlap` of each with the printed cells.
    """
    known = found.finished(run({seed: found.spec(recipe, seed) for seed in seeds}))
    printed = genotype(name)
    if not known:
        frame = pd.DataFrame(edge_rows(printed))
        frame[["op", "input_index"]] = None
        return frame.assign(note="no search found cells")
    best = found.best(known)
    parts = {seed: overlap(search.genotype, printed) for seed, search in known.items()}
    note = f"seed {best}, {_best_of(known)}; {_shared(parts[best])}"
    frame = pd.DataFrame(edge_rows(known[best].genotype)).assign(note=note)
    frame.attrs["extra"] = {
        "cells": pd.DataFrame(
            {"seed": seed, "held_out_accuracy_pct": search.held_out_accuracy_pct, **row}
            for seed, search in known.items()
            for row in edge_rows(search.genotype)
        ),
        "overlap": pd.concat([part.assign(seed=seed) for seed, part in parts.items()], ignore_index=True),
    }
    return frame


def _best_of(known: Mapping[int, object]) -> str:
    return "the only search" if len(known) == 1 else f"the best of {len(known)} searches on held-out images"


def _shared(part: pd.DataFrame) -> str:
    total = part.sum(numeric_only=True)
    return (
        f"{total['edges_shared']:.0f} of {total['edges']:.0f} edges as printed ({total['edges_by_chance']:.1f} by "
        f"chance), {total['inputs_shared']:.0f} inputs ({total['inputs_by_chance']:.1f})"
    )


def fields_of(frame: pd.DataFrame) -> dict[str, list]:
    """The genotype in a frame of the published schema, as plain fields."""
    edges = {kind: frame[frame["cell"] == name] for name, kind in CELLS.items()}
    cells = {kind: list(zip(part["op"], part["input_index"].astype(int))) for kind, part in edges.items()}
    concat = {f"{kind}_concat": list(range(2, 2 + len(part) // 2)) for kind, part in cells.items()}
    return cells | concat


def draw_cells(ours: pd.DataFrame, name: str) -> list[Drawing]:
    """The printed cells, and below them those of our best search where there is one."""
    printed = Drawing(
        cell_figure(genotype(name).as_dict(), title="printed"),
        "The printed best cells; nodes 1 to 4 form the output, dilated convolutions are broken lines.",
        "printed",
    )
    if is_computed(ours) or ours["op"].isna().any():
        return [printed]
    note = ours["note"].iloc[0]
    caption = f"Cells of our search, {note}."
    return [printed, Drawing(cell_figure(fields_of(ours), title="our search"), caption, "ours")]
