"""The functions of claims over masked arrays (resamples, rows); a masked cell is an empty one and is skipped."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable

import numpy as np

SLACK = 1e-9  # a difference printed to two decimals is not exact in binary; far below any printed digit


def _reduced(name: str) -> Callable:
    """A masked array's own method over rows: masked cells are skipped, nothing left is masked."""

    def reduce(cells: np.ma.MaskedArray) -> np.ma.MaskedArray:
        padded = cells if cells.shape[1] else np.ma.masked_all((len(cells), 1), cells.dtype)
        return getattr(padded, name)(axis=1, keepdims=True)

    return reduce


def _extreme(name: str) -> Callable:
    """Over the cells of all arguments; masked where an argument has none."""
    reduce, choose = _reduced(name), {"min": np.ma.minimum, "max": np.ma.maximum}[name]
    return lambda *columns: functools.reduce(choose, map(reduce, columns))


def _monotone(test: Callable) -> Callable:
    def follow(cells: np.ma.MaskedArray) -> np.ma.MaskedArray:
        filled = [row.compressed() for row in cells]
        outcomes = [[bool(test(row[:-1], row[1:]).all())] for row in filled]
        return np.ma.array(outcomes, mask=[[not len(row)] for row in filled])

    return follow


def _round_half_up(cells: np.ma.MaskedArray, digits: np.ma.MaskedArray | float = 0.0) -> np.ma.MaskedArray:
    scale = 10.0**digits  # printed decimals are meant: 0.285 is held as 0.28499999999999998 and rounds up
    return np.sign(cells) * np.floor(abs(cells) * scale + 0.5 + SLACK) / scale


def _tau(a: np.ma.MaskedArray, b: np.ma.MaskedArray) -> np.ma.MaskedArray:
    """Kendall's tau-b over the rows where both are filled."""
    a, b = a + 0 * b, b + 0 * a  # of one shape, with one mask
    i, j = np.triu_indices(a.shape[1], 1)
    signs = [np.sign(column[:, i] - column[:, j]).filled(0) for column in (a, b)]
    concordance = (signs[0] * signs[1]).sum(1, keepdims=True)
    untied = [(sign != 0).sum(1, keepdims=True) for sign in signs]
    return concordance / np.ma.masked_equal(np.sqrt(untied[0] * untied[1]), 0)


def _printed(x, value, half_digit) -> np.ma.MaskedArray:
    """Is `x` on the side of 0 that the printed value is on, and does it round to it?"""
    return (np.sign(x) == np.sign(value)) & (abs(x - value) <= half_digit + SLACK)


def _given(condition: np.ma.MaskedArray, claim: np.ma.MaskedArray) -> np.ma.MaskedArray:
    """The claim where the condition holds; empty elsewhere."""
    return np.ma.array(claim.data, mask=np.ma.getmaskarray(claim) | ~condition.filled(False))


def dominated(cost, score, ref_cost, ref_score) -> np.ma.MaskedArray:
    """Per row: does some reference row cost no more and score no less, and one of the two strictly better?"""
    cheaper, better = ref_cost[:, None] - cost[:, :, None], ref_score[:, None] - score[:, :, None]
    return ((cheaper <= 0) & (better >= 0) & ((cheaper < 0) | (better > 0))).any(axis=2)


def of_texts(function: Callable, cells: np.ma.MaskedArray, kind: type) -> np.ma.MaskedArray:
    """A function of one text for every filled cell."""
    return np.ma.array(np.vectorize(function, otypes=[kind])(cells.filled("")), mask=np.ma.getmaskarray(cells))


def both(a: np.ma.MaskedArray, b: np.ma.MaskedArray) -> np.ma.MaskedArray:
    """`a and b`: a false side decides even where the other is empty."""
    false = ~(a.filled(True) & b.filled(True))
    return np.ma.array(~false, mask=(np.ma.getmaskarray(a) | np.ma.getmaskarray(b)) & ~false)


# name -> fewest and most arguments; a function over rows (one value left), or over joined columns, row by row;
# `printed` is also given half a unit of the last digit of its second argument
OVER_ROWS = {
    "all": (1, 1, _reduced("all")),
    "any": (1, 1, _reduced("any")),
    "min": (1, 9, _extreme("min")),
    "max": (1, 9, _extreme("max")),
    "mean": (1, 1, _reduced("mean")),
    "sum": (1, 1, _reduced("sum")),
    "increasing": (1, 1, _monotone(operator.lt)),
    "decreasing": (1, 1, _monotone(operator.gt)),
}
BY_ROW = {
    "abs": (1, 1, abs),
    "round": (1, 2, _round_half_up),
    "approx": (3, 3, lambda a, b, tolerance: abs(a - b) <= tolerance + SLACK),
    "within": (3, 3, lambda x, low, high: (x >= low - SLACK) & (x <= high + SLACK)),
    "equivalent": (3, 3, lambda a, b, margin: abs(a - b) < margin),
    "printed": (2, 2, _printed),
    "given": (2, 2, _given),
}
JOINED = {  # columns joined row by row, one value left
    "tau": (2, 2, _tau),
    "gain": (2, 2, lambda a, b: _reduced("mean")(a - b) > 0),
}
OTHER = {
    "count": (1, 1, None),
    "dominated": (4, 4, None),
    "noptions": (1, 1, None),
    "startswith": (2, 9, None),
    "subset": (3, 3, None),
    "in_table": (2, 2, None),
}
FUNCTIONS = OVER_ROWS | BY_ROW | JOINED | OTHER
