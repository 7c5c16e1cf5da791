"""ACGhostNet figure 3, as far as the toy space allows: energy and accuracy of what each setting would find.

Left: separate warm-up to several thresholds, and none. Right: convolutions with and without the adaptive rate. For each
setting, the supernet's predictions pick the paths on the (accuracy, energy) front; shown is what these paths really
reach when trained by themselves. The paper searches 16 blocks with CARS; here the 64 paths are enumerated, so the
figure shows how far a setting's predictions can be trusted, not the search itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pandas as pd

from repro.experiments.acghostnet_t06 import RECIPES as RANKING
from repro.experiments.acghostnet_t06 import RankingRecipe
from repro.experiments.registry import Experiment
from repro.experiments.toy_space import (
    SUPERNET,
    network_counts,
    shared_spec,
    standalone_accuracies,
    standalone_specs,
)
from repro.runs import Outcome, RunSpec
from repro.search.train_supernet import SupernetRecipe, strategy


@dataclasses.dataclass(frozen=True)
class FrontRecipe:
    """The ranking recipe it builds on (runs are shared with table 6), and the left panel's thresholds t in percent."""

    ranking: RankingRecipe
    thresholds_pct: tuple[float, ...]


def settings(recipe: FrontRecipe) -> list[tuple[str, str, SupernetRecipe]]:
    """(panel, setting, supernet recipe) of every curve."""
    base = recipe.ranking.supernet
    curves = [("warmup", "none", strategy(base, adaptive_lr=True, separate=False))]
    for threshold in recipe.thresholds_pct:
        warmed = strategy(base, adaptive_lr=True, separate=True)
        warmed = dataclasses.replace(warmed, warmup=dataclasses.replace(warmed.warmup, threshold_pct=threshold))
        curves.append(("warmup", f"separate {threshold:g}%", warmed))
    curves.append(("adaptive_lr", "both operators", strategy(base, adaptive_lr=True, separate=True)))
    curves.append(("adaptive_lr", "adders only", strategy(base, adaptive_lr=False, separate=True)))
    return curves


def plan(recipe: FrontRecipe, seeds: Sequence[int]) -> list[RunSpec]:
    """One supernet per curve and seed, and the stand-alone networks of table 6; equal specs are planned once."""
    ranking = recipe.ranking
    estimate_s = ranking.supernet_estimate_s
    shared = [shared_spec(ranking, net, seed, estimate_s) for _, _, net in settings(recipe) for seed in seeds]
    unique = {spec.folder: spec for spec in shared}
    return list(unique.values()) + standalone_specs(ranking, seeds, ranking.standalone_estimate_s)


def tabulate(recipe: FrontRecipe, outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Long table: panel, setting, seed, path, energy_uj, predicted_accuracy_pct, accuracy_pct (stand-alone mean)."""
    from repro.cost.pareto import front

    true = standalone_accuracies(outcomes).groupby("path")["accuracy_pct"].mean()
    energy = {path: network_counts(recipe.ranking, path)["energy_uj"] for path in recipe.ranking.paths}
    by_recipe = {(o.spec.recipe.supernet, o.spec.seed): o for o in outcomes if o.spec.function == SUPERNET and o.ok}
    rows = []
    for panel, setting, net in settings(recipe):
        for seed in sorted({seed for known, seed in by_recipe if known == net}):
            predicted = pd.Series(by_recipe[net, seed].value["accuracy_pct"], dtype=float)
            points = pd.DataFrame({"energy_uj": pd.Series(energy), "predicted_accuracy_pct": predicted}).dropna()
            if points.empty:
                continue
            picked = front(points, {"energy_uj": "min", "predicted_accuracy_pct": "max"})
            key = {"panel": panel, "setting": setting, "seed": seed}
            rows += [{**key, "path": path, **point, "accuracy_pct": true[path]} for path, point in picked.iterrows()]
    return pd.DataFrame(rows)


def _recipe(preset: str, dataset: str, thresholds: tuple[float, ...]) -> FrontRecipe:
    return FrontRecipe(RANKING[preset, dataset], thresholds)


RECIPES = {
    ("smoke", "digits"): _recipe("smoke", "digits", (70.0,)),
    ("quick", "digits"): _recipe("quick", "digits", (50.0, 70.0, 90.0)),
    ("quick", "cifar10"): _recipe("quick", "cifar10", (25.0, 30.0, 35.0)),
    ("paper", "cifar10"): _recipe("paper", "cifar10", (60.0, 70.0, 80.0)),
}

EXPERIMENT = Experiment(
    table_id="acghostnet_f03",
    title="Energy and accuracy of the networks that each setting would pick in the toy space",
    recipes=RECIPES,
    seeds={"smoke": (0,), "quick": (0, 1), "paper": (0, 1, 2)},
    plan=plan,
    tabulate=tabulate,
    scale={
        preset: "The toy space of 64 networks is enumerated; the paper searches 16 blocks of 8 choices with CARS."
        for preset in ("smoke", "quick", "paper")
    },
)
