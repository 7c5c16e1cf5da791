"""The papers' claims judged on the papers' own numbers (`judge_published`) and on ours (`repro.report.verdicts`)."""

from __future__ import annotations

import functools

from repro.report.expressions import Evaluator, Table, as_array, parse, tables_read
from repro.report.published import claim, published, table_spec


@functools.cache
def published_table(table_id: str) -> Table:
    """A published table as expressions read it."""
    frame, spec = published(table_id), table_spec(table_id)
    return Table({name: as_array(frame[name]) for name in frame}, spec.key, tuple(spec.named("descriptor")))


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
    tree, default = parse(row["check"]), next(iter(places(claim_id)), None)
    return Evaluator({name: published_table(name) for name in tables_read(tree, default)}, default).holds(tree)
