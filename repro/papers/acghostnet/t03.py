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
    """Accuracy of every pair, in the search and trained by itself: one row per pair and seed."""
    families = {family: list(two_layer_space(family).all_paths()) for family in TWO_LAYER_OPTIONS}
    specs = {}
    for seed in seeds:
        for family, paths in families.items():
            specs[family, seed] = _supernet_spec(recipe, family, paths, seed)
            specs |= {(path, seed): _pair_spec(recipe, path, seed) for path in paths}
    done = run(specs)
    rows, answers = [], []
    for seed in seeds:
        for family, paths in families.items():
            shared = done[family, seed]
            for path in paths:
                name, alone = ",".join(path), done[path, seed]
                rows.append(
                    {
                        "model": name,
                        "layer1_op": path[0],
                        "layer2_op": path[1],
                        "op_family": family,
                        SEARCHED: (shared.value or {}).get("accuracy_pct", {}).get(name),
                        TRAINED: jobs.accuracy_of(alone),
                        "seed": seed,
                        "note": "; ".join(filter(None, map(jobs.note_of, (shared, alone)))),
                    }
                )
                answers.append(({"model": name}, seed, SEARCHED, shared, name))
                answers.append(({"model": name}, seed, TRAINED, alone, "top1_pct"))
    frame = pd.DataFrame(rows).astype({SEARCHED: float})
    frame.attrs["extra"] = {"examples": jobs.answers_frame(answers)}
    return frame


SEARCHED, TRAINED = "search_accuracy_mean_pct", "train_accuracy_mean_pct"


def draw(ours):
    """Accuracy of each pair in the search and trained alone, a line per pair, by family."""
    figure, panels = new_figure(1, 2, height_in=3.2, share_y=True)
    for axis, family in zip(panels[0], ("adder", "conv")):
        mine = ours[ours["op_family"] == family].groupby("model", sort=False)[[SEARCHED, TRAINED]]
        spread = mine.std(ddof=1)
        for model, means in mine.mean().iterrows():
            axis.errorbar([0, 1], means, yerr=spread.loc[model], marker="o", capsize=3, linewidth=1, label=model)
        axis.set_xticks([0, 1], ["in the supernet", "trained alone"])
        axis.set_xlim(-0.3, 1.3)
        axis.set(title=f"{family} candidates", xlabel="phase", ylabel="accuracy (%)")
        axis.legend(fontsize=8, frameon=False, title="layer 1, layer 2")
    caption = (
        "Accuracy of each pair in the supernet (on held-out training images) and trained alone (on test images); bars "
        "are the deviation over seeds. Crossing lines are ranking errors."
    )
    return [Drawing(figure, caption)]


def _recipe(data: DataRecipe, epochs: int, *, width: int, **train) -> PairRecipe:
    # Stand-alone networks get the adaptive rate on adders only, as AdderNet trains them; so does the search here,
    # since the table precedes the paper's proposal to use it on both.
    return PairRecipe(data, TrainRecipe(epochs=epochs, adaptive="adder", **train), width)


_DIGITS = _recipe(DataRecipe("digits", held_out=0.2), 6, width=8, **SHORT)
_SCALED = (
    "Narrow networks on small images for a few epochs, eta 0.5; the paper prints no settings. The supernet's paths are "
    "judged on held-out training images, the networks trained alone on the test images."
)

TABLE = Table(
    title="Ranking of two-layer networks in the search and trained alone, adder and convolution",
    trained=trained,
    draw=draw,
    recipes={
        ("smoke", "digits"): _recipe(
            DataRecipe("digits", train_images=300, test_images=200, held_out=0.2), 1, width=4, **SHORT
        ),
        ("quick", "digits"): _DIGITS,
        ("study", "cifar10"): _recipe(cifar_subset(held_out=0.25), 10, width=12, **SHORT),
        ("study", "digits"): _DIGITS,
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
    seeds={"smoke": (0,), "quick": (0, 1, 2), "study": (0, 1, 2, 3, 4), "paper": (0, 1, 2)},
    scale={
        "smoke": "One epoch on 300 images: checks that everything runs, says nothing about the claim.",
        "quick": _SCALED,
        "study": f"{_SCALED} Five repetitions for the paper's three.",
        "paper": "The search settings of Sec. 4.1, since the table has none of its own.",
    },
    layout="wide",
    keeps=("examples",),
)
