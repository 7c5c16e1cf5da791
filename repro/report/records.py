"""Small result records that tables cite: <table_id>/<preset>-<dataset>.csv with a .json of provenance.

A record is what a reader needs to believe a number: the rows (one per key and seed) and where they came from. It holds
no path and no host name. The committed records in data/results are the reference; a command writes its own to
output/records. Both files are written atomically; the .json is written last and carries the checksum of the
.csv, so that half a record is never read as a whole one.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from repro.errors import InputError, check_choice
from repro.paths import json_object, records_root, results_root, sealed_json, unsealed_json, write_text
from repro.report import answers
from repro.report.conform import conform
from repro.report.published import figure_ids, table_ids

PRESETS = ("paper", "study", "quick", "smoke")
REQUIRED = ("preset", "dataset", "seeds", "git_revision", "git_clean", "versions", "device")
_PATH = re.compile(r"(?:^|[\s'\"=:])(?:/[\w.-]+){2,}|[A-Za-z]:\\\\|\\\\\\\\")


@dataclass(frozen=True)
class Record:
    """One stored result: id, rows (with attrs preset, dataset, provenance and extra frames), provenance."""

    table_id: str
    preset: str
    dataset: str
    frame: pd.DataFrame = field(repr=False)
    provenance: dict = field(repr=False)

    @property
    def name(self) -> str:
        """Table, preset and data set, which no two records share."""
        return f"{self.table_id} {self.preset} {self.dataset}"

    @property
    def label(self) -> str:
        """Preset, data set, epochs and seeds, as shown beside every number."""
        return provenance_label(self.provenance)


def provenance_label(provenance: Mapping) -> str:
    """'quick, cifar10, 25 epochs, seeds 0 1'; parts that are unknown are left out."""
    parts = [str(provenance.get("preset") or ""), str(provenance.get("dataset") or "")]
    epochs = provenance.get("epochs")
    parts.append(f"{epochs} epochs" if epochs else "")
    seeds = provenance.get("seeds")
    parts.append(f"seed{'s' if len(seeds) > 1 else ''} {' '.join(map(str, seeds))}" if seeds else "")
    return ", ".join(part for part in parts if part)


def _check_provenance(provenance: Mapping, source: str) -> dict:
    missing = [name for name in REQUIRED if name not in provenance]
    if missing:
        raise InputError(f"{source} lacks {', '.join(missing)} in its provenance; required are {', '.join(REQUIRED)}.")
    check_choice(f"preset of {source}", provenance["preset"], PRESETS)
    if not re.fullmatch(r"[A-Za-z0-9_.]+(?:-[A-Za-z0-9_.]+)*", str(provenance["dataset"])):
        raise InputError(f"dataset={provenance['dataset']!r} of {source} is not a plain name (letters, digits, - _ .).")
    try:
        text = json.dumps(provenance, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise InputError(f"the provenance of {source} is not plain data: {error}.") from error
    if found := _PATH.search(text):
        raise InputError(
            f"the provenance of {source} holds what looks like a path, {found.group().strip()!r}; leave it out."
        )
    return json.loads(text)


def _folder(root: Path | None, table_id: str) -> Path:
    check_choice("table_id", table_id, [*table_ids(), *figure_ids()])
    return (results_root() if root is None else Path(root)) / table_id


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


_CIRCUMSTANCES = ("date", "git_revision", "git_clean", "versions", "device", "wall_s", "compute_s", "run_seconds")


def _says_the_same(path: Path, document: Mapping[str, Any]) -> bool:
    """Whether a whole record of clean code holds these very rows, made in the same way at another time or place.

    Its provenance is then true as it stands, and a reader who regenerates a table finds no changed file.
    """
    try:
        stored = json_object(path.with_suffix(".json").read_bytes(), path.stem)
        text = path.read_text(encoding="utf-8")
        lasting = [
            {key: value for key, value in each["provenance"].items() if key not in _CIRCUMSTANCES}
            for each in (stored, document)
        ]
        heads = [(each["table_id"], each["sha256"], each.get("extra_sha256", {})) for each in (stored, document)]
        clean = stored["provenance"]["git_clean"] is True
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return clean and heads[0] == heads[1] and lasting[0] == lasting[1] and _digest(text) == stored["sha256"]


def _plain(provenance: Mapping[str, Any]) -> str:
    return json.dumps(provenance, sort_keys=True)


_PARTS = {"table_id", "sha256", "provenance", "provenance_sha256", "extra_sha256", "figure"}
"""What a record's .json may hold; older ones of figures have `figure`."""


def _csv(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False, lineterminator="\n")


def _beside(path: Path, name: str) -> Path:
    """Where an extra frame of the record at `path` lies."""
    return path.with_name(f"{path.stem}.{name}.csv")


def save_record(
    table_id: str,
    frame: pd.DataFrame,
    provenance: Mapping[str, object],
    extra: Mapping[str, pd.DataFrame] | None = None,
) -> Path:
    """Store our rows of a table or figure with where they came from, in output/records; returns the path of the CSV.

    In reference mode (`repro.paths.reference_mode`) the record becomes the committed one in data/results. A record that
    holds the same rows already, from clean code, stays as it is.

    Args:
        table_id: id of a published table or figure. A table's frame must fit its schema (`repro.report.conform`).
        frame: one row per key and seed; `attrs` are not stored.
        provenance: plain data with at least preset, dataset, seeds, git_revision, git_clean, versions and device;
            epochs, recipe, wall time, `recipe_digest` and `code` (see `freshness`) belong here too. Anything that looks
            like a path is refused.
        extra: further frames that the entry's pictures need, by name; each is a CSV beside the record.
    Raises: InputError, one sentence, for what does not fit.
    """
    known = _check_provenance(provenance, f"the record of {table_id}")
    path = _folder(records_root(), table_id) / f"{known['preset']}-{known['dataset']}.csv"
    if table_id in table_ids():
        conform(table_id, frame)
    with answers.held(path.parent.parent):
        parts = {name: answers.put_away(part, path.parent.parent) for name, part in (extra or {}).items()}
        text, more = _csv(frame), {name: _csv(part) for name, part in parts.items()}
        document = {"table_id": table_id, "sha256": _digest(text), "provenance": known}
        document["provenance_sha256"] = _digest(_plain(known))
        document["extra_sha256"] = {name: _digest(part) for name, part in more.items()}
        if _says_the_same(path, document):
            return path
        write_text(path, text)
        for name, part in more.items():
            write_text(_beside(path, name), part)
        write_text(path.with_suffix(".json"), json.dumps(document, indent=1, sort_keys=True) + "\n")
        for former in set(path.parent.glob(f"{path.stem}.*.csv")) - {_beside(path, name) for name in more}:
            former.unlink()
        return path


def read_record(path: Path) -> Record:
    """Read one record by the path of its .json or .csv and check it."""
    path = Path(path).with_suffix(".json")
    name = f"{path.parent.name}/{path.name}"
    try:
        document = json_object(path.read_bytes(), path.name)
        text = path.with_suffix(".csv").read_text(encoding="utf-8")
        table_id, provenance, digest = document["table_id"], document["provenance"], document["sha256"]
        texts = {"": (text, digest)}
        for extra, known in dict(document.get("extra_sha256", {})).items():
            beside = _beside(path, extra)
            texts[extra] = (beside.read_text(encoding="utf-8") if beside.is_file() else "", known)
        if document.keys() - _PARTS or table_id != path.parent.name:
            raise ValueError("it is not a record of this table")
        if document.get("provenance_sha256", _digest(_plain(provenance))) != _digest(_plain(provenance)):
            raise ValueError("its provenance does not have the digest that it names")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"result record {name} cannot be read ({error}); delete it and run the table again."
        ) from error
    if any(known != _digest(part) for part, known in texts.values()):
        raise InputError(f"result record {name} does not fit its CSV (one was edited or lost); run the table again.")
    provenance = _check_provenance(provenance, name)
    try:
        frames = {extra: answers.fetched(_frame(part), path.parent.parent) for extra, (part, _) in texts.items()}
    except (OSError, ValueError) as error:  # damaged answers, or text that is none
        raise InputError(
            f"result record {name} cannot be read ({error}); run the table again, or copy answers/ with it."
        ) from error
    frame = frames.pop("")
    frame.attrs = {"table_id": table_id, "preset": provenance["preset"], "dataset": provenance["dataset"]}
    frame.attrs |= {"provenance": provenance, "stands_for": provenance.get("stands_for", {}), "extra": frames}
    return Record(table_id, provenance["preset"], provenance["dataset"], frame, provenance)


def _frame(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text), keep_default_na=False, na_values=[""]) if text.strip() else pd.DataFrame()


def load_records(table_id: str, root: Path | None = None) -> list[Record]:
    """All records of a table or figure, the paper preset before quick before smoke, then by data set.

    One that is damaged is told in a warning and left out: it stops no other.

    `root` is the folder of the records: the committed reference by default, `repro.paths.records_root()` for our own.
    """
    records = []
    for path in sorted(_folder(root, table_id).glob("*.json")):
        try:
            records.append(read_record(path))
        except InputError as error:
            warnings.warn(str(error), RuntimeWarning, stacklevel=2)
    return sorted(records, key=lambda record: (PRESETS.index(record.preset), record.dataset))


def drop_unused_answers(root: Path | None = None) -> int:
    """Remove packed answers (`repro.report.answers`) that no record names any more; returns how many they were.

    `root` as in `load_records`.
    """
    root = results_root() if root is None else Path(root)
    return answers.prune(root, lambda: root.glob("*/*-*.*.csv"))


ARCHITECTURE = "architecture"
"""Data set of a record that follows from the architecture: nothing was trained for it."""


def latest(
    table_id: str,
    preset: str | None = None,
    dataset: str | None = None,
    *,
    trained: bool = True,
    root: Path | None = None,
) -> Record | None:
    """The record with the most weight, None if there is none: highest preset, then newest date.

    A record that was trained goes before one that only follows from the architecture; with `trained` False after it.
    `root` as in `load_records`.
    """
    records = [r for r in load_records(table_id, root) if preset in (None, r.preset) and dataset in (None, r.dataset)]
    newest = sorted(records, key=lambda record: str(record.provenance.get("date", "")), reverse=True)
    return min(
        newest,
        key=lambda record: ((record.dataset == ARCHITECTURE) == trained, PRESETS.index(record.preset)),
        default=None,
    )


VERIFIED_FILE = "verified.json"


def verified(root: Path | None = None) -> list[dict[str, Any]]:
    """What `repro verify` has found beside the committed records; none where the file is absent or damaged.

    Each: of (table, preset and data set of a record), label (a kind of its runs), made and now (fingerprints of the
    record's code and of the code that gave the same answers), runs, answers, and where that was.
    """
    try:
        noted = unsealed_json((root or results_root()) / VERIFIED_FILE)["verified"]
        return [one for one in noted if {"of", "label", "made", "now"} <= set(one)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def note_verified(record: Record, label: str, now: str, about: Mapping[str, Any], root: Path | None = None) -> None:
    """Add to `verified` that the code `now` gives a record's answers; what was said of that record and label goes."""
    root, made = root or results_root(), record.provenance["code"][label]
    with answers.held(root):  # one writer at a time
        others = [one for one in verified(root) if (one["of"], one["label"]) != (record.name, label)]
        others.append({"of": record.name, "label": label, "made": made, "now": now, **about})
        noted = sorted(others, key=lambda one: (one["of"], one["label"]))
        write_text(root / VERIFIED_FILE, sealed_json({"verified": noted}) + "\n")


FRESHNESS = ("as made", "verified", "code changed since", "not known")


def freshness(record: Record, now: Mapping[str, str] | None) -> str:
    """Whether the code that made a record is the code of today: one of `FRESHNESS`.

    "verified": the code has changed, and runs of every kind that was concerned, repeated with today's code, gave the
    answers that the record holds, bit for bit (`repro verify`).

    Args:
        record: its provenance holds `code`, the fingerprint of the run function, or one per kind of run.
        now: fingerprint by kind of run, as the table's runs would be made today; None if that cannot be said. An
            entry "recipe" says that the settings of the table have changed.
    """
    made = record.provenance.get("code")
    if now and "recipe" in now:
        return "code changed since"
    if not made or not now:
        return "not known"
    if not isinstance(made, Mapping):
        return "as made" if set(now.values()) == {made} else "code changed since"
    if dict(made) == dict(now):
        return "as made"
    seen = {(one["label"], one["made"], one["now"]) for one in verified() if one["of"] == record.name}
    repeated = set(made) == set(now) and all(
        made[label] == now[label] or (label, made[label], now[label]) in seen for label in made
    )
    return "verified" if repeated else "code changed since"
