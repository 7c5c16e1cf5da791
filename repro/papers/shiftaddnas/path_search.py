"""Evolution over a supernet's paths under limits of operations, energy or latency (Sec. 3.2, "evolution search")."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path as FilePath

import torch

from repro.cost import count, layers_cost
from repro.errors import check_choice
from repro.models.trace import trace
from repro.papers.data import DataRecipe
from repro.search.evolution import evolve
from repro.search.hybrid_space import HybridSpace
from repro.search.hybrid_supernet import HybridNetwork
from repro.search.supernet import Path

COSTS = ("macs_m", "energy_uj", "latency_us")
"""Million multiply-accumulates (taps of any operator), and the row-stationary model's corrected energy and latency."""
COUNTS = ("mult_m", "add_m", "shift_m")
"""Million operations, as table 7 counts them."""
BEST = 10
"""How many of the paths that a search judged it keeps; the paper's appendix D looks at as many."""


@dataclasses.dataclass(frozen=True)
class Search:
    """How paths are searched.

    Attributes:
        limits: the most of each cost, as a share of what the costliest path of convolutions alone takes.
        population, rounds, parents, mutation: as `repro.search.evolve`; the public code keeps 10 of 50 for 20 rounds
            and redraws a gene with probability 0.2. It ranks by accuracy on training images, we by loss on held-out
            ones.
    """

    limits: Mapping[str, float]
    population: int = 50
    rounds: int = 20
    parents: float = 0.2
    mutation: float = 0.2


def form_of(data: DataRecipe) -> dict:
    """Channels, classes and stem of networks for these images."""
    facts = data.facts
    form = "cifar" if facts["side"] <= 64 else "imagenet"
    return {"in_channels": facts["in_channels"], "num_classes": facts["num_classes"], "form": form}


@functools.lru_cache(maxsize=4096)
def path_costs(space: HybridSpace, data: DataRecipe, path: Path) -> dict[str, float]:
    """`COSTS` and `COUNTS` of a path's network for one image of the data."""
    with torch.device("meta"):
        network = HybridNetwork(space, path, **form_of(data))
    layers = trace(network, (data.facts["in_channels"], data.facts["side"], data.facts["side"]))
    priced = layers_cost(layers, accounting="corrected")
    counted = count(network, convention="shiftaddnas", layers=layers)
    costs = {"macs_m": counted.macs / 1e6, "energy_uj": 1e3 * priced.energy_mj, "latency_us": 1e3 * priced.latency_ms}
    operations = (counted.mults, counted.adds, counted.shifts)
    return costs | {name: number / 1e6 for name, number in zip(COUNTS, operations)}


def dearest(space: HybridSpace, data: DataRecipe) -> dict[str, float]:
    """The most of each cost that a path of convolutions alone takes, whatever operators the space has."""
    levels = tuple(dataclasses.replace(level, operators="C") for level in space.levels)
    plain = HybridSpace(levels, space.layers)
    priced = [path_costs(plain, data, path) for path in plain.all_paths()]
    return {name: max(each[name] for each in priced) for name in COSTS}


def limits_of(space: HybridSpace, data: DataRecipe, search: Search) -> dict[str, float]:
    """The limits of a search in the costs' units. Raises: InputError for an unknown cost."""
    most = dearest(space, data)
    return {name: share * most[check_choice("limit", name, COSTS)] for name, share in search.limits.items()}


def _prices(space: HybridSpace, data: DataRecipe) -> dict[str, Callable[[list], list[float]]]:
    def price(name: str):
        return lambda genomes: [path_costs(space, data, space.path(genome))[name] for genome in genomes]

    return {name: price(name) for name in COSTS}


def check_limits(space: HybridSpace, data: DataRecipe, search: Search) -> None:
    """InputError for a limit that no path meets, or one of an unknown cost: told before anything is trained."""
    limits = limits_of(space, data, search)
    prices = _prices(space, data)
    evolve(space.genes, lambda paths: [0.0] * len(paths), cost=prices, limit=limits, population=2, rounds=0, seed=0)


def search_paths(
    space: HybridSpace,
    data: DataRecipe,
    search: Search,
    loss: Callable[[list[Path]], list[float]],
    *,
    seed: int,
    checkpoint: FilePath,
) -> dict:
    """Find the path with the lowest loss within the limits; goes on from `checkpoint` if it is there.

    Args:
        loss: paths -> their loss with inherited weights, on held-out images.
    Returns: "path", "loss", its costs, "limits" in the costs' units, "rounds", the best loss after each, and
        "best", the `BEST` paths with the lowest losses, the first one first.
    Raises: InputError for a limit that no path meets, or one of an unknown cost.
    """
    limits = limits_of(space, data, search)
    found = evolve(
        space.genes,
        lambda genomes: [-value for value in loss([space.path(genome) for genome in genomes])],
        cost=_prices(space, data),
        limit=limits,
        population=search.population,
        rounds=search.rounds,
        parents=search.parents,
        mutation=search.mutation,
        seed=seed,
        checkpoint=checkpoint,
    )
    best = found.best
    rounds = [-max(s.score for s in each.population if s.place is not None) for each in found.rounds]
    judged = {s.genome: s.score for each in found.rounds for s in each.population if s.place is not None}
    return {
        "path": list(space.path(best.genome)),
        "loss": -best.score,
        **best.costs,
        "limits": limits,
        "rounds": rounds,
        "best": [list(space.path(genome)) for genome in sorted(judged, key=judged.get, reverse=True)[:BEST]],
    }
