"""The papers' printed numbers as read-only data, checked against a declared schema whenever they are read.

Files in data/published/: one CSV per table, index.csv, figures.csv, claims.csv, criteria.csv and schema.json.
Numbers enter the package here and nowhere else, and only to be compared with ours.
"""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from repro.errors import InputError, check_choice
from repro.paths import published_root

ROLES = ("key", "descriptor", "definition", "analytic", "empirical", "cost", "status", "note")
METRIC_ROLES = ("definition", "analytic", "empirical", "cost", "status")
TYPES = ("text", "number", "integer", "flag")
PAPERS = {
    "acghostnet": "ACGhostNet",
    "shiftaddaug": "ShiftAddAug",
    "shiftaddaug_supp": "ShiftAddAug, supplement",
    "shiftaddnas": "ShiftAddNAS",
    "autoshiftnet": "AutoShiftNet",
}
CLAIM_COLUMNS = (
    "claim_id",
    "paper",
    "table_or_figure",
    "claim",
    "check",
    "published_values",
    "published_verdict",
    "origin",
)
INDEX_COLUMNS = ("table_id", "paper", "number", "caption", "kind", "dataset", "metrics", "n_rows")
FIGURE_COLUMNS = ("figure_id", "paper", "number", "caption", "what_it_plots", "data_needed")


@dataclass(frozen=True)
class ColumnSpec:
    """One column as schema.json declares it.

    role: key (joins), descriptor (what the row is), definition (text that defines a space or a cell), analytic
    (computed without training), empirical (measured after training), cost (of search or training), status, note.
    type: text, number, integer or flag (0 or 1). `minimum`, `maximum` and `allowed` bound the values.
    rank_of, within: the column is the rank (1 = highest) of another column among rows that share `within`.
    difference: the column is the first named column minus the second.
    """

    name: str
    role: str
    type: str
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str, ...] = ()
    rank_of: str | None = None
    within: str | None = None
    difference: tuple[str, ...] = ()

    @property
    def numeric(self) -> bool:
        """Whether the cells are numbers."""
        return self.type != "text"


@dataclass(frozen=True)
class TableSpec:
    """One table as schema.json declares it: its number of rows, its key and its columns in printed order."""

    table_id: str
    rows: int
    key: tuple[str, ...]
    columns: Mapping[str, ColumnSpec] = field(repr=False)

    def named(self, *roles: str) -> list[str]:
        """Names of the columns that have one of `roles`, in printed order."""
        return [name for name, column in self.columns.items() if column.role in roles]

    @property
    def metrics(self) -> list[str]:
        """Every column that a run can fill: definition, analytic, empirical, cost and status."""
        return self.named(*METRIC_ROLES)


def _read_text(path: Path, columns: tuple[str, ...] | list[str]) -> pd.DataFrame:
    """A CSV as strings, with exactly these columns; an empty cell is the empty string."""
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            reader = csv.reader(handle)
            header, *rows = [row for row in reader if row]
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path.name} in data/published cannot be read ({error}); restore it from the repository."
        ) from error
    if list(header) != list(columns):
        raise InputError(f"{path.name} has the columns {', '.join(header)}; declared are {', '.join(columns)}.")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise InputError(f"{path.name} line {number} has {len(row)} cells; {len(header)} are declared.")
    return pd.DataFrame(rows, columns=header, dtype=object)


@functools.cache
def _schema_document() -> dict:
    path = published_root() / "schema.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"schema.json in data/published cannot be read ({error}); restore it from the repository."
        ) from error


def _column_spec(table_id: str, name: str, raw: Mapping) -> ColumnSpec:
    known = {"role", "type", "required", "min", "max", "allowed", "rank_of", "within", "difference"}
    if not set(raw) <= known or raw.get("role") not in ROLES or raw.get("type") not in TYPES:
        raise InputError(
            f"schema.json declares {table_id}.{name} as {dict(raw)}; roles are {ROLES}, types are {TYPES}."
        )
    return ColumnSpec(
        name=name,
        role=raw["role"],
        type=raw["type"],
        required=raw.get("required", False),
        minimum=raw.get("min"),
        maximum=raw.get("max"),
        allowed=tuple(raw.get("allowed", ())),
        rank_of=raw.get("rank_of"),
        within=raw.get("within"),
        difference=tuple(raw.get("difference", ())),
    )


def table_ids() -> list[str]:
    """The ids of the 39 published tables, in the order of index.csv."""
    return list(_schema_document()["tables"])


def figure_ids() -> list[str]:
    """The ids of the 30 numbered figures."""
    return list(_listing("figures.csv", FIGURE_COLUMNS, "figure_id")["figure_id"])


@functools.cache
def is_figure(name: str) -> bool:
    """Whether an id is that of a numbered figure."""
    return name in figure_ids()


@functools.cache
def table_spec(table_id: str) -> TableSpec:
    """The declared schema of one table. Raises InputError for an unknown id, naming the nearest one."""
    check_choice("table_id", table_id, table_ids())
    raw = _schema_document()["tables"][table_id]
    columns = {name: _column_spec(table_id, name, spec) for name, spec in raw["columns"].items()}
    return TableSpec(table_id, raw["rows"], tuple(raw["key"]), columns)


def unit(column: str) -> str:
    """The unit that the suffix of a column name stands for, e.g. 'mJ' for energy_mj; '' if it has none."""
    units = _schema_document()["units"]
    for suffix in sorted(units, key=len, reverse=True):
        if column.endswith(suffix):
            return units[suffix]
    return ""


def _convert(text: str, column: ColumnSpec, where: str) -> object:
    """One printed cell as the value of its declared type; None if it is empty."""
    if text == "":
        if column.required:
            raise InputError(f"{where} is empty; a value is required.")
        return None
    if not column.numeric:
        if column.allowed and text not in column.allowed:
            raise InputError(f"{where} is {text!r}; allowed are {', '.join(column.allowed)}.")
        return text
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"{where} is {text!r}; a number is required.") from None
    if column.type != "number" and value != int(value):
        raise InputError(f"{where} is {text!r}; a whole number is required.")
    if column.type == "flag" and value not in (0, 1):
        raise InputError(f"{where} is {text!r}; 0 or 1 is required.")
    low, high = column.minimum, column.maximum
    # Written so that nan, which compares false with everything, is refused too.
    if not (
        value >= (low if low is not None else float("-inf")) and value <= (high if high is not None else float("inf"))
    ):
        raise InputError(f"{where} is {text!r}; it must lie between {low} and {high}.")
    return value


def parse_table(text: pd.DataFrame, spec: TableSpec, source: str) -> pd.DataFrame:
    """Check a table of strings against its schema and convert it: types, bounds, required cells, unique key, row count.

    Raises InputError naming file, row, column and value of the first cell that is wrong.
    """
    if len(text) != spec.rows:
        raise InputError(f"{source} has {len(text)} rows; {spec.rows} are declared.")
    data = {}
    for name, column in spec.columns.items():
        values = [
            _convert(cell, column, f"{source} row {i} column {name}") for i, cell in enumerate(text[name], start=1)
        ]
        if not column.numeric:
            data[name] = pd.Series(values, dtype=object)
        elif column.type == "number" or None in values:
            data[name] = pd.Series(values, dtype="float64")
        else:
            data[name] = pd.Series(values, dtype="int64")
    frame = pd.DataFrame(data)
    repeated = frame.duplicated(subset=list(spec.key), keep=False)
    if repeated.any():
        first = frame.loc[repeated, list(spec.key)].iloc[0].to_dict()
        raise InputError(f"{source} has more than one row for the key {first}; keys must be unique.")
    return frame


@functools.cache
def _text(table_id: str) -> pd.DataFrame:
    spec = table_spec(table_id)
    return _read_text(published_root() / f"{table_id}.csv", list(spec.columns))


@functools.cache
def _parsed(table_id: str) -> pd.DataFrame:
    return parse_table(_text(table_id), table_spec(table_id), f"{table_id}.csv")


def published_text(table_id: str) -> pd.DataFrame:
    """The table as strings exactly as printed (trailing zeros show the printed precision); '' is an empty cell."""
    table_spec(table_id)
    return _text(table_id).copy()


def published(table_id: str) -> pd.DataFrame:
    """One published table: numbers as float64, flags and whole numbers as int64, text as str, empty as NaN or None.

    Raises InputError for an unknown id (naming the nearest) or a file that breaks its schema.
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
def _listing(name: str, columns: tuple[str, ...], key: str) -> pd.DataFrame:
    frame = _read_text(published_root() / name, columns)
    if frame[key].duplicated().any() or (frame[key] == "").any():
        raise InputError(f"{name} has an empty or repeated {key}; each must be unique.")
    return frame


def table_index() -> pd.DataFrame:
    """One row per table: id, paper, number, caption, kind, data set, metric columns, row count."""
    frame = _listing("index.csv", INDEX_COLUMNS, "table_id").copy()
    return frame.astype({"number": "int64", "n_rows": "int64"})


def figure_index() -> pd.DataFrame:
    """One row per numbered figure: id, paper, number, caption, what it plots, which data that needs."""
    return _listing("figures.csv", FIGURE_COLUMNS, "figure_id").copy().astype({"number": "int64"})


def claims() -> pd.DataFrame:
    """The 228 claims: id, paper, where, claim in words, predicate (`check`), values, published verdict, origin."""
    frame = _listing("claims.csv", CLAIM_COLUMNS, "claim_id").copy()
    for column, allowed in (("published_verdict", {"true", "false", "na"}), ("origin", {"stated", "implied"})):
        wrong = frame.loc[~frame[column].isin(allowed), "claim_id"]
        if len(wrong):
            raise InputError(f"claims.csv has an unknown {column} at {wrong.iloc[0]}; allowed are {sorted(allowed)}.")
    return frame


def claim(claim_id: str) -> pd.Series:
    """One row of `claims()`. Raises InputError for an unknown id, naming the nearest one."""
    frame = _listing("claims.csv", CLAIM_COLUMNS, "claim_id")
    check_choice("claim_id", claim_id, frame["claim_id"])
    return frame.set_index("claim_id", drop=False).loc[claim_id]
