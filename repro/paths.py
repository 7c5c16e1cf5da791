"""Folders and atomic writes. Every folder that the package reads or writes is named here once.

Each can be moved by an environment variable:

    REPRO_DATA     data sets as they were downloaded      (default data/raw)
    REPRO_CACHE    decoded data, tuned kernel settings    (default data/cache)
    REPRO_RUNS     one folder per training run            (default data/runs)
    REPRO_RESULTS  small records cited by tables          (default data/results)
    REPRO_FIGURES  figures, each beside its CSV           (default figures)
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from repro.errors import InputError


def repo_root() -> Path:
    """The folder that holds `repro/`, `notebooks/` and `data/`."""
    return Path(__file__).resolve().parent.parent


def _folder(variable: str, default: str) -> Path:
    configured = os.environ.get(variable)
    return Path(configured).expanduser() if configured else repo_root() / default


def data_root(root: str | os.PathLike | None = None) -> Path:
    """Where data sets lie: the argument, else $REPRO_DATA, else data/raw."""
    return Path(root).expanduser() if root is not None else _folder("REPRO_DATA", "data/raw")


def cache_root() -> Path:
    """Decoded data sets and tuned kernel settings; safe to delete."""
    return _folder("REPRO_CACHE", "data/cache")


def runs_root() -> Path:
    """One folder per run, addressed by its content."""
    return _folder("REPRO_RUNS", "data/runs")


def results_root() -> Path:
    """Small result records with provenance; committed when a table cites them."""
    return _folder("REPRO_RESULTS", "data/results")


def figures_root() -> Path:
    """Generated figures, each beside the CSV it was drawn from."""
    return _folder("REPRO_FIGURES", "figures")


def published_root() -> Path:
    """The papers' printed numbers; read-only."""
    return repo_root() / "data" / "published"


@contextmanager
def atomic_path(target: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `target`; move it onto `target` only if the block ends without an error.

    A kill at any moment leaves either the old file or the new one, never half of one.
    """
    target = Path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    except OSError as error:
        raise InputError(
            f"cannot write to folder {target.parent} ({error.strerror or error}); "
            "free some space, make it writable, or point the REPRO_* variables elsewhere."
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except OSError as error:
        raise InputError(
            f"cannot write {target} ({error.strerror or error}); free some space or make the folder writable."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(target: str | os.PathLike, text: str) -> Path:
    """Write a text file atomically and return its path."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(target)
