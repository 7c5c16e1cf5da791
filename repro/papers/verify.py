"""Repeat a few runs of a stored record with today's code, and compare what they answer with what the record holds.

A record says which code made it. Code that has changed since need not compute anything else: where repeated runs of
every kind behind a record give the very answers that it holds, it counts as verified (`repro.report.freshness`). On
another processor sums are rounded in another way, so answers may differ; how many agree is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
        (whether a row of the record with the run's seed has just these answers; of top-1, since nearly every image may
        be among the first five). `attrs`: record, missing (labels of the record without a run that could be compared),
        revision and device of the record.
    Raises: InputError where there is no such record, or none with packed answers.
    """
    check_int("count", count, minimum=1)
    record = latest(table_id, preset, dataset)
    code = record.provenance.get("code") if record is not None else None
    if record is None or not isinstance(code, Mapping) or COMPUTED in code:
        which = " ".join(filter(None, [preset, dataset])) or "any preset"
        raise InputError(f"table_id={table_id!r} is not allowed; it has no record of trainings at {which}.")
    known = _answers_of(record)
    if known.empty:
        raise InputError(f"table_id={table_id!r} is not allowed; its record holds no answers to compare with.")
    chosen = choose(planned(table_id, record.preset, record.dataset, record.provenance["seeds"]), record, count)
    run = runs.engine(engine, workers=workers, fresh=True, known=record.provenance.get("run_seconds", {}))
    done = run(dict(enumerate(chosen)))
    rows = [_compared(outcome, known) for outcome in done.values()]
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


def _answers_of(record: Record) -> pd.DataFrame:
    """Columns seed, examples, correct (packed): the rows of a record that hold answers."""
    frame, columns = record.frame.attrs.get("extra", {}).get("examples"), ["seed", "examples", "correct"]
    if frame is None or not set(columns) <= set(frame):
        return pd.DataFrame(columns=columns)
    frame = frame[columns].dropna()
    return frame[frame["correct"] != ""]


def _compared(outcome: Outcome, known: pd.DataFrame) -> dict[str, Any]:
    value = outcome.value if isinstance(outcome.value, Mapping) else {}
    mine, examples = value.get("correct", {}).get("top1_pct", ""), int(value.get("examples", 0))
    theirs = known.loc[(known["seed"] == outcome.spec.seed) & (known["examples"] == examples), "correct"]
    return {
        "label": label_of(outcome.spec),
        "seed": outcome.spec.seed,
        "seconds": outcome.provenance.get("wall_s", float("nan")),
        "state": outcome.state if outcome.ok else f"{outcome.state}: {outcome.message}",
        "answers": examples if mine else 0,
        "agree_pct": _agreement(mine, theirs, examples) if mine else float("nan"),
        "same": bool(mine) and mine in set(theirs),
    }


def _agreement(mine: str, theirs: Iterable[str], examples: int) -> float:
    """Largest share of a run's right and wrong answers that one of others has, too, in percent; NaN without others."""
    own = unpack(mine, examples)
    return max((100 * float((own == unpack(text, examples)).mean()) for text in theirs), default=float("nan"))
