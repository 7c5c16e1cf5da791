"""What an engine adds to a run: many runs that do nothing, on each engine and in bare processes."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

from repro.bench.gate import CheckFailed
from repro.bench.timer import Timing
from repro.runs import RunSpec, engine, load_result

RUNS, WORKERS, ROUNDS = 1000, 2, 3
BARE, LOCAL, RAY = "bare processes", "local", "ray"
PEERS = {LOCAL: BARE, RAY: LOCAL}
"""Engine -> what it is timed beside: a pool of processes that stores nothing, or local processes."""
NO_RAY = "engines: Ray is not installed, so only local processes are timed (make env-cluster)"


@dataclasses.dataclass(frozen=True)
class Nothing:
    """The recipe of a run that returns its seed."""


def nothing(recipe: Nothing, seed: int, context: object = None) -> dict:
    """Run function: the seed."""
    return {"seed": seed}


def measured(runs: int = RUNS, rounds: int = ROUNDS, workers: int = WORKERS) -> dict[str, Timing]:
    """Milliseconds a run of `runs` that do nothing, by way: `BARE`, `LOCAL`, and `RAY` where it is installed.

    Every round begins with an empty store and starts its processes anew, but for Ray's, which start once before. The
    ways take turns. Raises: CheckFailed if an answer is wrong or is not in the store.
    """
    ways: dict[str, Callable[[int, int], None]] = {BARE: _in_bare_processes, LOCAL: _on(LOCAL)}
    if importlib.util.find_spec("ray"):
        ways[RAY] = _on(RAY)
        ways[RAY](workers, workers)  # starts the cluster and its workers
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            begun = time.perf_counter()
            way(runs, workers)
            seconds[name].append((time.perf_counter() - begun) / runs)
    return {name: Timing.of(each) for name, each in seconds.items()}


def _in_bare_processes(runs: int, workers: int) -> None:
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        _check({seed: one for seed, one in enumerate(pool.map(nothing, [Nothing()] * runs, range(runs)))})


def _on(name: str) -> Callable[[int, int], None]:
    def way(runs: int, workers: int) -> None:
        specs = {seed: RunSpec("nothing", f"{__name__}:nothing", Nothing(), seed) for seed in range(runs)}
        with _empty_store():
            done = engine(name, workers=workers, progress=False)(specs)
            _check({seed: outcome.value for seed, outcome in done.items()})
            last = load_result(specs[runs - 1])
            if last is None or last["value"] != {"seed": runs - 1}:
                raise CheckFailed(f"engine {name} did not store its runs")

    return way


def _check(answers: Mapping[int, dict | None]) -> None:
    if any(answer != {"seed": seed} for seed, answer in answers.items()):
        raise CheckFailed("a run did not return its seed")


@contextmanager
def _empty_store() -> Iterator[None]:
    """A run store of its own, on this machine and without an address of a cluster."""
    before = {name: os.environ.pop(name, None) for name in ("REPRO_RUNS", "RAY_ADDRESS")}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["REPRO_RUNS"] = folder
        try:
            yield
        finally:
            os.environ.pop("REPRO_RUNS")
            os.environ.update({name: value for name, value in before.items() if value is not None})
