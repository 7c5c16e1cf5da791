"""Figures of the analytic tables: accuracy against energy, energy by level and by block, ranks under accountings.

Each function draws from one tidy frame and returns a matplotlib figure; saving is `repro.report.figures`' business.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from repro.cost import pareto
from repro.errors import InputError
from repro.report.figures import label_points, legend_below, new_figure, plain_ticks
from repro.report.palette import COLOURS, LEVELS, SERIES

LEVEL_NAMES = {
    "compute": "arithmetic",
    "rf": "register files",
    "noc": "network between PEs",
    "buffer": "on-chip buffer",
    "dram": "DRAM",
}
OPERATOR_COLOURS = {name: COLOURS[name] for name in ("conv", "shift", "adder", "shiftadd", "hybrid")}
ACCOUNTING_NAMES = {"published": "as published", "corrected": "slips corrected", "unbiased": "unbiased"}
_MARKERS = {"published": "o", "corrected": "s", "unbiased": "D"}


def _need(frame: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise InputError(f"the frame of {what} lacks the column {missing[0]!r}.")


def energy_accuracy(
    points: pd.DataFrame,
    *,
    x: str,
    y: str,
    x_label: str,
    y_label: str,
    panel: str | None = None,
    titles: Mapping[str, str] | None = None,
    width_in: float = 4.6,
    height_in: float = 3.6,
    log_x: bool = False,
) -> Figure:
    """Accuracy against energy with the Pareto front of all points, a colour per series.

    Args:
        points: columns `series`, `name` (written beside the point, may be empty), `x` and `y`, optionally `panel`, and
            `run` ("published" is drawn hollow, anything else filled).
        panel: column that splits the points into panels; `titles` name its values.
    """
    _need(points, ["series", "name", x, y, *([panel] if panel else [])], "the accuracy-energy figure")
    groups = [("", points)] if panel is None else list(points.groupby(panel, sort=False))
    figure, panels = new_figure(1, len(groups), width_in=width_in, height_in=height_in)
    series = list(dict.fromkeys(points["series"]))
    for axes, (value, mine) in zip(panels.flat, groups):
        mine = mine.dropna(subset=[x, y])
        front = pareto.front(mine, {x: "min", y: "max"})
        axes.plot(front[x], front[y], color=COLOURS["faint"], linewidth=1.2, zorder=1, label="front of all points")
        for name, colour in zip(series, SERIES * (1 + len(series) // len(SERIES))):
            part = mine[mine["series"] == name]
            ours = part["run"] != "published" if "run" in part else pd.Series(True, index=part.index)
            for chosen, face in ((part[~ours], "none"), (part[ours], colour)):
                if len(chosen):
                    label = name if face == "none" or "run" not in part else f"{name}, ours"
                    axes.scatter(
                        chosen[x], chosen[y], s=26, facecolors=face, edgecolors=colour, label=label, linewidths=1.3
                    )
        if log_x:
            axes.set_xscale("log")
            plain_ticks(axes.xaxis)
        axes.margins(x=0.12, y=0.08)
        title = "" if panel is None else (titles or {}).get(value, str(value))
        axes.set(xlabel=x_label, ylabel=y_label, title=title)
    if len(groups) == 1:
        panels.flat[0].legend(fontsize=7, loc="lower right")
    else:
        legend_below(figure, panels.flat[0])
    figure.draw_without_rendering()  # fixes the layout in which the labels are placed
    for axes, (_, mine) in zip(panels.flat, groups):
        label_points(axes, mine.dropna(subset=[x, y]), x, y)
    return figure


def table_points(
    table_id: str, *, x: str, y: str, series: str, name: str, where: Mapping[str, object] | None = None
) -> pd.DataFrame:
    """Points of a table for `energy_accuracy`: the printed ones, and ours where a record has both quantities.

    Only records of the paper preset: smaller networks on smaller data do not lie in the same plane.

    Args:
        x, y, series, name: columns of the table; `where` keeps the rows with these values.
    Returns: series, name, x, y under their own names and run ("published", or preset and data set of ours). What a
        paper calls "ours" is "proposed" here: ours are our runs.
    """
    from repro.report.published import published, table_spec
    from repro.report.records import load_records

    spec, frames = table_spec(table_id), {"published": published(table_id)}
    about = frames["published"].set_index(list(spec.key))[[c for c in {series, *(where or {})} if c not in spec.key]]
    for record in load_records(table_id):
        if record.preset == "paper" and record.frame[[x, y]].notna().all(axis=1).any():
            mine = record.frame.groupby(list(spec.key), sort=False)[[x, y]].mean()
            frames[f"{record.preset}, {record.dataset}"] = mine.join(about).reset_index()
    parts = []
    for run, frame in frames.items():
        for column, value in (where or {}).items():
            frame = frame[frame[column] == value]
        names = frame[series].astype(str).replace("ours", "proposed")
        part = frame[[x, y]].assign(series=names, name=frame[name].astype(str), run=run)
        parts.append(part.dropna(subset=[x, y]))
    return pd.concat(parts, ignore_index=True)


def _stack(axes, table: pd.DataFrame, labels: Sequence[str], *, horizontal: bool = True) -> None:
    """Stacked bars of the level columns of `table`, one bar per row."""
    places, start = np.arange(len(table)), np.zeros(len(table))
    for level, colour in LEVELS.items():
        values = table[level].to_numpy(dtype=float)
        if horizontal:
            axes.barh(places, values, left=start, color=colour, label=LEVEL_NAMES[level], height=0.75)
        else:
            # One outline per level: networks have hundreds of layers, and each bar would be a shape of its own.
            edges = np.append(places, len(table)) - 0.5
            top = start + values
            axes.stairs(top, edges, baseline=start, fill=True, color=colour, label=LEVEL_NAMES[level], linewidth=0)
        start = start + values
    if horizontal:
        axes.set_yticks(places, labels)
        axes.invert_yaxis()
    else:
        axes.set_xticks(places, labels)


def level_breakdown(frame: pd.DataFrame, *, energy_label: str = "energy (mJ)") -> Figure:
    """Energy by memory level, one bar per operator, one panel per accounting.

    Args:
        frame: long form, accounting, operator, level, energy_mj.
    """
    _need(frame, ["accounting", "operator", "level", "energy_mj"], "the level breakdown")
    accounts = list(dict.fromkeys(frame["accounting"]))
    figure, panels = new_figure(1, len(accounts), width_in=3.1, height_in=2.4)
    widest = frame.groupby(["accounting", "operator"])["energy_mj"].sum().max()
    for axes, accounting in zip(panels.flat, accounts):
        mine = frame[frame["accounting"] == accounting]
        table = mine.pivot(index="operator", columns="level", values="energy_mj").reindex(
            list(dict.fromkeys(mine["operator"]))
        )
        _stack(axes, table, list(table.index))
        axes.set(xlabel=energy_label, ylabel="operator", title=ACCOUNTING_NAMES.get(accounting, accounting))
        axes.set_xlim(0, 1.05 * widest)
    legend_below(figure, panels.flat[0], columns=len(LEVELS))
    return figure


def layer_breakdown(layers: Mapping[str, pd.DataFrame], *, x_label: str = "layer, in the order of execution") -> Figure:
    """Energy of every layer by memory level, in the order of execution, one panel per title.

    Args:
        layers: title -> `repro.cost.ModelCost.layers`, or that by `parts_of`.
        x_label: what a bar is.
    """
    figure, panels = new_figure(len(layers), 1, width_in=8.4, height_in=2.1)
    top = max(table["energy_mj"].max() for table in layers.values())
    for axes, (title, table) in zip(panels.flat, layers.items()):
        _need(table, [*LEVELS, "energy_mj"], "the layer breakdown")
        _stack(axes, table, [""] * len(table), horizontal=False)
        step = 1 if len(table) < 25 else 5 if len(table) < 100 else 20
        axes.set_xticks(range(0, len(table), step), range(1, len(table) + 1, step))
        axes.set(ylabel="energy (mJ)", title=title, ylim=(0, 1.05 * top), xlabel=x_label)
        axes.grid(axis="x", visible=False)
    legend_below(figure, panels.flat[0], columns=len(LEVELS))
    return figure


def parts_of(layers: pd.DataFrame, pattern: str) -> pd.DataFrame:
    """Energies of layers summed over the parts of a network, in the order of execution.

    Args:
        layers: `repro.cost.ModelCost.layers`.
        pattern: regular expression whose first group is a part's name in the names of its layers.
    Returns: name, op (of the part's first layer), the levels and energy_mj.
    """
    part = layers["name"].str.extract(pattern)[0].rename("name")
    sums = layers.groupby(part, sort=False)[[*LEVELS, "energy_mj"]].sum()
    sums.insert(0, "op", layers.groupby(part, sort=False)["op"].first())
    return sums.reset_index()


def block_profile(frame: pd.DataFrame, *, labels: Mapping[str, str], x_label: str = "block") -> Figure:
    """Range over choices of several quantities per block, one panel per quantity.

    Args:
        frame: block, quantity, low, high, and optionally mean.
        labels: quantity -> axis label with unit, in the order of the panels.
    """
    _need(frame, ["block", "quantity", "low", "high"], "the block profile")
    figure, panels = new_figure(len(labels), 1, width_in=6.4, height_in=2.2)
    for axes, (quantity, label) in zip(panels.flat, labels.items()):
        mine = frame[frame["quantity"] == quantity]
        axes.bar(mine["block"], mine["low"], color=COLOURS["adder"], width=0.8, label="cheapest choice")
        rest = mine["high"] - mine["low"]
        axes.bar(mine["block"], rest, bottom=mine["low"], color=COLOURS["conv"], width=0.8, label="dearest choice")
        axes.set(xlabel=x_label, ylabel=label)
        axes.set_xticks(mine["block"])
        axes.grid(axis="x", visible=False)
    legend_below(figure, panels.flat[0])
    return figure


def savings_by_accounting(frame: pd.DataFrame) -> Figure:
    """Energy saved over convolutions by network and operator; a marker per accounting.

    Args:
        frame: paper, network, operator, and <accounting>_pct for each accounting.
    """
    accounts = [name for name in ACCOUNTING_NAMES if f"{name}_pct" in frame.columns]
    _need(frame, ["paper", "network", "operator", *(f"{name}_pct" for name in accounts)], "savings")
    figure, panels = new_figure(1, 1, width_in=7.4, height_in=0.6 + 0.23 * len(frame))
    axes, places = panels[0, 0], np.arange(len(frame))
    for place, row in zip(places, frame.to_dict("records")):
        ends = [row[f"{name}_pct"] for name in accounts]
        axes.plot([min(ends), max(ends)], [place, place], color=COLOURS["faint"], linewidth=1.5, zorder=1)
    for name in accounts:
        colours = [OPERATOR_COLOURS[operator] for operator in frame["operator"]]
        face = colours if name != "published" else "white"
        values = frame[f"{name}_pct"]
        axes.scatter(values, places, marker=_MARKERS[name], s=30, c=face, edgecolors=colours, zorder=2)
        axes.scatter([], [], marker=_MARKERS[name], color=COLOURS["ink"], label=ACCOUNTING_NAMES[name])
    axes.axvline(0, color=COLOURS["ink"], linewidth=0.8)
    axes.set_yticks(places, [f"{r.network} ({r.operator}) · {r.paper}" for r in frame.itertuples()], fontsize=7)
    axes.invert_yaxis()
    axes.set(xlabel="energy saved over the same network with convolutions (%)", ylabel="network (operator), paper")
    axes.legend(fontsize=8, loc="lower left")
    return figure


def rank_lines(wide: pd.DataFrame, *, columns: int = 2) -> Figure:
    """Rank by energy under each accounting, one panel per paper and workload, a line per network.

    Args:
        wide: paper, workload, network, operator, rank_<accounting>; groups of fewer than three networks are left out.
    """
    accounts = [name for name in ACCOUNTING_NAMES if f"rank_{name}" in wide.columns]
    _need(wide, ["paper", "workload", "network", "operator"], "ranks")
    groups = [(key, group) for key, group in wide.groupby(["paper", "workload"], sort=False) if len(group) > 2]
    rows = math.ceil(len(groups) / columns)
    figure, panels = new_figure(rows, columns, width_in=4.9, height_in=3.7)
    for axes, ((paper, work), group) in zip(panels.flat, groups):
        for row in group.to_dict("records"):
            ranks = [row[f"rank_{name}"] for name in accounts]
            moved = ranks[0] != ranks[-1]
            axes.plot(
                range(len(accounts)),
                ranks,
                color=OPERATOR_COLOURS[row["operator"]],
                linewidth=1.6 if moved else 0.8,
                alpha=1 if moved else 0.5,
                marker="o",
                markersize=3,
            )
            text = f"{row['network']} ({row['operator']})"
            axes.annotate(text, (len(accounts) - 1, ranks[-1]), xytext=(5, -2), textcoords="offset points", fontsize=6)
        axes.set_xticks(range(len(accounts)), [ACCOUNTING_NAMES[name] for name in accounts])
        axes.set_xlim(-0.2, len(accounts) + 0.35)
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.invert_yaxis()
        axes.set(title=f"{paper}, {work}", xlabel="accounting", ylabel="rank by energy (1 is the cheapest)")
    for axes in list(panels.flat)[len(groups) :]:
        axes.set_axis_off()
    handles = [panels.flat[0].plot([], [], color=c, label=n)[0] for n, c in OPERATOR_COLOURS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8)
    return figure


def relative_errors(errors: pd.DataFrame) -> Figure:
    """Relative error of every computed cell by table and quantity; green where the printed digits are met.

    Args:
        errors: table, quantity, relative_error_pct, matches_printed.
    """
    _need(errors, ["table", "quantity", "relative_error_pct", "matches_printed"], "relative errors")
    errors = errors.dropna(subset=["relative_error_pct"])
    rows = list(dict.fromkeys(zip(errors["table"], errors["quantity"])))
    figure, panels = new_figure(1, 1, width_in=6.8, height_in=0.8 + 0.24 * len(rows))
    axes = panels[0, 0]
    for met, colour, label in ((True, "#1b7f4d", "equals the printed digits"), (False, "#b3261e", "differs")):
        mine = errors[errors["matches_printed"].astype(bool) == met]
        places = [rows.index(key) for key in zip(mine["table"], mine["quantity"])]
        axes.scatter(mine["relative_error_pct"], places, s=18, color=colour, alpha=0.7, linewidths=0, label=label)
    axes.set_xscale("symlog", linthresh=1)
    reach = max(2.0, 1.3 * errors["relative_error_pct"].abs().max())
    ticks = [t for t in (-100, -10, -1, 0, 1, 10, 100) if abs(t) <= reach]
    axes.set_xticks(ticks, [f"{t:+d}" if t else "0" for t in ticks])
    axes.set_xlim(-reach, reach)
    axes.axvline(0, color=COLOURS["ink"], linewidth=0.8)
    axes.set_yticks(range(len(rows)), [f"{table}: {quantity}" for table, quantity in rows], fontsize=7)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set(xlabel="relative error (%), linear within 1 %", ylabel="table: quantity")
    figure.legend(fontsize=7, loc="outside lower center", ncols=2)
    return figure


def errors_of(comparisons: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Frame for `relative_errors` from long comparisons by table id: analytic cells that have both sides."""
    parts = []
    for table_id, frame in comparisons.items():
        mine = frame[(frame["role"] == "analytic") & frame["relative_error"].notna()]
        parts.append(
            pd.DataFrame(
                {
                    "table": table_id,
                    "quantity": mine["column"],
                    "published": mine["published"],
                    "ours": mine["ours"],
                    "relative_error_pct": 100 * mine["relative_error"],
                    "matches_printed": mine["matches_printed"],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def unit_energies(frame: pd.DataFrame) -> Figure:
    """Energy per operation by format and source.

    Args:
        frame: operation, number_format, energy_pj, source.
    """
    _need(frame, ["operation", "number_format", "energy_pj", "source"], "unit energies")
    formats = list(dict.fromkeys(frame["number_format"]))
    sources = list(dict.fromkeys(frame["source"]))
    operations = list(dict.fromkeys(frame["operation"]))
    figure, panels = new_figure(1, len(operations), width_in=2.7, height_in=2.8, share_y=True)
    for axes, operation in zip(panels.flat, operations):
        for index, source in enumerate(sources):
            mine = frame[(frame["operation"] == operation) & (frame["source"] == source)]
            places = [formats.index(name) + (index - 1.5) * 0.13 for name in mine["number_format"]]
            axes.scatter(places, mine["energy_pj"], s=24, color=SERIES[index], label=source)
        axes.set_xticks(range(len(formats)), formats)
        axes.set(title=operation, xlabel="number format", ylabel="energy per operation (pJ)", yscale="log")
        axes.set_xlim(-0.5, len(formats) - 0.5)
        plain_ticks(axes.yaxis)
    legend_below(figure, panels.flat[0], columns=2)
    return figure
