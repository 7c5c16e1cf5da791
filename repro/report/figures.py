"""Figures in one style, saved as SVG beside their captions."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from repro.errors import InputError
from repro.paths import figures_root, write_text
from repro.report.palette import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE = {
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "savefig.bbox": "tight",  # no label is cut where it is longer than its axes
    "savefig.pad_inches": 0.05,
    "font.size": 9,
    "axes.titlesize": "medium",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: small files, searchable
    "svg.hashsalt": "repro",  # ids inside the file do not change from run to run
}


@contextmanager
def house_style() -> Iterator[None]:
    """Matplotlib settings of every figure here, for the duration of a `with` block."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        yield


def new_figure(
    rows: int = 1,
    columns: int = 1,
    *,
    width_in: float = 3.4,
    height_in: float = 2.8,
    share_x: bool | str = False,
    share_y: bool | str = False,
):
    """(figure, axes array of shape (rows, columns)); width and height are of one panel, in inches. No window opens.

    Panels that are compared share a scale: `share_x`, `share_y` are True (all), "row" or "col".
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with house_style():
        figure = Figure(figsize=(width_in * columns, height_in * rows))
        FigureCanvasAgg(figure)
        return figure, figure.subplots(rows, columns, squeeze=False, sharex=share_x, sharey=share_y)


def plain_ticks(axis) -> None:
    """1, 2 and 5 times powers of ten on a logarithmic axis (`axes.xaxis` or `axes.yaxis`), written out."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def legend_below(figure: Figure, axes: Axes, *, columns: int = 4, **options) -> None:
    """One legend for all panels, under them, where it covers no data; its entries are those of `axes`."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8, **options)


def save_figure(fig: Figure, name: str, caption: str) -> Path:
    """Write <name>.svg and its caption <name>.txt into the figures folder, atomically.

    The same figure gives the same bytes: no date, no version, a fixed salt for ids.

    Args:
        name: id of the published figure or table, with an ending such as '-quick-digits'; a plain file name.
        caption: one or two sentences that state the finding.
    Returns: path of the SVG. Raises: InputError for a name with a folder, axes without labels, or an empty caption.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.]+(?:-[A-Za-z0-9_.]+)*", name):
        raise InputError(
            f"name={name!r} is not allowed; it must be a plain file name of letters, digits, '-', '_', '.'."
        )
    if not caption.strip():
        raise InputError(f"caption={caption!r} is not allowed; it must state what figure {name} shows.")
    for axes in fig.axes:
        if axes.axison and axes.get_visible() and not axes.images and axes.get_label() != "<colorbar>":
            if not (axes.get_xlabel() or fig.get_supxlabel()) or not (axes.get_ylabel() or fig.get_supylabel()):
                raise InputError(f"figure {name} has axes without a label; name both axes with their unit.")
    buffer = io.StringIO()
    with house_style():
        fig.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Title": name})
    target = figures_root() / f"{name}.svg"
    write_text(target.with_suffix(".txt"), caption.strip() + "\n")
    write_text(target, "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n")
    return target


# Where a label may stand beside its point (offset in points, alignment); the first that is free is taken.
_LABEL_PLACES = (
    ((3, 4), "left"), ((3, -9), "left"), ((-3, 4), "right"), ((-3, -9), "right"), ((6, -2.5), "left"),
    ((-6, -2.5), "right"), ((0, 10), "center"), ((0, -16), "center"), ((3, 13), "left"), ((-3, 13), "right"),
    ((3, -19), "left"), ((-3, -19), "right"),
)  # fmt: skip


def label_points(axes: Axes, points: pd.DataFrame, x: str, y: str) -> None:
    """Names (column `name`) beside the points, where they cover least of points, legend and names before them.

    Call it last, after `figure.draw_without_rendering()`: places are measured in the finished layout.
    """
    from matplotlib.transforms import Bbox

    named = points[points["name"] != ""].sort_values(x)
    marks = axes.transData.transform(points[[x, y]].to_numpy(float))
    taken = [Bbox.from_bounds(left - 4, bottom - 4, 8, 8) for left, bottom in marks]
    if axes.get_legend() is not None:
        taken.append(axes.get_legend().get_window_extent())
    for name, where in zip(named["name"], named[[x, y]].to_numpy(float)):
        best = None
        for offset, side in _LABEL_PLACES:
            label = axes.annotate(
                name, where, xytext=offset, textcoords="offset points", ha=side, fontsize=6, color="#444444"
            )
            box = label.get_window_extent()
            cost = sum(_overlap(box, other) for other in taken) + box.width * box.height - _overlap(box, axes.bbox)
            if best is None or cost < best[0]:
                if best is not None:
                    best[1].remove()
                best = cost, label, box
            else:
                label.remove()
            if best[0] == 0:
                break
        taken.append(best[2])


def _overlap(a, b) -> float:
    """Area that two boxes share, in square pixels."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(width, 0) * max(height, 0)


def fit_line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """(slope, intercept) of the least-squares line; nan for fewer than two distinct finite points."""
    points = np.array([x, y], dtype=float)
    points = points[:, np.isfinite(points).all(axis=0)]
    if points.shape[1] < 2 or np.ptp(points[0]) == 0:
        return math.nan, math.nan
    slope, intercept = np.polyfit(points[0], points[1], 1)
    return float(slope), float(intercept)


def scatter_with_fit(
    axes: Axes,
    x: Sequence[float],
    y: Sequence[float],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    colour: str = "ours",
) -> tuple[float, float]:
    """Points and their least-squares line on `axes`; returns (slope, intercept). Labels carry the unit."""
    axes.scatter(x, y, s=12, alpha=0.75, color=COLOURS.get(colour, colour), linewidths=0)
    slope, intercept = fit_line(x, y)
    if math.isfinite(slope):
        ends = np.array([np.nanmin(np.asarray(x, float)), np.nanmax(np.asarray(x, float))])
        axes.plot(ends, slope * ends + intercept, color=COLOURS["fit"], linewidth=1)
    axes.set(xlabel=x_label, ylabel=y_label, title=title)
    return slope, intercept
