"""Pareto fronts over objectives with a direction, by pymoo.

An objective is a name with "min" or "max". Inside, everything is minimised: maximised columns change their sign.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from repro.errors import InputError, check_choice

DIRECTIONS = ("min", "max")


def as_minimised(points: pd.DataFrame, objectives: Mapping[str, str]) -> np.ndarray:
    """The objective columns as an (n, k) float array in which smaller is better.

    Raises: InputError when a column is missing, a direction unknown, or a value not finite.
    """
    if not objectives:
        raise InputError("objectives is empty; name at least one column with 'min' or 'max'.")
    columns = []
    for name, direction in objectives.items():
        check_choice("objective", name, points.columns)
        sign = 1.0 if check_choice(f"objectives[{name!r}]", direction, DIRECTIONS) == "min" else -1.0
        columns.append(sign * points[name].to_numpy(dtype=float))
    values = np.stack(columns, axis=1)
    if not np.isfinite(values).all():
        raise InputError(f"the columns {', '.join(objectives)} hold missing or infinite values; drop those rows first.")
    return values


def fronts(values: np.ndarray) -> list[np.ndarray]:
    """The non-dominated fronts of (n, k) finite values, smaller is better: row numbers, ascending in each front."""
    return [np.sort(members) for members in NonDominatedSorting().do(values)] if len(values) else []


def ranks(points: pd.DataFrame, objectives: Mapping[str, str]) -> np.ndarray:
    """Front number of every row: 0 for the Pareto front, 1 for the front of the rest, and so on."""
    found: np.ndarray = np.zeros(len(points), dtype=int)
    for rank, members in enumerate(fronts(as_minimised(points, objectives))):
        found[members] = rank
    return found


def front(points: pd.DataFrame, objectives: Mapping[str, str]) -> pd.DataFrame:
    """The rows that no other row dominates, sorted by the first objective; equal rows all stay.

    A row dominates another if it is at least as good in every objective and better in one.
    """
    best = points[ranks(points, objectives) == 0]
    return best.sort_values(next(iter(objectives)), kind="stable")
