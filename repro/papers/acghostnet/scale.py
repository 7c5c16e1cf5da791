"""From a searched front to named networks: models A to D by energy budget, and the scaled rows of table 5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from repro.errors import InputError, check_int
from repro.search.pnsga import pareto_front, select_by_budget
from repro.search.record import Candidate
from repro.search.supernet import Path

MODEL_NAMES = ("A", "B", "C", "D")


@dataclass(frozen=True)
class Scaling:
    """How a searched network becomes an -S row: width multiplier and input side in pixels.

    The paper prints parameters, operations and resolution of these rows but no width. Widths here are the ones whose
    counts come nearest: 1.1 for D-S1 and D-S2; 0.8 for A-S, which fits its operations and is 5 % above its parameters.
    """

    base: str
    width: float
    resolution: int


TABLE_5_SCALINGS = {
    "A-S": Scaling("A", 0.8, 224),
    "C-S": Scaling("C", 1.0, 240),
    "D-S1": Scaling("D", 1.1, 224),
    "D-S2": Scaling("D", 1.1, 256),
}


def front_of(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that no other beats in both accuracy and energy, cheapest first."""
    places = pareto_front([c.accuracy_pct for c in candidates], [c.energy for c in candidates])
    return [candidates[place] for place in places]


def even_budgets(front: Sequence[Candidate], names: Sequence[str] = MODEL_NAMES) -> dict[str, float]:
    """Budgets that divide the front's span of energies evenly, the last one at its dearest candidate."""
    if not front:
        raise InputError("front is empty; there is no candidate with finite accuracy and energy to choose from.")
    low, high = min(c.energy for c in front), max(c.energy for c in front)
    return {name: low + (high - low) * (i + 1) / len(names) for i, name in enumerate(names)}


def models_by_budget(candidates: Sequence[Candidate], budgets: dict[str, float] | None = None) -> dict[str, Candidate]:
    """Models A to D: for each budget the most accurate candidate of the front that keeps it, each given out once.

    Args:
        candidates: usually a search's survivors; only their front is considered.
        budgets: energy by model name, in the objective's unit; None divides the front evenly (a front of fewer than
            four candidates then yields fewer models).
    Raises: InputError if no candidate of the front keeps a given budget.
    """
    front = front_of(candidates)
    if budgets is None:
        budgets = even_budgets(front, MODEL_NAMES[: len(front)])
        # An even share may hold no candidate of its own: raise each budget to the next candidate's energy.
        energies = sorted(c.energy for c in front)
        budgets = {name: max(budget, energies[i]) for i, (name, budget) in enumerate(budgets.items())}
    elif not front:
        raise InputError("front is empty; there is no candidate with finite accuracy and energy to choose from.")
    chosen = select_by_budget([c.accuracy_pct for c in front], [c.energy for c in front], budgets)
    return {name: front[place] for name, place in chosen.items()}


def scaled_network(path: Path, *, width: float = 1.0, resolution: int = 224, **options) -> nn.Module:
    """The network of a searched path at another width and input size, with fresh weights.

    Shrinking or enlarging changes filters and resolution only; every block keeps its type (ACGhostNet Sec. 4.3).
    Inputs of up to 64 pixels take the CIFAR form, as in the energy lookup.
    """
    from repro.models import create

    check_int("resolution", resolution, minimum=1)
    form = "cifar" if resolution <= 64 else "imagenet"
    return create("acghostnet", choices=list(path), width=width, **({"form": form} | options))
