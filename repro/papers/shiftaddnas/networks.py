"""Networks of tables 4 and 11 whose architecture is known, trained small.

Residual networks are trained by SGD, each kind at a rate of its own, searched ones by AdamW; see
`repro.papers.shiftaddnas.hybrid_jobs`. Rows with an arrow are the networks without one, tested on larger images without
fine-tuning, as the paper does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pandas as pd

from repro.cost import layers_cost
from repro.cost.skeleton import skeleton
from repro.models.trace import trace
from repro.papers import jobs
from repro.papers.data import DataRecipe
from repro.papers.presets import CALIBRATION_IMAGES, SHORT, cifar_subset
from repro.papers.shiftaddnas import hybrid_jobs
from repro.papers.shiftaddnas.counts import RESNETS, SEARCHED
from repro.papers.shiftaddnas.hybrid_jobs import HybridJob
from repro.papers.shiftaddnas.recipes import ADAMW, DEIT, TUNED_SETTINGS
from repro.report.published import published
from repro.runs import RunSpec
from repro.train import TrainRecipe

NETWORKS = {
    model: (name, {"op": op, "version": "v1", **options})
    for model, (name, op, options, _) in RESNETS.items()
    if model not in ("BNN", "AdderNet-PKKD")  # a binary network and a distilled AdderNet are not built here
} | {model: (name, {"distillation": False}) for model, (name, _) in SEARCHED.items()}
"""Row -> model and options; no teacher, so one classifier."""
ALL = tuple(NETWORKS)
SGD_RATES = {f"sgd {rate:g}": {"lr": rate} for rate in (0.00625, 0.0125, 0.025, 0.05, 0.1, 0.2, 0.4)}
ADAMW_RATES = {name: TUNED_SETTINGS[name] for name in ("adamw 0.01", "adamw 0.02", "adamw 0.04")}
"""What `repro tune shiftaddnas_networks` compares on held-out images: peak rates of SGD for residual networks, of AdamW
for searched ones, those among which paths by themselves choose."""
_DIGITS_CHOSE = {
    "ResNet": "sgd 0.05",
    "AdderNet": "sgd 0.1",
    "DeepShift-Q": "sgd 0.0125",
    "DeepShift-PS": "sgd 0.05",
    "ShiftAddNet": "sgd 0.025",
    "searched": "adamw 0.02",
}
TUNED = {"digits": _DIGITS_CHOSE, "cifar10": _DIGITS_CHOSE}
"""Data set -> kind of network (`kind_of`) -> the rate with which it does best by itself.

CIFAR-10 has no record of `repro tune` yet: its networks take what digits chose.
"""
SIDE = 224
"""Pixels that the rows are trained at; smaller images grow by the same share for the rows with an arrow."""


def kind_of(row: str) -> str:
    """Kind of a network, whose rate is tuned together."""
    return "searched" if row in SEARCHED else "ResNet" if row.startswith("ResNet") else row


@dataclasses.dataclass(frozen=True)
class NetworksRecipe:
    """How the rows are trained, at a width multiple of the printed channels.

    Attributes:
        train, searched: recipes of residual and of searched networks.
        rates: kind of residual network (`kind_of`) -> its peak rate where it is not that of `train`.
    """

    data: DataRecipe
    train: TrainRecipe
    searched: TrainRecipe
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict)
    width: float = 1.0
    rows: tuple[str, ...] = ALL
    calibration_images: int = CALIBRATION_IMAGES

    def job(self, row: str) -> jobs.Job:
        """The training of a row."""
        model, options = NETWORKS[row]
        form = "cifar" if self.data.facts["side"] <= 64 else "imagenet"
        options = {**options, "width": self.width, "form": form}
        if row not in SEARCHED:
            train = dataclasses.replace(self.train, lr=self.rates.get(kind_of(row), self.train.lr))
            return jobs.Job(model, options, self.data, train, self.calibration_images)
        tested = SEARCHED[row][1]
        larger = round(self.data.facts["side"] * tested / SIDE) if tested != SIDE else 0
        return HybridJob(model, options, self.data, self.searched, self.calibration_images, test_size=larger)


def trainings(recipe: NetworksRecipe, seeds):
    """{(row, seed): spec}."""
    found = {row: recipe.job(row) for row in recipe.rows}
    return {(row, seed): spec_of_job(job, seed) for row, job in found.items() for seed in seeds}


def spec_of_job(job: jobs.Job, seed: int) -> RunSpec:
    """One training of a residual or a searched network."""
    return (hybrid_jobs if isinstance(job, HybridJob) else jobs).spec(job, seed)


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
    side = getattr(job, "test_size", 0) or job.data.facts["side"]
    size = (job.data.facts["in_channels"], side, side)
    cost = layers_cost(trace(skeleton(job.model, **job.model_options), size), accounting="corrected")
    return {"energy_mj": cost.energy_mj, "latency_ms": cost.latency_ms}


def _short(dataset: str, data: DataRecipe, epochs: int, **changes) -> NetworksRecipe:
    """Small networks at tuned rates."""
    plain = TrainRecipe(epochs=epochs, **SHORT)
    rates = {kind: (SGD_RATES | ADAMW_RATES)[name]["lr"] for kind, name in TUNED[dataset].items()}
    searched = dataclasses.replace(plain, lr=rates.pop("searched"), **ADAMW)
    return NetworksRecipe(data, plain, searched, rates, width=0.125, **changes)


RECIPES = {
    ("smoke", "digits"): _short(
        "digits",
        DataRecipe("digits", train_images=128, test_images=64),
        epochs=1,
        rows=("ShiftAddNAS-T0",),
        calibration_images=128,
    ),
    ("quick", "digits"): _short("digits", DataRecipe("digits"), epochs=6),
    ("study", "cifar10"): _short("cifar10", cifar_subset(), epochs=20),
    ("study", "digits"): _short("digits", DataRecipe("digits"), epochs=20),
    # The ResNet recipe of each baseline is not printed; DeiT's augmentations and the teacher are left out.
    ("paper", "imagenet"): NetworksRecipe(
        DataRecipe("imagenet"),
        TrainRecipe(epochs=300, batch_size=1024, lr=0.4, weight_decay=5e-5, warmup_epochs=5, label_smoothing=0.1),
        DEIT,
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
    "An eighth of the channels on small images, as many epochs for all rows (residual networks by SGD, searched ones "
    "by AdamW from blocks that begin as shortcuts; no teacher, no augmentation); only networks whose architecture is "
    "known. Rows with an arrow: tested at 8/7 of the side, without fine-tuning."
)
SCALE = {
    "smoke": "One network, one epoch on 128 images: checks that everything runs, says nothing.",
    "quick": f"{_SCALED} One seed.",
    "study": _SCALED,
    "paper": "ImageNet, 300 epochs at 224 pixels for all rows, residual networks by SGD, searched ones by DeiT's "
    "AdamW; tested at 224 or 256; without the teacher and the augmentations.",
}
