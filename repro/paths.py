"""Folders, atomic writes, and digests that show damage. Every folder that the package uses is named here once.

What is read lies in the checkout; an installed package carries it. What is written goes to the checkout, or to the
current folder where the package is installed. Each folder can be moved by an environment variable:

    REPRO_HOME     the folder that all below begin in       (default: the checkout, or the current folder)
    REPRO_DATA     data sets as they were downloaded        (default data/raw)
    REPRO_CACHE    decoded data, compiled and tuned kernels (default data/cache; installed: the user's cache folder)
    REPRO_RUNS     one folder per training run              (default data/runs)
    REPRO_RESULTS  the committed reference records          (default data/results)
    REPRO_OUTPUT   records, figures and pages of a command  (default output, which git ignores)
    REPRO_FIGURES  figures                                  (default output/figures)

REPRO_REFERENCE=1 makes a command write the reference: records to data/results, figures to figures/. An installed
package's own records are read-only.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from repro.errors import DamagedError, InputError

_PACKAGE = Path(__file__).resolve().parent
_CARRIED = _PACKAGE / "_files"
"""What a wheel carries of the repository beside the code, laid out as there (pyproject.toml names it)."""


def is_installed() -> bool:
    """Whether the package runs from a wheel, not from a checkout."""
    return _CARRIED.is_dir()


def repo_root() -> Path:
    """The folder that holds `repro/`: the checkout, or where packages are installed."""
    return _PACKAGE.parent


def carried_root() -> Path:
    """The folder that `notebooks` and what git keeps in `data` are read in: the checkout, or the wheel's."""
    return _CARRIED if is_installed() else repo_root()


def home_root() -> Path:
    """The folder that what is written begins in: $REPRO_HOME, else the checkout, else the current folder."""
    return _configured("REPRO_HOME") or (Path.cwd() if is_installed() else repo_root())


def _configured(variable: str) -> Path | None:
    return expanded(variable, os.environ[variable]) if os.environ.get(variable) else None


def expanded(name: str, value: str | os.PathLike) -> Path:
    """A folder with ~ written out; InputError for what is none, or lies in a home that this machine does not know."""
    try:
        return Path(value).expanduser()
    except TypeError as error:
        raise InputError(f"{name}={value!r} is not allowed; name a folder.") from error
    except RuntimeError as error:
        raise InputError(f"{name}={value!r} is not allowed; there is no such home folder.") from error


def _folder(variable: str, default: str) -> Path:
    return _configured(variable) or home_root() / default


def data_root(root: str | os.PathLike | None = None) -> Path:
    """Where data sets lie: the argument, else $REPRO_DATA, else data/raw."""
    return expanded("root", root) if root is not None else _folder("REPRO_DATA", "data/raw")


def cache_root() -> Path:
    """Decoded data sets, compiled and tuned kernels; safe to delete.

    An installed package keeps them in the user's cache folder: a layer in someone's own script leaves nothing there.
    """
    if is_installed() and not os.environ.get("REPRO_HOME") and not os.environ.get("REPRO_CACHE"):
        from platformdirs import user_cache_path

        return user_cache_path("multfree-repro")
    return _folder("REPRO_CACHE", "data/cache")


def runs_root() -> Path:
    """One folder per run, addressed by its content."""
    return _folder("REPRO_RUNS", "data/runs")


def results_root() -> Path:
    """The committed reference records, each with its provenance."""
    return _configured("REPRO_RESULTS") or carried_root() / "data" / "results"


def weights_root() -> Path:
    """The trained weights that come with the package, each with its card."""
    return carried_root() / "data" / "weights"


def output_root() -> Path:
    """What a command writes: records, figures, pages. Safe to delete."""
    return _folder("REPRO_OUTPUT", "output")


def reference_mode() -> bool:
    """Whether a command writes the committed reference records ($REPRO_REFERENCE is 1)."""
    return os.environ.get("REPRO_REFERENCE") == "1"


def write_reference() -> None:
    """From here on this process and its kernels write the committed records and figures/.

    Raises: InputError where the records are an installed package's own.
    """
    os.environ["REPRO_REFERENCE"] = "1"
    records_root()


def records_root() -> Path:
    """Where a command writes its records: output/records, or data/results in reference mode.

    Raises: InputError in reference mode where the records are an installed package's own.
    """
    if not reference_mode():
        return output_root() / "records"
    if is_installed() and not os.environ.get("REPRO_RESULTS"):
        raise InputError(
            "the committed records of an installed package are read-only; write them in a checkout, or name a folder "
            "of your own in REPRO_RESULTS."
        )
    return results_root()


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
    return carried_root() / "data" / "published"


@contextmanager
def atomic_path(target: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `target`; move it onto `target` only if the block ends without an error.

    A kill at any moment leaves either the old file or the new one, never half of one. What killed writers left in the
    folder is removed.
    """
    target = Path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent)
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


def check_writable(folder: str | os.PathLike, *, advice: str = "point the REPRO_* variables elsewhere") -> Path:
    """A folder that files can be written to, or that can be made; it is left as it is. Asked before work begins.

    Args:
        advice: what else can be done than to make room or to make it writable.
    Raises: InputError.
    """
    folder = Path(folder)
    try:
        above = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.TemporaryFile(dir=above):
            return folder
    except OSError as error:
        raise InputError(
            f"cannot write to folder {folder} ({error.strerror or error}); free some space, make it writable, "
            f"or {advice}."
        ) from error


def write_text(target: str | os.PathLike, text: str) -> Path:
    """Write a text file atomically and return its path."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(target)


_SEAL = b"sha256 "
_SEAL_BYTES = len(_SEAL) + 64 + 1


def write_sealed(target: str | os.PathLike, body: bytes) -> Path:
    """Write `body` atomically behind a line with its SHA-256; `read_sealed` checks it."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(_SEAL + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    return Path(target)


def read_sealed(path: str | os.PathLike) -> bytes:
    """What `write_sealed` wrote; DamagedError if it is not what its digest says, FileNotFoundError if it is absent."""
    try:
        raw = Path(path).read_bytes()
    except IsADirectoryError as error:
        raise DamagedError(f"{Path(path).name} is a folder; name a file.") from error
    line, body = raw[:_SEAL_BYTES], raw[_SEAL_BYTES:]
    if line != _SEAL + hashlib.sha256(body).hexdigest().encode() + b"\n":
        raise DamagedError(f"{Path(path).name} is damaged: its content does not have the digest in its first line.")
    return body


def _json_digest(document: Mapping[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def sealed_json(document: Mapping[str, Any], *, indent: int | None = 1) -> str:
    """`document` as JSON text with the digest of its values under "sha256"; `unsealed_json` checks it."""
    plain = json.loads(json.dumps(document))  # what a reader will see: keys are text, tuples are lists
    return json.dumps({**plain, "sha256": _json_digest(plain)}, indent=indent)


def json_object(text: str | bytes, name: str) -> dict[str, Any]:
    """The object that a JSON text holds; DamagedError, with `name` for what the text is, if it holds none."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{name} is damaged: it is no JSON text ({error}).") from error
    if not isinstance(document, dict):
        raise DamagedError(f"{name} is damaged: it does not hold an object.")
    return document


def unseal(text: str | bytes, name: str, *, required: bool = False) -> dict[str, Any]:
    """The object that `sealed_json` made a text of, without its digest.

    Args:
        name: what the text is, for messages.
        required: whether a text without a digest (as older versions wrote) is refused.
    Raises: DamagedError if the text is no JSON object or does not have the digest that it names.
    """
    document = json_object(text, name)
    digest = document.pop("sha256", None)
    if digest is None and required:
        raise DamagedError(f"{name} carries no digest, so it cannot be checked.")
    if digest is not None and digest != _json_digest(document):
        raise DamagedError(f"{name} is damaged: its content does not have the digest that it names.")
    return document


def unsealed_json(path: str | os.PathLike, *, required: bool = True) -> dict[str, Any]:
    """`unseal` of a file; DamagedError as there, FileNotFoundError if there is none."""
    return unseal(Path(path).read_bytes(), Path(path).name, required=required)


def set_aside(path: Path, word: str, sentence: str) -> Path:
    """Move a file or folder out of the way under a name that ends in `word`; `sentence` says on stderr why."""
    target = path.with_name(f"{path.name}.{word}-{time.time_ns()}")
    path.rename(target)
    print(f"{sentence} It was set aside as {target.name}.", file=sys.stderr, flush=True)
    return target


def sweep(folder: Path, *, older_s: float = 3600) -> int:
    """Remove what killed writers left in `folder` (temporary files of `atomic_path`) and return how many there were.

    A file younger than `older_s` seconds may belong to a writer at work and stays.
    """
    count, now = 0, time.time()
    for path in folder.glob(".*.part") if folder.is_dir() else ():
        try:
            if now - path.stat().st_mtime >= older_s:
                path.unlink()
                count += 1
        except OSError:  # its writer was faster
            continue
    return count
