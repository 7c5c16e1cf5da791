"""ACGhostNet table 4: accuracy and energy of GhostNet, Adder-GhostNet and the four searched models on CIFAR-10.

Sec. 4.2: every model trained by itself for 600 epochs, batch 256, rate 0.025 with a cosine schedule. All six have the
same epochs, batches and rate; the adaptive rate is on both operators of the searched networks, on adders only in the
baselines (`train_recipe` says why). One search finds models A to D (seed `search_seed`); seeds are those of the
training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pandas as pd

from repro.models.acghostnet import MODULE_TYPES
from repro.papers.acghostnet.found import (
    CALIBRATION_IMAGES,
    SCALE,
    SMALL,
    GhostShape,
    SearchRun,
    search_spec,
    searches,
)
from repro.papers.acghostnet.found import RECIPES as SEARCHES
from repro.papers.acghostnet.models import frames, models_by_energy
from repro.papers.acghostnet.networks import NetworkRun, network_counts, network_spec, trained
from repro.papers.data import DataRecipe
from repro.papers.registry import Experiment
from repro.runs import Outcome, RunSpec
from repro.train import ACGHOST_CIFAR, TrainRecipe

BASELINES = {"GhostNet-1.0x": "ghostnet", "Adder-GhostNet-1.0x": "adder_ghostnet"}
SEARCHED = ("ACGhostNet-A", "ACGhostNet-B", "ACGhostNet-C", "ACGhostNet-D")


@dataclasses.dataclass(frozen=True)
class ModelsRecipe:
    """A search and the training of what it finds; `data` and `shape` are those of the final networks.

    `calibration_images` is explained at `NetworkRun`.
    """

    search: SearchRun
    data: DataRecipe
    shape: GhostShape
    train: TrainRecipe
    search_seed: int = 0
    calibration_images: int = 0
    estimate_s: float | None = None


def found_paths(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Path of every searched model, {"ACGhostNet-A": "CCg1-…"}; empty if the search failed or diverged."""
    finished = [outcome for outcome in searches(outcomes) if outcome.state == "done"]
    if not finished:
        return {}
    return {f"ACGhostNet-{name}": "-".join(found.path) for name, found in models_by_energy(finished[0]).items()}


def train_recipe(recipe: ModelsRecipe, network: str) -> TrainRecipe:
    """How a network is trained: with the paper's adaptive rate on both operators if it may have both.

    The others train as their authors train them: convolutions at the global rate, adders at the adaptive one. (The
    paper finds no difference for convolutions; in short trainings with a large eta there is one.)
    """
    return recipe.train if network == "acghostnet" else dataclasses.replace(recipe.train, adaptive="adder")


def _network(recipe: ModelsRecipe, network: str, path: str) -> NetworkRun:
    train = train_recipe(recipe, network)
    return NetworkRun(network, path, recipe.data, recipe.shape, train, recipe.calibration_images)


def baseline_runs(recipe: ModelsRecipe) -> dict[str, NetworkRun]:
    """The rows that need no search."""
    return {name: _network(recipe, net, "") for name, net in BASELINES.items()}


def networks_of(preset: str, dataset: str) -> dict[str, NetworkRun]:
    """The two baselines and a network that takes each of the eight module types in turn, as this preset trains them."""
    recipe = RECIPES[preset, dataset]
    return {**baseline_runs(recipe), "all eight types": _network(recipe, "acghostnet", "-".join(MODULE_TYPES * 2))}


def searched_runs(recipe: ModelsRecipe, outcomes: Sequence[Outcome]) -> dict[str, NetworkRun]:
    """The rows that the search found."""
    return {name: _network(recipe, "acghostnet", path) for name, path in found_paths(outcomes).items()}


def specs_of(runs: dict[str, NetworkRun], seeds: Sequence[int], estimate_s: float | None) -> list[RunSpec]:
    """One spec per network and seed."""
    return [network_spec(run, seed, estimate_s) for run in runs.values() for seed in seeds]


def plan(recipe: ModelsRecipe, seeds: Sequence[int]) -> list[RunSpec]:
    """The search, which takes longest, and the baselines."""
    return [search_spec(recipe.search, recipe.search_seed), *specs_of(baseline_runs(recipe), seeds, recipe.estimate_s)]


def follow(recipe: ModelsRecipe, seeds: Sequence[int], outcomes: Sequence[Outcome]) -> list[RunSpec]:
    """The searched networks."""
    return specs_of(searched_runs(recipe, outcomes), seeds, recipe.estimate_s)


def tabulate(recipe: ModelsRecipe, outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """One row per model and seed, counts and energy of the network as it was trained here.

    `attrs["extra"]` has those of `acghostnet_models.frames`.
    """
    results = trained(outcomes)
    rows = []
    for model, run in {**baseline_runs(recipe), **searched_runs(recipe, outcomes)}.items():
        counts = network_counts(run)
        about = {"model": model, "ours": int(model in SEARCHED), "dataset": recipe.data.dataset, **counts}
        for mine in results[results["run"] == run].itertuples():
            note = "; ".join(filter(None, [run.path, mine.note]))
            rows.append({**about, "accuracy_pct": mine.top1_pct, "seed": mine.seed, "note": note})
    frame = pd.DataFrame(rows)
    frame.attrs["extra"] = frames(recipe.search, outcomes)
    return frame


# A network by itself sees all training images, the search's supernet one half.
RECIPES = {
    ("smoke", "digits"): ModelsRecipe(
        SEARCHES["smoke", "digits"],
        DataRecipe("digits", train_images=200, test_images=100),
        SEARCHES["smoke", "digits"].shape,
        TrainRecipe(epochs=1, **SMALL),
        calibration_images=CALIBRATION_IMAGES,
        estimate_s=1,
    ),
    ("quick", "digits"): ModelsRecipe(
        SEARCHES["quick", "digits"],
        DataRecipe("digits"),
        SEARCHES["quick", "digits"].shape,
        TrainRecipe(epochs=20, **SMALL),
        calibration_images=CALIBRATION_IMAGES,
        estimate_s=50,
    ),
    ("quick", "cifar10"): ModelsRecipe(
        SEARCHES["quick", "cifar10"],
        DataRecipe("cifar10", train_images=8000, test_images=2000, size=16),
        SEARCHES["quick", "cifar10"].shape,
        TrainRecipe(epochs=15, flip=True, crop_padding=2, **SMALL),
        calibration_images=CALIBRATION_IMAGES,
        estimate_s=250,
    ),
    # Dropout of the CIFAR networks is not stated; ImageNet's 0.2 is GhostNet's own default.
    ("paper", "cifar10"): ModelsRecipe(
        SEARCHES["paper", "cifar10"], DataRecipe("cifar10"), GhostShape(), ACGHOST_CIFAR, estimate_s=600 * 180.0
    ),
}

EXPERIMENT = Experiment(
    table_id="acghostnet_t04",
    title="Accuracy and energy of GhostNet, Adder-GhostNet and the searched models A to D",
    recipes=RECIPES,
    seeds={"smoke": (0,), "quick": (0,), "paper": (0, 1, 2)},
    plan=plan,
    follow=follow,
    tabulate=tabulate,
    scale=SCALE,
)
