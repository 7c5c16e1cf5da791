"""ACGhostNet table 1: GhostNet with convolutions and with adders at three widths (CIFAR-100 in the paper).

The paper prints no settings for it; at `paper` the recipe is that of Sec. 4.2. Adders train with the adaptive rate, as
AdderNet does, convolutions without. At `quick` all widths are halved: 0.5, 0.25 and 0.125 keep the three ratios.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pandas as pd

from repro.papers.acghostnet.found import CALIBRATION_IMAGES, SMALL, GhostShape
from repro.papers.acghostnet.networks import NetworkRun, network_spec, trained
from repro.papers.data import DataRecipe
from repro.papers.registry import Experiment
from repro.runs import Outcome, RunSpec
from repro.train import ACGHOST_CIFAR, TrainRecipe

WIDTHS = {"GhostNet-1.0x": 1.0, "GhostNet-0.5x": 0.5, "GhostNet-0.25x": 0.25}
NETWORKS = {"cnn_accuracy_pct": "ghostnet", "addernet_accuracy_pct": "adder_ghostnet"}


@dataclasses.dataclass(frozen=True)
class WidthsRecipe:
    """`shape.width` is what the printed width 1.0 becomes; the other two keep their ratio to it.

    `calibration_images` is explained at `NetworkRun`.
    """

    data: DataRecipe
    shape: GhostShape
    train: TrainRecipe
    calibration_images: int = 0
    estimate_s: float | None = None


def runs_of(recipe: WidthsRecipe) -> dict[tuple[str, str], NetworkRun]:
    """The run of every (model, column)."""
    runs = {}
    for model, ratio in WIDTHS.items():
        shape = dataclasses.replace(recipe.shape, width=ratio * recipe.shape.width)
        for column, network in NETWORKS.items():
            runs[model, column] = NetworkRun(network, "", recipe.data, shape, recipe.train, recipe.calibration_images)
    return runs


def plan(recipe: WidthsRecipe, seeds: Sequence[int]) -> list[RunSpec]:
    """Six networks per seed, the widest first."""
    return [network_spec(run, seed, recipe.estimate_s) for run in runs_of(recipe).values() for seed in seeds]


def tabulate(recipe: WidthsRecipe, outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """One row per width and seed; empty where a run diverged or failed."""
    runs, results = runs_of(recipe), trained(outcomes)
    rows = []
    for model, ratio in WIDTHS.items():
        for seed in sorted(set(results["seed"])):
            row = {"model": model, "width_mult": ratio, "dataset": recipe.data.dataset}
            notes = []
            for column in NETWORKS:
                run = runs[model, column]
                mine = results[(results["run"] == run) & (results["seed"] == seed)].iloc[0]
                row[column] = mine["top1_pct"]
                notes += [mine["note"]] if mine["note"] else []
            row["gap_pct"] = row["cnn_accuracy_pct"] - row["addernet_accuracy_pct"]
            if recipe.shape.width != 1.0:
                notes.insert(0, f"trained at width {ratio * recipe.shape.width:g}")
            rows.append({**row, "seed": seed, "note": "; ".join(notes)})
    return pd.DataFrame(rows)


NO_RATE_ON_CONV = {**SMALL, "adaptive": "adder"}

RECIPES = {
    ("smoke", "digits"): WidthsRecipe(
        DataRecipe("digits", train_images=100, test_images=100),
        GhostShape(width=0.5, head=32, dropout=0.0),
        TrainRecipe(epochs=1, **NO_RATE_ON_CONV),
        calibration_images=CALIBRATION_IMAGES,
        estimate_s=1,
    ),
    ("quick", "digits"): WidthsRecipe(
        DataRecipe("digits"),
        GhostShape(width=0.5, head=320, dropout=0.0),
        TrainRecipe(epochs=14, **NO_RATE_ON_CONV),
        calibration_images=CALIBRATION_IMAGES,
        estimate_s=35,
    ),
    ("quick", "cifar10"): WidthsRecipe(
        DataRecipe("cifar10", train_images=8000, test_images=2000, size=16),
        GhostShape(width=0.5, head=320, dropout=0.0),
        TrainRecipe(epochs=12, flip=True, crop_padding=2, **NO_RATE_ON_CONV),
        calibration_images=CALIBRATION_IMAGES,
        estimate_s=300,
    ),
    ("paper", "cifar100"): WidthsRecipe(
        DataRecipe("cifar100"),
        GhostShape(),
        dataclasses.replace(ACGHOST_CIFAR, adaptive="adder"),
        estimate_s=600 * 120.0,
    ),
}

EXPERIMENT = Experiment(
    table_id="acghostnet_t01",
    title="Convolution against adder GhostNet at three widths",
    recipes=RECIPES,
    seeds={"smoke": (0,), "quick": (0, 1), "paper": (0, 1, 2)},
    plan=plan,
    tabulate=tabulate,
    scale={
        "smoke": "One epoch on 100 images: checks that everything runs, says nothing about the claim.",
        "quick": "Widths 0.5, 0.25 and 0.125 stand for 1.0, 0.5 and 0.25; small images, 10 classes, a few epochs, "
        "eta 0.5 for the paper's 1/15, batch norm re-estimated before the test.",
        "paper": "The settings of Sec. 4.2, since the table has none of its own.",
    },
)
