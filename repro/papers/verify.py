"""Repeat a few runs of a stored record with today's code, and compare what they find with what they found before.

A record says which code made it. Code that has changed since need not compute anything else: where repeated runs of
every kind behind a record give the very same, it counts as verified (`repro.report.freshness`), and the table can be
made again of the runs behind it (`repro.papers.earlier`). On another processor sums are rounded in another way, so
answers may differ; how many agree is told.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from repro import runs
from repro.errors import InputError, check_int
from repro.papers.earlier import run_behind, same_findings
from repro.papers.forecast import planned
from repro.papers.kinds import code_of, label_of
from repro.papers.regenerate import COMPUTED, TRAINED
from repro.report.examples import unpack
from repro.report.records import Record, latest, note_verified
from repro.runs import Outcome, RunSpec, load_result, provenance
from repro.runs.executor import outcome_of

COLUMNS = ("label", "seed", "seconds", "state", "with", "answers", "agree_pct", "same")


def verify(
    table_id: str,
    *,
    preset: str | None = None,
    dataset: str | None = None,
    count: int = 3,
    fresh: bool = True,
    engine: str = "local",
    workers: int | None = None,
) -> pd.DataFrame:
    """Repeat runs of a record from nothing, and compare.

    Where the store still holds the very run that the record was made of, all that it found is compared, whatever kind
    of run it is; seconds are not. Otherwise its answers are looked up among those of the record. Runs that follow from
    a search can be repeated where the store holds what the search found.

    Args:
        preset, dataset: which record of the table (default: the one that the board shows).
        count: runs of each kind; of its recipes in the order of their time, evenly spaced from the shortest.
        fresh: False takes runs that today's code has finished already, for another record for example.
    Returns: one row per run that could be compared or failed: label (kind and families), seed, seconds, state, with
        ("run" or "answers"), answers (how many examples there are), agree_pct (share of them answered as before, NaN
        where it cannot be said), same (whether all that is compared is equal; answers are those of top-1 and of the
        run's seed, since nearly every image may be among the first five). `attrs`: record, missing (labels of the
        record without a run that could be compared), revision and device of the record.
    Raises: InputError where there is no such record, or nothing to compare with.
    """
    check_int("count", count, minimum=1)
    record = latest(table_id, preset, dataset)
    code = record.provenance.get("code") if record is not None else None
    if record is None or not isinstance(code, Mapping) or COMPUTED in code:
        which = " ".join(filter(None, [preset, dataset])) or "any preset"
        raise InputError(f"table_id={table_id!r} is not allowed; it has no record of trainings at {which}.")
    answers, behind = _answers_of(record), functools.partial(run_behind, record)
    about = (table_id, record.preset, record.dataset, record.provenance["seeds"])
    specs = planned(*about, known=functools.partial(_outcome_behind, behind))
    held = [spec for spec in specs if behind(spec) is not None]
    kinds = {label_of(spec) for spec in held}
    chosen = choose(held + [spec for spec in specs if label_of(spec) not in kinds], record, count)
    if answers.empty and not any(map(behind, chosen)):
        raise InputError(
            f"table_id={table_id!r} is not allowed; its record holds no answers to compare with, and the store none of "
            "its runs."
        )
    run = runs.engine(engine, workers=workers, fresh=fresh, known=record.provenance.get("run_seconds", {}))
    done = run(dict(enumerate(chosen)))
    rows = [_compared(outcome, answers, behind(outcome.spec)) for outcome in done.values()]
    frame = pd.DataFrame([row for row in rows if row["with"] or row["state"] != "done"], columns=COLUMNS)
    seen = set(frame["label"])
    frame.attrs = {
        "record": record.name,
        "missing": sorted(label for label in code if label != TRAINED and label not in seen),
        "device": record.provenance["device"],
        "revision": record.provenance["git_revision"],
    }
    return frame


def _outcome_behind(behind: Callable[[RunSpec], dict | None], spec: RunSpec) -> Outcome | None:
    """What is known of a run: what the record was made of, else what today's code has finished."""
    result = behind(spec) or load_result(spec)
    return None if result is None else outcome_of(spec, "result", result, reused=True)


def choose(specs: Sequence[RunSpec], record: Record, count: int) -> list[RunSpec]:
    """Of every label of the record `count` runs with recipes of their own, evenly spaced by the seconds they took."""
    seconds = record.provenance.get("run_seconds", {})
    by_label: dict[str, dict[str, RunSpec]] = {}
    for spec in specs:
        if label_of(spec) in record.provenance["code"]:
            by_label.setdefault(label_of(spec), {}).setdefault(spec.recipe_digest, spec)
    chosen = []
    for recipes in by_label.values():
        ordered = sorted(recipes.values(), key=lambda spec: seconds.get(spec.recipe_digest, float("inf")))
        places = np.linspace(0, len(ordered) - 1, min(count, len(ordered)))
        chosen += [ordered[int(place)] for place in places]
    return chosen


def note(frame: pd.DataFrame, table_id: str, preset: str | None = None, dataset: str | None = None) -> list[str]:
    """Write down for each label whose runs all gave the record's answers that today's code is as good as the record's.

    Returns the labels.
    """
    record = latest(table_id, preset, dataset)
    good = [label for label, rows in frame.groupby("label", sort=False) if rows["same"].all()]
    for label in good:
        now, rows = code_of(label), frame[frame["label"] == label]
        if now != record.provenance["code"][label]:
            about = {"runs": len(rows), "answers": int(rows["answers"].sum())}
            note_verified(record, label, now, {**about, **provenance()})
    return good


def _answers_of(record: Record) -> pd.DataFrame:
    """Columns seed, examples, correct (packed): the rows of a record that hold answers."""
    frame, columns = record.frame.attrs.get("extra", {}).get("examples"), ["seed", "examples", "correct"]
    if frame is None or not set(columns) <= set(frame):
        return pd.DataFrame(columns=columns)
    frame = frame[columns].dropna()
    return frame[frame["correct"] != ""]


def _compared(outcome: Outcome, answers: pd.DataFrame, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """Row of a repeated run; `before` is the stored run that the record was made of, if it is still there."""
    value = outcome.value if isinstance(outcome.value, Mapping) else {}
    mine, examples = _top1(value), int(value.get("examples", 0))
    if before is not None:
        theirs = [_top1(before["value"] or {})]
        same = same_findings(before["value"], value)
    else:
        theirs = answers.loc[(answers["seed"] == outcome.spec.seed) & (answers["examples"] == examples), "correct"]
        same = bool(mine) and mine in set(theirs)
    return {
        "label": label_of(outcome.spec),
        "seed": outcome.spec.seed,
        "seconds": outcome.provenance.get("wall_s", float("nan")),
        "state": outcome.state if outcome.ok else f"{outcome.state}: {outcome.message}",
        "with": "run" if before is not None else "answers" if mine else "",
        "answers": examples if mine else 0,
        "agree_pct": _agreement(mine, theirs, examples) if mine else float("nan"),
        "same": outcome.ok and same,
    }


def _top1(value: Mapping[str, Any]) -> str:
    return value.get("correct", {}).get("top1_pct", "")


def _agreement(mine: str, theirs: Iterable[str], examples: int) -> float:
    """Largest share of a run's right and wrong answers that one of others has, too, in percent; NaN without others."""
    own = unpack(mine, examples)
    shares = (100 * float((own == unpack(text, examples)).mean()) for text in theirs if text)
    return max(shares, default=float("nan"))
