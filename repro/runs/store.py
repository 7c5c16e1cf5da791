"""Run folders: what a run is, where it lives, and in which state it is.

Layout of one folder, `<runs root>/<experiment>/<identity>-<code>/`:

    config.json       recipe, seed, function, data fingerprint: what the name was computed from
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
import importlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from repro.errors import InputError, check_int
from repro.paths import runs_root, write_text
from repro.runs.code import code_fingerprint
from repro.runs.provenance import provenance

RunState = Literal["done", "diverged", "failed", "running", "partial", "stale", "missing"]


def to_plain(value: Any) -> Any:
    """Dataclasses, tuples and NumPy scalars as plain JSON values, so that equal recipes have equal text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        return value.item()
    return value


def _canonical(value: Any) -> str:
    return json.dumps(to_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclasses.dataclass(frozen=True)
class RunSpec:
    """One run, before it happens.

    Args:
        experiment: name of the folder that collects related runs, for example "acghostnet_t06".
        function: "package.module:name" of a function `run(recipe, seed, context) -> dict` at module level.
        recipe: frozen dataclass with everything that shapes the result but the seed. The function gets this object.
        seed: the run's only source of randomness.
        data: fingerprint of the data set, as `repro.datasets.load(...).fingerprint`.
        estimate_s: expected seconds on one core; only for the forecast shown before work begins.
    """

    experiment: str
    function: str
    recipe: Any
    seed: int
    data: str = ""
    estimate_s: float | None = dataclasses.field(default=None, compare=False)

    def __post_init__(self) -> None:
        check_int("seed", self.seed, minimum=0)
        if ":" not in self.function:
            raise InputError(f"function={self.function!r} is not allowed; write 'package.module:name'.")

    @property
    def identity(self) -> str:
        """Digest of what is asked for: function, recipe, seed, data."""
        text = _canonical([self.function, type(self.recipe).__name__, self.recipe, self.seed, self.data])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def code(self) -> str:
        """Fingerprint of the code that answers it."""
        return code_fingerprint(self.function.split(":")[0])

    @property
    def folder(self) -> Path:
        return runs_root() / self.experiment / f"{self.identity}-{self.code}"

    def load_function(self) -> Callable[[Any, int, RunContext], dict]:
        module, name = self.function.split(":")
        return getattr(importlib.import_module(module), name)


@dataclasses.dataclass(frozen=True)
class RunStatus:
    """State of one folder, with the seconds it took when it is finished."""

    experiment: str
    folder: Path
    state: RunState
    seed: int | None = None
    wall_s: float | None = None
    message: str = ""


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


def _read_json(path: Path) -> dict | None:
    """The file's object, None if there is no such file; ValueError if it is damaged."""
    if not path.is_file():
        return None
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} does not hold an object")
    return value


def _valid_result(folder: Path) -> dict | None:
    """The finished result in `folder`, None if it is not finished; ValueError if the folder is damaged."""
    result = _read_json(folder / "result.json")
    if result is None:
        return None
    if "value" not in result or "provenance" not in result:
        raise ValueError("result.json lacks 'value' or 'provenance'")
    if result.get("metrics_sha256", "") != _checksum(folder / "metrics.jsonl"):
        raise ValueError("metrics.jsonl does not match the checksum in result.json")
    return result


def set_aside(folder: Path, reason: str) -> Path:
    """Move a damaged folder out of the way and say so aloud."""
    target = folder.with_name(f"{folder.name}.damaged-{int(time.time())}")
    folder.rename(target)
    print(f"Run folder {folder.name} is damaged ({reason}); set aside as {target.name} and run again.", file=sys.stderr)
    return target


def load_result(spec: RunSpec) -> dict | None:
    """The record of a finished run (`value`, `provenance`, `outcome`), or None; a damaged folder is set aside."""
    try:
        return _valid_result(spec.folder)
    except ValueError as error:
        set_aside(spec.folder, str(error))
        return None


def _is_locked(folder: Path) -> bool:
    if not (folder / ".lock").exists():
        return False
    try:
        with FileLock(folder / ".lock", timeout=0):
            return False
    except Timeout:
        return True


def find_status(spec: RunSpec) -> RunStatus:
    """State of the run that `spec` describes; `stale` if only an older code revision has answered it."""
    if spec.folder.is_dir():
        return _folder_status(spec.experiment, spec.folder)
    experiment = runs_root() / spec.experiment
    older = sorted(experiment.glob(f"{spec.identity}-*")) if experiment.is_dir() else []
    older = [folder for folder in older if ".damaged-" not in folder.name and (folder / "result.json").is_file()]
    state: RunState = "stale" if older else "missing"
    return RunStatus(spec.experiment, older[-1] if older else spec.folder, state, spec.seed)


def _folder_status(experiment: str, folder: Path) -> RunStatus:
    try:
        config = _read_json(folder / "config.json") or {}
        result = _valid_result(folder)
    except ValueError as error:
        return RunStatus(experiment, folder, "failed", message=f"damaged: {error}")
    seed = config.get("seed")
    if result is not None:
        state: RunState = "diverged" if result.get("outcome") == "diverged" else "done"
        function = config.get("function", "")
        if function and folder.name.rpartition("-")[2] != code_fingerprint(function.split(":")[0]):
            state = "stale"
        return RunStatus(experiment, folder, state, seed, result["provenance"].get("wall_s"))
    if _is_locked(folder):
        return RunStatus(experiment, folder, "running", seed)
    try:
        error = _read_json(folder / "error.json")
    except ValueError:
        error = None
    if error is not None:
        return RunStatus(experiment, folder, "failed", seed, message=str(error.get("message", "")))
    return RunStatus(experiment, folder, "partial", seed)


def scan(root: Path | None = None) -> Iterator[RunStatus]:
    """State of every run folder under `root` (default: the runs root)."""
    root = root or runs_root()
    if not root.is_dir():
        return
    for experiment in sorted(path for path in root.iterdir() if path.is_dir()):
        for folder in sorted(path for path in experiment.iterdir() if path.is_dir() and ".damaged-" not in path.name):
            yield _folder_status(experiment.name, folder)


def execute(spec: RunSpec, *, fresh: bool = False) -> dict:
    """Do one run in this process, or return its stored result; waits if another process is working on it.

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
            folder.mkdir(parents=True, exist_ok=True)  # a damaged folder was just set aside
        else:
            for leftover in ("result.json", "metrics.jsonl", "error.json"):
                (folder / leftover).unlink(missing_ok=True)
            shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        return _execute_locked(spec, folder)


def _execute_locked(spec: RunSpec, folder: Path) -> dict:
    import traceback

    config = {
        "experiment": spec.experiment,
        "function": spec.function,
        "recipe": to_plain(spec.recipe),
        "seed": spec.seed,
        "data": spec.data,
    }
    write_text(folder / "config.json", json.dumps(config, indent=1))
    context = RunContext(folder)
    started = time.perf_counter()
    try:
        value = spec.load_function()(spec.recipe, spec.seed, context)
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        record = {"message": message, "traceback": traceback.format_exc(), "provenance": provenance(seed=spec.seed)}
        write_text(folder / "error.json", json.dumps(record, indent=1))
        raise
    wall_s = round(time.perf_counter() - started, 3)
    result = {
        "value": to_plain(value),
        "outcome": value.get("outcome", "done") if isinstance(value, dict) else "done",
        "metrics_sha256": _checksum(folder / "metrics.jsonl"),
        "provenance": provenance(seed=spec.seed, data=spec.data, code=spec.code, wall_s=wall_s, pid=os.getpid()),
    }
    write_text(folder / "result.json", json.dumps(result, indent=1))
    (folder / "error.json").unlink(missing_ok=True)
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    return result
