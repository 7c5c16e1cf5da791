"""Our rows against the committed reference record of the same table, preset and data set, cell by cell."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from repro.report.conform import is_empty, spread_names
from repro.report.published import table_ids, table_spec
from repro.report.records import latest
from repro.report.rounding import tidy

RESULTS = ("same", "within noise", "different")
NO_REFERENCE = "no reference record for this preset and data set"
NOISE = 2.0
"""Standard errors between two means that noise explains."""
_BESIDE = ("seed", "n_seeds", "preset", "dataset", "note")


@dataclass(frozen=True)
class _Side:
    """One cell of one side: value by seed, or one value with the spread and number of the seeds it is the mean of."""

    values: dict
    std: float
    n: int

    @property
    def shown(self) -> object:
        """The value that all seeds share, else the mean of the numbers, or the texts."""
        distinct = list(dict.fromkeys(self.values.values()))
        if len(distinct) == 1:
            return distinct[0]
        if any(isinstance(value, str) for value in distinct):
            return "; ".join(map(str, distinct))
        return math.fsum(self.values.values()) / len(self.values)


def compare_with_reference(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """How our rows stand to the committed reference record.

    Args:
        frame: rows of a table or figure, one per key and seed or one per key; attrs table_id, preset and dataset.
    Returns:
        (cells, summary). One row per key and column that both sides fill: the key, `column`, `yours`, `reference`
        (means over seeds) and `result`: 'same' (equal as rounded, on the seeds that both have), 'within noise' (the
        means are less than two standard errors apart, by the spread over seeds pooled from both sides) or 'different'.
        The summary is one line; without a reference record the frame is empty and the line says so.
    """
    attrs = frame.attrs
    record = latest(attrs["table_id"], attrs["preset"], attrs["dataset"])
    if record is None:
        return pd.DataFrame(columns=["column", "yours", "reference", "result"]), NO_REFERENCE
    yours, reference = tidy(frame), tidy(record.frame)
    key = _key(attrs["table_id"], reference)
    metrics = [name for name in _metrics(attrs["table_id"], reference, key) if name in yours.columns]
    ours, theirs = _sides(yours, key, metrics), _sides(reference, key, metrics)
    shared = [place for place in theirs if place in ours]
    rows = [
        dict(zip([*key, "column"], place))
        | {"yours": ours[place].shown, "reference": theirs[place].shown, "result": _judge(ours[place], theirs[place])}
        for place in shared
    ]
    cells = pd.DataFrame(rows, columns=[*key, "column", "yours", "reference", "result"])
    return cells, _summary(cells, alone=len(set(ours) ^ set(theirs)))


def _key(table_id: str, frame: pd.DataFrame) -> list[str]:
    """The declared key of a table; of a figure the first columns that tell the rows of one seed apart."""
    if table_id in table_ids():
        return [name for name in table_spec(table_id).key if name in frame.columns]
    names = [name for name in frame.columns if name not in _BESIDE]
    for count in range(1, len(names)):
        if not frame.duplicated([*names[:count], *frame.columns.intersection(["seed"])]).any():
            return names[:count]
    return names


def _metrics(table_id: str, frame: pd.DataFrame, key: list[str]) -> list[str]:
    """The columns to compare: what runs fill, but for spreads, which say how far noise reaches."""
    declared = table_spec(table_id).metrics if table_id in table_ids() else frame.columns
    spreads = {alias for name in declared for alias in _std_names(name)}
    means = [
        name for name in frame.columns if name in declared or any(name in spread_names(c, "mean") for c in declared)
    ]
    return [name for name in means if name not in (*key, *_BESIDE) and name not in spreads]


def _std_names(column: str) -> list[str]:
    twin = [column.replace("_mean", "_std")] if "_mean" in column else []
    return [*spread_names(column, "std"), *twin]


def _sides(frame: pd.DataFrame, key: list[str], metrics: list[str]) -> dict[tuple, _Side]:
    """Cell by (*key values, column) of what is filled."""
    found: dict[tuple, _Side] = {}
    for row in frame.to_dict("records"):
        for name in metrics:
            if is_empty(row[name]):
                continue
            place = (*("" if is_empty(row[part]) else row[part] for part in key), name)
            given = next((row[alias] for alias in _std_names(name) if not is_empty(row.get(alias))), math.nan)
            count = 1 if is_empty(row.get("n_seeds")) else int(row["n_seeds"])
            side = found.setdefault(place, _Side({}, float(given), count))
            side.values["" if is_empty(row.get("seed")) else row["seed"]] = row[name]
    return {place: _with_spread(side) for place, side in found.items()}


def _with_spread(side: _Side) -> _Side:
    numbers = [value for value in side.values.values() if not isinstance(value, str)]
    if len(numbers) < 2:
        return side
    return _Side(side.values, float(pd.Series(numbers, dtype="float64").std()), len(numbers))


def _judge(ours: _Side, theirs: _Side) -> str:
    common = set(ours.values) & set(theirs.values)
    if ours.shown == theirs.shown or (common and all(ours.values[seed] == theirs.values[seed] for seed in common)):
        return "same"
    if isinstance(ours.shown, str) or isinstance(theirs.shown, str):
        return "different"
    return "within noise" if abs(ours.shown - theirs.shown) < NOISE * _standard_error(ours, theirs) else "different"


def _standard_error(ours: _Side, theirs: _Side) -> float:
    """Of the difference of the two means, the variance over seeds pooled; nan if no side has two seeds."""
    spreads = [(side.std**2 * (side.n - 1), side.n - 1) for side in (ours, theirs) if side.n > 1]
    freedom = sum(count for _, count in spreads)
    if not freedom:
        return math.nan
    return math.sqrt(sum(square for square, _ in spreads) / freedom * (1 / ours.n + 1 / theirs.n))


def _summary(cells: pd.DataFrame, alone: int) -> str:
    counts = cells["result"].value_counts()
    told = ", ".join(f"{counts.get(result, 0)} {result}" for result in RESULTS)
    beside = f", {alone} on one side only" if alone else ""
    return f"yours against the reference: {len(cells)} cells, {told}{beside}"
