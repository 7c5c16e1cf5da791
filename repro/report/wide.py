"""Comparison tables that read across: one row per key, published and ours side by side, and the cells that differ."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import pandas as pd

from repro.errors import InputError, check_choice
from repro.report.board import markdown_table
from repro.report.compare import LONG_COLUMNS
from repro.report.figures import RenderedTable
from repro.report.published import printed_decimals

_STYLE = {
    "match": "white-space:nowrap;color:#1b7f4d",
    "differs": "white-space:nowrap;color:#b3261e",
    "absent": "white-space:nowrap;color:#6b7280",
}
NOT_RUN = "not run"


def keys_of(compare_frame: pd.DataFrame) -> list[str]:
    """Key columns of a long comparison. Raises: InputError if it is not one."""
    absent = [name for name in LONG_COLUMNS if name not in compare_frame.columns]
    if absent:
        raise InputError(f"compare_frame has no column {absent[0]!r}; it must be the long layout of compare().")
    return [name for name in compare_frame.columns if name not in LONG_COLUMNS]


def _row_note(note: str) -> str:
    """The part of a cell's note that belongs to its row."""
    general = (NOT_RUN, "the paper prints no value", "the paper has no row for this data set")
    return "; ".join(part for part in note.split("; ") if part not in general)


def cell_parts(row: dict) -> tuple[str, str, str]:
    """(published, ours, state) of one compared cell; state is "match", "differs" or "absent".

    Ours has one digit more than is printed, and the relative error behind it where the column is analytic
    and the error is not 0.0 %.
    """
    decimals = printed_decimals(row["published_text"])
    decimals = 2 if decimals is None else decimals
    shown = decimals if row["role"] == "definition" else decimals + 1
    ours = f"{row['ours']:.{shown}f}" if math.isfinite(row["ours"]) else row["ours_text"]
    if not ours:
        return row["published_text"] or "–", NOT_RUN, "absent"
    if math.isfinite(row["std"]) and row["n_seeds"] > 1:
        ours += f" ± {row['std']:.{decimals + 1}f}"
    if math.isfinite(row["relative_error"]) and row["relative_error"]:
        error = f"{100 * row['relative_error']:+.1f}"
        ours += f" ({error} %)" if float(error) else ""
    if pd.isna(row["matches_printed"]):
        return row["published_text"] or "–", ours, "absent"
    return row["published_text"], ours, "match" if row["matches_printed"] else "differs"


def _header(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def render_wide(
    compare_frame: pd.DataFrame, columns: Sequence[str] | None = None, label: str = "", notes: bool = True
) -> RenderedTable:
    """A long comparison (from `compare`) with one row per key and a pair of columns per metric.

    Ours is green where it rounds to the printed digits and red where it does not.

    Args:
        compare_frame: what `compare(table_id, ours)` returned.
        columns: metrics to show, in this order (default: all).
        label: what ours is; by default preset and data set of the frame.
        notes: whether to append each row's note.
    Raises: InputError for an unknown column.
    """
    keys, known = keys_of(compare_frame), list(dict.fromkeys(compare_frame["column"]))
    chosen = [check_choice("column", name, known) for name in (known if columns is None else columns)]
    about = [str(compare_frame.attrs.get(name) or "") for name in ("preset", "dataset")]
    label = label or ", ".join(part for part in about if part) or "no run"
    units = dict(zip(compare_frame["column"], compare_frame["unit"]))
    lines, plain = [], []
    for key, group in compare_frame.groupby(keys, sort=False, dropna=False):
        cells = {row["column"]: row for row in group.to_dict("records")}
        if not set(cells) & set(chosen):
            continue
        parts = [cell_parts(cells[name]) if name in cells else ("", "", "absent") for name in chosen]
        note = "; ".join(dict.fromkeys(filter(None, map(_row_note, group["note"])))) if notes else ""
        lines.append((key, parts, note))
        plain.append([*key, *(text for part in parts for text in part[:2]), note])
    shown = any(note for *_, note in lines)
    title = f"{compare_frame.attrs.get('table_id', '')}: published and ours ({label})"
    headers = [_header(name, units[name]) for name in chosen]
    names = [*keys, *(f"{name}, {side}" for name in headers for side in ("published", "ours")), "note"]
    table = pd.DataFrame(plain, columns=names)
    text = markdown_table(table if shown else table.drop(columns="note"))
    return RenderedTable(_html(title, keys, headers, lines, shown), f"**{title}**\n\n{text}\n")


def _html(title: str, keys: list[str], headers: list[str], lines: list, shown: bool) -> str:
    top = "".join(f'<th rowspan="2">{html.escape(name)}</th>' for name in keys)
    top += "".join(f'<th colspan="2" style="text-align:center">{html.escape(name)}</th>' for name in headers)
    top += '<th rowspan="2" style="text-align:left">note</th>' if shown else ""
    second = "<th>published</th><th>ours</th>" * len(headers)
    body = []
    for key, parts, note in lines:
        cells = "".join(f'<td style="white-space:nowrap">{html.escape(str(value))}</td>' for value in key)
        for published, ours, state in parts:
            cells += f'<td>{html.escape(published)}</td><td style="{_STYLE[state]}">{html.escape(ours)}</td>'
        cells += f'<td style="text-align:left;min-width:20em">{html.escape(note)}</td>' if shown else ""
        body.append(f"<tr>{cells}</tr>")
    return (
        f'<div style="overflow-x:auto"><table style="font-size:12px"><caption>{html.escape(title)}</caption>\n'
        f"<thead><tr>{top}</tr><tr>{second}</tr></thead>\n"
        "<tbody>\n" + "\n".join(body) + "\n</tbody></table></div>"
    )


def mismatches(compare_frame: pd.DataFrame) -> pd.DataFrame:
    """Analytic and definition cells of ours that do not round to the printed value, the largest error first.

    Columns: the table's key, quantity, published, ours, relative_error_pct, last_digits (difference in units of the
    last printed digit) and explanation: the row's note, or that no more than rounding is behind it.
    """
    keys = keys_of(compare_frame)
    differs = (compare_frame["matches_printed"] == False) & compare_frame["role"].isin(  # noqa: E712  (NA stays out)
        ["analytic", "definition"]
    )
    rows = []
    for row in compare_frame[differs.fillna(False)].to_dict("records"):
        decimals = printed_decimals(row["published_text"])
        off = abs(row["difference"]) * 10**decimals if decimals is not None else math.nan
        note = _row_note(row["note"])
        if not note:
            note = "at most one unit of the last printed digit" if off <= 1 else "not explained"
        rows.append(
            {name: row[name] for name in keys}
            | {
                "quantity": _header(row["column"], row["unit"]),
                "published": row["published_text"],
                "ours": cell_parts(row)[1].split(" (")[0],
                "relative_error_pct": 100 * row["relative_error"],
                "last_digits": off,
                "explanation": note,
            }
        )
    columns = [*keys, "quantity", "published", "ours", "relative_error_pct", "last_digits", "explanation"]
    table = pd.DataFrame(rows, columns=columns)
    order = table["relative_error_pct"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def agreement(compare_frame: pd.DataFrame) -> pd.DataFrame:
    """Per analytic or definition column: cells printed, computed here, equal to the printed digits, largest error.

    Columns: quantity, printed, computed, equal, largest_error_pct.
    """
    rows = []
    mine = compare_frame[compare_frame["role"].isin(["analytic", "definition"])]
    for name, group in mine.groupby("column", sort=False):
        printed = group[group["published_text"] != ""]
        computed = printed[printed["matches_printed"].notna()]
        rows.append(
            {
                "quantity": _header(name, group["unit"].iloc[0]),
                "printed": len(printed),
                "computed": len(computed),
                "equal": int(computed["matches_printed"].sum()),
                "largest_error_pct": 100 * computed["relative_error"].abs().max(),
            }
        )
    return pd.DataFrame(rows, columns=["quantity", "printed", "computed", "equal", "largest_error_pct"])
