"""AutoShiftNet figure 6 (appendix D): the printed cells trained with a batch and with one four times as large.

Epochs and peak rate are equal, as the paper has them, so the larger batch has a quarter of the steps and of the sum of
rates. At `paper` on ImageNet (256 and 1024), at the other presets on small images.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import pandas as pd

from repro.papers import jobs
from repro.papers.autoshiftnet.comparing import draw_curves, entry_of
from repro.papers.autoshiftnet.networks import OURS
from repro.papers.autoshiftnet.recipes import imagenet_column
from repro.papers.autoshiftnet.training import spec
from repro.papers.data import IMAGENET


def trained(recipe, seeds, run):
    """One row per batch size and seed: batch_size, epochs, seed, top1_pct, epochs_to_reach, lost_pct.

    A training has converged in the first epoch with 95 % of the accuracy that it ends with; a goal that both batches
    share would call every lower curve a later one. lost_pct: points of accuracy lost from an epoch to the next, added
    up. `attrs["extra"]`: epochs, every epoch's accuracies by batch_size and seed; examples.
    """
    (column,) = recipe.data
    sizes = (recipe.train.batch_size, 4 * recipe.train.batch_size)
    jobs_by_size = {size: recipe.job(OURS, column, curve=True, batch_size=size) for size in sizes}
    done = run({(size, seed): spec(job, seed) for size, job in jobs_by_size.items() for seed in seeds})
    curves = {key: (outcome.value or {}).get("curve", []) for key, outcome in done.items()}
    known = [seed for seed in seeds if all(curves[size, seed] for size in sizes)]
    rows = []
    for size, seed in ((size, seed) for size in sizes for seed in known):
        accuracies = [row["test_accuracy_pct"] for row in curves[size, seed]]
        top1 = jobs.accuracy_of(done[size, seed])
        rows.append((size, recipe.train.epochs, seed, top1, epochs_to_reach(accuracies), lost_points(accuracies)))
    frame = pd.DataFrame(rows, columns=["batch_size", "epochs", "seed", "top1_pct", "epochs_to_reach", "lost_pct"])
    names = ("epoch", "train_accuracy_pct", "test_accuracy_pct")
    frame.attrs["extra"] = {
        "epochs": pd.DataFrame(
            [
                (f"batch {size}", seed, *(row[name] for name in names))
                for (size, seed), curve in curves.items()
                for row in curve
            ],
            columns=["batch", "seed", *names],
        ),
        "examples": jobs.answers_frame(
            ({"batch_size": size, "epochs": recipe.train.epochs}, seed, "top1_pct", done[size, seed], "top1_pct")
            for size in sizes
            for seed in known
        ),
    }
    return frame


def epochs_to_reach(accuracies: Sequence[float], share: float = 0.95) -> float:
    """The first epoch (from 1) with this share of the last one's accuracy."""
    return float(next(epoch for epoch, value in enumerate(accuracies, start=1) if value >= share * accuracies[-1]))


def lost_points(accuracies: Sequence[float]) -> float:
    """What accuracies per epoch lose from one epoch to the next, added up; 0 for a curve that only rises."""
    return float(sum(max(0.0, before - after) for before, after in itertools.pairwise(accuracies)))


def draw(ours):
    """Accuracies against the epoch, a panel per batch size."""
    text = "The printed cells in training with two batch sizes at equal epochs and peak rate; a line per training."
    return draw_curves(ours.attrs["extra"]["epochs"], "batch", text)


_ROWS = dict.fromkeys(("smoke", "quick", "study", "paper"), ())
_RECIPES = imagenet_column(_ROWS)
_ON_IMAGENET = _RECIPES["paper", IMAGENET]

TABLE = entry_of(
    "Accuracy during training with two batch sizes",
    trained,
    draw=draw,
    recipes={
        **_RECIPES,
        ("paper", IMAGENET): dataclasses.replace(
            _ON_IMAGENET, train=dataclasses.replace(_ON_IMAGENET.train, batch_size=256)
        ),
    },
    unit="training",
    keeps=("epochs", "examples"),
)
