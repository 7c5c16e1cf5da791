"""Networks of tables 4 and 11 whose architecture is known, trained small.

Rows with an arrow are the networks without one, tested on larger images without fine-tuning, as the paper does.
"""

from __future__ import annotations

import dataclasses

import pandas as pd

from repro.cost import layers_cost
from repro.cost.skeleton import skeleton
from repro.models.trace import trace
from repro.papers import jobs
from repro.papers.data import DataRecipe
from repro.papers.presets import CALIBRATION_IMAGES, SHORT, cifar_subset
from repro.papers.shiftaddnas import enlarged
from repro.papers.shiftaddnas.counts import RESNETS, SEARCHED
from repro.papers.shiftaddnas.enlarged import EnlargedJob
from repro.report.published import published
from repro.train import TrainRecipe

NETWORKS = {
    model: (name, {"op": op, "version": "v1", **options})
    for model, (name, op, options, _) in RESNETS.items()
    if model not in ("BNN", "AdderNet-PKKD")  # a binary network and a distilled AdderNet are not built here
} | {model: (name, {"distillation": False}) for model, (name, _) in SEARCHED.items()}
"""Row -> model and options; no teacher, so one classifier."""
ALL = tuple(NETWORKS)
SIDE = 224
"""Pixels that the rows are trained at; smaller images grow by the same share for the rows with an arrow."""


@dataclasses.dataclass(frozen=True)
class NetworksRecipe:
    """How the rows are trained: one recipe for all, at a width multiple of the printed channels."""

    data: DataRecipe
    train: TrainRecipe
    width: float = 1.0
    rows: tuple[str, ...] = ALL
    calibration_images: int = CALIBRATION_IMAGES

    def job(self, row: str) -> jobs.Job:
        """The training of a row."""
        model, options = NETWORKS[row]
        form = "cifar" if self.data.facts["side"] <= 64 else "imagenet"
        options = {**options, "width": self.width, "form": form}
        settings = (model, options, self.data, self.train, self.calibration_images)
        trained, tested = SIDE, SEARCHED.get(row, (model, SIDE))[1]
        if tested == trained:
            return jobs.Job(*settings)
        return EnlargedJob(*settings, test_size=round(self.data.facts["side"] * tested / trained))


def trainings(recipe: NetworksRecipe, seeds):
    """{(row, seed): spec}."""
    found = {row: recipe.job(row) for row in recipe.rows}
    return {
        (row, seed): (enlarged if isinstance(job, EnlargedJob) else jobs).spec(job, seed)
        for row, job in found.items()
        for seed in seeds
    }


def accuracies(recipe: NetworksRecipe, seeds, run) -> pd.DataFrame:
    """Rows of tables 4 and 11 with their accuracies; right answers in `attrs["extra"]["examples"]`."""
    done = run(trainings(recipe, seeds))
    frame = pd.DataFrame(
        {
            "model": row,
            "seed": seed,
            "top1_pct": jobs.accuracy_of(outcome),
            "top5_pct": jobs.accuracy_of(outcome, "top5_pct"),
            "note": jobs.note_of(outcome),
        }
        for (row, seed), outcome in done.items()
    )
    frame.attrs["extra"] = {
        "examples": jobs.answers_frame(
            ({"model": row}, seed, column, outcome, column)
            for (row, seed), outcome in done.items()
            for column in ("top1_pct", "top5_pct")
        )
    }
    return frame


def energy(job: jobs.Job) -> dict[str, float]:
    """energy_mj and latency_ms of a job's network for one test image, the simulator's slips corrected."""
    side = job.test_size if isinstance(job, EnlargedJob) else job.data.facts["side"]
    size = (job.data.facts["in_channels"], side, side)
    cost = layers_cost(trace(skeleton(job.model, **job.model_options), size), accounting="corrected")
    return {"energy_mj": cost.energy_mj, "latency_ms": cost.latency_ms}


_SHORT = TrainRecipe(epochs=6, **SHORT)
_DIGITS = NetworksRecipe(DataRecipe("digits"), _SHORT, width=0.125)
RECIPES = {
    ("smoke", "digits"): NetworksRecipe(
        DataRecipe("digits", train_images=128, test_images=64),
        TrainRecipe(epochs=1, **SHORT),
        width=0.125,
        rows=("ShiftAddNAS-T0",),
        calibration_images=128,
    ),
    ("quick", "digits"): _DIGITS,
    ("study", "cifar10"): NetworksRecipe(cifar_subset(), TrainRecipe(epochs=20, **SHORT), width=0.125),
    ("study", "digits"): _DIGITS,
    # The ResNet recipe of each baseline is not printed; DeiT's augmentations and the teacher are left out.
    ("paper", "imagenet"): NetworksRecipe(
        DataRecipe("imagenet"),
        TrainRecipe(epochs=300, batch_size=1024, lr=0.4, weight_decay=5e-5, warmup_epochs=5, label_smoothing=0.1),
        calibration_images=0,
    ),
}


def recipes_of(table_id: str) -> dict[tuple[str, str], NetworksRecipe]:
    """Recipes with the rows that a table has."""
    printed = set(published(table_id)["model"])
    return {
        key: dataclasses.replace(recipe, rows=tuple(row for row in recipe.rows if row in printed))
        for key, recipe in RECIPES.items()
    }


SEEDS = {"smoke": (0,), "quick": (0,), "study": (0, 1, 2), "paper": (0, 1, 2)}
_SCALED = (
    "An eighth of the channels on small images, one short recipe for all rows (SGD, no teacher, no augmentation); only "
    "networks whose architecture is known. Rows with an arrow: tested at 8/7 of the side, without fine-tuning."
)
SCALE = {
    "smoke": "One network, one epoch on 128 images: checks that everything runs, says nothing.",
    "quick": f"{_SCALED} One seed.",
    "study": _SCALED,
    "paper": "ImageNet, 300 epochs of SGD at 224 pixels for all rows, tested at 224 or 256; without the teacher and "
    "the augmentations.",
}
