"""Cells drawn as graphs: states on a line, an arc for every edge, its operation written on it.

The first edge of a node runs above the line, the second below. Arcs rise with their length, so that no two labels meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from repro.errors import InputError, check_choice
from repro.report.figures import new_figure
from repro.report.palette import COLOURS, OPERATORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OPERATOR_OF_SPACE = {"shift": "shift", "real": "conv"}
_NAMES = {"skip_connect": "skip", "max_pool_3x3": "max 3×3", "avg_pool_3x3": "avg 3×3", "conv_7x1_1x7": "7×1, 1×7"}
_RISE = 0.42  # height of an arc per state that it spans
_RADIUS = 0.22  # of a state, and a little more: where arrows end


def _name(operation: str) -> str:
    kind, _, kernel = operation.partition("_conv_")
    return _NAMES.get(operation, f"{kind} {kernel.replace('x', '×')}")


def _colour(operation: str, operator: str) -> str:
    if "conv_" in operation:
        return OPERATORS[operator]
    return COLOURS["ink"] if operation == "skip_connect" else COLOURS["faint"]


def draw_cell(
    axes: Axes,
    edges: Sequence[tuple[str, int, int]],
    *,
    concat: Sequence[int] = (),
    weights: Sequence[float] | None = None,
    space: str = "shift",
    labels: bool = True,
) -> None:
    """Draw a cell, or a supernet's edges, into `axes`.

    Args:
        edges: (operation, input, state) each; states 0 and 1 are the cell's inputs, state k + 2 is node k. Edges into
            the same state alternate between above and below the line.
        concat: states that form the output, drawn filled.
        weights: of each edge, at least 0; the line's width follows it. None: equal widths.
        space: "shift" or "real", for the colour of convolutions.
        labels: write the operation on each arc.
    Raises: InputError if an edge does not go from a state to a later one, or weights are not one an edge.
    """
    operator = OPERATOR_OF_SPACE[check_choice("space", space, OPERATOR_OF_SPACE)]
    if weights is not None and len(weights) != len(edges):
        raise InputError(f"weights has {len(weights)} values; {len(edges)} edges need as many.")
    for edge in edges:
        if not 0 <= edge[1] < edge[2]:
            raise InputError(f"edges hold {tuple(edge)!r}; an edge goes from a state, counted from 0, to a later one.")
    into: dict[int, int] = {}
    for place, (operation, source, state) in enumerate(edges):
        side = 1 if into.get(state, 0) % 2 == 0 else -1
        into[state] = into.get(state, 0) + 1
        turn = np.linspace(np.pi, 0, 60)
        x = (source + state) / 2 + (state - source) / 2 * np.cos(turn)
        height = side * _RISE * (state - source)
        colour = _colour(operation, operator)
        width = 1.6 if weights is None else 0.3 + 3.0 * float(weights[place])
        style = "--" if operation.startswith("dil") else "-"
        axes.plot(x, height * np.sin(turn), color=colour, linewidth=width, linestyle=style, zorder=1)
        y = height * np.sin(turn)
        tip = int(np.flatnonzero(np.hypot(x - state, y) > _RADIUS)[-1])
        axes.annotate(
            "",
            (x[tip], y[tip]),
            (x[tip - 3], y[tip - 3]),
            arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0},
        )
        if labels:
            box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}
            middle = (source + state) / 2
            axes.text(
                middle, height, _name(operation), color=colour, ha="center", va="center", fontsize=8, bbox=box, zorder=2
            )
    last = max(into)
    for state in range(last + 1):
        part = state in concat
        face = COLOURS["ink"] if part else "white"
        axes.scatter(state, 0, s=330, facecolors=face, edgecolors=COLOURS["ink"], linewidths=1.2, zorder=3)
        text = f"in {state + 1}" if state < 2 else str(state - 1)
        axes.text(
            state, 0, text, color="white" if part else COLOURS["ink"], ha="center", va="center", fontsize=8, zorder=4
        )
    axes.set_xlim(-0.4, last + 0.4)
    axes.set_axis_off()


def cell_edges(pairs: Sequence[tuple[str, int]]) -> list[tuple[str, int, int]]:
    """(operation, input) pairs of a genotype's cell, two a node, as the edges that `draw_cell` takes.

    Raises: InputError if they are not two a node.
    """
    if not pairs or len(pairs) % 2:
        raise InputError(f"pairs has {len(pairs)} edges; a cell has two for each node.")
    return [(operation, source, 2 + place // 2) for place, (operation, source) in enumerate(pairs)]


@runtime_checkable
class _Fields(Protocol):
    """A genotype; which operations there are is known to models, above this package."""

    def as_dict(self) -> dict[str, list]: ...


def cell_figure(cells: Mapping[str, Sequence] | _Fields, *, space: str = "shift", title: str = "") -> Figure:
    """Normal and reduction cell of a genotype (or its fields: normal, reduce, normal_concat, reduce_concat).

    Nodes of the output are filled. Convolutions have the colour of their operator, dilated ones a broken line; skips
    are dark and pools grey.

    Raises: InputError for cells without one of the fields, or with edges that no cell has.
    """
    fields: Mapping[str, Sequence] = cells.as_dict() if isinstance(cells, _Fields) else cells
    wanted = ("normal", "reduce", "normal_concat", "reduce_concat")
    if not isinstance(fields, Mapping) or (missing := [name for name in wanted if name not in fields]):
        lacks = f"lacks {', '.join(missing)}" if isinstance(fields, Mapping) else f"is {cells!r}"
        raise InputError(f"cells {lacks}; they are a genotype, or its fields {', '.join(wanted)}.")
    cells = fields
    figure, panels = new_figure(1, 2, width_in=4.6, height_in=3.2, share_y=True)
    for axes, (cell, name) in zip(panels[0], (("normal", "normal cell"), ("reduce", "reduction cell"))):
        draw_cell(axes, cell_edges(cells[cell]), concat=cells[f"{cell}_concat"], space=space)
        axes.set_title(f"{title}: {name}" if title else name)
    return figure
