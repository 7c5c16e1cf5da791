"""Run folders: where a run lives, in which state it is, and how one is executed.

Layout of one folder, `<runs root>/<kind>/<identity>-<code>/`:

    config.json       the whole recipe, seed, function, data fingerprint: what the name was computed from
    metrics.jsonl     one JSON object per epoch (or whatever the run logs), appended as it goes
    result.json       the outcome with provenance and the checksum of the metrics; written last, atomically
    error.json        instead of a result: the traceback of a crashed run
    weights.safetensors  of the network that was tested, where the run keeps them (`repro.papers.weights`)
    …                 whatever else the run writes beside them
    checkpoint/       what the run itself keeps for resuming; removed once the result is written
    .lock             held while a process works on the folder; it stays when the content is set aside

Every object carries the digest of its values. A folder with a sound `result.json` is finished; one with something
damaged is set aside and the run begins again; anything else is resumed by the next process. Reading takes no lock and
a folder that moves meanwhile is not there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from repro.errors import DamagedError, InputError
from repro.paths import sealed_json, unseal, unsealed_json, write_text
from repro.runs.provenance import provenance
from repro.runs.spec import FOLDER, RunSpec, agrees, to_plain

LOCK = ".lock"
RESULT = "result.json"
CHECKPOINT = "checkpoint"
WEIGHTS = "weights.safetensors"
RunState = Literal["done", "diverged", "failed", "running", "partial", "stale", "missing"]


@dataclasses.dataclass(frozen=True)
class RunStatus:
    """State of one folder, with the seconds it took when it is finished."""

    kind: str
    folder: Path
    state: RunState
    seed: int | None = None
    wall_s: float | None = None
    message: str = ""
    recipe_digest: str = ""


class RunContext:
    """What a run function gets to write with.

    Attributes:
        folder: the run's folder.
        checkpoint: folder for the run's own resume files (created on first use by the run).
        weights: file for the weights of the network that was tested.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint = folder / CHECKPOINT
        self.weights = folder / WEIGHTS
        self._metrics = folder / "metrics.jsonl"

    def log(self, **metrics: Any) -> None:
        """Append one line of metrics; a `epoch` that was logged before (a resumed run) replaces the later lines."""
        lines = self.metrics()
        epoch = metrics.get("epoch")
        if epoch is not None:
            lines = [line for line in lines if line.get("epoch") is None or line["epoch"] < epoch]
        lines.append(to_plain(metrics))
        write_text(self._metrics, "".join(sealed_json(line, indent=None) + "\n" for line in lines))

    def metrics(self) -> list[dict]:
        """Lines logged so far; a last one that was cut short is dropped. DamagedError if another cannot be read."""
        if not self._metrics.is_file():
            return []
        lines = self._metrics.read_bytes().splitlines(keepends=True)
        whole = lines[:-1] if lines and not lines[-1].endswith(b"\n") else lines
        return [unseal(line, f"{self._metrics.name}, line {number},") for number, line in enumerate(whole, 1)]


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


_RESULT = {"value", "outcome", "metrics_sha256", "provenance"}


def _read(path: Path) -> dict | None:
    """The file's object, None if there is no such file; DamagedError if it is not what was written.

    Raises: InputError where the run store is none, or may not be read.
    """
    try:
        return unsealed_json(path, required=False)
    except FileNotFoundError:
        return None
    except IsADirectoryError as error:
        raise DamagedError(f"{path.name} is a folder") from error
    except OSError as error:
        raise InputError(
            f"cannot read the run folder {path.parent} ({error.strerror or error}); set REPRO_RUNS to a folder that "
            "can be read and written."
        ) from error


def _sound_result(folder: Path) -> dict | None:
    """The finished result in `folder`, None if it is not finished; DamagedError if the folder is damaged."""
    result = _read(folder / RESULT)
    if result is None:
        return None
    if not {"value", "provenance"} <= result.keys() <= _RESULT or not isinstance(result["provenance"], dict):
        raise DamagedError("result.json does not hold a value and its provenance")
    if result.get("metrics_sha256", "") != _checksum(folder / "metrics.jsonl"):
        raise DamagedError("metrics.jsonl does not match the checksum in result.json")
    return result


def _set_aside(folder: Path, word: str, reason: str) -> None:
    """Move what is in a folder into another whose name ends in `word`, and say so aloud; the lock stays."""
    target = folder.with_name(f"{folder.name}.{word}-{time.time_ns()}")
    target.mkdir()
    # The result first: without it the folder is unfinished, wherever a kill stops this.
    for path in sorted(folder.iterdir(), key=lambda path: path.name != RESULT):
        if path.name != LOCK:
            path.rename(target / path.name)
    reason = str(reason).rstrip(".")
    print(f"Run folder {folder.name} is {word} ({reason}); set aside as {target.name} and run again.", file=sys.stderr)


def _trouble(folder: Path, spec: RunSpec) -> tuple[dict | None, str, str]:
    """(the finished result if it can be used, else what the folder is, and why); ("", "") where nothing is wrong."""
    try:
        result, config = _sound_result(folder), _read(folder / "config.json")
        if result is not None and config is None:
            raise DamagedError("config.json is missing")
        if config is not None and not agrees(config.get("recipe"), spec.recipe):
            return None, "superseded", "a default of its recipe has changed since"
        if result is None:
            RunContext(folder).metrics()
    except FileNotFoundError:  # it moved while it was read
        return None, "", ""
    except DamagedError as error:
        return None, "damaged", str(error)
    return result, "", ""


def files_of(folder: Path) -> list[Path]:
    """Regular files that are part of the run in `folder`, at any depth, the result first: without it none counts.

    Its lock, its checkpoint and what killed writers left are not among them.
    """
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    passing = {folder / LOCK} | {path for path in found if path.name.startswith(".") and path.suffix == ".part"}
    kept = [path for path in found if path not in passing and folder / CHECKPOINT not in path.parents]
    return sorted(kept, key=lambda path: path != folder / RESULT)


def clear(folder: Path) -> None:
    """Remove a run and its checkpoint from its folder, whose lock this process holds."""
    for path in files_of(folder):
        path.unlink(missing_ok=True)
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)


def load_result(spec: RunSpec, *, locked: bool = False) -> dict | None:
    """The record of a finished run (`value`, `provenance`, `outcome`), or None.

    What is damaged, or was made with other defaults than today's, is set aside; if another process is at work in the
    folder, that is left to it. `locked` says that this process holds the folder's lock.
    Raises: InputError where the run store is none, or may not be read.
    """
    folder = spec.folder
    result, word, reason = _trouble(folder, spec)
    if not word:
        return result
    if locked:
        _set_aside(folder, word, reason)
    if locked or not folder.is_dir():
        return None
    try:
        with FileLock(folder / LOCK, timeout=0):
            return load_result(spec, locked=True)
    except (Timeout, OSError):  # at work, moved, or in a store that cannot be written: what runs next sees to it
        return None


def earlier_results(spec: RunSpec) -> list[dict]:
    """Records of finished runs of the same recipe, seed and data by other code than today's, oldest first.

    Nothing is set aside: what is damaged, or was made with other defaults, is left out.
    """
    own, found = spec.folder, []
    for path in own.parent.glob(f"{spec.identity}-????????????/result.json"):
        result, word, _ = _trouble(path.parent, spec) if path.parent != own else (None, "", "")
        if result is not None and not word:
            found.append(result)
    return sorted(found, key=lambda result: str(result["provenance"].get("date", "")))


def is_locked(folder: Path) -> bool:
    """Whether a process is working on the folder."""
    if not (folder / LOCK).exists():
        return False
    try:
        with FileLock(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # moved, or in a store that cannot be written
        return False


def find_status(spec: RunSpec) -> RunStatus:
    """State of the run that `spec` describes; `stale` if only an older code revision has answered it."""
    folder = spec.folder
    status, config = read_folder(spec.kind, folder)
    if status.state != "missing" and (not config or agrees(config.get("recipe"), spec.recipe)):
        return dataclasses.replace(status, seed=spec.seed)
    older = sorted(folder.parent.glob(f"{spec.identity}-????????????/result.json"))
    older = [result.parent for result in older if result.parent != folder]
    state: RunState = "stale" if older else "missing"
    return RunStatus(spec.kind, older[-1] if older else folder, state, spec.seed)


def read_folder(kind: str, folder: Path) -> tuple[RunStatus, dict]:
    """State of a folder by what lies in it, whatever the code is now, and its config."""
    try:
        result, config = _sound_result(folder), _read(folder / "config.json")
        error = None if result else _read(folder / "error.json")
        if result is not None and config is None and FOLDER.fullmatch(folder.name):
            raise DamagedError("config.json is missing")
        if result is None and config is not None:
            RunContext(folder).metrics()
    except (OSError, InputError) as problem:
        if not folder.is_dir():  # it moved while it was read
            return RunStatus(kind, folder, "missing"), {}
        return RunStatus(kind, folder, "failed", message=f"damaged: {problem}"), {}
    if result is None and config is None and error is None:
        return RunStatus(kind, folder, "running" if is_locked(folder) else "missing"), {}
    config = config or {}
    about = {"seed": config.get("seed"), "recipe_digest": config.get("recipe_digest", "")}
    if result is not None:
        state: RunState = "diverged" if result.get("outcome") == "diverged" else "done"
        about["wall_s"] = result["provenance"].get("wall_s")
    elif is_locked(folder):
        state = "running"
    elif error is not None:
        state = "failed"
        about["message"] = str(error.get("message", ""))
    else:
        state = "partial"
    return RunStatus(kind, folder, state, **about), config


def execute(spec: RunSpec, *, fresh: bool = False, begin: Callable[[], None] | None = None) -> dict:
    """Do one run in this process, or return its stored result; waits if another process is working on it.

    Args:
        spec: the run.
        fresh: run again even if it is finished.
        begin: called when the folder is locked and ready, just before the function; not called for a stored result.
    Returns the result record. Exceptions of the run function are recorded in `error.json` and raised again.
    """
    folder = spec.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot create the run folder {folder} ({error.strerror}); free some space, make it writable, "
            "or set REPRO_RUNS to another folder."
        ) from error
    with FileLock(folder / LOCK):
        if not fresh:
            done = load_result(spec, locked=True)
            if done is not None:
                return done
        else:
            clear(folder)
        return _execute_locked(spec, folder, begin)


def _execute_locked(spec: RunSpec, folder: Path, begin: Callable[[], None] | None) -> dict:
    config = {
        "kind": spec.kind,
        "function": spec.function,
        "uses": list(spec.uses),
        "recipe_classes": list(spec.recipe_classes),
        "recipe": to_plain(spec.recipe),
        "recipe_digest": spec.recipe_digest,
        "seed": spec.seed,
        "data": spec.data,
    }
    write_text(folder / "config.json", sealed_json(config))
    if begin is not None:
        begin()
    started = time.perf_counter()
    try:
        value = to_plain(spec.load_function()(spec.recipe, spec.seed, RunContext(folder)))
        wall_s = round(time.perf_counter() - started, 3)
        code = folder.name.rpartition("-")[2]  # as it was when the run began
        about = {"seed": spec.seed, "data": spec.data, "recipe_digest": spec.recipe_digest, "code": code}
        result = {
            "value": value,
            "outcome": value.get("outcome", "done") if isinstance(value, dict) else "done",
            "metrics_sha256": _checksum(folder / "metrics.jsonl"),
            "provenance": provenance(**about, wall_s=wall_s, pid=os.getpid()),
        }
        text = sealed_json(result)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit is an outcome of the run like any other
        record_failure(spec, f"{type(error).__name__}: {error}", traceback.format_exc())
        raise
    write_text(folder / RESULT, text)
    (folder / "error.json").unlink(missing_ok=True)
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    return unseal(text, "result.json")


def record_failure(spec: RunSpec, message: str, details: str = "") -> None:
    """Write why a run failed into its folder."""
    record = {"message": message, "traceback": details, "provenance": provenance(seed=spec.seed)}
    write_text(spec.folder / "error.json", sealed_json(record))
