"""Runs many specs on worker processes: `run_many`, which the local engine stands on.

Each worker process has a fixed number of torch threads (`threads`, default 1), so that a result does not depend on how
many workers there were; the machine's cores divided by it give the number of workers.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from tqdm.auto import tqdm

from repro.errors import InputError, check_int
from repro.runs.index import scan
from repro.runs.spec import RunSpec
from repro.runs.store import execute, find_status, load_result


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


def default_workers(threads: int = 1) -> int:
    """Workers for this machine: $JOBS, else the cores this process may use divided by the threads of each."""
    configured = os.environ.get("JOBS", "").strip()
    if configured:
        if not configured.isdigit() or int(configured) < 1:
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
    known = (known or {}) | {recipe: statistics.median(seconds) for recipe, seconds in seen.items()}
    each = [known.get(spec.recipe_digest, known.get(spec.kind)) for spec in specs]
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
    """Execute one run; an exception becomes ("failed", one line)."""
    try:
        return "result", execute(spec, fresh=fresh, begin=begin)
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}"


def outcome_of(spec: RunSpec, kind: str, payload: dict | str, *, reused: bool = False) -> Outcome:
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
) -> list[Outcome]:
    """Do all runs that are not finished yet and return every outcome, in the order of `specs`.

    Args:
        specs: what to run. Finished runs are reused and counted aloud.
        workers: processes side by side (default: `default_workers(threads)`).
        threads: torch threads of each worker. It is the same whatever `workers` is, so results are too.
        fresh: run again even what is finished.
        progress: show a progress bar (default: if stderr is a terminal or a notebook).
        known: seconds by recipe digest or kind, for the forecast.
    A run that raises, diverges or takes its process down is recorded and the rest go on.
    Ctrl-C finishes the runs in progress and stops; a second Ctrl-C stops at once. Either way finished runs stay.
    """
    workers = check_int("workers", workers, minimum=1) if workers is not None else default_workers(threads)
    check_int("threads", threads, minimum=1)
    outcomes = {} if fresh else finished(specs)
    waiting = [index for index in range(len(specs)) if index not in outcomes]
    announce(specs, waiting, workers, known)
    if waiting:
        bar = tqdm(total=len(specs), initial=len(outcomes), unit="run", disable=_quiet(progress), file=sys.stderr)
        with bar:
            _run_waiting(specs, waiting, outcomes, workers=workers, threads=threads, fresh=fresh, bar=bar)
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


def _run_waiting(specs, waiting, outcomes, *, workers, threads, fresh, bar) -> None:
    """Keep the pool fed; when a worker dies, find out whose run it was by giving each suspect a pool of its own."""
    suspects: list[int] = []
    queue = list(waiting)
    while queue:
        broken = _run_pool(specs, queue, outcomes, workers, threads, fresh, bar)
        suspects += [index for index in queue if index in broken]
        queue = [index for index in queue if index not in outcomes and index not in suspects]
    for index in suspects:
        if index in outcomes:
            continue
        if _run_pool(specs, [index], outcomes, 1, threads, fresh, bar):
            message = "the worker process died (killed, out of memory, or a fault in compiled code)"
            outcomes[index] = Outcome(specs[index], "crashed", message=message)
            bar.update(1)


def _run_pool(specs, queue, outcomes, workers, threads, fresh, bar) -> set[int]:
    """Run `queue` on one pool; returns the indices that were in progress when a worker died (empty: none died)."""
    context = multiprocessing.get_context("spawn")  # fork is unsafe once threads or OpenMP run
    workers = min(workers, len(queue))
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(threads,))
    todo = list(queue)
    running: dict[Future, int] = {}
    stopping = False
    try:
        while todo or running:
            while todo and len(running) < workers and not stopping:
                index = _take(specs, todo)
                running[pool.submit(attempt, specs[index], fresh)] = index
            if not running:
                break
            bar.set_postfix(running=len(running), failed=sum(not o.ok for o in outcomes.values()), refresh=True)
            try:
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
            except KeyboardInterrupt:
                if stopping:
                    raise
                stopping = True
                print("\nStopping after the runs in progress; press Ctrl-C again to stop now.", file=sys.stderr)
                continue
            for future in finished:
                index = running.pop(future)
                try:
                    outcomes[index] = outcome_of(specs[index], *future.result())
                except BrokenProcessPool:
                    return {index, *running.values()}
                bar.update(1)
        if stopping:
            raise KeyboardInterrupt
        return set()
    except KeyboardInterrupt:
        _kill(pool)
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _take(specs: Sequence[RunSpec], todo: list[int]) -> int:
    """Take the first run off `todo` that no other process is working on, or the first if all are taken."""
    index = next((index for index in todo if find_status(specs[index]).state != "running"), todo[0])
    todo.remove(index)
    return index


def _kill(pool: ProcessPoolExecutor) -> None:
    for process in list((getattr(pool, "_processes", None) or {}).values()):
        process.kill()
