"""Lines our data frames up with a published table: same rows in the same order, several seeds per cell.

A frame of ours may come in three forms, mixed at will:

- one row per key and seed, with a column `seed`;
- one row per key (one run, or a value that needs no run);
- one row per key with `<column>_mean` and `<column>_std` (or, before the unit, `accuracy_mean_pct`), and `n_seeds`.

Columns and rows may be missing. Beside the published columns a frame may hold `seed`, `search_seed` (of the search that
found the row's network), `n_seeds`, `preset`, `dataset`,
`note`, `<column>_low` / `<column>_high` (an interval) and counts `n_*`. `frame.attrs` may hold `preset`, `dataset` and
`stands_for`, a mapping from a data set of ours to the one in whose rows it is to be read, e.g.
{"fashion-mnist": "CIFAR10"}.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pandas as pd

from repro.errors import InputError, check_choice, nearest
from repro.report.published import ColumnSpec, TableSpec, published, table_spec, unit

_BESIDE = ("seed", "search_seed", "n_seeds", "preset", "dataset", "note")
_SPREADS = ("mean", "std", "low", "high")


@dataclass
class Cell:
    """What we have for one cell: values per seed, or mean and std of `n` seeds, or a text; empty if not run."""

    values: list[float] = field(default_factory=list)
    given_std: float | None = None
    given_n: int | None = None
    text: str | None = None
    texts: int = 0

    @property
    def filled(self) -> bool:
        """Whether there is anything in the cell."""
        return bool(self.values) or self.text is not None

    @property
    def n(self) -> int:
        """Number of seeds behind the cell; 0 if it is empty."""
        return self.given_n or (self.texts if self.text is not None else len(self.values))

    @property
    def mean(self) -> float:
        """Mean over seeds, nan if empty or text."""
        return math.fsum(self.values) / len(self.values) if self.values else math.nan

    @property
    def std(self) -> float:
        """Sample standard deviation over seeds (n - 1), as given or computed; nan with fewer than two seeds."""
        if self.given_std is not None:
            return self.given_std
        if len(self.values) < 2:
            return math.nan
        mean = self.mean
        return math.sqrt(math.fsum((value - mean) ** 2 for value in self.values) / (len(self.values) - 1))


@dataclass
class Conformed:
    """Our results in the rows of a published table.

    keys: key tuples in published order, then those of data sets that the paper does not have.
    cells: metric column -> one Cell per key.  notes: one text per key.
    preset, dataset: of the run, where known.  stands_for: as the frame declares it.
    """

    spec: TableSpec
    keys: list[tuple]
    n_published: int
    cells: dict[str, list[Cell]]
    notes: list[str]
    preset: str | None
    dataset: str | None
    stands_for: dict[str, str]


def is_empty(value: object) -> bool:
    """Whether a cell of a data frame holds nothing: None, NaN, NA or ''."""
    if isinstance(value, str):
        return value == ""
    return value is None or bool(pd.isna(value))


def folded(name: str) -> str:
    """A data set's name without case, hyphen, underscore and space: cifar10 and CIFAR-10 are the same."""
    return re.sub(r"[-_\s]", "", str(name)).casefold()


def spread_names(column: str, spread: str) -> list[str]:
    """Accepted names of a column's mean, std, low or high: after the name or before its unit."""
    suffix = next((f"_{part}" for part in column.rsplit("_", 1)[1:] if unit(column)), "")
    names = [f"{column}_{spread}"]
    if suffix:
        names.append(f"{column[: -len(suffix)]}_{spread}{suffix}")
    return names


def _known_columns(spec: TableSpec) -> set[str]:
    spreads = {name for column in spec.metrics for spread in _SPREADS for name in spread_names(column, spread)}
    return set(spec.columns) | set(_BESIDE) | spreads


def _check_columns(spec: TableSpec, ours: pd.DataFrame) -> None:
    if not isinstance(ours, pd.DataFrame):
        raise InputError(f"ours={type(ours).__name__} is not allowed; it must be a pandas DataFrame.")
    known = _known_columns(spec)
    for name in ours.columns:
        if name not in known and not str(name).startswith("n_"):
            shown = ", ".join([*spec.columns, *_BESIDE])
            raise InputError(
                f"column {name!r} of ours does not belong to {spec.table_id}; allowed are: {shown}, and "
                f"*_mean, *_std, *_low, *_high of a metric.{nearest(str(name), known)}"
            )
    missing = [
        name for name in spec.key if name not in ours.columns and not (name == "dataset" and "dataset" in ours.attrs)
    ]
    if missing:
        raise InputError(
            f"ours lacks the key column{'s' if len(missing) > 1 else ''} {', '.join(missing)} of {spec.table_id}; "
            f"its key is {', '.join(spec.key)}."
        )


def _key_value(value: object, column: ColumnSpec) -> object:
    if is_empty(value):
        return None
    if column.numeric:
        try:
            return float(value)
        except (TypeError, ValueError):
            raise InputError(
                f"{column.name}={value!r} is not allowed; the key column {column.name} holds numbers."
            ) from None
    return str(value)


def published_keys(table_id: str) -> list[tuple]:
    """Key tuples of a published table in printed order; numbers as float, an empty cell as None."""
    spec, frame = table_spec(table_id), published(table_id)
    return [tuple(_key_value(row[name], spec.columns[name]) for name in spec.key) for _, row in frame.iterrows()]


class _Keys:
    """Translates the key of a row of ours into that of the published table, or refuses it in one sentence."""

    def __init__(self, spec: TableSpec, stands_for: dict[str, str]):
        self.spec = spec
        self.stands_for = {folded(ours): paper for ours, paper in stands_for.items()}
        self.published = published_keys(spec.table_id)
        self.known = set(self.published)
        self.values = {name: list(dict.fromkeys(key[i] for key in self.published)) for i, name in enumerate(spec.key)}

    def dataset(self, name: str) -> tuple[str, bool]:
        """The published spelling of a data set, and whether the table has rows for it."""
        name = self.stands_for.get(folded(name), name)
        for known in self.values["dataset"]:
            if folded(known) == folded(name):
                return known, True
        return name, False

    def translate(self, raw: dict[str, object]) -> tuple[tuple, bool]:
        """The key tuple and whether the published table has it (a foreign data set is the one reason it may not)."""
        key, foreign = [], False
        for name in self.spec.key:
            value = _key_value(raw[name], self.spec.columns[name])
            if name == "dataset" and value is not None:
                value, found = self.dataset(value)
                foreign = foreign or not found
            elif value not in self.values[name]:
                allowed = [f"{v:g}" if isinstance(v, float) else str(v) for v in self.values[name]]
                shown = f"{value:g}" if isinstance(value, float) else str(value)
                check_choice(f"{name} in a row of {self.spec.table_id}", shown, allowed)
            key.append(value)
        key = tuple(key)
        if not foreign and key not in self.known:
            shown = ", ".join(f"{name}={value}" for name, value in zip(self.spec.key, key))
            raise InputError(f"{self.spec.table_id} has no row with {shown}; each value occurs, but not together.")
        return key, not foreign


def row_finder(table_id: str, ours: pd.DataFrame) -> Callable[[dict], int | None]:
    """A function from a row of ours, or of a frame that belongs to it, to the number of the published row it fills.

    It gives None for a data set that the paper does not have.
    """
    keys = _Keys(table_spec(table_id), dict(ours.attrs.get("stands_for", {})))
    places = {key: number for number, key in enumerate(keys.published)}

    def find(row: dict) -> int | None:
        raw = {name: row.get(name, ours.attrs.get("dataset") if name == "dataset" else None) for name in keys.spec.key}
        return places.get(keys.translate(raw)[0])

    return find


def _add_row(cells: dict[str, Cell], row: dict, spec: TableSpec) -> None:
    """Put one row of ours into the cells of its key; the spread of a single run says nothing and is left out."""
    one_run = not is_empty(row.get("seed")) or row.get("n_seeds") == 1
    for name in spec.metrics:
        column = spec.columns[name]
        twin = name.replace("_std", "_mean")
        if one_run and twin != name and twin in spec.columns:
            continue
        value = row.get(name)
        if is_empty(value):
            value = next((row[alias] for alias in spread_names(name, "mean") if not is_empty(row.get(alias))), None)
        if is_empty(value):
            continue
        cell = cells[name]
        if not column.numeric:
            cell.texts += 1
            cell.text = str(value) if cell.text in (None, str(value)) else _worst_status(cell.text, str(value), column)
            continue
        try:
            cell.values.append(float(value))
        except (TypeError, ValueError):
            raise InputError(
                f"{name}={value!r} in a row of ours is not a number; {spec.table_id} has numbers there."
            ) from None
        if not is_empty(row.get("n_seeds")):
            cell.given_n = int(row["n_seeds"])
        std = next((row[alias] for alias in _std_names(name, spec) if not is_empty(row.get(alias))), None)
        if std is not None and not one_run:
            cell.given_std = float(std)


def _std_names(column: str, spec: TableSpec) -> list[str]:
    names = spread_names(column, "std")
    if "_mean" in column and column.replace("_mean", "_std") in spec.columns:
        names.append(column.replace("_mean", "_std"))
    return names


def _worst_status(first: str, second: str, column: ColumnSpec) -> str:
    """Of two seeds' outcomes the worse one counts; other texts must agree."""
    if column.role == "status":
        order = {"ok": 0, "not_converged": 1, "diverged": 2}
        return max(first, second, key=lambda status: order.get(status, 3))
    raise InputError(
        f"{column.name} is both {first!r} and {second!r} for one key of ours; it must be the same for every seed."
    )


def _finish(cells: dict[str, Cell], spec: TableSpec) -> None:
    """Several rows per key carry their own spread; a printed deviation is then the deviation over seeds."""
    for name, cell in cells.items():
        if len(cell.values) > 1:
            cell.given_std = cell.given_n = None
        twin = name.replace("_std", "_mean")
        if twin != name and twin in spec.columns and not cell.filled and not math.isnan(cells[twin].std):
            cell.values = [cells[twin].std]
            cell.given_n = cells[twin].n


def _rank(order: dict[tuple, dict[str, Cell]], spec: TableSpec, listed: list[tuple]) -> None:
    """Ranks follow from the means over seeds, where all means are there."""
    descriptors = published(spec.table_id)
    for name, column in spec.columns.items():
        if not column.rank_of:
            continue
        families = descriptors[column.within].tolist()
        for family in dict.fromkeys(families):
            cells = [order[key] for key, member in zip(listed, families) if member == family]
            means = [cell[column.rank_of].mean for cell in cells]
            if not any(map(math.isnan, means)):
                for cell, mean in zip(cells, means):
                    rank = 1.0 + sum(other > mean for other in means)
                    cell[name] = Cell([rank], given_n=cell[column.rank_of].n)


def _first(values: Iterable[object]) -> str | None:
    return next((str(value) for value in values if not is_empty(value)), None)


def conform(table_id: str, ours: pd.DataFrame) -> Conformed:
    """Our results in the rows of a published table, missing rows and columns left empty.

    Raises InputError in one sentence for an unknown column or key value, or for several rows of one key and seed.
    """
    spec = table_spec(table_id)
    _check_columns(spec, ours)
    stands_for = dict(ours.attrs.get("stands_for", {}))
    keys = _Keys(spec, stands_for)
    order: dict[tuple, dict[str, Cell]] = {key: {name: Cell() for name in spec.metrics} for key in keys.published}
    notes = dict.fromkeys(keys.published, "")
    seen: set[tuple] = set()
    for row in ours.to_dict("records"):
        raw = {name: row.get(name, ours.attrs.get("dataset") if name == "dataset" else None) for name in spec.key}
        key, _ = keys.translate(raw)
        seed, search = (None if is_empty(row.get(name)) else row[name] for name in ("seed", "search_seed"))
        if (key, seed, search) in seen:
            shown = ", ".join(f"{name}={value}" for name, value in zip(spec.key, key))
            why = "a column `seed` must tell them apart" if seed is None else f"both have seed={seed}"
            raise InputError(f"ours has several rows with {shown}; {why}.")
        seen.add((key, seed, search))
        cells = order.setdefault(key, {name: Cell() for name in spec.metrics})
        _add_row(cells, row, spec)
        note = row.get("note")
        if not is_empty(note) and str(note) not in notes.setdefault(key, ""):
            notes[key] = f"{notes[key]}; {note}".lstrip("; ")
    for cells in order.values():
        _finish(cells, spec)
    _rank(order, spec, keys.published)
    listed = list(order)
    in_column = {name: ours[name] if name in ours.columns else [] for name in ("preset", "dataset")}
    return Conformed(
        spec=spec,
        keys=listed,
        n_published=len(keys.published),
        cells={name: [order[key][name] for key in listed] for name in spec.metrics},
        notes=[notes.get(key, "") for key in listed],
        preset=_first([ours.attrs.get("preset"), *in_column["preset"]]),
        dataset=_first([ours.attrs.get("dataset"), *in_column["dataset"]]),
        stands_for=stands_for,
    )
