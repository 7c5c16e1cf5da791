"""The selection step of a search: pNSGA-III beside pymoo's NSGA-II and NSGA-III on the same candidates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from repro.bench.gate import CheckFailed
from repro.bench.registry import Case, Prepared
from repro.search.pnsga import Selection, select

OP = "pnsga3_select"
PEERS = ("nsga2", "nsga3")
SIZES = ((64, 32), (256, 128), (1024, 512))
"""(candidates, kept); 256 and 128 are the paper's (ACGhostNet Sec. 4.1)."""


def make_candidates(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Accuracies (percent, with ties) and energies that rise together with noise, as in a search."""
    generator = np.random.default_rng(0)
    energy = generator.uniform(3e8, 7e8, count)
    accuracy = 60 + 30 * (energy / energy.max()) + generator.normal(0, 4, count)
    return accuracy.round(1), energy


def fronts_by_definition(accuracy: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Front of every candidate, 0 first: take off what nothing left dominates, and again. Slow and plain."""
    level, left = np.full(len(accuracy), -1), np.arange(len(accuracy))
    while len(left):
        a, c = accuracy[left], cost[left]
        no_worse = (a[None, :] >= a[:, None]) & (c[None, :] <= c[:, None])
        better = (a[None, :] > a[:, None]) | (c[None, :] < c[:, None])
        free = ~(no_worse & better).any(axis=1)
        level[left[free]] = level.max() + 1
        left = left[~free]
    return level


def check(accuracy: Sequence[float], energy: Sequence[float], selection: Selection, keep: int) -> None:
    """Raise CheckFailed unless the survivors are the first `keep` of the two sorts' fronts, taken in turn."""
    accuracy, energy = np.asarray(accuracy), np.asarray(energy)
    first, second = (fronts_by_definition(accuracy, cost) for cost in (energy, 1 / energy))
    if not np.array_equal(first, selection.front):
        raise CheckFailed("the fronts are not those of the definition")
    turn = np.minimum(2 * first, 2 * second + 1)
    kept = turn[selection.kept]
    if len(set(selection.kept)) != keep or (np.diff(kept) < 0).any():
        raise CheckFailed("the survivors are not in the order of their fronts")
    if np.delete(turn, selection.kept).min(initial=turn.max()) < kept[-1]:
        raise CheckFailed("a candidate of an earlier front was dropped")


def _prepare(count: int, keep: int) -> Prepared:
    candidates = make_candidates(count)
    works = {name: lambda name=name: select(*candidates, keep, method=name) for name in ("pnsga3", *PEERS)}
    return Prepared(works.pop("pnsga3"), works, lambda: check(*candidates, select(*candidates, keep), keep), terms=None)


def cases(device: str, quick: bool) -> Iterator[Case]:
    """Selections of several sizes; they run on the CPU whatever the networks run on."""
    for count, keep in SIZES[1:2] if quick else SIZES:
        shape, dtype = f"{keep} of {count} candidates", "float64"
        yield Case(
            OP, "selection", "search", shape, "cpu", lambda n=count, k=keep: _prepare(n, k), dtype, backend="cpu"
        )
