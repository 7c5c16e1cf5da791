"""ACGhostNet table 1 (Sec. 3.2): GhostNet with convolutions and with adders at three widths (CIFAR-100 in the paper).

The paper prints no settings for it; at `paper` the recipe is that of Sec. 4.2, adders with the adaptive rate, as
AdderNet does, convolutions without. Below it each of the two takes the settings that it does best with
(`recipes.TUNED`), and all widths are halved: 0.5, 0.25 and 0.125 keep the three ratios.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pandas as pd

from repro.papers import jobs
from repro.papers.acghostnet.networks import ghost_job
from repro.papers.acghostnet.recipes import AS_THEIR_AUTHORS, CIFAR, GhostShape, tuned
from repro.papers.data import DataRecipe
from repro.papers.presets import CALIBRATION_IMAGES, SHORT, cifar_subset
from repro.papers.table import Drawing, Table
from repro.report.figures import new_figure
from repro.report.palette import COLOURS
from repro.report.published import published
from repro.train import TrainRecipe

WIDTHS = {"GhostNet-1.0x": 1.0, "GhostNet-0.5x": 0.5, "GhostNet-0.25x": 0.25}
NETWORKS = {"cnn_accuracy_pct": ("ghostnet", "convolution"), "addernet_accuracy_pct": ("adder_ghostnet", "adder")}
"""Column -> model, and which settings it trains with."""


@dataclasses.dataclass(frozen=True)
class WidthsRecipe:
    """`shape.width` is what the printed width 1.0 becomes; the other two keep their ratio to it.

    `settings` are the fields of `train` that "convolution" and "adder" networks have of their own;
    `calibration_images` is explained at `repro.papers.jobs.Job`.
    """

    data: DataRecipe
    shape: GhostShape
    train: TrainRecipe
    settings: Mapping[str, Mapping[str, object]]
    calibration_images: int = 0


def trained(recipe, seeds, run):
    """Six networks per seed, the widest first; one row per width and seed."""
    base = recipe.shape
    shapes = {name: dataclasses.replace(base, width=ratio * base.width) for name, ratio in WIDTHS.items()}
    trainings = {name: dataclasses.replace(recipe.train, **recipe.settings[name]) for _, name in NETWORKS.values()}
    calibration = recipe.calibration_images
    done = run(
        {
            (name, column, seed): jobs.spec(
                ghost_job(model, recipe.data, shape, trainings[network], calibration_images=calibration), seed
            )
            for name, shape in shapes.items()
            for column, (model, network) in NETWORKS.items()
            for seed in seeds
        }
    )
    rows = []
    for name, ratio in WIDTHS.items():
        for seed in seeds:
            outcomes = {column: done[name, column, seed] for column in NETWORKS}
            row = {"model": name, "width_mult": ratio, "dataset": recipe.data.dataset}
            row |= {column: jobs.accuracy_of(outcome) for column, outcome in outcomes.items()}
            row["gap_pct"] = row["cnn_accuracy_pct"] - row["addernet_accuracy_pct"]
            width = shapes[name].width
            notes = [f"trained at width {width:g}"] if width != ratio else []
            notes += [note for note in map(jobs.note_of, outcomes.values()) if note]
            rows.append({**row, "seed": seed, "note": "; ".join(notes)})
    frame = pd.DataFrame(rows)
    frame.attrs["extra"] = {
        "examples": jobs.answers_frame(
            ({"model": name, "dataset": recipe.data.dataset}, seed, column, outcome, "top1_pct")
            for (name, column, seed), outcome in done.items()
        )
    }
    return frame


def draw(ours):
    """Accuracy of convolution and adder GhostNet by width multiplier, printed and ours."""
    columns = {"cnn_accuracy_pct": ("convolution", "conv"), "addernet_accuracy_pct": ("adder", "adder")}
    figure, panels = new_figure(1, 2)
    for axis, points, title in zip(panels[0], (published("acghostnet_t01"), ours), ("published", "ours")):
        mean = points.groupby("width_mult")[list(columns)].mean()
        for column, (label, colour) in columns.items():
            axis.plot(mean.index, mean[column], color=COLOURS[colour], label=label)
            axis.scatter(points["width_mult"], points[column], s=18, color=COLOURS[colour])
        axis.set(xlabel="width multiplier", ylabel="accuracy (%)", title=title)
    panels[0, 0].legend(fontsize=8)
    caption = "Convolution and adder GhostNet by width multiplier; a dot is a training, the line is their mean."
    return [Drawing(figure, caption)]


_SHAPE = GhostShape(width=0.5, head=320, dropout=0.0)


def _small(dataset, data, train, shape=_SHAPE):
    settings = {network: tuned(dataset, network) for _, network in NETWORKS.values()}
    return WidthsRecipe(data, shape, train, settings, CALIBRATION_IMAGES)


_DIGITS = _small("digits", DataRecipe("digits"), TrainRecipe(epochs=14, **SHORT))
_SCALED = (
    "Widths 0.5, 0.25 and 0.125 stand for 1.0, 0.5 and 0.25; small images, 10 classes, a few epochs; where the "
    "adaptive rate is on, and its eta, chosen for each operator on held-out training images; batch norm re-estimated "
    "before the test."
)

TABLE = Table(
    title="Convolution against adder GhostNet at three widths",
    trained=trained,
    draw=draw,
    recipes={
        ("smoke", "digits"): _small(
            "digits",
            DataRecipe("digits", train_images=100, test_images=100),
            TrainRecipe(epochs=1, **SHORT),
            GhostShape(width=0.5, head=32, dropout=0.0),
        ),
        ("quick", "digits"): _DIGITS,
        ("study", "cifar10"): _small(
            "cifar10", cifar_subset(), TrainRecipe(epochs=15, flip=True, crop_padding=2, **SHORT)
        ),
        ("study", "digits"): _DIGITS,
        ("paper", "cifar100"): WidthsRecipe(DataRecipe("cifar100"), GhostShape(), CIFAR, AS_THEIR_AUTHORS),
    },
    seeds={"smoke": (0,), "quick": (0, 1), "study": (0, 1, 2), "paper": (0, 1, 2)},
    scale={
        "smoke": "One epoch on 100 images: checks that everything runs, says nothing about the claim.",
        "quick": f"{_SCALED} Two seeds.",
        "study": _SCALED,
        "paper": "The settings of Sec. 4.2, since the table has none of its own.",
    },
    keeps=("examples",),
)
