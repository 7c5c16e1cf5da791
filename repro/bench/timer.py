"""Timing several functions side by side, so that whatever slows the machine slows all of them.

Every round calls each function once, in an order that moves on by one; a reported time is the median over rounds with
the 20th and 80th percentile beside it. A sample during which the operating system took a core away from this process
(its count of involuntary context switches rose) says nothing about the function and is left out, as long as enough
others remain.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Work = Callable[[], object]
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # names of glibc's mallopt


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call: median, 20th and 80th percentile, and how many samples they are from."""

    p50: float
    p20: float
    p80: float
    samples: int = 1

    @classmethod
    def of(cls, seconds: list[float]) -> Timing:
        """Summary of samples in seconds."""
        p20, p50, p80 = np.percentile(np.asarray(seconds) * 1e3, (20, 50, 80))
        return cls(float(p50), float(p20), float(p80), len(seconds))


@dataclass(frozen=True)
class Effort:
    """How long to measure: at least `rounds`, then on until `seconds` are spent, after `warmup` calls of each."""

    seconds: float
    rounds: int = 5
    warmup: int = 2
    sample_seconds: float = 1e-3
    max_rounds: int = 200


FULL = Effort(seconds=0.3, rounds=7)
QUICK = Effort(seconds=0.25, rounds=5)
STEP = Effort(seconds=12.0, rounds=7, warmup=2, max_rounds=15)
QUICK_STEP = Effort(seconds=5.0, rounds=3, warmup=1, max_rounds=7)


def preemptions() -> int:
    """How often a core was taken away from this process so far; constant where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def keep_freed_memory() -> bool:
    """Tell malloc to keep what is freed, as it does in the steady state of a long run; whether that worked (glibc).

    Otherwise every call pays for new pages of its output, which can cost as much as its arithmetic and depends on
    which other function ran before.
    """
    try:
        libc = ctypes.CDLL(None)
        return bool(libc.mallopt(M_MMAP_MAX, 0) and libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
    except (OSError, AttributeError):
        return False


def measure(
    functions: Mapping[str, Work],
    effort: Effort = FULL,
    *,
    clock: Callable[[], float] = time.perf_counter,
    disturbances: Callable[[], int] = preemptions,
) -> dict[str, Timing]:
    """Time functions in turn on the CPU.

    Args:
        functions: what to time, by name; none takes arguments.
        effort: how long. A call shorter than `effort.sample_seconds` is repeated within one sample.
        clock: seconds; `disturbances`: a counter that rises when something else had the core.
    Returns: a `Timing` of one call for every name.
    """
    repeats = {name: _repeats(work, effort, clock) for name, work in functions.items()}
    clean: dict[str, list[float]] = {name: [] for name in functions}
    every: dict[str, list[float]] = {name: [] for name in functions}
    names = list(functions)
    started = clock()
    for turn in range(effort.max_rounds):
        enough = min(len(samples) for samples in clean.values()) >= effort.rounds
        spent = clock() - started
        if turn >= effort.rounds and (spent > 3 * effort.seconds or (enough and spent > effort.seconds)):
            break
        for offset in range(len(names)):
            name = names[(turn + offset) % len(names)]
            before, begin = disturbances(), clock()
            for _ in range(repeats[name]):
                functions[name]()
            seconds = (clock() - begin) / repeats[name]
            every[name].append(seconds)
            if disturbances() == before:
                clean[name].append(seconds)
    return {
        name: Timing.of(clean[name] if len(clean[name]) >= min(3, effort.rounds) else every[name]) for name in names
    }


def _repeats(work: Work, effort: Effort, clock: Callable[[], float]) -> int:
    """Warm up, and choose how many calls make one sample."""
    work()
    seconds = []
    for _ in range(max(1, effort.warmup)):
        begin = clock()
        work()
        seconds.append(clock() - begin)
    return int(np.clip(effort.sample_seconds / max(min(seconds), 1e-9), 1, 1000))


CUDA_PASSES = 5


def measure_cuda(functions: Mapping[str, Work]) -> dict[str, Timing]:
    """Time functions in turn with CUDA events through `triton.testing.do_bench`.

    Each pass measures every function once, so a change of the clock rate meets all of them; percentiles are the
    medians over the passes.
    """
    import triton.testing

    found: dict[str, list] = {name: [] for name in functions}
    for _ in range(CUDA_PASSES):
        for name, work in functions.items():
            found[name].append(triton.testing.do_bench(work, warmup=25, rep=60, quantiles=[0.5, 0.2, 0.8]))
    return {
        name: Timing(*(float(value) for value in np.median(np.asarray(samples), axis=0)), samples=CUDA_PASSES)
        for name, samples in found.items()
    }


def measure_on(device: str, functions: Mapping[str, Work], effort: Effort) -> dict[str, Timing]:
    """`measure` or `measure_cuda`, by device."""
    return measure_cuda(functions) if device == "cuda" else measure(functions, effort)
