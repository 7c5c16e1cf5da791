"""Training recipes: every setting of a run in one frozen record, the paper's values beside their place in the paper."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import nn

from repro.datasets.transforms import Compose, Cutout, RandomCrop, RandomFlip
from repro.errors import InputError, check_choice, check_flag, check_int, check_number
from repro.train.data import Transform
from repro.train.optim import MODES, AdaptiveLR

OPTIMIZERS = ("sgd", "adam", "radam")
SCHEDULES = ("cosine", "constant")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class TrainRecipe:
    """How one network is trained; vary it with `dataclasses.replace(recipe, epochs=1)`.

    Rates are per step: `lr` is the peak, reached after `warmup_epochs` of linear growth, then cosine to zero.
    `batch_size` is the global batch, over all processes. `crop_padding`, `flip` and `cutout` (pixels) are
    transforms of the inputs. `channels_last` changes speed only (a third faster on the CPU at our sizes) and rounding.
    `adaptive` and `eta` are those of `AdaptiveLR`. `accumulate` parts of a batch go through the network one after the
    other, whose gradients make one update: less memory, and batch norm sees the parts. `precision` "bfloat16" computes
    the forward pass under autocast, where operators allow (sums of absolute differences stay float32); weights,
    gradients of weights and tests are float32.
    """

    epochs: int = 10
    batch_size: int = 128
    optimizer: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    adaptive: str = "adder"
    eta: float = 1 / 15
    crop_padding: int = 0
    flip: bool = False
    cutout: int = 0
    channels_last: bool = True
    eval_batch_size: int = 1000
    accumulate: int = 1
    precision: str = "float32"

    def __post_init__(self):
        check_int("epochs", self.epochs, minimum=0)
        check_int("batch_size", self.batch_size, minimum=1)
        check_int("eval_batch_size", self.eval_batch_size, minimum=1)
        check_int("accumulate", self.accumulate, minimum=1)
        check_choice("precision", self.precision, PRECISIONS)
        if self.batch_size < self.accumulate:
            raise InputError(
                f"accumulate={self.accumulate} is not allowed; a batch of {self.batch_size} has no so many parts."
            )
        check_int("crop_padding", self.crop_padding, minimum=0)
        check_int("cutout", self.cutout, minimum=0)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("adaptive", self.adaptive, MODES)
        for name in ("lr", "weight_decay", "warmup_epochs"):
            check_number(name, getattr(self, name), minimum=0)
        check_number("momentum", self.momentum, minimum=0, below=1)
        check_number("label_smoothing", self.label_smoothing, minimum=0, maximum=1)
        check_number("eta", self.eta, above=0)
        for name in ("nesterov", "flip", "channels_last"):
            check_flag(name, getattr(self, name))
        if self.nesterov and self.optimizer == "sgd" and self.momentum == 0:
            raise InputError("nesterov=True needs a momentum above 0.")

    def as_dict(self) -> dict:
        """Plain values, ready for JSON."""
        return asdict(self)


def learning_rate(recipe: TrainRecipe, step: int, total_steps: int, steps_per_epoch: int) -> float:
    """Global rate of a step (0-based): linear warm-up to `lr`, then cosine to zero at `total_steps`, or constant."""
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    if recipe.schedule == "constant":
        return recipe.lr
    progress = (step - warmup) / max(1, total_steps - warmup)
    return 0.5 * recipe.lr * (1 + math.cos(math.pi * min(1.0, progress)))


def make_optimizer(model: nn.Module, recipe: TrainRecipe) -> AdaptiveLR:
    """The recipe's optimiser inside AdaptiveLR; batch-norm parameters and biases are decayed like filters."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise InputError("model has no trainable parameters; nothing can be trained.")
    if recipe.optimizer == "sgd":
        inner = torch.optim.SGD(
            parameters,
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
        )
    else:
        kind = {"adam": torch.optim.Adam, "radam": torch.optim.RAdam}[recipe.optimizer]
        inner = kind(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)
    return AdaptiveLR(inner, model, mode=recipe.adaptive, eta=recipe.eta)


def input_transform(recipe: TrainRecipe) -> Transform | None:
    """The recipe's random transforms of stored images, or None if it has none."""
    parts: list[Transform] = []
    if recipe.crop_padding:
        parts.append(RandomCrop(recipe.crop_padding))
    if recipe.flip:
        parts.append(RandomFlip())
    if recipe.cutout:
        parts.append(Cutout(recipe.cutout))
    return Compose(tuple(parts)) if parts else None
