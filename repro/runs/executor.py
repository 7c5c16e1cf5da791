"""Runs many specs on worker processes: `run_many`, which the local engine stands on.

Each worker process has a fixed number of torch threads (`threads`, default 1), so that a result does not depend on how
many workers there were; the machine's cores divided by it give the number of workers.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import multiprocessing.process
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from repro.errors import InputError, check_int, check_number
from repro.runs.index import scan
from repro.runs.spec import RunSpec
from repro.runs.store import execute, find_status, load_result, record_failure

NO_GUARD = 87
"""Exit status of a worker that found itself running the caller's script from the top."""

CLOCK_TICK_S = 1.0
"""How far a file's date may lie behind the time of day when it was written."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one spec.

    Attributes:
        spec: the spec.
        state: "done", "diverged", "failed" (the function raised) or "crashed" (the process died).
        value: what the run function returned, None when it failed.
        provenance: the run's provenance, empty when it failed.
        message: the error in one line when it failed.
        reused: whether the result was already there.
    """

    spec: RunSpec
    state: str
    value: Any = None
    provenance: dict = dataclasses.field(default_factory=dict)
    message: str = ""
    reused: bool = False

    @property
    def ok(self) -> bool:
        return self.state in ("done", "diverged")

    @property
    def folder(self) -> Path:
        """Where the run lies: under the code that finished it."""
        code = self.provenance.get("code", self.spec.code)
        return self.spec.folder.with_name(f"{self.spec.identity}-{code}")


def default_workers(threads: int = 1) -> int:
    """Workers for this machine: $JOBS, else the cores this process may use divided by the threads of each."""
    configured = os.environ.get("JOBS", "").strip()
    if configured:
        if not (configured.isascii() and configured.isdigit()) or int(configured) < 1:
            raise InputError(f"JOBS={configured!r} is not allowed; it must be a whole number of at least 1.")
        return int(configured)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads)


def forecast_s(specs: Sequence[RunSpec], workers: int, known: Mapping[str, float] | None = None) -> float | None:
    """Expected seconds for `specs` on `workers`, None if nothing is known of one of them.

    A run takes the median of finished runs with its recipe (any seed or code), else what `known` (seconds by recipe
    digest or kind, from the committed record of the same table) says of the recipe or of the kind. Other runs of its
    kind say nothing: a search of six blocks is no measure of one of sixteen.
    """
    seen: dict[str, list[float]] = {}
    for status in scan():
        if status.wall_s is not None:
            seen.setdefault(status.recipe_digest, []).append(status.wall_s)
    known = dict(known or {}) | {recipe: statistics.median(seconds) for recipe, seconds in seen.items()}
    each: list[Any] = [known.get(spec.recipe_digest, known.get(spec.kind)) for spec in specs]
    return None if None in each else max(sum(each) / workers, *each, 0.0)


def _leave_with(parent: int) -> None:
    """End this process when its parent is gone: a killed `make tables` leaves no worker behind."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _start_worker(threads: int) -> None:
    """Runs first in every worker: Ctrl-C is the parent's to handle, and torch keeps to its share of the cores."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    import torch

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)


def attempt(spec: RunSpec, fresh: bool, begin: Callable[[], None] | None = None) -> tuple[str, dict | str]:
    """Execute one run; an exception, or sys.exit, becomes ("failed", one line)."""
    try:
        return "result", execute(spec, fresh=fresh, begin=begin)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return "failed", f"{type(error).__name__}: {error}"


def outcome_of(spec: RunSpec, kind: str, payload: Any, *, reused: bool = False) -> Outcome:
    """The outcome of what `attempt` returned."""
    if kind == "result":
        state = "diverged" if payload.get("outcome") == "diverged" else "done"
        return Outcome(spec, state, payload["value"], payload["provenance"], reused=reused)
    return Outcome(spec, kind, message=str(payload))


def run_many(
    specs: Sequence[RunSpec],
    *,
    workers: int | None = None,
    threads: int = 1,
    fresh: bool = False,
    progress: bool | None = None,
    known: Mapping[str, float] | None = None,
    time_limit_s: float | None = None,
) -> list[Outcome]:
    """Do all runs that are not finished yet and return every outcome, in the order of `specs`.

    Args:
        specs: what to run. Finished runs are reused and counted aloud.
        workers: processes side by side (default: `default_workers(threads)`).
        threads: torch threads of each worker. It is the same whatever `workers` is, so results are too.
        fresh: run again even what is finished.
        progress: show a progress bar (default: if stderr is a terminal or a notebook).
        known: seconds by recipe digest or kind, for the forecast.
        time_limit_s: a run that takes longer is ended and has failed; the others in progress begin again, from their
            checkpoints if they have some. None: no limit.
    A run that raises, calls sys.exit, diverges, hangs, cannot be sent to a worker or takes its process down is recorded
    and the rest go on. Workers import the caller's script, so it must start its work below
    `if __name__ == "__main__":`; one that does not ends with a sentence that says so.
    Ctrl-C finishes the runs in progress and stops; a second Ctrl-C stops at once. Either way finished runs stay.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        os._exit(NO_GUARD)  # this is a worker that is still being set up: it must not start workers of its own
    if time_limit_s is not None:
        check_number("time_limit_s", time_limit_s, above=0)
    workers = check_int("workers", workers, minimum=1) if workers is not None else default_workers(threads)
    check_int("threads", threads, minimum=1)
    outcomes = {} if fresh else finished(specs)
    waiting = [index for index in range(len(specs)) if index not in outcomes]
    announce(specs, waiting, workers, known)
    if waiting:
        bar = tqdm(total=len(specs), initial=len(outcomes), unit="run", disable=_quiet(progress), file=sys.stderr)
        with bar:
            _Feeder(specs, outcomes, threads, fresh, time_limit_s, bar).run(waiting, workers)
    return [outcomes[index] for index in range(len(specs))]


def _quiet(progress: bool | None) -> bool | None:
    # tqdm's own "None" hides the bar when stderr is no terminal: a line per step would flood a log.
    return None if progress is None else not progress


def finished(specs: Sequence[RunSpec]) -> dict[int, Outcome]:
    """Outcomes of the runs that need not be done, by position."""
    stored = {index: load_result(spec) for index, spec in enumerate(specs)}
    return {
        index: outcome_of(specs[index], "result", result, reused=True)
        for index, result in stored.items()
        if result is not None
    }


def announce(specs: Sequence[RunSpec], waiting: Sequence[int], workers: int, known: Mapping | None = None) -> None:
    """Say on stderr how many runs are reused, how many are to do, and about how long that takes."""
    if not specs:
        return
    text = f"{specs[0].kind}: {len(specs) - len(waiting)} of {len(specs)} runs are finished and reused"
    if waiting:
        left = forecast_s([specs[index] for index in waiting], workers, known)
        text += f"; {len(waiting)} to run on {workers} worker{'s' if workers > 1 else ''}"
        text += f", about {_duration(left)}" if left is not None else ""
    print(text + ".", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class _Feeder:
    """Keeps pools of workers fed until every run has an outcome."""

    def __init__(self, specs, outcomes, threads: int, fresh: bool, time_limit_s: float | None, bar) -> None:
        self.specs, self.outcomes, self.threads, self.fresh = specs, outcomes, threads, fresh
        self.time_limit_s, self.bar = time_limit_s, bar

    def run(self, waiting: list[int], workers: int) -> None:
        """Do the runs at `waiting`; when a worker dies, a pool of its own for each suspect shows whose run it was."""
        suspects: list[int] = []
        queue = list(waiting)
        while queue:
            broken = self._pool(queue, workers)
            suspects += [index for index in queue if index in broken]
            queue = [index for index in queue if index not in self.outcomes and index not in suspects]
        for index in suspects:
            if index not in self.outcomes and self._pool([index], 1):
                message = "the worker process died (killed, out of memory, or a fault in compiled code)"
                self._settle(index, Outcome(self.specs[index], "crashed", message=message))

    def _settle(self, index: int, outcome: Outcome) -> None:
        self.outcomes[index] = outcome
        self.bar.update(1)

    def _pool(self, queue: list[int], workers: int) -> set[int]:
        """Run `queue` on one pool; returns those in progress when a worker died (empty: none died)."""
        context = multiprocessing.get_context("spawn")  # fork is unsafe once threads or OpenMP run
        workers = min(workers, len(queue))
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(self.threads,))
        todo = list(queue)
        running: dict[Future, int] = {}
        sent: dict[Future, float] = {}
        stopping = False
        try:
            while todo or running:
                while todo and len(running) < workers and not stopping:
                    index = _take(self.specs, todo)
                    now = time.time()
                    try:
                        future = pool.submit(attempt, self.specs[index], self.fresh)
                    except BrokenProcessPool:  # a worker died since the last look
                        return set(running.values()) or {index}
                    running[future] = index
                    sent[future] = now
                if not running:
                    break
                processes = list((getattr(pool, "_processes", None) or {}).values())
                failed = sum(not outcome.ok for outcome in self.outcomes.values())
                self.bar.set_postfix(running=len(running), failed=failed, refresh=True)
                try:
                    finished, _ = wait(running, 1.0 if self.time_limit_s else None, FIRST_COMPLETED)
                except KeyboardInterrupt:
                    if stopping:
                        raise
                    stopping = True
                    print(
                        "\nStopping after the runs in progress, whose results are kept; press Ctrl-C again to stop now "
                        "(a run that is stopped goes on from its last checkpoint).",
                        file=sys.stderr,
                    )
                    continue
                if not finished and self._end_late(pool, running, sent):
                    return set()
                for future in finished:
                    index = running.pop(future)
                    try:
                        outcome = outcome_of(self.specs[index], *future.result())
                    except BrokenProcessPool:
                        _check_guard(processes)
                        return {index, *running.values()}
                    except Exception as error:  # what pickling raises has no common class
                        message = f"it cannot be sent to a worker ({type(error).__name__}: {error})"
                        outcome = Outcome(self.specs[index], "failed", message=message)
                    self._settle(index, outcome)
            if stopping:
                raise KeyboardInterrupt
            return set()
        except KeyboardInterrupt:
            _kill(pool)
            raise
        finally:
            # Idle workers are waited for: a program that ends meanwhile would stumble over their closed pipes.
            pool.shutdown(wait=not running, cancel_futures=True)

    def _end_late(self, pool: ProcessPoolExecutor, running: dict[Future, int], sent: dict[Future, float]) -> bool:
        """If the time of a run is up, end it, and the pool with it. A run begins when it writes its config."""
        late = []
        for future, index in running.items():
            try:
                began = (self.specs[index].folder / "config.json").stat().st_mtime
            except OSError:
                continue
            # Files are dated by a clock that ticks slowly, so a run may seem to begin just before it was sent.
            if began >= sent[future] - CLOCK_TICK_S and time.time() - max(began, sent[future]) > self.time_limit_s:
                late.append(index)
        if late:
            _kill(pool)
        for index in late:
            message = f"it took longer than {self.time_limit_s:g} s and was ended"
            record_failure(self.specs[index], message)
            self._settle(index, Outcome(self.specs[index], "failed", message=message))
        return bool(late)


def _check_guard(processes: Sequence[multiprocessing.process.BaseProcess]) -> None:
    """End this script if its workers ran it from the top; SystemExit prints its sentence and nothing else."""
    for process in processes:
        process.join(1)
    if any(process.exitcode == NO_GUARD for process in processes):
        raise SystemExit(
            "Error: the script starts its runs at once when it is imported, as every worker process does; put the call "
            'below a line `if __name__ == "__main__":`.'
        )


def _take(specs: Sequence[RunSpec], todo: list[int]) -> int:
    """Take the first run off `todo` that no other process is working on, or the first if all are taken."""
    index = next((index for index in todo if find_status(specs[index]).state != "running"), todo[0])
    todo.remove(index)
    return index


def _kill(pool: ProcessPoolExecutor) -> None:
    for process in list((getattr(pool, "_processes", None) or {}).values()):
        process.kill()
