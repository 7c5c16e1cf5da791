"""ACGhostNet table 1 (Sec. 3.2): GhostNet with convolutions and with adders at three widths (CIFAR-100 in the paper).

The paper prints no settings for it; at `paper` the recipe is that of Sec. 4.2. Adders train with the adaptive rate, as
AdderNet does, convolutions without. At `quick` all widths are halved: 0.5, 0.25 and 0.125 keep the three ratios.
"""

from __future__ import annotations

import dataclasses

import pandas as pd

from repro.papers import jobs
from repro.papers.acghostnet.networks import ghost_job
from repro.papers.acghostnet.recipes import CIFAR, GhostShape
from repro.papers.data import DataRecipe
from repro.papers.presets import CALIBRATION_IMAGES, SHORT, cifar_subset
from repro.papers.table import Drawing, Table
from repro.report.figures import new_figure
from repro.report.palette import COLOURS
from repro.report.published import published
from repro.train import TrainRecipe

WIDTHS = {"GhostNet-1.0x": 1.0, "GhostNet-0.5x": 0.5, "GhostNet-0.25x": 0.25}
NETWORKS = {"cnn_accuracy_pct": "ghostnet", "addernet_accuracy_pct": "adder_ghostnet"}


@dataclasses.dataclass(frozen=True)
class WidthsRecipe:
    """`shape.width` is what the printed width 1.0 becomes; the other two keep their ratio to it.

    `calibration_images` is explained at `repro.papers.jobs.Job`.
    """

    data: DataRecipe
    shape: GhostShape
    train: TrainRecipe
    calibration_images: int = 0


def trained(recipe, seeds, run):
    """Six networks per seed, the widest first; one row per width and seed."""
    base = recipe.shape
    shapes = {name: dataclasses.replace(base, width=ratio * base.width) for name, ratio in WIDTHS.items()}
    done = run(
        {
            (name, column, seed): jobs.spec(
                ghost_job(model, recipe.data, shape, recipe.train, calibration_images=recipe.calibration_images),
                seed,
            )
            for name, shape in shapes.items()
            for column, model in NETWORKS.items()
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
    return pd.DataFrame(rows)


def draw(ours):
    """Accuracy of convolution and adder GhostNet by width multiplier, printed and ours."""
    columns = {"cnn_accuracy_pct": ("convolution", "conv"), "addernet_accuracy_pct": ("adder", "adder")}
    figure, panels = new_figure(1, 2)
    for axis, points, title in zip(panels[0], (published("acghostnet_t01"), ours), ("published", "ours")):
        by_width = points.groupby("width_mult")[list(columns)]
        mean, spread = by_width.mean(), by_width.std(ddof=1).fillna(0)
        for column, (label, colour) in columns.items():
            axis.errorbar(
                mean.index, mean[column], yerr=spread[column], marker="o", capsize=3, color=COLOURS[colour], label=label
            )
        axis.set(xlabel="width multiplier", ylabel="accuracy (%)", title=title)
    panels[0, 0].legend(fontsize=8)
    caption = "Convolution and adder GhostNet by width multiplier; bars are the deviation over seeds."
    return [Drawing(figure, caption)]


_SHAPE = GhostShape(width=0.5, head=320, dropout=0.0)

TABLE = Table(
    title="Convolution against adder GhostNet at three widths",
    trained=trained,
    draw=draw,
    recipes={
        ("smoke", "digits"): WidthsRecipe(
            DataRecipe("digits", train_images=100, test_images=100),
            GhostShape(width=0.5, head=32, dropout=0.0),
            TrainRecipe(epochs=1, adaptive="adder", **SHORT),
            CALIBRATION_IMAGES,
        ),
        ("quick", "digits"): WidthsRecipe(
            DataRecipe("digits"), _SHAPE, TrainRecipe(epochs=14, adaptive="adder", **SHORT), CALIBRATION_IMAGES
        ),
        ("quick", "cifar10"): WidthsRecipe(
            cifar_subset(),
            _SHAPE,
            TrainRecipe(epochs=12, flip=True, crop_padding=2, adaptive="adder", **SHORT),
            CALIBRATION_IMAGES,
        ),
        ("paper", "cifar100"): WidthsRecipe(
            DataRecipe("cifar100"), GhostShape(), dataclasses.replace(CIFAR, adaptive="adder")
        ),
    },
    seeds={"smoke": (0,), "quick": (0, 1), "paper": (0, 1, 2)},
    scale={
        "smoke": "One epoch on 100 images: checks that everything runs, says nothing about the claim.",
        "quick": "Widths 0.5, 0.25 and 0.125 stand for 1.0, 0.5 and 0.25; small images, 10 classes, a few epochs, "
        "eta 0.5 for the paper's 1/15, batch norm re-estimated before the test.",
        "paper": "The settings of Sec. 4.2, since the table has none of its own.",
    },
)
