"""Decoded splits as memory-mapped .npy files under `paths.cache_root()`, safe for several processes at once.

One folder per (data set, split, size, content of the source files) holds `images.npy`, `labels.npy` and `meta.json`.
Each file is written atomically and `meta.json`, which carries a digest and records those of the others, comes last: a
folder without it is unfinished, and one whose files do not match it is damaged and rebuilt.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock

from repro import paths
from repro.datasets.source import sha256_of
from repro.errors import InputError

FORMAT = 1  # raise it when decoding or resizing changes what is stored
ARRAYS = ("images", "labels")


@dataclass
class CachedSplit:
    """One split: images (N, C, H, W) uint8, labels (N,) int64 or masks (N, H, W) uint8, mapped copy on write."""

    images: np.ndarray
    labels: np.ndarray
    meta: dict


def folder_of_caches() -> Path:
    """Where decoded data sets lie; safe to delete."""
    return paths.cache_root() / "datasets"


def cached(name: str, split: str, size: int | None, sums: list[str], build: Callable[[], CachedSplit]) -> CachedSplit:
    """The stored split if it is whole, else the one that `build()` returns, stored for the next time.

    A damaged entry is rebuilt and an unwritable cache leaves the split in memory; each is said in a warning.
    """
    key = hashlib.sha256(json.dumps([FORMAT, name, split, size, sums]).encode()).hexdigest()[:16]
    folder = folder_of_caches() / f"{name}-{split}-{size or 'full'}-{key}"
    entry, _ = _open(folder)
    if entry is not None:
        return entry
    with _lock(folder):
        entry, trouble = _open(folder)  # another process may have built it while this one waited
        if entry is not None:
            return entry
        if trouble:
            warnings.warn(f"{folder} is damaged ({trouble}); decoding {name} again.", RuntimeWarning, stacklevel=4)
        built = build()
        try:
            _store(folder, built)
        except InputError as error:
            warnings.warn(f"{name} stays in memory uncached: {error}", RuntimeWarning, stacklevel=4)
            return built
    entry, _ = _open(folder)
    return entry or built


def _lock(folder: Path) -> AbstractContextManager:
    """A lock beside the entry; none where the folder cannot be written, since nothing will be stored there."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        return nullcontext()
    if not os.access(folder.parent, os.W_OK):
        return nullcontext()
    return FileLock(folder.parent / f".{folder.name}.lock")


def _store(folder: Path, entry: CachedSplit) -> None:
    files = {}
    for array in ARRAYS:
        path = folder / f"{array}.npy"
        with paths.atomic_path(path) as temporary, open(temporary, "wb") as handle:
            np.save(handle, getattr(entry, array))
        files[path.name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    paths.write_text(folder / "meta.json", paths.sealed_json({**entry.meta, "cache_files": files}))


def _open(folder: Path) -> tuple[CachedSplit | None, str]:
    """The entry, or None and what is wrong with it (an empty reason: there is none)."""
    if not (folder / "meta.json").exists():
        return None, ""
    try:
        meta = paths.unsealed_json(folder / "meta.json")
        for array in ARRAYS:
            file = f"{array}.npy"
            found, recorded = (folder / file).stat().st_size, meta["cache_files"][file]
            if found != recorded["bytes"]:
                return None, f"{file} has {found} of {recorded['bytes']} bytes"
            if sha256_of(folder / file) != recorded["sha256"]:
                return None, f"{file} does not have the recorded SHA-256"
        arrays = [np.load(folder / f"{array}.npy", mmap_mode="c", allow_pickle=False) for array in ARRAYS]
    except (OSError, ValueError, KeyError) as error:
        return None, str(error).rstrip(".")
    return CachedSplit(*arrays, meta), ""  # type: ignore[call-arg]


def damaged_entries(name: str) -> tuple[int, list[str]]:
    """Re-hash every cached array of `name`: how many entries there are, and a line for each that is damaged."""
    count, lines = 0, []
    for meta_file in sorted(folder_of_caches().glob(f"{name}-t*-*/meta.json")):
        folder, count = meta_file.parent, count + 1
        _, trouble = _open(folder)
        if trouble:
            lines.append(f"cache entry {folder.name}: {trouble}; delete the folder, the next load rebuilds it")
    return count, lines


def file_sha256(path: Path) -> str:
    """SHA-256 of a source file, remembered by path, size and time of change so that a load need not read it all."""
    recorded = recorded_sha256(path)
    if recorded is not None:
        return recorded
    stamp, digest = _stamp(path), sha256_of(path)
    with suppress(InputError):  # only a shortcut; `cached` reports an unwritable cache
        paths.write_text(_memo(path), paths.sealed_json({"path": str(path), "stamp": stamp, "sum": digest}))
    return digest


def recorded_sha256(path: Path) -> str | None:
    """The remembered SHA-256 of a file whose size and time of change are as they were then, else None."""
    try:
        remembered = paths.unsealed_json(_memo(path))
        return remembered["sum"] if remembered["stamp"] == _stamp(path) else None
    except (OSError, ValueError, KeyError):
        return None


def _memo(path: Path) -> Path:
    return folder_of_caches() / "sums" / f"{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:24]}.json"


def _stamp(path: Path) -> list[int]:
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]
