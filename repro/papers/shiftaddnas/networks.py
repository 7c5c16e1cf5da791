"""Networks of tables 4 and 11 whose architecture is known, trained small."""

from __future__ import annotations

import dataclasses

import pandas as pd

from repro.cost import layers_cost
from repro.cost.skeleton import skeleton
from repro.models.trace import trace
from repro.papers import jobs
from repro.papers.data import DataRecipe
from repro.papers.presets import CALIBRATION_IMAGES, SHORT, cifar_subset
from repro.papers.shiftaddnas.counts import RESNETS, SEARCHED
from repro.report.published import published
from repro.train import TrainRecipe

NETWORKS = {
    model: (name, {"op": op, "version": "v1", **options})
    for model, (name, op, options, _) in RESNETS.items()
    if model not in ("BNN", "AdderNet-PKKD")  # a binary network and a distilled AdderNet are not built here
} | {model: (name, {"distillation": False}) for model, (name, side) in SEARCHED.items() if side == 224}
"""Row -> model and options; no teacher, so one classifier."""
ALL = tuple(NETWORKS)


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
        return jobs.Job(model, options, self.data, self.train, self.calibration_images)


def trainings(recipe: NetworksRecipe, seeds):
    """{(row, seed): spec}."""
    return jobs.specs({row: recipe.job(row) for row in recipe.rows}, seeds)


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
    """energy_mj and latency_ms of a job's network for one image of its data, the simulator's slips corrected."""
    facts = job.data.facts
    size = (facts["in_channels"], facts["side"], facts["side"])
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


SEEDS = {"smoke": (0,), "quick": (0, 1), "study": (0, 1, 2), "paper": (0,)}
_SCALED = (
    "An eighth of the channels on small images, one short recipe for all rows (SGD, no teacher, no augmentation); only "
    "networks whose architecture is known, at one image size."
)
SCALE = {
    "smoke": "One network, one epoch on 128 images: checks that everything runs, says nothing.",
    "quick": f"{_SCALED} Two seeds.",
    "study": _SCALED,
    "paper": "ImageNet at 224 pixels, 300 epochs of SGD for all rows; without the teacher and the augmentations.",
}
