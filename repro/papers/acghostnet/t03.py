"""ACGhostNet table 3: do two-layer toy supernets rank their four paths as stand-alone training does?

Sec. 3.4: {adder3x3, adder5x5}^2 and {conv3x3, conv5x5}^2, each supernet trained three times, each stand-alone network
three times, accuracies averaged and ranked. The paper gives no data set, width or schedule for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pandas as pd
import torch

from repro.papers.acghostnet.toy import TWO_LAYER_OPTIONS, two_layer_network, two_layer_space, two_layer_supernet
from repro.papers.data import DataRecipe, data_fingerprint, load_splits
from repro.papers.registry import Experiment
from repro.runs import Outcome, RunContext, RunSpec
from repro.search.train_supernet import SupernetRecipe, evaluate_paths, train_supernet
from repro.train import TrainRecipe, fit

FOLDER = "acghostnet_t03"


@dataclasses.dataclass(frozen=True)
class PairRecipe:
    """Everything that shapes the table but the seeds; each seed is one of the paper's repetitions."""

    data: DataRecipe
    supernet: SupernetRecipe
    standalone: TrainRecipe
    width: int = 16
    estimate_s: float | None = None


@dataclasses.dataclass(frozen=True)
class SharedRecipe:
    """One supernet of a family ("adder" or "conv")."""

    family: str
    data: DataRecipe
    supernet: SupernetRecipe
    width: int


@dataclasses.dataclass(frozen=True)
class StandaloneRecipe:
    """One network, for example ("a3", "a5")."""

    path: tuple[str, str]
    data: DataRecipe
    train: TrainRecipe
    width: int


PHASES = {SharedRecipe: "search", StandaloneRecipe: "train"}


def _options(width: int, splits) -> dict:
    return {"width": width, "in_channels": splits.in_channels, "num_classes": splits.num_classes}


def train_shared(recipe: SharedRecipe, seed: int, context: RunContext) -> dict:
    """Run function: accuracy (percent, test images) of the four paths with inherited weights."""
    splits = load_splits(recipe.data)
    torch.manual_seed(seed)
    supernet = two_layer_supernet(recipe.family, **_options(recipe.width, splits))
    space = two_layer_space(recipe.family)
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
    if history.outcome == "diverged":
        return {"outcome": "diverged", "detail": history.detail, "accuracy_pct": {}}
    results = evaluate_paths(supernet, list(space.all_paths()), splits.test, calibration=splits.train)
    return {"outcome": "done", "accuracy_pct": {",".join(r["path"]): r["accuracy_pct"] for r in results}}


def train_standalone(recipe: StandaloneRecipe, seed: int, context: RunContext) -> dict:
    """Run function: accuracy (percent, test images) of one network trained by itself."""
    splits = load_splits(recipe.data)
    torch.manual_seed(seed)
    network = two_layer_network(recipe.path, **_options(recipe.width, splits))
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
    if history.diverged:
        return {"outcome": "diverged", "detail": history.detail, "accuracy_pct": {}}
    return {"outcome": "done", "accuracy_pct": {",".join(recipe.path): history.accuracy_pct}}


def plan(recipe: PairRecipe, seeds: Sequence[int]) -> list[RunSpec]:
    """Two supernets and eight networks per seed."""
    data = data_fingerprint(recipe.data)
    module = "repro.papers.acghostnet.t03"
    specs = []
    for seed in seeds:
        for family in TWO_LAYER_OPTIONS:
            shared = SharedRecipe(family, recipe.data, recipe.supernet, recipe.width)
            specs.append(RunSpec(FOLDER, f"{module}:train_shared", shared, seed, data, recipe.estimate_s))
            for path in two_layer_space(family).all_paths():
                alone = StandaloneRecipe(tuple(path), recipe.data, recipe.standalone, recipe.width)
                specs.append(RunSpec(FOLDER, f"{module}:train_standalone", alone, seed, data, recipe.estimate_s))
    return specs


def tabulate(recipe: PairRecipe, outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Mean, deviation and rank (1 is best, within a family) of every pair, in the search and trained by itself.

    `attrs["extra"]["runs"]` has the single accuracies: model, phase, seed, accuracy_pct.
    """
    runs = pd.DataFrame(
        [
            {
                "model": model,
                "phase": PHASES[type(outcome.spec.recipe)],
                "seed": outcome.spec.seed,
                "accuracy_pct": accuracy,
            }
            for outcome in outcomes
            if outcome.ok
            for model, accuracy in outcome.value["accuracy_pct"].items()
        ],
        columns=["model", "phase", "seed", "accuracy_pct"],
    )
    rows = []
    for family in TWO_LAYER_OPTIONS:
        for path in two_layer_space(family).all_paths():
            row = {"model": ",".join(path), "layer1_op": path[0], "layer2_op": path[1], "op_family": family}
            for phase in ("search", "train"):
                mine = runs[(runs["model"] == row["model"]) & (runs["phase"] == phase)]["accuracy_pct"]
                row |= {f"{phase}_accuracy_mean_pct": mine.mean(), f"{phase}_accuracy_std_pct": mine.std(ddof=0)}
            rows.append(row)
    frame = pd.DataFrame(rows)
    for phase in ("search", "train"):
        by_family = frame.groupby("op_family")[f"{phase}_accuracy_mean_pct"]
        frame[f"{phase}_rank"] = by_family.rank(ascending=False, method="min")
    frame["n_seeds"] = frame["model"].map(runs.groupby("model")["seed"].nunique())
    frame.attrs["extra"] = {"runs": runs}
    return frame


def _recipe(data: DataRecipe, epochs: int, *, width: int, estimate_s: float, **train) -> PairRecipe:
    # Stand-alone networks get the adaptive rate on adders only, as AdderNet trains them; so does the search here,
    # since the table precedes the paper's proposal to use it on both.
    recipe = TrainRecipe(epochs=epochs, adaptive="adder", **train)
    return PairRecipe(data, SupernetRecipe(train=recipe, joint_epochs=epochs), recipe, width, estimate_s)


SMALL = {"batch_size": 64, "lr": 0.05, "weight_decay": 3e-4, "eta": 1 / 15}

RECIPES = {
    ("smoke", "digits"): _recipe(
        DataRecipe("digits", train_images=300, test_images=200, held_out=0.1), 1, width=4, estimate_s=0.5, **SMALL
    ),
    ("quick", "digits"): _recipe(DataRecipe("digits", held_out=0.1), 6, width=8, estimate_s=3, **SMALL),
    ("quick", "cifar10"): _recipe(
        DataRecipe("cifar10", train_images=4000, test_images=2000, size=16, held_out=0.1),
        6,
        width=12,
        estimate_s=15,
        **SMALL,
    ),
    # The section prints no settings: the search settings of Sec. 4.1 on CIFAR-10.
    ("paper", "cifar10"): _recipe(
        DataRecipe("cifar10", held_out=0.1),
        50,
        width=64,
        estimate_s=50 * 90.0,
        batch_size=128,
        lr=0.025,
        weight_decay=3e-4,
        crop_padding=4,
        flip=True,
    ),
}

EXPERIMENT = Experiment(
    table_id="acghostnet_t03",
    title="Ranking of two-layer networks in the search and trained alone, adder and convolution",
    recipes=RECIPES,
    seeds={"smoke": (0,), "quick": (0, 1, 2), "paper": (0, 1, 2)},
    plan=plan,
    tabulate=tabulate,
    scale={
        "smoke": "One epoch on 300 images: checks that everything runs, says nothing about the claim.",
        "quick": "Narrow networks on small images for a few epochs; the paper prints no settings for this table.",
        "paper": "The search settings of Sec. 4.1, since the table has none of its own.",
    },
)
