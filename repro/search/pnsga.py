"""Which candidates survive an evolution: pNSGA-III as ACGhostNet gives it, with pymoo's NSGA-II and NSGA-III beside it.

pNSGA-III here (ACGhostNet Sec. 3.4; also the form of the released CARS code): candidates are sorted into non-dominated
fronts twice, once on [accuracy, energy] (more accurate and cheaper is better, the ordinary front) and once on
[accuracy, 1/energy] (more accurate and dearer is better), which keeps large networks that train slowly from dying out
early: the small model trap. CARS's own text uses the growth speed of accuracy for its second sort instead.

"The results of two sortations are directly merged and the first n candidates are reserved" leaves the order open. Ours:
front 1 of the first sort, front 1 of the second, front 2 of the first, and so on, each candidate at its first
appearance. Within a front: larger crowding distance first, then higher accuracy, lower energy, earlier place in the
list. So the result is a function of the numbers alone; no random draw is involved.

Accuracies may be NaN (a path whose network diverged): such candidates rank last, in the order given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from repro.cost.pareto import fronts
from repro.errors import InputError, check_choice, check_int

METHODS = ("pnsga3", "nsga2", "nsga3")


@dataclass(frozen=True)
class Selection:
    """Outcome of a selection.

    kept: positions of the survivors, best first.
    front: for every candidate its front (0 first) in the ordinary sort on (accuracy, energy); -1 where not finite.
    bad: positions of candidates whose accuracy or energy is not finite.
    """

    kept: list[int]
    front: list[int]
    bad: list[int]


def select(
    accuracy: ArrayLike,
    energy: ArrayLike,
    keep: int,
    *,
    method: str = "pnsga3",
    seed: int = 0,
) -> Selection:
    """Choose `keep` of the candidates.

    Args:
        accuracy: higher is better, any unit. energy: lower is better, any unit, positive.
        method: "pnsga3", or the baselines "nsga2" and "nsga3" of pymoo; "nsga3" has `keep` reference directions.
        seed: for the baselines, which break ties at random.
    Raises: InputError if lengths differ, `keep` is out of range or an energy is not positive.
    """
    check_choice("method", method, METHODS)
    accuracy, energy = np.asarray(accuracy, dtype=float), np.asarray(energy, dtype=float)
    if accuracy.ndim != 1 or accuracy.shape != energy.shape:
        raise InputError(
            f"accuracy has shape {accuracy.shape} and energy {energy.shape}; both must be equally long lists."
        )
    # The reference directions of "nsga3" are points on a line, its two ends included.
    check_int("keep", keep, minimum=2 if method == "nsga3" else 1, maximum=len(accuracy))
    finite = np.isfinite(accuracy) & np.isfinite(energy)
    if (energy[finite] <= 0).any():
        raise InputError(f"energy={energy[finite].min():g} is not allowed; energies must be positive.")
    good, bad = np.flatnonzero(finite), np.flatnonzero(~finite)
    front = np.full(len(accuracy), -1)
    for rank, members in enumerate(fronts(np.column_stack([-accuracy[good], energy[good]]))):
        front[good[members]] = rank
    wanted = min(keep, len(good))
    if method == "pnsga3":
        order = merged_order(accuracy[good], energy[good])
    else:
        order = _pymoo_order(accuracy[good], energy[good], wanted, method, keep, seed)
    kept = [*good[order[:wanted]].tolist(), *bad.tolist()][:keep]
    return Selection(kept, front.tolist(), bad.tolist())


def merged_order(accuracy: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """All candidates in the merged order of the two sorts (see the module's text); finite numbers only."""
    if len(accuracy) == 0:
        return np.array([], dtype=int)
    sorts = [_ordered_fronts(accuracy, cost) for cost in (energy, 1 / energy)]
    merged: dict[int, None] = {}
    for level in range(max(map(len, sorts))):
        for ordered in sorts:
            if level < len(ordered):
                merged.update(dict.fromkeys(ordered[level].tolist()))
    return np.fromiter(merged, dtype=int)


def _ordered_fronts(accuracy: np.ndarray, cost: np.ndarray) -> list[np.ndarray]:
    from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance

    ordered = []
    for front in fronts(np.column_stack([-accuracy, cost])):
        objectives = np.column_stack([-accuracy[front], cost[front]])
        crowding = calc_crowding_distance(objectives) if len(front) > 2 else np.full(len(front), np.inf)
        # lexsort: last key first
        ordered.append(front[np.lexsort((front, cost[front], -accuracy[front], -crowding))])
    return ordered


def _pymoo_order(
    accuracy: np.ndarray, energy: np.ndarray, keep: int, method: str, directions: int, seed: int
) -> np.ndarray:
    from pymoo.algorithms.moo.nsga3 import ReferenceDirectionSurvival
    from pymoo.core.population import Population
    from pymoo.core.problem import Problem
    from pymoo.operators.survival.rank_and_crowding import RankAndCrowding
    from pymoo.util.ref_dirs import get_reference_directions

    if keep == 0:
        return np.array([], dtype=int)
    problem = Problem(n_var=1, n_obj=2)
    places = np.arange(len(accuracy))
    population = Population.new(X=places[:, None], F=np.column_stack([-accuracy, energy]))
    survival = RankAndCrowding()
    if method == "nsga3":
        survival = ReferenceDirectionSurvival(get_reference_directions("das-dennis", 2, n_partitions=directions - 1))
    kept = survival.do(problem, population, n_survive=keep, random_state=np.random.default_rng(seed))
    return kept.get("X")[:, 0].astype(int)[:keep]


def pareto_front(accuracy: ArrayLike, energy: ArrayLike) -> list[int]:
    """Positions of the candidates that no other beats in both accuracy and energy, cheapest first."""
    accuracy, energy = np.asarray(accuracy, dtype=float), np.asarray(energy, dtype=float)
    good = np.flatnonzero(np.isfinite(accuracy) & np.isfinite(energy))
    if len(good) == 0:
        return []
    first = good[fronts(np.column_stack([-accuracy[good], energy[good]]))[0]]
    return first[np.lexsort((first, -accuracy[first], energy[first]))].tolist()
