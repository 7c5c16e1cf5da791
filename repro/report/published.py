"""The papers' printed numbers as read-only data, typed as schema.json declares.

Files in data/published/: one CSV per table, index.csv, figures.csv, claims.csv, criteria.csv and schema.json.
Numbers enter the package here and nowhere else, and only to be compared with ours. The tests check every file
against the schema; reading checks no more than that a file is there and has its columns.
"""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from repro.errors import InputError, check_choice
from repro.paths import published_root

METRIC_ROLES = ("definition", "analytic", "empirical", "cost", "status")
PAPERS = {
    "acghostnet": "ACGhostNet",
    "shiftaddaug": "ShiftAddAug",
    "shiftaddaug_supp": "ShiftAddAug, supplement",
    "shiftaddnas": "ShiftAddNAS",
    "autoshiftnet": "AutoShiftNet",
}


@dataclass(frozen=True)
class ColumnSpec:
    """One column as schema.json declares it.

    role: key (joins), descriptor (what the row is), definition (text that defines a space or a cell), analytic
    (computed without training), empirical (measured after training), cost (of search or training), status, note.
    type: text, number, integer or flag (0 or 1).
    rank_of, within: the column is the rank (1 = highest) of another column among rows that share `within`.
    difference: the column is the first named column minus the second.
    """

    name: str
    role: str
    type: str
    rank_of: str | None = None
    within: str | None = None
    difference: tuple[str, ...] = ()

    @property
    def numeric(self) -> bool:
        """Whether the cells are numbers."""
        return self.type != "text"


@dataclass(frozen=True)
class TableSpec:
    """One table as schema.json declares it: its key and its columns in printed order."""

    table_id: str
    key: tuple[str, ...]
    columns: Mapping[str, ColumnSpec] = field(repr=False)

    def named(self, *roles: str) -> list[str]:
        """Names of the columns that have one of `roles`, in printed order."""
        return [name for name, column in self.columns.items() if column.role in roles]

    @property
    def metrics(self) -> list[str]:
        """Every column that a run can fill: definition, analytic, empirical, cost and status."""
        return self.named(*METRIC_ROLES)


def _read(name: str) -> str:
    """The text of a file in data/published."""
    try:
        return (published_root() / name).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{name} in data/published cannot be read ({error}); restore it from the repository."
        ) from error


def _read_csv(name: str) -> pd.DataFrame:
    """A CSV as strings; an empty cell is the empty string."""
    try:
        return pd.read_csv(io.StringIO(_read(name)), dtype=object, keep_default_na=False, index_col=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"data/published/{name} is no table ({error}); restore it from the repository.") from error


@functools.cache
def _schema_document() -> dict:
    try:
        return json.loads(_read("schema.json"))
    except ValueError as error:
        raise InputError(
            f"schema.json in data/published is damaged ({error}); restore it from the repository."
        ) from error


def _column_spec(name: str, raw: Mapping) -> ColumnSpec:
    fields = {field: raw.get(field) for field in ("rank_of", "within")}
    return ColumnSpec(name, raw["role"], raw["type"], difference=tuple(raw.get("difference", ())), **fields)


def table_ids() -> list[str]:
    """The ids of the 39 published tables, in the order of index.csv."""
    return list(_schema_document()["tables"])


def figure_ids() -> list[str]:
    """The ids of the 30 numbered figures."""
    return list(listing("figures.csv")["figure_id"])


@functools.cache
def is_figure(name: str) -> bool:
    """Whether an id is that of a numbered figure."""
    return name in figure_ids()


def figure_columns(figure_id: str) -> list[str]:
    """The columns of a figure's table that checks may read; [] for a figure without claims on its numbers."""
    return list(_schema_document()["figures"].get(figure_id, ()))


def one_run_a_seed(table_id: str) -> bool:
    """Whether the rows of a seed are parts of one run: layers of a network, epochs of a training, forks of a search."""
    return table_id in _schema_document()["one_run_a_seed"]


@functools.cache
def table_spec(table_id: str) -> TableSpec:
    """The declared schema of one table. Raises InputError for an unknown id, naming the nearest one."""
    check_choice("table_id", table_id, table_ids())
    raw = _schema_document()["tables"][table_id]
    columns = {name: _column_spec(name, spec) for name, spec in raw["columns"].items()}
    return TableSpec(table_id, tuple(raw["key"]), columns)


def unit(column: str) -> str:
    """The unit that the suffix of a column name stands for, e.g. 'mJ' for energy_mj; '' if it has none."""
    units = _schema_document()["units"]
    for suffix in sorted(units, key=len, reverse=True):
        if column.endswith(suffix):
            return units[suffix]
    return ""


def _typed(text: pd.Series, column: ColumnSpec, table_id: str) -> pd.Series:
    """A column of strings as its declared type; an empty cell is NaN or None."""
    if not column.numeric:
        return text.where(text != "", None)
    try:
        numbers = pd.to_numeric(text.where(text != "", np.nan)).astype("float64")
    except ValueError as error:
        raise InputError(f"{table_id}.csv column {column.name} holds numbers; {error}.") from None
    return numbers if column.type == "number" or numbers.isna().any() else numbers.astype("int64")


@functools.cache
def _text(table_id: str) -> pd.DataFrame:
    frame, declared = _read_csv(f"{table_id}.csv"), list(table_spec(table_id).columns)
    if list(frame.columns) != declared:
        raise InputError(
            f"{table_id}.csv has the columns {', '.join(frame.columns)}; declared are {', '.join(declared)}."
        )
    return frame


@functools.cache
def _parsed(table_id: str) -> pd.DataFrame:
    text, spec = _text(table_id), table_spec(table_id)
    return pd.DataFrame({name: _typed(text[name], column, table_id) for name, column in spec.columns.items()})


def published_text(table_id: str) -> pd.DataFrame:
    """The table as strings exactly as printed (trailing zeros show the printed precision); '' is an empty cell."""
    table_spec(table_id)
    return _text(table_id).copy()


def published(table_id: str) -> pd.DataFrame:
    """One published table: numbers as float64, flags and whole numbers as int64, text as str, empty as NaN or None.

    Raises InputError for an unknown id (naming the nearest) or a file that cannot be read.
    """
    table_spec(table_id)
    frame = _parsed(table_id).copy()
    frame.attrs["table_id"] = table_id
    return frame


def printed_decimals(text: str) -> int | None:
    """Digits after the decimal point of a printed number: 2 for '68.30', 0 for '43', None for text and empty cells."""
    try:
        float(text)
    except (TypeError, ValueError):
        return None
    mantissa, _, exponent = text.lower().partition("e")
    return max(0, len(mantissa.partition(".")[2]) - int(exponent or 0))


@functools.cache
def listing(name: str) -> pd.DataFrame:
    """index.csv, figures.csv, claims.csv or criteria.csv as strings; shared, so copy before changing it."""
    return _read_csv(name)


def table_index() -> pd.DataFrame:
    """One row per table: id, paper, number, caption, kind, data set, metric columns, row count."""
    return listing("index.csv").astype({"number": "int64", "n_rows": "int64"})


def figure_index() -> pd.DataFrame:
    """One row per numbered figure: id, paper, number, caption, what it plots, which data that needs."""
    return listing("figures.csv").astype({"number": "int64"})


def claims() -> pd.DataFrame:
    """The 228 claims: id, paper, where, claim in words, expression (`check`), values, published verdict, origin."""
    return listing("claims.csv").copy()


@functools.cache
def _claims_by_id() -> dict[str, pd.Series]:
    return {row["claim_id"]: row for _, row in listing("claims.csv").iterrows()}


def claim(claim_id: str) -> pd.Series:
    """One row of `claims()`. Raises InputError for an unknown id, naming the nearest one."""
    return _claims_by_id()[check_choice("claim_id", claim_id, _claims_by_id())].copy()
