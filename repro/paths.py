"""Folders and atomic writes. Every folder that the package reads or writes is named here once.

Each can be moved by an environment variable:

    REPRO_DATA     data sets as they were downloaded        (default data/raw)
    REPRO_CACHE    decoded data, tuned kernel settings      (default data/cache)
    REPRO_RUNS     one folder per training run              (default data/runs)
    REPRO_RESULTS  the committed reference records          (default data/results)
    REPRO_OUTPUT   records, figures and pages of a command  (default output, which git ignores)
    REPRO_FIGURES  figures                                  (default output/figures)

REPRO_REFERENCE=1 makes a command write the reference: records to data/results, figures to figures/.
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
    """The committed reference records, each with its provenance."""
    return _folder("REPRO_RESULTS", "data/results")


def output_root() -> Path:
    """What a command writes: records, figures, pages. Safe to delete."""
    return _folder("REPRO_OUTPUT", "output")


def reference_mode() -> bool:
    """Whether a command writes the committed reference records ($REPRO_REFERENCE is 1)."""
    return os.environ.get("REPRO_REFERENCE") == "1"


def records_root() -> Path:
    """Where a command writes its records: output/records, or data/results in reference mode."""
    return results_root() if reference_mode() else output_root() / "records"


def figures_root() -> Path:
    """Where figures are drawn: $REPRO_FIGURES, else output/figures, or figures/ in reference mode."""
    if reference_mode() or os.environ.get("REPRO_FIGURES"):
        return _folder("REPRO_FIGURES", "figures")
    return output_root() / "figures"


def pages_root() -> Path:
    """Where executed notebooks and their HTML pages go."""
    return output_root() / "pages"


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
