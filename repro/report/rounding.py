"""Numbers of a result frame as they are stored and shown: no digits beyond what was counted or measured.

Where a number becomes text, the format has a `z` ("z.1f"): what rounds to zero has no minus.
"""

from __future__ import annotations

import math

import pandas as pd

from repro.report.published import TableSpec, table_ids, table_spec

DECIMALS = {"_pct": 4, "_m": 6, "_g": 9}
"""Decimals by unit: a count in millions or billions keeps its last single operation."""
DIGITS = 8
"""Significant digits of every other number."""
DIGITS_OF_DRAWS = 5
"""Those of resamples: the spread of thousands is asked of them, not their values."""


def tidy(frame: pd.DataFrame, digits: int = DIGITS) -> pd.DataFrame:
    """The frame with numbers rounded, whole numbers whole, and no spread where there is one seed.

    Args:
        frame: rows of a table or figure; `attrs["table_id"]` says which columns its schema declares whole.
        digits: significant ones of numbers without decimals of their unit.
    Returns: a copy with the same attrs. Whole columns are int64, Int64 where cells are empty. Texts stay as they are.
    """
    spec = _spec(frame)
    rounded = frame.copy()
    for name in frame.columns:
        numbers = _numbers(frame[name])
        if numbers is None:
            continue
        if _is_spread(name) and "n_seeds" in frame.columns:
            numbers = numbers.mask(pd.to_numeric(frame["n_seeds"]) < 2)
        if _is_whole(str(name), spec) and (numbers.dropna() % 1 == 0).all():
            rounded[name] = numbers.astype("Int64" if numbers.isna().any() else "int64")
        elif not pd.api.types.is_integer_dtype(numbers):
            rounded[name] = numbers.astype("float64").map(lambda value, name=name: _round(value, str(name), digits))
    rounded.attrs = dict(frame.attrs)
    return rounded


def _spec(frame: pd.DataFrame) -> TableSpec | None:
    table_id = frame.attrs.get("table_id")
    return table_spec(table_id) if table_id in table_ids() else None


def _numbers(column: pd.Series) -> pd.Series | None:
    """The column if it holds numbers (None is an empty cell), else None."""
    if column.dtype == object and all(isinstance(value, int | float) for value in column.dropna()):
        column = column.astype("float64")
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        return None
    return column


def _is_spread(name: str) -> bool:
    return "_std_" in f"{name}_"


def _is_whole(name: str, spec: TableSpec | None) -> bool:
    declared = spec is not None and name in spec.columns and spec.columns[name].type in ("integer", "flag")
    return declared or name == "seed" or name.endswith("_rank") or name.startswith("n_")


def _round(value: float, name: str, digits: int) -> float:
    if not math.isfinite(value):
        return value
    decimals = next((decimals for suffix, decimals in DECIMALS.items() if name.endswith(suffix)), None)
    rounded = round(value, decimals) if decimals is not None else float(f"{value:.{digits}g}")
    return rounded + 0.0  # -0.0 becomes 0.0
