"""ShiftAddAug's settings: the paper's training, and one that two cores can do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from repro.papers.data import DataRecipe
from repro.papers.presets import CALIBRATION_IMAGES, cifar_subset
from repro.papers.shiftaddaug.counts import MODELS
from repro.papers.shiftaddaug.methods import Method
from repro.papers.shiftaddaug.training import TinyJob
from repro.train import TrainRecipe

PAPER = TrainRecipe(
    epochs=250,
    batch_size=128,
    lr=0.05,
    nesterov=True,
    weight_decay=4e-5,
    label_smoothing=0.1,
    adaptive="adder",
    eta=0.2,
    crop_padding=20,
    flip=True,
)
"""Sec. 4.1; adders train for 300 epochs. Adaptive rate and its eta are AdderNet's, crop and flip the usual ones for
CIFAR: 4 pixels of 32, here 20 of 160."""
FILES = dataclasses.replace(PAPER, crop_padding=0, flip=False)
"""The same on images from files, whose reader crops and mirrors (`repro.train.imagefolder`)."""

SMALL = dataclasses.replace(PAPER, batch_size=64, crop_padding=2)
TUNED_SETTINGS = {f"rate {rate:g}": {"lr": rate} for rate in (0.05, 0.15, 0.3, 0.6, 1.2, 2.4)}
"""Peak rates that `repro tune shiftaddaug` compares for each operator by itself, on held-out training images."""

TUNED = {
    "glyphs": {"conv": "rate 0.6", "shift": "rate 0.15", "adder": "rate 0.15"},
    "cifar10": {"conv": "rate 0.3", "shift": "rate 0.3", "adder": "rate 0.3"},
    "eyes": {"conv": "rate 0.6", "shift": "rate 0.6", "adder": "rate 0.6"},
}
"""Data set -> operator -> the rate with which its network does best by itself; augmented networks take the same."""


def tuned_settings(dataset: str) -> dict[str, dict[str, object]]:
    """Operator -> the fields of its trainings that were chosen on a data set."""
    return {op: TUNED_SETTINGS[choice] for op, choice in TUNED[dataset].items()}


@dataclasses.dataclass(frozen=True)
class MethodsRecipe:
    """Several methods on several models.

    Attributes:
        models: of the paper's five, so many as the preset has time for.
        settings: operator -> the fields of `train` that are its own.
        size, width, expand, calibration_images: as `training.TinyJob`.
    """

    data: DataRecipe
    train: TrainRecipe
    models: Sequence[str]
    settings: Mapping[str, Mapping[str, object]]
    size: str = "small"
    width: float = 2.2
    expand: float = 2.2
    calibration_images: int = 0

    def job(self, model: str, method: Method) -> TinyJob:
        """A model trained with a method."""
        train = dataclasses.replace(self.train, **self.settings.get(method.op, {}))
        names = ("size", "width", "expand", "calibration_images")
        return TinyJob(model, self.data, train, method, **{name: getattr(self, name) for name in names})


def _small(dataset: str, data: DataRecipe, epochs: int, models: Sequence[str], **changes) -> MethodsRecipe:
    train = dataclasses.replace(SMALL, epochs=epochs, **changes)
    return MethodsRecipe(data, train, models, tuned_settings(dataset), calibration_images=CALIBRATION_IMAGES)


def presets(
    models: Sequence[str], quick: Sequence[str] | None = None, paper: Sequence[str] = ("cifar100",)
) -> dict[tuple[str, str], MethodsRecipe]:
    """Recipes of a table over some models.

    Args:
        quick: the models of that preset (default: the first one).
        paper: data sets of the preset `paper`, the first of which is its default.
    """
    quick = tuple(models[:1] if quick is None else quick)
    glyphs = {"flip": False, "crop_padding": 1}
    return {
        ("smoke", "glyphs"): dataclasses.replace(
            _small("glyphs", DataRecipe("glyphs", train_images=128, test_images=100), 1, models[:1], **glyphs),
            calibration_images=100,
        ),
        ("quick", "glyphs"): _small("glyphs", DataRecipe("glyphs", train_images=3000), 6, quick, **glyphs),
        ("study", "cifar10"): _small("cifar10", cifar_subset(10_000), 12, tuple(models)),
        ("study", "glyphs"): _small("glyphs", DataRecipe("glyphs"), 12, tuple(models), **glyphs),
        **{
            ("paper", dataset): MethodsRecipe(
                DataRecipe(dataset, size=160),
                PAPER if dataset.startswith("cifar") else FILES,
                tuple(models),
                {"adder": {"epochs": 300}},
                size="paper",
                calibration_images=16_000,
            )
            for dataset in paper
        },
    }


ALL_MODELS = tuple(MODELS)
THREE_MODELS = ("MobileNetV2-w0.35", "MCUNet-in3", "ProxylessNAS-w0.35")
STANDS_FOR = {"glyphs": "CIFAR10", "flowers102": "Flower102", "stanford-cars": "Cars"}
"""Data set of ours -> the printed name, where it is part of a row's key and not the same but for its spelling."""
SEEDS = {"smoke": (0,), "quick": (0, 1), "study": (0, 1, 2), "paper": (0, 1, 2)}

_SMALLER = (
    "Networks of 4,000 to 10,000 weights in the shape of the paper's, 16 pixels, 12 epochs; multiples of width and "
    "expansion up to 2.2; a peak rate for each operator chosen by the network by itself on held-out training images; "
    "every method starts from the same wide weights and re-estimates batch norm before the test."
)
SCALE = {
    "smoke": "One epoch on 128 images: checks that everything runs, says nothing about the claims.",
    "quick": f"{_SMALLER} Six epochs on 3,000 images, one of the models, two seeds.",
    "study": _SMALLER,
    "paper": "The paper's settings where it prints them; the largest multiples are table 2's smallest, how their lists "
    "are spaced, alpha and when augmentation ends are NetAug's.",
}
