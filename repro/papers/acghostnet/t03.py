"""ACGhostNet table 3 (Sec. 3.4): do two-layer toy supernets rank their four paths as stand-alone training does?

{adder3x3, adder5x5}^2 and {conv3x3, conv5x5}^2, each supernet trained three times, each stand-alone network three
times, accuracies averaged and ranked. The paper gives no data set, width or schedule for it.
"""

from __future__ import annotations

import dataclasses

import pandas as pd

from repro.papers import jobs
from repro.papers.acghostnet import ranking
from repro.papers.acghostnet.toy import TWO_LAYER_OPTIONS, two_layer_network, two_layer_space
from repro.papers.data import DataRecipe
from repro.papers.kinds import spec_of
from repro.papers.presets import SHORT, cifar_subset
from repro.papers.table import Drawing, Table
from repro.report.figures import new_figure
from repro.runs import RunContext, RunSpec
from repro.search.train_supernet import SupernetRecipe
from repro.train import TrainRecipe


@dataclasses.dataclass(frozen=True)
class PairRecipe:
    """Everything that shapes the table but the seeds; each seed is one of the paper's repetitions."""

    data: DataRecipe
    train: TrainRecipe
    width: int = 16


@dataclasses.dataclass(frozen=True)
class PairJob:
    """One stand-alone network, for example ("a3", "a5")."""

    path: tuple[str, str]
    width: int
    data: DataRecipe
    train: TrainRecipe
    calibration_images: int = 0


def train_pair(job: PairJob, seed: int, context: RunContext) -> dict:
    """Run function: one two-layer network trained by itself."""
    facts = job.data.facts
    options = {"width": job.width, "in_channels": facts["in_channels"], "num_classes": facts["num_classes"]}
    _, _, value = jobs.train_and_test(lambda: two_layer_network(job.path, **options), job, seed, context)
    return value


def _pair_spec(recipe, path, seed) -> RunSpec:
    job = PairJob(tuple(path), recipe.width, recipe.data, recipe.train)
    return spec_of("acghostnet_pair", job, seed)


def _supernet_spec(recipe, family, paths, seed) -> RunSpec:
    supernet = SupernetRecipe(train=recipe.train, joint_epochs=recipe.train.epochs)
    names = tuple(",".join(path) for path in paths)
    return ranking.spec(ranking.SharedRun(family, {"width": recipe.width}, names, recipe.data, supernet), seed)


def trained(recipe, seeds, run):
    """Mean, deviation and rank (1 is best, within a family) of every pair, in the search and trained by itself.

    `attrs["extra"]["runs"]` has the single accuracies: model, phase, seed, accuracy_pct.
    """
    families = {family: list(two_layer_space(family).all_paths()) for family in TWO_LAYER_OPTIONS}
    specs = {}
    for seed in seeds:
        for family, paths in families.items():
            specs[family, seed] = _supernet_spec(recipe, family, paths, seed)
            specs |= {(path, seed): _pair_spec(recipe, path, seed) for path in paths}
    done = run(specs)
    runs = pd.DataFrame(
        [
            {"model": ",".join(path), "phase": phase, "seed": seed, "accuracy_pct": accuracy}
            for seed in seeds
            for family, paths in families.items()
            for path in paths
            for phase, accuracy in (
                ("search", (done[family, seed].value or {}).get("accuracy_pct", {}).get(",".join(path))),
                ("train", jobs.accuracy_of(done[path, seed])),
            )
        ]
    ).astype({"accuracy_pct": float})
    rows = []
    for family, paths in families.items():
        for path in paths:
            row = {"model": ",".join(path), "layer1_op": path[0], "layer2_op": path[1], "op_family": family}
            for phase in ("search", "train"):
                mine = runs[(runs["model"] == row["model"]) & (runs["phase"] == phase)]["accuracy_pct"].dropna()
                spread = mine.std(ddof=0) if len(mine) > 1 else float("nan")
                row |= {f"{phase}_accuracy_mean_pct": mine.mean(), f"{phase}_accuracy_std_pct": spread}
            row["n_seeds"] = runs[runs["model"] == row["model"]].dropna()["seed"].nunique()
            rows.append(row)
    frame = pd.DataFrame(rows)
    for phase in ("search", "train"):
        by_family = frame.groupby("op_family")[f"{phase}_accuracy_mean_pct"]
        frame[f"{phase}_rank"] = by_family.rank(ascending=False, method="min")
    frame.attrs["extra"] = {"runs": runs}
    return frame


def draw(ours):
    """Accuracy of each pair in the search and trained alone, a line per pair, by family."""
    figure, panels = new_figure(1, 2, height_in=3.2)
    for axis, family in zip(panels[0], ("adder", "conv")):
        for row in ours[ours["op_family"] == family].itertuples():
            means = [row.search_accuracy_mean_pct, row.train_accuracy_mean_pct]
            spreads = [row.search_accuracy_std_pct, row.train_accuracy_std_pct]
            axis.errorbar([0, 1], means, yerr=spreads, marker="o", capsize=3, linewidth=1, label=row.model)
        axis.set_xticks([0, 1], ["in the supernet", "trained alone"])
        axis.set_xlim(-0.3, 1.3)
        axis.set(title=f"{family} candidates", xlabel="phase", ylabel="test accuracy (%)")
        axis.legend(fontsize=8, frameon=False, title="layer 1, layer 2")
    caption = "Accuracy of each pair in the supernet and trained alone (ours). Crossing lines are ranking errors."
    return [Drawing(figure, caption)]


def _recipe(data: DataRecipe, epochs: int, *, width: int, **train) -> PairRecipe:
    # Stand-alone networks get the adaptive rate on adders only, as AdderNet trains them; so does the search here,
    # since the table precedes the paper's proposal to use it on both.
    return PairRecipe(data, TrainRecipe(epochs=epochs, adaptive="adder", **train), width)


TABLE = Table(
    title="Ranking of two-layer networks in the search and trained alone, adder and convolution",
    trained=trained,
    draw=draw,
    recipes={
        ("smoke", "digits"): _recipe(
            DataRecipe("digits", train_images=300, test_images=200, held_out=0.1), 1, width=4, **SHORT
        ),
        ("quick", "digits"): _recipe(DataRecipe("digits", held_out=0.1), 6, width=8, **SHORT),
        ("quick", "cifar10"): _recipe(cifar_subset(4000, held_out=0.1), 6, width=12, **SHORT),
        # The section prints no settings: the search settings of Sec. 4.1 on CIFAR-10.
        ("paper", "cifar10"): _recipe(
            DataRecipe("cifar10", held_out=0.1),
            50,
            width=64,
            batch_size=128,
            lr=0.025,
            weight_decay=3e-4,
            crop_padding=4,
            flip=True,
        ),
    },
    seeds={"smoke": (0,), "quick": (0, 1, 2), "paper": (0, 1, 2)},
    scale={
        "smoke": "One epoch on 300 images: checks that everything runs, says nothing about the claim.",
        "quick": "Narrow networks on small images for a few epochs, eta 0.5; the paper prints no settings.",
        "paper": "The search settings of Sec. 4.1, since the table has none of its own.",
    },
    layout="wide",
)
