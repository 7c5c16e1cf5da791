"""Runs that earlier code finished: which of them stand behind a record, and which a table may take today.

The code of a run changes more often than what it computes. Where `repro verify` has repeated runs of a record with
today's code and got the same (`repro.report.records.verified`), all runs of those kinds behind the record are as good
as today's: a table that is made again takes them, and its record says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from repro.papers.kinds import code_of, label_of
from repro.report.records import Record, latest, verified
from repro.runs import Outcome, RunSpec, earlier_results, find_status
from repro.runs.executor import outcome_of


def run_behind(record: Record, spec: RunSpec) -> dict[str, Any] | None:
    """The finished run of earlier code that a record was made of: the newest that is no newer than the record."""
    until = str(record.provenance.get("date", ""))
    found = [result for result in earlier_results(spec) if str(result["provenance"].get("date", "")) <= until]
    return found[-1] if found else None


def may_take(table_id: str, preset: str, dataset: str) -> Callable[[RunSpec], Outcome | None] | None:
    """For `Engine.instead`: the run behind the table's record, of a kind whose repeated runs gave the same.

    None where no kind of the record's runs was verified with the code of today.
    """
    record = latest(table_id, preset, dataset)
    if record is None:
        return None
    made = record.provenance.get("code") or {}
    notes = [one for one in verified() if one["of"] == record.name and made.get(one["label"]) == one["made"]]
    good = {one["label"] for one in notes if one["now"] == code_of(one["label"])}

    def instead(spec: RunSpec) -> Outcome | None:
        if label_of(spec) not in good or find_status(spec).state in ("done", "diverged"):
            return None
        result = run_behind(record, spec)
        return None if result is None else outcome_of(spec, "result", result, reused=True)

    return instead if good else None


def codes_of(outcomes: list[Outcome], table_id: str, preset: str, dataset: str) -> dict[str, str | None]:
    """Label -> fingerprint of the code that made its runs: the record's for runs taken from there, else today's."""
    record = latest(table_id, preset, dataset)
    made = record.provenance["code"] if record is not None else {}
    found: dict[str, str | None] = {}
    for outcome in outcomes:
        label = label_of(outcome.spec)
        taken = outcome.ok and outcome.provenance.get("code", outcome.spec.code) != outcome.spec.code
        if taken or label not in found:
            found[label] = made[label] if taken else code_of(label)
    return dict(sorted(found.items()))
