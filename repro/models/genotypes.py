"""Cell structures (genotypes): their form, their validation, and those of AutoShiftNet and of its comparison rows.

A cell has two inputs (0 and 1); node k (from 0) sums two operations, each on an earlier output, and becomes input
k + 2; the cell's output concatenates the nodes named in `concat`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

from repro.errors import InputError, nearest
from repro.paths import write_text

OPERATIONS = (
    "skip_connect",
    "max_pool_3x3",
    "avg_pool_3x3",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "conv_7x1_1x7",
)

Edges = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Genotype:
    """Two cells as (operation, input) pairs, two per node in order, and the nodes that form the output.

    Raises: InputError, naming cell, node and edge, when an operation is unknown, an input is not made before the node
    that reads it, the edges are not two per node, or `concat` names a node that does not exist.
    """

    normal: Edges
    reduce: Edges
    normal_concat: tuple[int, ...] = (2, 3, 4, 5)
    reduce_concat: tuple[int, ...] = (2, 3, 4, 5)

    def __post_init__(self) -> None:
        for cell in ("normal", "reduce"):
            edges, concat = _check_cell(cell, getattr(self, cell), getattr(self, f"{cell}_concat"))
            object.__setattr__(self, cell, edges)
            object.__setattr__(self, f"{cell}_concat", concat)

    def as_dict(self) -> dict[str, list]:
        """The fields as JSON values."""
        cells = {cell: [list(edge) for edge in getattr(self, cell)] for cell in ("normal", "reduce")}
        return cells | {name: list(getattr(self, name)) for name in ("normal_concat", "reduce_concat")}

    def as_text(self) -> str:
        """One line of JSON, which `genotype` reads."""
        return json.dumps(self.as_dict())

    def nodes(self, cell: str) -> list[tuple[tuple[str, int], ...]]:
        """The edges of "normal" or "reduce", node by node, each in order of input: equal for equal networks."""
        edges = getattr(self, cell)
        pairs = (edges[i : i + 2] for i in range(0, len(edges), 2))
        return [tuple(sorted(pair, key=lambda edge: (edge[1], edge[0]))) for pair in pairs]


def _check_cell(cell: str, edges: Sequence, concat: Sequence[int]) -> tuple[Edges, tuple[int, ...]]:
    if not isinstance(edges, Sequence) or isinstance(edges, str) or len(edges) < 2 or len(edges) % 2:
        raise InputError(f"genotype: the {cell} cell must list two (operation, input) pairs per node, got {edges!r}.")
    checked = []
    for index, edge in enumerate(edges):
        place = f"genotype: edge {index % 2 + 1} of node {index // 2 + 1} in the {cell} cell"
        if isinstance(edge, str) or not isinstance(edge, Sequence) or len(edge) != 2:
            raise InputError(f"{place} is {edge!r}; it must be a pair (operation, input).")
        operation, source = edge
        if operation not in OPERATIONS:
            raise InputError(
                f"{place} has the unknown operation {operation!r}; allowed are: {', '.join(OPERATIONS)}."
                f"{nearest(str(operation), OPERATIONS)}"
            )
        last = index // 2 + 1
        if isinstance(source, bool) or not isinstance(source, Integral) or not 0 <= source <= last:  # type: ignore[operator]
            raise InputError(f"{place} reads input {source!r}; it must be a whole number from 0 to {last}.")
        checked.append((operation, int(source)))
    nodes = range(2, 2 + len(edges) // 2)
    listed = isinstance(concat, Sequence) and not isinstance(concat, str)
    listed = listed and all(isinstance(node, Integral) and not isinstance(node, bool) for node in concat)
    if not listed or not concat or len(set(concat)) != len(concat) or not set(concat) <= set(nodes):
        given = " (the default, for four nodes)" if concat == (2, 3, 4, 5) else ""
        raise InputError(f"genotype: {cell}_concat={concat!r}{given} must name different nodes from 2 to {nodes[-1]}.")
    return tuple(checked), tuple(map(int, concat))


def _pairs(text: str) -> Edges:
    """ "sep_conv_3x3 1, skip_connect 0" as edges."""
    return tuple((word.split()[0], int(word.split()[1])) for word in text.split(","))


# As printed in AutoShiftNet, appendix C, tables 5 (CIFAR-10) and 6 (CIFAR-100): cells that its authors' search found.
AUTOSHIFTNET_CIFAR10 = Genotype(
    _pairs(
        "skip_connect 0, skip_connect 1, sep_conv_3x3 0, sep_conv_3x3 1, "
        "sep_conv_3x3 0, sep_conv_3x3 1, sep_conv_3x3 0, dil_conv_5x5 4"
    ),
    _pairs(
        "skip_connect 0, skip_connect 1, sep_conv_3x3 0, max_pool_3x3 1, "
        "sep_conv_3x3 0, sep_conv_5x5 1, skip_connect 0, dil_conv_5x5 2"
    ),
)
AUTOSHIFTNET_CIFAR100 = Genotype(
    _pairs(
        "sep_conv_3x3 0, skip_connect 1, skip_connect 0, sep_conv_3x3 1, "
        "sep_conv_3x3 0, sep_conv_3x3 1, sep_conv_3x3 0, sep_conv_5x5 4"
    ),
    _pairs(
        "max_pool_3x3 0, skip_connect 1, sep_conv_5x5 0, sep_conv_5x5 1, "
        "max_pool_3x3 0, dil_conv_5x5 3, sep_conv_5x5 0, sep_conv_3x3 3"
    ),
)

# As listed in quark0/darts: cnn/genotypes.py; the comparison rows of AutoShiftNet's tables 1 and 2.
DARTS_V1 = Genotype(
    _pairs(
        "sep_conv_3x3 1, sep_conv_3x3 0, skip_connect 0, sep_conv_3x3 1, "
        "skip_connect 0, sep_conv_3x3 1, sep_conv_3x3 0, skip_connect 2"
    ),
    _pairs(
        "max_pool_3x3 0, max_pool_3x3 1, skip_connect 2, max_pool_3x3 0, "
        "max_pool_3x3 0, skip_connect 2, skip_connect 2, avg_pool_3x3 0"
    ),
)
DARTS_V2 = Genotype(
    _pairs(
        "sep_conv_3x3 0, sep_conv_3x3 1, sep_conv_3x3 0, sep_conv_3x3 1, "
        "sep_conv_3x3 1, skip_connect 0, skip_connect 0, dil_conv_3x3 2"
    ),
    _pairs(
        "max_pool_3x3 0, max_pool_3x3 1, skip_connect 2, max_pool_3x3 1, "
        "max_pool_3x3 0, skip_connect 2, skip_connect 2, max_pool_3x3 1"
    ),
)
NASNET = Genotype(
    _pairs(
        "sep_conv_5x5 1, sep_conv_3x3 0, sep_conv_5x5 0, sep_conv_3x3 0, avg_pool_3x3 1, skip_connect 0, "
        "avg_pool_3x3 0, avg_pool_3x3 0, sep_conv_3x3 1, skip_connect 1"
    ),
    _pairs(
        "sep_conv_5x5 1, sep_conv_7x7 0, max_pool_3x3 1, sep_conv_7x7 0, avg_pool_3x3 1, sep_conv_5x5 0, "
        "skip_connect 3, avg_pool_3x3 2, sep_conv_3x3 2, max_pool_3x3 1"
    ),
    (2, 3, 4, 5, 6),
    (4, 5, 6),
)
AMOEBANET = Genotype(
    _pairs(
        "avg_pool_3x3 0, max_pool_3x3 1, sep_conv_3x3 0, sep_conv_5x5 2, sep_conv_3x3 0, avg_pool_3x3 3, "
        "sep_conv_3x3 1, skip_connect 1, skip_connect 0, avg_pool_3x3 1"
    ),
    _pairs(
        "avg_pool_3x3 0, sep_conv_3x3 1, max_pool_3x3 0, sep_conv_7x7 2, sep_conv_7x7 0, avg_pool_3x3 1, "
        "max_pool_3x3 0, max_pool_3x3 1, conv_7x1_1x7 0, sep_conv_3x3 5"
    ),
    (4, 5, 6),
    (3, 4, 6),
)

# Further comparison rows, as their authors' repositories list them (C10 and C100: searched on CIFAR-10 and CIFAR-100).
# D-X-Y/AutoDL-Projects: xautodl/nas_infer_model/DXYs/genotypes.py
GDAS = Genotype(
    _pairs(
        "skip_connect 0, skip_connect 1, skip_connect 0, sep_conv_5x5 2, "
        "sep_conv_3x3 3, skip_connect 0, sep_conv_5x5 4, sep_conv_3x3 3"
    ),
    _pairs(
        "sep_conv_5x5 0, sep_conv_3x3 1, sep_conv_5x5 2, sep_conv_5x5 1, "
        "dil_conv_5x5 2, sep_conv_3x3 1, sep_conv_5x5 0, sep_conv_5x5 1"
    ),
)
# chenxin061/pdarts: genotypes.py; one cell for both sets
P_DARTS = Genotype(
    _pairs(
        "skip_connect 0, dil_conv_3x3 1, skip_connect 0, sep_conv_3x3 1, "
        "sep_conv_3x3 1, sep_conv_3x3 3, sep_conv_3x3 0, dil_conv_5x5 4"
    ),
    _pairs(
        "avg_pool_3x3 0, sep_conv_5x5 1, sep_conv_3x3 0, dil_conv_5x5 2, "
        "max_pool_3x3 0, dil_conv_3x3 1, dil_conv_3x3 1, dil_conv_5x5 3"
    ),
)
# yuhuixu1993/PC-DARTS: genotypes.py
PC_DARTS = Genotype(
    _pairs(
        "sep_conv_3x3 1, skip_connect 0, sep_conv_3x3 0, dil_conv_3x3 1, "
        "sep_conv_5x5 0, sep_conv_3x3 1, avg_pool_3x3 0, dil_conv_3x3 1"
    ),
    _pairs(
        "sep_conv_5x5 1, max_pool_3x3 0, sep_conv_5x5 1, sep_conv_5x5 2, "
        "sep_conv_3x3 0, sep_conv_3x3 3, sep_conv_3x3 1, sep_conv_3x3 2"
    ),
)
# Meituan-AutoML/DARTS-: src/eval/genotypes.py
DARTS_MINUS_C10 = Genotype(
    _pairs(
        "sep_conv_3x3 0, sep_conv_5x5 1, sep_conv_3x3 1, dil_conv_3x3 2, "
        "skip_connect 1, sep_conv_3x3 0, skip_connect 1, sep_conv_3x3 0"
    ),
    _pairs(
        "sep_conv_3x3 0, max_pool_3x3 1, skip_connect 2, max_pool_3x3 0, "
        "skip_connect 2, skip_connect 3, skip_connect 2, skip_connect 3"
    ),
)
DARTS_MINUS_C100 = Genotype(
    _pairs(
        "dil_conv_5x5 0, dil_conv_3x3 1, sep_conv_3x3 1, dil_conv_3x3 0, "
        "dil_conv_5x5 0, dil_conv_3x3 1, sep_conv_3x3 1, dil_conv_5x5 0"
    ),
    _pairs(
        "max_pool_3x3 0, sep_conv_5x5 1, skip_connect 2, sep_conv_5x5 0, "
        "skip_connect 2, skip_connect 3, skip_connect 2, skip_connect 3"
    ),
)
# guyuchao/DOTS: pytorch/genotypes.py
DOTS_C10 = Genotype(
    _pairs(
        "skip_connect 0, sep_conv_3x3 1, sep_conv_3x3 0, sep_conv_3x3 1, "
        "sep_conv_3x3 0, sep_conv_3x3 1, skip_connect 1, dil_conv_3x3 3"
    ),
    _pairs(
        "sep_conv_3x3 0, sep_conv_3x3 1, max_pool_3x3 0, max_pool_3x3 1, "
        "max_pool_3x3 0, dil_conv_5x5 3, max_pool_3x3 0, dil_conv_5x5 4"
    ),
)
DOTS_C100 = Genotype(
    _pairs(
        "sep_conv_3x3 0, sep_conv_3x3 1, skip_connect 0, sep_conv_3x3 1, "
        "sep_conv_3x3 1, sep_conv_3x3 3, sep_conv_3x3 1, dil_conv_3x3 4"
    ),
    _pairs(
        "avg_pool_3x3 0, avg_pool_3x3 1, sep_conv_5x5 0, sep_conv_5x5 1, "
        "sep_conv_3x3 0, dil_conv_5x5 3, sep_conv_3x3 3, dil_conv_3x3 4"
    ),
)
DOTS_IMAGENET = Genotype(
    _pairs(
        "dil_conv_5x5 0, skip_connect 1, skip_connect 0, sep_conv_3x3 1, "
        "sep_conv_3x3 0, sep_conv_3x3 1, sep_conv_3x3 0, sep_conv_5x5 1"
    ),
    _pairs(
        "sep_conv_5x5 0, sep_conv_3x3 1, sep_conv_3x3 0, sep_conv_5x5 1, "
        "max_pool_3x3 0, dil_conv_5x5 3, sep_conv_3x3 0, max_pool_3x3 1"
    ),
)

NAMED = {
    "autoshiftnet_cifar10": AUTOSHIFTNET_CIFAR10,
    "autoshiftnet_cifar100": AUTOSHIFTNET_CIFAR100,
    "darts_v1": DARTS_V1,
    "darts_v2": DARTS_V2,
    "nasnet": NASNET,
    "amoebanet": AMOEBANET,
    "gdas": GDAS,
    "p_darts": P_DARTS,
    "pc_darts": PC_DARTS,
    "darts_minus_cifar10": DARTS_MINUS_C10,
    "darts_minus_cifar100": DARTS_MINUS_C100,
    "dots_cifar10": DOTS_C10,
    "dots_cifar100": DOTS_C100,
    "dots_imagenet": DOTS_IMAGENET,
}


def genotype(value: str | Genotype | dict) -> Genotype:
    """A genotype from a name, a `Genotype`, its fields as a dictionary, or the text of these in JSON."""
    if isinstance(value, Genotype):
        return value
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise InputError(f"genotype is no JSON text: {error}.") from error
    if isinstance(value, dict):
        unknown = sorted(set(value) - set(Genotype.__dataclass_fields__), key=str)
        missing = [key for key in ("normal", "reduce") if key not in value]
        if unknown or missing:
            wrong = f"lacks {', '.join(missing)}" if missing else f"has the unknown field {unknown[0]!r}"
            raise InputError(f"genotype {wrong}; its fields are normal, reduce, normal_concat and reduce_concat.")
        return Genotype(**value)
    if isinstance(value, str) and value in NAMED:
        return NAMED[value]
    raise InputError(f"genotype={value!r} is not known; allowed are: {', '.join(NAMED)}.{nearest(str(value), NAMED)}")


def write_genotype(path: str | os.PathLike, cells: Genotype) -> Path:
    """Write cells as a line of JSON, which a person may edit; every edge is checked when it is read."""
    return write_text(Path(path), genotype(cells).as_text() + "\n")


def read_genotype(path: str | os.PathLike) -> Genotype:
    """The cells in a file of `write_genotype`.

    Raises: InputError for a text that is no JSON object or a malformed genotype; OSError where no file can be read.
    """
    text = Path(path).read_bytes().decode("utf-8-sig", errors="replace")
    if not text.lstrip().startswith("{"):
        raise InputError(f"genotype file {Path(path).name} holds no JSON object.")
    return genotype(text)
