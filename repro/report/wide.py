"""Comparison tables that read across: one row per key, published and ours side by side, and the cells that differ."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from repro.errors import check_choice
from repro.report.compare import NOTES
from repro.report.published import printed_decimals
from repro.report.tables import (
    RenderedTable,
    harmless,
    heading,
    html_table,
    key_text,
    keys_of,
    markdown_table,
    ours_text,
    quantity,
    relative_text,
    run_label,
    spread_text,
)


def _row_note(note: str) -> str:
    """The part of a cell's note that belongs to its row."""
    return "; ".join(part for part in note.split("; ") if part not in NOTES.values())


def cell_parts(row: dict) -> tuple[str, str, str]:
    """(published, ours, state) of one compared cell; state is "match", "differs" or "absent".

    Ours has one digit more than is printed, and the relative error behind it where the column is analytic
    and the error is not 0.0 %.
    """
    if not row["ours_text"]:
        return row["published_text"] or "–", ours_text(row), "absent"
    ours = row["ours_text"] + spread_text(row)
    error = relative_text(row["relative_error"])
    if error not in ("", "0.0 %"):
        ours += f" ({error})"
    if pd.isna(row["matches_printed"]):
        return row["published_text"] or "–", ours, "absent"
    return row["published_text"], ours, "match" if row["matches_printed"] else "differs"


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
    units = dict(zip(compare_frame["column"], compare_frame["unit"]))
    rows, states = [], []
    for key, group in compare_frame.groupby(keys, sort=False, dropna=False):
        cells = {row["column"]: row for row in group.to_dict("records")}
        if not set(cells) & set(chosen):
            continue
        parts = [cell_parts(cells[name]) if name in cells else ("", "", "absent") for name in chosen]
        note = "; ".join(dict.fromkeys(filter(None, map(_row_note, group["note"]))))
        rows.append([*map(key_text, key), *(text for part in parts for text in part[:2]), note])
        states.append([*[""] * len(keys), *(name for part in parts for name in ("", part[2])), "note"])
    pairs = [(quantity(name, units[name]), side) for name in chosen for side in ("published", "ours")]
    names = pd.MultiIndex.from_tuples([*((name, "") for name in keys), *pairs, ("note", "")])
    table, classes = (pd.DataFrame(lines, columns=names, dtype=object) for lines in (rows, states))
    if not notes or not table[("note", "")].any():
        table, classes = table.iloc[:, :-1], classes.iloc[:, :-1]
    title = heading(compare_frame, label or run_label(compare_frame))
    flat = table.set_axis([", ".join(filter(None, name)) for name in table.columns], axis=1)
    return RenderedTable(html_table(table, title, classes), f"**{harmless(title)}**\n\n{markdown_table(flat)}\n")


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
                "quantity": quantity(row["column"], row["unit"]),
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
                "quantity": quantity(name, group["unit"].iloc[0]),
                "printed": len(printed),
                "computed": len(computed),
                "equal": int(computed["matches_printed"].sum()),
                "largest_error_pct": 100 * computed["relative_error"].abs().max(),
            }
        )
    return pd.DataFrame(rows, columns=["quantity", "printed", "computed", "equal", "largest_error_pct"])
