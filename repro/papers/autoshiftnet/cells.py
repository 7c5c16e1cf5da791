"""The printed cells as the cell network is built from them (tables 5 and 6 of the paper): transcribed, not searched."""

from __future__ import annotations

from repro.models.genotypes import genotype
from repro.papers.analytic import analytic_frame


def cell_table(table_id: str, name: str):
    """Operation and input of every edge of both cells of a known genotype, in the schema of the published table."""
    cells = genotype(name)
    values = {}
    for cell, edges in (("normal", cells.normal), ("reduction", cells.reduce)):
        for index, (op, source) in enumerate(edges):
            values[cell, index // 2 + 1, index % 2 + 1] = {"op": op, "input_index": source}
    return analytic_frame(table_id, values, convention="inputs 0 and 1 are the cell's inputs, input k + 1 is node k")
