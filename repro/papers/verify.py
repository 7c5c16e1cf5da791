"""Repeat a few runs of a stored record with today's code, and compare what they answer with what the record holds.

A record says which code made it. Code that has changed since need not compute anything else: where repeated runs of
every kind behind a record give the very answers that it holds, it counts as verified (`repro.report.freshness`). On
another processor sums are rounded in another way, so answers may differ; how many agree is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from repro import runs
from repro.errors import InputError, check_int
from repro.papers.forecast import planned
from repro.papers.kinds import code_of, label_of
from repro.papers.regenerate import COMPUTED, TRAINED
from repro.report.examples import unpack
from repro.report.records import Record, latest, note_verified
from repro.runs import Outcome, RunSpec, provenance

COLUMNS = ("label", "seed", "seconds", "state", "answers", "agree_pct", "same")


def verify(
    table_id: str,
    *,
    preset: str | None = None,
    dataset: str | None = None,
    count: int = 3,
    engine: str = "local",
    workers: int | None = None,
) -> pd.DataFrame:
    """Repeat runs of a record from nothing, and compare.

    Only runs that a table asks for first can be repeated: what follows from a search would need the whole search.

    Args:
        preset, dataset: which record of the table (default: the one that the board shows).
        count: runs of each kind; of its recipes in the order of their time, evenly spaced from the shortest.
    Returns: one row per run that answers anything or failed: label (kind and families), seed, seconds, state, answers
        (how many are compared), agree_pct (their share that is as in the record, NaN where it cannot be said), same
        (whether packed answers of the run are in the record as they are). `attrs`: record, missing (labels of the
        record without a run that could be compared), revision and device of the record.
    Raises: InputError where there is no such record, or none with packed answers.
    """
    check_int("count", count, minimum=1)
    record = latest(table_id, preset, dataset)
    code = record.provenance.get("code") if record is not None else None
    if record is None or not isinstance(code, Mapping) or COMPUTED in code:
        which = " ".join(filter(None, [preset, dataset])) or "any preset"
        raise InputError(f"table_id={table_id!r} is not allowed; it has no record of trainings at {which}.")
    known = _packed_of(record)
    if not known:
        raise InputError(f"table_id={table_id!r} is not allowed; its record holds no answers to compare with.")
    chosen = choose(planned(table_id, record.preset, record.dataset, record.provenance["seeds"]), record, count)
    run = runs.engine(engine, workers=workers, fresh=True, known=record.provenance.get("run_seconds", {}))
    done = run(dict(enumerate(chosen)))
    rows = [_compared(outcome, record, known) for outcome in done.values()]
    frame = pd.DataFrame([row for row in rows if row["answers"] or row["state"] != "done"], columns=COLUMNS)
    seen = set(frame["label"])
    frame.attrs = {
        "record": record.name,
        "missing": sorted(label for label in code if label != TRAINED and label not in seen),
        "device": record.provenance["device"],
        "revision": record.provenance["git_revision"],
    }
    return frame


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


def _packed_of(record: Record) -> set[str]:
    """Packed answers (`repro.report.examples`) in the extra frames of a record."""
    frames = record.frame.attrs.get("extra", {}).values()
    return {text for frame in frames if "correct" in frame for text in frame["correct"].dropna() if text}


def _compared(outcome: Outcome, record: Record, known: set[str]) -> dict[str, Any]:
    value = outcome.value if isinstance(outcome.value, Mapping) else {}
    texts = list(value.get("correct", {}).values())
    same = any(text in known for text in texts)
    return {
        "label": label_of(outcome.spec),
        "seed": outcome.spec.seed,
        "seconds": outcome.provenance.get("wall_s", float("nan")),
        "state": outcome.state if outcome.ok else f"{outcome.state}: {outcome.message}",
        "answers": int(value.get("examples", 0)) if texts else 0,
        "agree_pct": 100.0 if same else _agreement(value, outcome.spec.seed, record),
        "same": same,
    }


def _agreement(value: Mapping[str, Any], seed: int, record: Record) -> float:
    """Largest share of a run's right and wrong answers that a run of the record with its seed has, too, in percent."""
    examples, frame = value.get("examples", 0), record.frame.attrs.get("extra", {}).get("examples")
    if frame is None or not examples or not {"seed", "examples", "correct"} <= set(frame):
        return float("nan")
    rows = frame[(frame["seed"] == seed) & (frame["examples"] == examples) & frame["correct"].map(lambda c: bool(c))]
    theirs = [unpack(text, examples) for text in rows["correct"].dropna()]
    mine = [unpack(text, examples) for text in value.get("correct", {}).values()]
    return max((100 * float((a == b).mean()) for a in mine for b in theirs), default=float("nan"))
