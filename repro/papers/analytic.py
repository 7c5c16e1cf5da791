"""How `computed` tables are put together: rows of our own counts in the schema of a published table.

A frame holds the table's columns; what needs training, or an architecture that nobody published, stays empty and the
row's note says why. `attrs` name the convention and carry further frames under `extra`. Nothing here reads a printed
number except `from_printed`, which checks printed columns against each other and is kept apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from repro.cost import ACCOUNTINGS, layers_cost
from repro.cost.eyeriss import LEVELS
from repro.errors import InputError
from repro.report.published import published, published_text, table_spec

MILLION, BILLION = 1e6, 1e9


def analytic_frame(
    table_id: str,
    values: Mapping[object, Mapping[str, object]],
    *,
    convention: str,
    unknown: str | Mapping[object, str] = "architecture not published",
    extra: Mapping[str, pd.DataFrame] | None = None,
) -> pd.DataFrame:
    """Rows of a published table with our values in its analytic and definition columns.

    Args:
        table_id: the published table; keys and descriptors of the rows are its own.
        values: key (one value, or a tuple for a key of several columns) -> {column: value, "note": text}.
        convention: what is counted, one sentence, for captions.
        unknown: note of the rows without values, one for all or by key.
        extra: further frames, kept in `attrs["extra"]`.
    Raises: InputError when a key of `values` is not in the table, so that a misspelt row cannot vanish.
    """
    spec, frame = table_spec(table_id), published_text(table_id)
    numbers = {name: pd.to_numeric(frame[name], errors="coerce") for name in spec.named("key", "descriptor")}
    data = {}
    for name, column in spec.columns.items():
        if column.role in ("key", "descriptor"):
            data[name] = numbers[name] if column.numeric else frame[name]
        else:
            data[name] = pd.Series([None] * len(frame), dtype=object if not column.numeric else float)
    ours = pd.DataFrame(data)
    ours["note"] = ""
    keys = [key[0] if len(spec.key) == 1 else key for key in ours[list(spec.key)].itertuples(index=False, name=None)]
    unfound = [key for key in values if key not in keys]
    if unfound:
        raise InputError(f"{table_id} has no row {unfound[0]!r}; its keys are {', '.join(map(str, keys[:12]))}.")
    for index, key in enumerate(keys):
        if key not in values:
            ours.loc[index, "note"] = unknown if isinstance(unknown, str) else unknown.get(key, "")
            continue
        for name, value in values[key].items():
            ours.loc[index, name] = value
    ours.attrs = {
        "table_id": table_id,
        "columns": "analytic",
        "convention": convention,
        "extra": dict(extra or {}),
    }
    return ours


def from_printed(
    table_id: str, target: str, formula: str, compute, columns: Sequence[str], rows: pd.Series | None = None
) -> pd.DataFrame:
    """Whether a printed column follows from other printed columns of the same table.

    Args:
        target: the column that should follow.
        formula: how, in words.
        compute: function of the published frame giving the computed column.
        columns: the columns it uses, shown beside.
        rows: a mask of the rows to show.
    Returns: key columns, the used ones, `printed`, `computed`, `relative_error` (computed/printed - 1) and `formula`.
    """

    frame, spec = published(table_id), table_spec(table_id)
    computed = compute(frame)
    table = frame[[*spec.key, *(c for c in columns if c not in spec.key)]].assign(
        printed=frame[target], computed=computed, relative_error=computed / frame[target] - 1, formula=formula
    )
    table = table if rows is None else table[rows(frame)]
    return table.dropna(subset=["printed", "computed"]).reset_index(drop=True)


def level_energies(layers_by_operator: Mapping[str, Sequence]) -> pd.DataFrame:
    """Energy (mJ) of one network by level of the memory hierarchy, per operator and accounting, long form.

    Args:
        layers_by_operator: operator -> layers of the network with it (`repro.models.traced`).
    """
    rows = []
    for accounting in ACCOUNTINGS:
        for op, layers in layers_by_operator.items():
            split = layers_cost(layers, accounting=accounting).by_level
            rows += [(accounting, op, level, split[level]) for level in LEVELS]
    return pd.DataFrame(rows, columns=["accounting", "operator", "level", "energy_mj"])


def span(values: pd.Series, digits: int = 0) -> str:
    """'3 to 7 %': the range of some percentages, in words."""
    low, high = f"{values.min():.{digits}f}", f"{values.max():.{digits}f}"
    return f"{low} %" if low == high else f"{low} to {high} %"
