"""Runs that earlier code finished: which of them stand behind a record, and which a table may take today.

The code of a run changes more often than what it computes. Where `repro verify` has repeated runs of a record with
today's code and got the same (`repro.report.records.verified`), all runs of those kinds behind the record are as good
as today's: a table that is made again takes them, and its record says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from repro.papers.kinds import code_of, label_of
from repro.report.records import Record, verified
from repro.runs import Outcome, RunSpec, earlier_results, find_status
from repro.runs.executor import outcome_of

RUN_CODES = "run_codes"
"""In a record's provenance: label -> fingerprints under which its runs lie in the store."""


def run_behind(record: Record, spec: RunSpec) -> dict[str, Any] | None:
    """The finished run of earlier code that a record was made of; None where that cannot be said.

    It has one of the record's seeds, is no newer than the record, and lies under a code that the record names. A record
    that names none (older ones) is taken to stand on the newest such run, unless others found something else.
    """
    about = record.provenance
    until, named = str(about.get("date", "")), about.get(RUN_CODES, {}).get(label_of(spec))
    if spec.seed not in about.get("seeds", ()):
        return None
    found = [result for result in earlier_results(spec) if str(result["provenance"].get("date", "")) <= until]
    if named is not None:
        found = [result for result in found if result["provenance"].get("code") in named]
    values = [_without_seconds(result["value"]) for result in found]
    return found[-1] if found and all(value == values[0] for value in values) else None


def _without_seconds(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_seconds(part) for name, part in value.items() if name != "seconds"}
    return [_without_seconds(part) for part in value] if isinstance(value, list) else value


def same_findings(before: Any, now: Any) -> bool:
    """Whether two runs found the same, whatever seconds they took; a run that found nothing is like no other."""
    before, now = _without_seconds(before), _without_seconds(now)
    return bool(before) and before == now


def may_take(record: Record | None) -> Callable[[RunSpec], Outcome | None] | None:
    """For `Engine.instead`: the run behind a table's record, of a kind whose repeated runs gave the same.

    None where no kind of the record's runs was verified with the code of today. A run that today's code has begun,
    finished or failed at is not replaced.
    """
    made = _made(record)
    notes = [one for one in verified() if record is not None and one["of"] == record.name]
    good = {one["label"] for one in notes if made.get(one["label"]) == one["made"]}
    good = {one["label"] for one in notes if one["label"] in good and one["now"] == code_of(one["label"])}

    def instead(spec: RunSpec) -> Outcome | None:
        if label_of(spec) not in good or find_status(spec).state not in ("stale", "missing"):
            return None
        result = run_behind(record, spec)
        return None if result is None else outcome_of(spec, "result", result, reused=True)

    return instead if good else None


def _made(record: Record | None) -> Mapping[str, str]:
    code = record.provenance.get("code") if record is not None else None
    return code if isinstance(code, Mapping) else {}


def is_taken(outcome: Outcome) -> bool:
    """Whether earlier code finished it."""
    return outcome.ok and outcome.provenance.get("code", outcome.spec.code) != outcome.spec.code


def codes_of(outcomes: Iterable[Outcome], record: Record | None) -> dict[str, Any]:
    """For a new record's provenance: `code` by label, `run_codes`, and how many runs are of earlier code, if any.

    `code` is that of the record from which runs of the label were taken, else today's.
    """
    made, codes, lying, taken = _made(record), {}, {}, 0
    for outcome in outcomes:
        label = label_of(outcome.spec)
        if is_taken(outcome):
            codes[label], taken = made.get(label), taken + 1
        codes.setdefault(label, code_of(label))
        lying.setdefault(label, set()).add(outcome.provenance.get("code", outcome.spec.code))
    told = {"code": dict(sorted(codes.items())), RUN_CODES: {name: sorted(each) for name, each in lying.items()}}
    return told | ({"runs_of_earlier_code": taken} if taken else {})
