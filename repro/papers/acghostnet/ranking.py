"""Runs of the six-block toy space {AAg1, CCg1}^6 (ACGhostNet Sec. 4.4), shared by table 6 and figure 4.

Ground truth: every path trained by itself. Prediction: every path with the weights it inherits from one supernet.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pandas as pd
import torch

from repro.papers.acghostnet.toy import six_block_network, six_block_space, six_block_supernet
from repro.papers.data import DataRecipe, data_fingerprint, load_splits
from repro.runs import Outcome, RunContext, RunSpec
from repro.search.space import SearchSpace
from repro.search.supernet import Path, first_letters
from repro.search.train_supernet import SupernetRecipe, evaluate_paths, train_supernet
from repro.train import TrainRecipe, fit

FOLDER = "acghostnet_toy"
STANDALONE = "repro.papers.acghostnet.ranking:train_standalone"
SUPERNET = "repro.papers.acghostnet.ranking:train_shared"


@dataclasses.dataclass(frozen=True)
class ToyNetwork:
    """Shape of the toy networks; the paper states blocks and choices, but no width."""

    width: float = 1.0
    head: int = 1280


@dataclasses.dataclass(frozen=True)
class StandaloneRecipe:
    """One path trained by itself, as "CAACAC": C for CCg1 and A for AAg1 in each of the six blocks."""

    path: str
    data: DataRecipe
    network: ToyNetwork
    train: TrainRecipe


@dataclasses.dataclass(frozen=True)
class SharedRecipe:
    """One supernet, and the paths that are ranked with its weights."""

    paths: tuple[str, ...]
    data: DataRecipe
    network: ToyNetwork
    supernet: SupernetRecipe


def path_of(letters: str) -> Path:
    """("AAg1", "CCg1", …) of "AC…"."""
    return tuple({"A": "AAg1", "C": "CCg1"}[letter] for letter in letters)


def all_paths() -> tuple[str, ...]:
    """The 64 paths, from all convolution to all adder."""
    return tuple(sorted((first_letters(path) for path in six_block_space().all_paths()), reverse=True))


def spread_paths(count: int) -> tuple[str, ...]:
    """`count` paths that cover the adder ratios evenly: for presets that cannot train all 64."""
    by_ratio = sorted(all_paths(), key=lambda path: (path.count("A"), path))
    step = (len(by_ratio) - 1) / (count - 1)
    return tuple(by_ratio[round(i * step)] for i in range(count))


def _options(network: ToyNetwork, splits) -> dict:
    return {
        "width": network.width,
        "head": network.head,
        "num_classes": splits.num_classes,
        "in_channels": splits.in_channels,
    }


def train_standalone(recipe: StandaloneRecipe, seed: int, context: RunContext) -> dict:
    """Run function: accuracy (percent, test images) of one path trained by itself."""
    splits = load_splits(recipe.data)
    torch.manual_seed(seed)
    network = six_block_network(path_of(recipe.path), **_options(recipe.network, splits))
    history = fit(
        network,
        splits.train,
        splits.test,
        recipe.train,
        seed=seed,
        evaluate_every=recipe.train.epochs,
        on_epoch=lambda row: context.log(**row),
        checkpoint=context.checkpoint / "training",
    )
    return {
        "path": recipe.path,
        "outcome": "diverged" if history.diverged else "done",
        "detail": history.detail,
        "accuracy_pct": None if history.diverged else history.accuracy_pct,
    }


def train_shared(recipe: SharedRecipe, seed: int, context: RunContext) -> dict:
    """Run function: accuracy (percent, test images) of every path with the weights inherited from one supernet."""
    splits = load_splits(recipe.data)
    torch.manual_seed(seed)
    supernet = six_block_supernet(**_options(recipe.network, splits))
    space: SearchSpace = six_block_space()
    history = train_supernet(
        supernet,
        space,
        splits.train,
        splits.held_out,
        recipe.supernet,
        seed=seed,
        on_epoch=lambda row: context.log(**row),
        checkpoint=context.checkpoint / "training",
    )
    diverged = history.outcome == "diverged"
    results = []
    if not diverged:
        paths = [path_of(letters) for letters in recipe.paths]
        results = evaluate_paths(supernet, paths, splits.test, calibration=splits.train)
    finite = {
        letters: result["accuracy_pct"]
        for letters, result in zip(recipe.paths, results)
        if result["accuracy_pct"] == result["accuracy_pct"]
    }
    return {
        "outcome": "diverged" if diverged else "done",
        "detail": history.detail,
        "warmup": [outcome.as_dict() for outcome in history.warmup],
        "accuracy_pct": finite,
    }


def standalone_specs(recipe, seeds: Sequence[int], estimate_s: float | None) -> list[RunSpec]:
    """One spec per path and seed. `recipe` has paths, data, network, standalone."""
    data = data_fingerprint(recipe.data)
    return [
        RunSpec(
            FOLDER,
            STANDALONE,
            StandaloneRecipe(path, recipe.data, recipe.network, recipe.standalone),
            seed,
            data,
            estimate_s,
        )
        for path in recipe.paths
        for seed in seeds
    ]


def shared_spec(recipe, supernet: SupernetRecipe, seed: int, estimate_s: float | None) -> RunSpec:
    """The spec of one supernet training."""
    shared = SharedRecipe(tuple(recipe.paths), recipe.data, recipe.network, supernet)
    return RunSpec(FOLDER, SUPERNET, shared, seed, data_fingerprint(recipe.data), estimate_s)


def standalone_accuracies(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Columns path, seed, accuracy_pct (NaN where the run diverged or failed)."""
    rows = [
        {
            "path": outcome.spec.recipe.path,
            "seed": outcome.spec.seed,
            "accuracy_pct": (outcome.value or {}).get("accuracy_pct"),
        }
        for outcome in outcomes
        if outcome.spec.function == STANDALONE
    ]
    return pd.DataFrame(rows, columns=["path", "seed", "accuracy_pct"]).astype({"accuracy_pct": float})
