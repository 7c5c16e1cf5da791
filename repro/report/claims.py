"""The papers' claims judged on the papers' own numbers (`judge_published`) and on ours (`repro.report.verdicts`)."""

from __future__ import annotations

import functools

import pandas as pd

from repro.report.conform import is_empty
from repro.report.predicate import Evaluator, parse
from repro.report.published import claim, published, table_ids


def as_cells(frame: pd.DataFrame) -> dict[str, list]:
    """A data frame as the evaluator reads it: lists of float, str or None."""
    return {
        str(name): [None if is_empty(v) else v if isinstance(v, str) else float(v) for v in frame[name].tolist()]
        for name in frame.columns
    }


@functools.cache
def published_cells(table_id: str) -> dict[str, list]:
    """A published table as the evaluator reads it."""
    return as_cells(published(table_id))


class _PublishedTables(dict):
    """Every published table, read when it is first asked for."""

    def __contains__(self, table_id: object) -> bool:
        return table_id in table_ids()

    def __missing__(self, table_id: str) -> dict[str, list]:
        self[table_id] = published_cells(table_id)
        return self[table_id]


def places(claim_id: str) -> list[str]:
    """Ids of the tables and figures that a claim is about; places in the text are left out."""
    return [place for place in claim(claim_id)["table_or_figure"].split(";") if not place.startswith("text:")]


def judge_published(claim_id: str) -> bool | None:
    """Whether the published numbers satisfy a claim; None where they are in a figure or in prose only.

    Raises InputError for an unknown id, naming the nearest one.
    """
    row = claim(claim_id)
    if row["published_verdict"] == "na":
        return None
    default = next(iter(places(claim_id)), None)
    return Evaluator(_PublishedTables(), default).truth(parse(row["check"]))
