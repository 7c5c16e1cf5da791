"""From a searched front to named networks: models A to D by energy budget, and the scaled rows of table 5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from repro.errors import InputError
from repro.search.pnsga import pareto_front, select_by_budget
from repro.search.record import Candidate

MODEL_NAMES = ("A", "B", "C", "D")


@dataclass(frozen=True)
class Scaling:
    """How a searched network becomes an -S row: width multiplier and input side in pixels.

    The paper prints parameters, operations and resolution of these rows but no width. Widths here are the ones whose
    counts come nearest: 1.1 for D-S1 and D-S2; 0.8 for A-S, which fits its operations and is 5 % above its parameters.
    Shrinking or enlarging changes filters and resolution only; every block keeps its type (Sec. 4.3).
    """

    base: str
    width: float
    resolution: int


PAPER_SIDE = 224
TABLE_5_SCALINGS = {name: Scaling(name, 1.0, PAPER_SIDE) for name in MODEL_NAMES} | {
    "A-S": Scaling("A", 0.8, 224),
    "C-S": Scaling("C", 1.0, 240),
    "D-S1": Scaling("D", 1.1, 224),
    "D-S2": Scaling("D", 1.1, 256),
}


def front_of(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that no other beats in both accuracy and energy, cheapest first."""
    places = pareto_front([c.accuracy_pct for c in candidates], [c.energy for c in candidates])
    return [candidates[place] for place in places]


def even_budgets(front: Sequence[Candidate]) -> dict[str, float]:
    """Budgets that divide the front's span of energies evenly, the last one at its dearest candidate.

    A front of fewer than four candidates yields fewer budgets. An even share may hold no candidate of its own: each
    budget is raised to the next candidate's energy.
    """
    energies = sorted(c.energy for c in front)
    names = MODEL_NAMES[: len(front)]
    low, high = energies[0], energies[-1]
    return {name: max(low + (high - low) * (i + 1) / len(names), energies[i]) for i, name in enumerate(names)}


def models_by_budget(candidates: Sequence[Candidate], budgets: dict[str, float] | None = None) -> dict[str, Candidate]:
    """Models A to D: for each budget the most accurate candidate of the front that keeps it, each given out once.

    Args:
        candidates: usually a search's survivors; only their front is considered.
        budgets: energy by model name, in the objective's unit; None divides the front evenly.
    Raises: InputError if no candidate has a finite accuracy, or none keeps a given budget.
    """
    front = front_of(candidates)
    if not front:
        raise InputError("front is empty; there is no candidate with finite accuracy and energy to choose from.")
    budgets = budgets or even_budgets(front)
    chosen = select_by_budget([c.accuracy_pct for c in front], [c.energy for c in front], budgets)
    return {name: front[place] for name, place in chosen.items()}
