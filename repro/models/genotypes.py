"""Cell structures (genotypes): their form, their validation, and those of AutoShiftNet and of its comparison rows.

A cell has two inputs (0 and 1); node k (from 0) sums two operations, each on an earlier output, and becomes input
k + 2; the cell's output concatenates the nodes named in `concat`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from repro.errors import InputError, nearest

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
        if isinstance(source, bool) or not isinstance(source, int) or not 0 <= source <= last:
            raise InputError(f"{place} reads input {source!r}; it must be a whole number from 0 to {last}.")
        checked.append((operation, source))
    nodes = range(2, 2 + len(edges) // 2)
    if not concat or len(set(concat)) != len(concat) or any(node not in nodes for node in concat):
        raise InputError(f"genotype: {cell}_concat={tuple(concat)!r} must name different nodes from 2 to {nodes[-1]}.")
    return tuple(checked), tuple(concat)


def _pairs(text: str) -> Edges:
    """ "sep_conv_3x3 1, skip_connect 0" as edges."""
    return tuple((word.split()[0], int(word.split()[1])) for word in text.split(","))


# As printed in AutoShiftNet, appendix B, tables 5 (CIFAR-10) and 6 (CIFAR-100): cells that its authors' search found.
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

NAMED = {
    "autoshiftnet_cifar10": AUTOSHIFTNET_CIFAR10,
    "autoshiftnet_cifar100": AUTOSHIFTNET_CIFAR100,
    "darts_v1": DARTS_V1,
    "darts_v2": DARTS_V2,
    "nasnet": NASNET,
    "amoebanet": AMOEBANET,
}


def genotype(value: str | Genotype | dict) -> Genotype:
    """A genotype from a name, a `Genotype`, or its fields as a dictionary (as read from JSON)."""
    if isinstance(value, Genotype):
        return value
    if isinstance(value, dict):
        unknown = sorted(set(value) - set(Genotype.__dataclass_fields__))
        missing = [key for key in ("normal", "reduce") if key not in value]
        if unknown or missing:
            wrong = f"lacks {', '.join(missing)}" if missing else f"has the unknown field {unknown[0]!r}"
            raise InputError(f"genotype {wrong}; its fields are normal, reduce, normal_concat and reduce_concat.")
        return Genotype(**value)
    if value in NAMED:
        return NAMED[value]
    raise InputError(f"genotype={value!r} is not known; allowed are: {', '.join(NAMED)}.{nearest(str(value), NAMED)}")
