"""Figures in one style, saved as SVG beside the CSV they were drawn from, and comparison tables for notebooks."""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from repro.errors import InputError
from repro.paths import figures_root, write_text
from repro.report.board import markdown_table
from repro.report.compare import LONG_COLUMNS
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


def new_figure(rows: int = 1, columns: int = 1, *, width_in: float = 3.4, height_in: float = 2.8):
    """(figure, axes array of shape (rows, columns)); width and height are of one panel, in inches. No window opens."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with house_style():
        figure = Figure(figsize=(width_in * columns, height_in * rows))
        FigureCanvasAgg(figure)
        return figure, figure.subplots(rows, columns, squeeze=False)


def save_figure(fig: Figure, name: str, data: pd.DataFrame | None, caption: str) -> Path:
    """Write figures/<name>.svg, its data figures/<name>.csv and its caption figures/<name>.txt, atomically.

    The same figure gives the same bytes: no date, no version, a fixed salt for ids.

    Args:
        name: id of the published figure or table, with an ending such as '-quick-digits'; a plain file name.
        data: every row that is drawn; None for a picture of an image only.
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
    if data is not None:
        write_text(target.with_suffix(".csv"), data.to_csv(index=False, lineterminator="\n"))
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


def ranking_scatter(points: pd.DataFrame, *, name: str, label: str) -> tuple[Figure, str]:
    """ACGhostNet figure 4: predicted against true accuracy, one panel per training strategy.

    Args:
        points: adaptive_lr, separate_warmup, path, predicted_accuracy_pct, true_accuracy_pct, optionally seed; several
            seeds are averaged per path, which gives one point per architecture.
        name: of the figure, for messages.  label: preset, data set and seeds, put into the caption.
    Returns: (figure, caption); the title of each panel holds Kendall's tau of the points drawn.
    """
    from scipy import stats

    key = ["adaptive_lr", "separate_warmup"]
    accuracies = ["predicted_accuracy_pct", "true_accuracy_pct"]
    missing = [column for column in [*key, "path", *accuracies] if column not in points.columns]
    if missing:
        raise InputError(f"points of figure {name} lack the column {missing[0]!r}.")
    mean = points.groupby([*key, "path"], as_index=False)[accuracies].mean().dropna()
    strategies = sorted(map(tuple, mean[key].drop_duplicates().to_numpy()))
    if not strategies:
        raise InputError(f"points of figure {name} hold no row with both accuracies.")
    columns = min(2, len(strategies))
    figure, panels = new_figure(math.ceil(len(strategies) / columns), columns)
    taus = []
    for axes, (adaptive, warmup) in zip(panels.flat, strategies):
        mine = mean[(mean["adaptive_lr"] == adaptive) & (mean["separate_warmup"] == warmup)]
        tau = stats.kendalltau(mine["predicted_accuracy_pct"], mine["true_accuracy_pct"]).statistic
        words = [
            "adaptive rate on " + ("both" if adaptive else "adders"),
            "separate warm-up" if warmup else "no warm-up",
        ]
        scatter_with_fit(
            axes,
            mine["true_accuracy_pct"],
            mine["predicted_accuracy_pct"],
            x_label="true accuracy (%)",
            y_label="predicted accuracy (%)",
            title=f"{words[0]},\n{words[1]}: tau = {tau:.3f}",
        )
        taus.append(f"{tau:.3f} ({', '.join(words)})")
    for axes in list(panels.flat)[len(strategies) :]:
        axes.set_axis_off()
    count = int(mean.groupby(key).size().max())
    caption = (
        f"Supernet accuracy against stand-alone accuracy of {count} architectures with the fitted line ({label}). "
        f"Kendall's tau: {'; '.join(taus)}."
    )
    return figure, caption


# ------------------------------------------------------------------ tables for notebooks


class RenderedTable(str):
    """A comparison as HTML (the string itself) and Markdown; a notebook shows it by itself."""

    markdown: str

    def __new__(cls, html_text: str, markdown: str) -> RenderedTable:
        table = super().__new__(cls, html_text)
        table.markdown = markdown
        return table

    @property
    def html(self) -> str:
        """The table as HTML."""
        return str(self)

    def _repr_html_(self) -> str:
        return self.html

    def _repr_markdown_(self) -> str:
        return self.markdown


def _number(value: float, decimals: int) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.{decimals}f}"


def _shown(row: Mapping) -> dict[str, str]:
    from repro.report.published import printed_decimals

    decimals = printed_decimals(row["published_text"])
    decimals = 2 if decimals is None else decimals
    ours = _number(row["ours"], decimals + 1) or row["ours_text"]
    if ours and row["n_seeds"] > 1 and math.isfinite(row["std"]):
        ours += f" ± {_number(row['std'], decimals + 1)} (n = {row['n_seeds']})"
    relative = row["relative_error"]
    return {
        "published": row["published_text"],
        "ours": ours or "not run",
        "difference": _number(row["difference"], decimals + 1),
        "relative": "" if not math.isfinite(relative) else f"{100 * relative:+.1f} %",
        "note": "" if row["note"] == "not run" else row["note"],
    }


def render_table(compare_frame: pd.DataFrame, label: str = "") -> RenderedTable:
    """A long comparison (from `compare`) as a table for people: published beside ours, with a label that says the run.

    Args:
        compare_frame: what `compare(table_id, ours)` returned.
        label: preset, data set, epochs and seeds (`repro.report.records.provenance_label`); by default what the frame
            knows of itself. Every number says its preset.
    """
    absent = [name for name in LONG_COLUMNS if name not in compare_frame.columns]
    if absent:
        raise InputError(f"compare_frame has no column {absent[0]!r}; it must be the long layout of compare().")
    known = [str(compare_frame.attrs.get(name) or "") for name in ("preset", "dataset")]
    label = label or ", ".join(part for part in known if part) or "no run"
    key = [name for name in compare_frame.columns if name not in LONG_COLUMNS]
    rows = []
    for row in compare_frame.to_dict("records"):
        column = f"{row['column']} ({row['unit']})" if row["unit"] else row["column"]
        rows.append({name: row[name] for name in key} | {"quantity": column} | _shown(row))
    columns = [*key, "quantity", "published", "ours", "difference", "relative", "note"]
    frame = pd.DataFrame(rows, columns=columns).rename(columns={"ours": f"ours ({label})"})
    if not frame["note"].any():
        frame = frame.drop(columns="note")
    if not frame["relative"].any():
        frame = frame.drop(columns="relative")
    title = f"{compare_frame.attrs.get('table_id', '')}: published and ours ({label})"
    return RenderedTable(_html(frame, title), f"**{title}**\n\n{markdown_table(frame)}\n")


def _html(frame: pd.DataFrame, title: str) -> str:
    def line(cells: Sequence[object], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    body = "\n".join(line(row, "td") for row in frame.itertuples(index=False))
    return (
        f"<table><caption>{html.escape(title)}</caption>\n<thead>{line(frame.columns, 'th')}</thead>\n"
        f"<tbody>\n{body}\n</tbody></table>"
    )
