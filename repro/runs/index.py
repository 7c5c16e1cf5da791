"""States of all run folders, with an index beside the store so that a finished folder is read only once.

The index holds what a finished folder said, under the times and sizes of its files. It is only a shortcut: without it,
or with a damaged one, the folders are read again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from repro.errors import InputError
from repro.paths import json_object, runs_root, write_text
from repro.runs.code import still_means
from repro.runs.spec import FOLDER
from repro.runs.store import RunState, RunStatus, read_folder

INDEX = "index.json"


def scan(root: Path | None = None) -> list[RunStatus]:
    """State of every run folder under `root` (default: the runs root), sorted by folder."""
    root = root or runs_root()
    before = _read(root / INDEX)
    after: dict[str, dict] = {}
    statuses = []
    is_current = functools.cache(still_means)
    for kind, folder in _folders(str(root), ""):
        key = folder[len(str(root)) + 1 :]
        stamp = _stamp(folder)
        entry = before.get(key)
        if stamp is None or entry is None or entry["stamp"] != stamp:
            status, config = read_folder(kind, Path(folder))
            if status.state not in ("done", "diverged"):  # looked at again each time
                statuses += [status] if status.state != "missing" else []
                continue
            entry = _entry(status, config, stamp)
        after[key] = entry
        statuses.append(_status(kind, folder, entry, is_current))
    if after != before:
        _write(root / INDEX, after)
    return statuses


def _folders(root: str, kind: str) -> Iterator[tuple[str, str]]:
    """(kind, folder) of every run folder, whoever named it; what was set aside has a dot in its name."""
    try:
        names = sorted(entry.name for entry in os.scandir(os.path.join(root, kind)) if entry.is_dir())
    except OSError:
        return
    for name in names:
        if FOLDER.fullmatch(name) or (
            "." not in name and os.path.exists(os.path.join(root, kind, name, "result.json"))
        ):
            yield kind, os.path.join(root, kind, name)
        elif "." not in name:
            yield from _folders(root, f"{kind}/{name}" if kind else name)


def _stamp(folder: str) -> list[int] | None:
    """Time and size of what a finished run consists of; None if there is no result."""
    stamp = []
    for name in ("result.json", "config.json", "metrics.jsonl"):
        try:
            found = os.stat(os.path.join(folder, name))
        except OSError:
            if name == "result.json":
                return None
            stamp += [0, 0]
        else:
            stamp += [found.st_mtime_ns, found.st_size]
    return stamp


def _entry(status: RunStatus, config: dict, stamp: list[int] | None) -> dict:
    code = [config.get("function", ""), config.get("uses", []), config.get("recipe_classes", [])]
    kept = {name: getattr(status, name) for name in ("state", "seed", "wall_s", "recipe_digest")}
    return {"stamp": stamp, "code": code, **kept}


def _status(kind: str, folder: str, entry: dict, is_current: Callable[..., bool]) -> RunStatus:
    function, uses, classes = entry["code"]
    # What names no function cannot be compared with code.
    current = not function or is_current(folder.rpartition("-")[2], function, tuple(uses), tuple(classes))
    state: RunState = entry["state"] if current else "stale"
    wall_s, digest = entry["wall_s"], entry["recipe_digest"]
    return RunStatus(kind, Path(folder), state, entry["seed"], wall_s, recipe_digest=digest)


def _read(path: Path) -> dict[str, dict]:
    """The index, empty unless the text is the one whose digest stands before it."""
    try:
        digest, _, text = path.read_text(encoding="utf-8").partition("\n")
        return json_object(text, path.name) if digest == _digest(text) else {}
    except (OSError, ValueError):
        return {}


def _write(path: Path, entries: dict[str, dict]) -> None:
    text = json.dumps(entries)
    try:
        write_text(path, f"{_digest(text)}\n{text}")
    except InputError:  # a store that cannot be written can still be read
        return


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
