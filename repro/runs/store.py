"""Run folders: where a run lives, in which state it is, and how one is executed.

Layout of one folder, `<runs root>/<kind>/<identity>-<code>/`:

    config.json       the whole recipe, seed, function, data fingerprint: what the name was computed from
    metrics.jsonl     one JSON object per epoch (or whatever the run logs), appended as it goes
    result.json       the outcome with provenance and the checksum of the metrics; written last, atomically
    error.json        instead of a result: the traceback of a crashed run
    checkpoint/       what the run itself keeps for resuming; removed once the result is written
    .lock             held while a process works on the folder

A folder with a valid `result.json` is finished. Anything else is resumed (or begun again) by the next process.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from repro.errors import InputError
from repro.paths import write_text
from repro.runs.provenance import provenance
from repro.runs.spec import RunSpec, agrees, to_plain

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
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint = folder / "checkpoint"
        self._metrics = folder / "metrics.jsonl"

    def log(self, **metrics: Any) -> None:
        """Append one line of metrics; a `epoch` that was logged before (a resumed run) replaces the later lines."""
        lines = self.metrics()
        epoch = metrics.get("epoch")
        if epoch is not None:
            lines = [line for line in lines if line.get("epoch") is None or line["epoch"] < epoch]
        lines.append(to_plain(metrics))
        write_text(self._metrics, "".join(json.dumps(line) + "\n" for line in lines))

    def metrics(self) -> list[dict]:
        """Lines logged so far; a line that a kill cut short is dropped."""
        if not self._metrics.is_file():
            return []
        lines = []
        for text in self._metrics.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                break
        return lines


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def read_json(path: Path) -> dict | None:
    """The file's object, None if there is no such file; ValueError if it is damaged."""
    if not path.is_file():
        return None
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} does not hold an object")
    return value


def valid_result(folder: Path) -> dict | None:
    """The finished result in `folder`, None if it is not finished; ValueError if the folder is damaged."""
    result = read_json(folder / "result.json")
    if result is None:
        return None
    if "value" not in result or not isinstance(result.get("provenance"), dict):
        raise ValueError("result.json lacks 'value' or 'provenance'")
    if result.get("metrics_sha256", "") != _checksum(folder / "metrics.jsonl"):
        raise ValueError("metrics.jsonl does not match the checksum in result.json")
    return result


def set_aside(folder: Path, word: str, reason: str) -> Path:
    """Move a folder out of the way under a name that ends in `word`, and say so aloud."""
    target = folder.with_name(f"{folder.name}.{word}-{time.time_ns()}")
    folder.rename(target)
    print(f"Run folder {folder.name} is {word} ({reason}); set aside as {target.name} and run again.", file=sys.stderr)
    return target


def _answers(folder: Path, spec: RunSpec) -> bool:
    """Whether what is in `folder` was made by today's recipe; ValueError if its config is damaged."""
    config = read_json(folder / "config.json")
    if config is None:
        if (folder / "result.json").exists():
            raise ValueError("config.json is missing")
        return True
    return agrees(config.get("recipe"), spec.recipe)


def load_result(spec: RunSpec) -> dict | None:
    """The record of a finished run (`value`, `provenance`, `outcome`), or None.

    A damaged folder, and one whose recipe had other defaults than today's, is set aside.
    """
    folder = spec.folder
    if not folder.is_dir():
        return None
    try:
        if _answers(folder, spec):
            return valid_result(folder)
    except ValueError as error:
        set_aside(folder, "damaged", str(error))
    else:
        set_aside(folder, "superseded", "a default of its recipe has changed since")
    return None


def is_locked(folder: Path) -> bool:
    """Whether a process is working on the folder."""
    if not (folder / ".lock").exists():
        return False
    try:
        with FileLock(folder / ".lock", timeout=0):
            return False
    except Timeout:
        return True


def find_status(spec: RunSpec) -> RunStatus:
    """State of the run that `spec` describes; `stale` if only an older code revision has answered it."""
    folder = spec.folder
    try:
        here = folder.is_dir() and _answers(folder, spec)
    except ValueError as error:
        return RunStatus(spec.kind, folder, "failed", spec.seed, message=f"damaged: {error}")
    if here:
        return read_folder(spec.kind, folder)[0]
    older = sorted(folder.parent.glob(f"{spec.identity}-????????????/result.json"))
    older = [result.parent for result in older if result.parent != folder]
    state: RunState = "stale" if older else "missing"
    return RunStatus(spec.kind, older[-1] if older else folder, state, spec.seed)


def read_folder(kind: str, folder: Path) -> tuple[RunStatus, dict]:
    """State of a folder by what lies in it, whatever the code is now, and its config."""
    try:
        config = read_json(folder / "config.json") or {}
        result = valid_result(folder)
        error = None if result else read_json(folder / "error.json")
    except (OSError, ValueError, RecursionError) as problem:
        return RunStatus(kind, folder, "failed", message=f"damaged: {problem}"), {}
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
    with FileLock(folder / ".lock"):
        if not fresh:
            done = load_result(spec)
            if done is not None:
                return done
            folder.mkdir(parents=True, exist_ok=True)  # it may just have been set aside
        else:
            for leftover in ("result.json", "metrics.jsonl", "error.json"):
                (folder / leftover).unlink(missing_ok=True)
            shutil.rmtree(folder / "checkpoint", ignore_errors=True)
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
    write_text(folder / "config.json", json.dumps(config, indent=1))
    if begin is not None:
        begin()
    started = time.perf_counter()
    try:
        value = spec.load_function()(spec.recipe, spec.seed, RunContext(folder))
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        record = {"message": message, "traceback": traceback.format_exc(), "provenance": provenance(seed=spec.seed)}
        write_text(folder / "error.json", json.dumps(record, indent=1))
        raise
    wall_s = round(time.perf_counter() - started, 3)
    code = folder.name.rpartition("-")[2]  # as it was when the run began
    about = {"seed": spec.seed, "data": spec.data, "recipe_digest": spec.recipe_digest, "code": code}
    result = {
        "value": to_plain(value),
        "outcome": value.get("outcome", "done") if isinstance(value, dict) else "done",
        "metrics_sha256": _checksum(folder / "metrics.jsonl"),
        "provenance": provenance(**about, wall_s=wall_s, pid=os.getpid()),
    }
    write_text(folder / "result.json", json.dumps(result, indent=1))
    (folder / "error.json").unlink(missing_ok=True)
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    return result
