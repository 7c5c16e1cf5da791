"""Published numbers beside ours: joined on the table's key, with spread, difference and relative error."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Decimal

import pandas as pd

from repro.report.conform import Cell, Conformed, conform
from repro.report.published import ColumnSpec, printed_decimals, published_text, unit

LONG_COLUMNS = (
    "column",
    "unit",
    "role",
    "published",
    "published_text",
    "ours",
    "ours_text",
    "std",
    "n_seeds",
    "difference",
    "relative_error",
    "matches_printed",
    "note",
)


NOTES = {
    "not run": "not run",
    "one seed": "one seed has no spread",
    "no row": "the paper has no row for this data set",
    "no value": "the paper prints no value",
}


def shown_number(value: float, printed: str) -> str:
    """A number of ours with one digit more than is printed, three decimals where nothing is; '' for NaN."""
    if not math.isfinite(value):
        return ""
    decimals = printed_decimals(printed)
    return f"{value:z.{3 if decimals is None else decimals + 1}f}"


def shown_small(value: float, printed: str) -> str:
    """As `shown_number`, with decimals enough for two digits that count: 0.0019 where the paper has 1.52.

    What is below 1e-9 is the rounding of a zero and is shown as one.
    """
    text = shown_number(value, printed)
    if not text or not 1e-9 <= abs(value) < 1:
        return text
    return max(text, f"{value:.{1 - math.floor(math.log10(abs(value)))}f}", key=len)


def matches_printed(value: float, printed: str) -> bool:
    """Whether `value`, rounded half up to the printed number of digits, is the printed number."""
    decimals = printed_decimals(printed)
    if decimals is None or not math.isfinite(value):
        return False
    step = Decimal(1).scaleb(-decimals)
    # repr() is the shortest decimal that is this float, so 0.285 rounds as it is read, not as it is stored.
    return Decimal(repr(float(value))).quantize(step, ROUND_HALF_UP) == Decimal(printed).quantize(step)


def _relative_error(ours: float, published: float) -> float:
    if published == 0:
        return 0.0 if ours == 0 else math.nan
    return (ours - published) / published


def _cell_note(cell: Cell, printed: str | None, note: str, lone: bool) -> str:
    parts = []
    if not cell.filled:
        parts.append(NOTES["one seed" if lone else "not run"])
    if printed is None:
        parts.append(NOTES["no row"])
    elif printed == "" and cell.filled:
        parts.append(NOTES["no value"])
    return "; ".join([*parts, note] if note else parts)


def _ours_text(cell: Cell, printed: str, column: ColumnSpec) -> str:
    if column.type != "number" and cell.mean.is_integer():
        return f"{cell.mean:z.0f}"
    return cell.text or shown_small(cell.mean, printed)


def _compare_cell(cell: Cell, printed: str | None, column: ColumnSpec, note: str, lone: bool) -> dict:
    """One row of the comparison; `lone`: the column is the deviation of one that has a single seed."""
    number = printed_decimals(printed or "") is not None and column.numeric
    published = float(printed) if number else math.nan
    ours = cell.mean
    both = number and not math.isnan(ours)
    matches: bool | None = None
    if both:
        matches = matches_printed(ours, printed)
    elif not column.numeric and cell.filled and printed:
        matches = cell.text == printed
    return {
        "column": column.name,
        "unit": unit(column.name),
        "role": column.role,
        "published": published,
        "published_text": printed or "",
        "ours": ours,
        "ours_text": _ours_text(cell, printed or "", column),
        "std": cell.std,
        "n_seeds": cell.n,
        "difference": ours - published if both else math.nan,
        "relative_error": _relative_error(ours, published) if both and column.role == "analytic" else math.nan,
        "matches_printed": matches,
        "note": _cell_note(cell, printed, note, lone),
    }


def compare_conformed(conformed: Conformed) -> pd.DataFrame:
    """The long comparison of results that are already lined up; see `compare`."""
    spec = conformed.spec
    text = published_text(spec.table_id)
    rows = []
    for i, key in enumerate(conformed.keys):
        for name in spec.metrics:
            cell = conformed.cells[name][i]
            printed = text[name].iloc[i] if i < conformed.n_published else None
            if not cell.filled and not printed:
                continue
            twin = conformed.cells.get(name.replace("_std", "_mean"))
            lone = not cell.filled and twin is not None and twin[i].filled
            compared = _compare_cell(cell, printed, spec.columns[name], conformed.notes[i], lone)
            rows.append(dict(zip(spec.key, key)) | compared)
    frame = pd.DataFrame(rows, columns=[*spec.key, *LONG_COLUMNS])
    frame["matches_printed"] = frame["matches_printed"].astype("boolean")
    for name in spec.key:
        if spec.columns[name].type in ("integer", "flag") and frame[name].notna().all():
            frame[name] = frame[name].astype("int64")
    frame.attrs.update(table_id=spec.table_id, preset=conformed.preset, dataset=conformed.dataset)
    return frame


def compare(table_id: str, ours: pd.DataFrame) -> pd.DataFrame:
    """Published beside ours, one row per key and metric column.

    Args:
        table_id: a published table, e.g. 'acghostnet_t06'.
        ours: our results in the table's schema; rows and columns may be missing, see `repro.report.conform`.
    Returns:
        published and ours as numbers, published_text and ours_text to show (numbers and definitions alike; '' where
        there is none), std (NaN for fewer than two seeds) and n_seeds of ours, difference ours - published,
        relative_error for analytic columns only, matches_printed (equal after rounding to the printed digits; NA where
        one side is missing) and note ('not run', ...).
    Raises: InputError, one sentence, for an unknown table, column or key value.
    """
    return compare_conformed(conform(table_id, ours))
