"""Training of an augmented network: the target and a network around it learn from every batch (ShiftAddAug eq. 3).

    L = L(target) + alpha L(augmented)

Both losses are the recipe's; both gradients add up before one step. Schedule as NetAug's: a new sample at every step,
width augmentation ends half-way, important channels come into the target at the start of every epoch while both
augmentations run (never after the last one: the deployed channels would be untrained).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from repro.augment.layers import WideConv2d, WideLinear
from repro.augment.network import AugmentedNetwork, Sample
from repro.errors import InputError, check_choice, check_flag, check_int, check_number, refuse
from repro.layers import AdderConv2d, AdderLinear
from repro.train.data import Batch, Examples, generator_for
from repro.train.distributed import over_processes, sum_over_processes
from repro.train.evaluate import reestimate_batch_norm
from repro.train.loop import FINISHED, History, Trainer, fit
from repro.train.optim import rescaled
from repro.train.recipe import TrainRecipe

DISTILLATIONS = ("none", "kl", "soft_ce", "kl_mean")
"""How the target also learns from the augmented network's outputs (supplement table 1)."""


@dataclass(frozen=True)
class Window:
    """A part of the training, as shares of its steps, in which things happen one by one at equal distances.

    Raises: InputError for a window outside training.
    """

    start: float
    stop: float

    def __post_init__(self):
        check_number("start", self.start, minimum=0, maximum=1)
        check_number("stop", self.stop, minimum=0, maximum=1)
        if self.stop < self.start:
            raise InputError(f"stop={self.stop!r} is not allowed; a window stops at or after its start={self.start!r}.")

    def done(self, progress: float, count: int) -> int:
        """How many of `count` things have happened at a share of the training: the first at start, the last at stop."""
        if count == 0 or progress < self.start:
            return 0
        if progress >= self.stop:
            return count
        passed = (progress - self.start) / (self.stop - self.start) * (count - 1)
        return min(count, 1 + math.floor(passed + 1e-9))


@dataclass(frozen=True)
class AugmentRecipe:
    """How the network around the target takes part.

    Attributes:
        alpha: weight of its loss in equation 3.  augmented: False trains the target alone.
        width_ends, expand_ends: shares of the epochs after which that augmentation ends.
        reorder: bring important channels into the target at the start of an epoch.
        mutation: when the target's units turn multiplication-free; None: they are from the start.
        depth: when the target loses its extra blocks; None: it never has them.
        distillation: "none"; "kl", "soft_ce" or "kl_mean" (`distillation_loss`): L(target) = (1 - share) CE(label) +
            share KD(augmented, detached), the augmented pass first.
        distillation_share: share of the distillation, alpha of supplement table 1.
    """

    alpha: float = 1.0
    augmented: bool = True
    width_ends: float = 0.5
    expand_ends: float = 1.0
    reorder: bool = True
    mutation: Window | None = None
    depth: Window | None = None
    distillation: str = "none"
    distillation_share: float = 0.0

    def __post_init__(self):
        check_number("alpha", self.alpha, minimum=0)
        for name in ("augmented", "reorder"):
            check_flag(name, getattr(self, name))
        for name in ("width_ends", "expand_ends", "distillation_share"):
            check_number(name, getattr(self, name), minimum=0, maximum=1)
        for name in ("mutation", "depth"):
            window = getattr(self, name)
            if window is not None and not isinstance(window, Window):
                raise InputError(f"{name}={window!r} is not allowed; it must be a repro.augment.Window, or None.")
        check_choice("distillation", self.distillation, DISTILLATIONS)
        if self.distillation != "none" and not self.augmented:
            raise InputError(f"distillation={self.distillation!r} needs an augmented network to learn from.")
        if self.distillation == "none" and self.distillation_share:
            raise InputError(
                f"distillation_share={self.distillation_share!r} is not allowed without distillation; name its kind."
            )


def distillation_loss(logits: torch.Tensor, teacher: torch.Tensor, kind: str) -> torch.Tensor:
    """Loss of outputs (B, classes) against a teacher's, who gets no gradient, mean over the batch.

    "soft_ce": - sum_c p_c log q_c.  "kl": sum_c p_c (log p_c - log q_c), the same but for the teacher's entropy, so
    with the same gradient.  "kl_mean": "kl" over the number of classes, which is what torch's KLDivLoss does where no
    reduction is asked for; with a share of 0.9 and 100 classes next to nothing of the loss is left.

    Another form of the whole loss is one of these at another rate: CE + a KD is (1 + a) ((1 - s) CE + s KD) with the
    share s = a / (1 + a), and a share of 1 is distillation alone.
    """
    wanted = teacher.detach().softmax(dim=1)
    if kind.startswith("kl"):
        loss = F.kl_div(logits.log_softmax(dim=1), wanted, reduction="batchmean")
        return loss / logits.shape[1] if kind == "kl_mean" else loss
    return F.cross_entropy(logits, wanted)


def decayed_parameters(model: nn.Module, weight_decay: float) -> list[dict]:
    """Two groups of parameters: filters, which are decayed, and norms and biases, which are not (as NetAug)."""
    filters = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": filters, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _optimizer(model: nn.Module, recipe: TrainRecipe) -> torch.optim.SGD:
    if recipe.optimizer != "sgd":
        raise InputError(f"optimizer={recipe.optimizer!r} is not allowed; these trainings take sgd.")
    groups = decayed_parameters(model, recipe.weight_decay)
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov)


class PlainTrainer(Trainer):
    """A network by itself, trained as an augmented one's target: norms and biases are not decayed.

    Adder filters take the adaptive rate where the recipe asks for it (`repro.train.optim`).

    Args:
        calibration_images: so many training images re-estimate batch norm, in one batch, before every test; 0 keeps the
            running statistics.
    """

    def __init__(self, model: nn.Module, recipe: TrainRecipe, *, calibration_images: int = 0, **options):
        super().__init__(model, recipe, **options)
        self.calibration_images = check_int("calibration_images", calibration_images, minimum=0)
        if recipe.adaptive == "all":
            raise InputError("adaptive='all' is not allowed; these trainings take 'adder' or 'none'.")
        self.optimizer = _optimizer(model, recipe)
        self._adders = [m.weight for m in model.modules() if isinstance(m, AdderConv2d | AdderLinear)]
        self._data = None

    def epoch(self, data, epoch: int, **options) -> dict[str, float]:
        """As `Trainer.epoch`."""
        self._data = data
        return super().epoch(data, epoch, **options)

    def evaluate(self, data) -> dict[str, float]:
        """As `Trainer.evaluate`, with statistics of batch norm that are the network's own."""
        if self.calibration_images and self._data is not None:
            reestimate_batch_norm(self.model, self._data.input_batches(*[self.calibration_images] * 2))
        return super().evaluate(data)

    def _update(self) -> None:
        if self.recipe.adaptive != "none":
            self._rescale()
        super()._update()

    def _rescale(self) -> None:
        with torch.no_grad():
            given = [weight.grad for weight in self._adders if weight.grad is not None]
            for gradient, new in zip(given, rescaled(given, self.recipe.eta)):
                gradient.copy_(new)


def _strided_pointwise(layer: WideConv2d | WideLinear) -> bool:
    """Whether it is the one form of convolution that must not train on channels-last tensors on the CPU."""
    pointwise = isinstance(layer, WideConv2d) and layer.kernel_size == (1, 1)
    return pointwise and max(layer.geometry["stride"]) > 1 and layer.weight.device.type == "cpu"


class AugmentedTrainer(PlainTrainer):
    """The target and a sample around it in every step (equation 3).

    The adaptive rate of adder filters normalises the sum of both gradients, over the target part of the wide weight
    and once a step, so that alpha keeps its meaning. With R the step in the remapped weights, not in those in memory,
    has the root mean square eta, as far as R is a straight line: on Gaussian weights it is 1.31 eta through r's slope,
    0.85 eta with even steps (`repro.augment.remapping.LaplaceRemap`).

    Args:
        augmentation: an AugmentRecipe.
    """

    def __init__(self, model: AugmentedNetwork, recipe: TrainRecipe, *, augmentation: AugmentRecipe, **options):
        super().__init__(model, recipe, **options)
        self.augmentation = augmentation
        if self.channels_last and any(_strided_pointwise(layer) for _, layer in model.wide_layers()):
            self.channels_last = False  # see `repro.train.loop.unsafe_in_channels_last`
            model.to(memory_format=torch.contiguous_format)
        self._samples: torch.Generator | None = None
        self._widths = (True, True)
        self._sample: Sample | None = None  # of the step
        self._part: str | Sample = "target"
        self._augmented = [0.0, 0, 0]  # loss, right answers and examples of the samples of an epoch
        self._wide_adders = [layer for _, layer in model.wide_layers() if layer.op == "adder"]

    def epoch(self, data, epoch: int, **options) -> dict[str, float]:
        """As `Trainer.epoch`; the row also has augmented_loss, augmented_accuracy_pct and moved (channels, or None).

        And, after the epoch's last step, mutated (units) and extra_blocks (of the target), where there are windows.
        """
        progress, asked = epoch / max(1, self.recipe.epochs), self.augmentation
        self._samples = generator_for("augmentation", self.seed, epoch)
        self._widths = (progress < asked.width_ends, progress < asked.expand_ends)
        moved = None
        if self._augments() and asked.reorder and all(self._widths):
            moved = sum(self.model.reorder_(self.optimizer).values())
        self._augmented = [0.0, 0, 0]
        row = super().epoch(data, epoch, **options)
        loss, hits, count = self._augmented = sum_over_processes(self._augmented)
        if count:
            row |= {"augmented_loss": loss / count, "augmented_accuracy_pct": 100 * hits / count}
        if asked.mutation is not None:
            row["mutated"] = self.model.mutated
        if asked.depth is not None:
            row["extra_blocks"] = self.model.extra_blocks_of_target
        return row | ({"moved": moved} if asked.augmented else {})  # type: ignore[return-value]

    def _augments(self) -> bool:
        """Whether there is (still) a network around the target."""
        kinds = [kind for kind, runs in zip(("width", "expand"), self._widths) if runs]
        return self.augmentation.augmented and (bool(self.model.extra_blocks) or self.model.widens(*kinds))

    def step(self, batch: Batch) -> tuple[float, int, int]:
        """As `Trainer.step`; what is returned is the target's."""
        self._advance()
        width, expand = self._widths
        self._sample = self.model.sample(self._samples, width=width, expand=expand) if self._augments() else None
        return super().step(batch)

    def _forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return super()._forward(*inputs, self._part)

    def _backward(self, batch: Batch) -> torch.Tensor:
        model, asked, (images, labels, share) = self.model, self.augmentation, batch
        teacher = None
        if self._sample is not None:
            self._part = self._sample
            teacher = self._logits(images)
            self._part = "target"
            loss = asked.alpha * share * self._loss(teacher, labels)
            loss.backward()
            hits = int((teacher.detach().argmax(dim=1) == labels).sum())
            mean = loss.item() / (asked.alpha * share) if asked.alpha else 0.0
            self._augmented = [a + b for a, b in zip(self._augmented, (mean * len(labels), hits, len(labels)))]
        logits = self._logits(images)
        loss = self._loss(logits, labels)
        if asked.distillation != "none" and teacher is not None:
            soft = distillation_loss(logits, teacher, asked.distillation)
            loss = (1 - asked.distillation_share) * loss + asked.distillation_share * soft
        penalties = [layer.penalty() for _, layer in model.wide_layers()]
        loss = share * sum((each for each in penalties if each is not None), loss)
        loss.backward()
        return self._metrics(loss, logits, labels)

    def evaluate(self, data) -> dict[str, float]:
        """As `PlainTrainer.evaluate`, of the target as it is after the steps so far."""
        self._advance()
        return super().evaluate(data)

    def _advance(self) -> None:
        """Mutation and the loss of extra blocks, by how many steps are done."""
        progress = self.steps_done / max(1, self.total_steps)
        if self.augmentation.mutation is not None:
            self.model.set_mutation(self.augmentation.mutation.done(progress, len(self.model.units)))
        if self.augmentation.depth is not None:
            dropped = self.augmentation.depth.done(progress, self.model.extra_blocks)
            self.model.set_depth(self.model.extra_blocks - dropped)

    def save(self, path: str | Path, identity: dict, **progress) -> None:
        """As `Trainer.save`; augmentation and operators, too, must be those of a training that continues."""
        super().save(path, identity | self._identity(), **progress)

    def resume(self, path: str | Path | None, identity: dict) -> dict:
        """As `Trainer.resume`."""
        return super().resume(path, identity | self._identity())

    def _identity(self) -> dict:
        multiples = [list(choices) for choices in self.model._choices]
        operators = [
            f"{name}: {layer.op} among {layer.around}, {layer.remap}" for name, layer in self.model.wide_layers()
        ]
        return {"augmentation": asdict(self.augmentation), "multiples": multiples, "operator": operators}

    @torch.no_grad()
    def _rescale(self) -> None:
        super()._rescale()  # adder halves of shiftadd layers, which are layers by themselves
        layers = [layer for layer in self._wide_adders if layer.weight.grad is not None and not layer.multiplicative]
        blocks = [layer.target_part(layer.weight.grad) for layer in layers]
        for layer, block, new in zip(layers, blocks, rescaled(blocks, self.recipe.eta)):
            block.copy_(new * layer.memory_scale())


def fit_plain(
    model: nn.Module,
    train_data: Examples,
    recipe: TrainRecipe,
    *,
    seed: int,
    test_data: Examples | None = None,
    calibration_images: int = 0,
    **options: Any,
) -> History:
    """`repro.train.fit` with a `PlainTrainer`: a network by itself under the settings of an augmented one."""
    trainer = partial(over_processes(PlainTrainer), calibration_images=calibration_images)
    return fit(model, train_data, test_data, recipe, seed=seed, trainer_class=trainer, **options)


def fit_augmented(
    model: AugmentedNetwork,
    train_data: Examples,
    recipe: TrainRecipe,
    augmentation: AugmentRecipe,
    *,
    seed: int,
    test_data: Examples | None = None,
    calibration_images: int = 0,
    **options: Any,
) -> History:
    """Train an augmented network in place; see `repro.train.fit` for the History and what the other arguments are.

    Args:
        test_data: what the target, as it is then, is tested on after every epoch; None: no tests.
        calibration_images: so many training images re-estimate its batch norm before (`PlainTrainer`).
    At the end all units are multiplication-free and the target has no extra block, whatever the windows say.
    """
    trainer = partial(over_processes(AugmentedTrainer), calibration_images=calibration_images)
    return fit_around(model, train_data, test_data, recipe, augmentation, trainer, seed=seed, **options)


def fit_around(
    model: AugmentedNetwork,
    train_data: Examples,
    test_data: Examples | None,
    recipe: TrainRecipe,
    augmentation: AugmentRecipe,
    trainer_class: Callable[..., AugmentedTrainer],
    **options: Any,
) -> History:
    """`repro.train.fit` of an augmented network with an AugmentedTrainer, and the target as it is deployed."""
    if not isinstance(model, AugmentedNetwork):
        raise InputError(f"model is a {type(model).__name__}; it must be what repro.augment.augment returns.")
    refuse(
        not isinstance(recipe, TrainRecipe), f"recipe={recipe!r} is not allowed; it must be a repro.train.TrainRecipe."
    )
    if not isinstance(augmentation, AugmentRecipe):
        raise InputError(f"augmentation={augmentation!r} is not allowed; it must be a repro.augment.AugmentRecipe.")
    if augmentation.distillation != "none" and not (model.extra_blocks or model.widens("width", "expand")):
        raise InputError(
            f"distillation={augmentation.distillation!r} is not allowed; nothing lies around the target to learn from."
        )
    if augmentation.depth is not None and not model.extra_blocks:
        raise InputError(f"depth={augmentation.depth!r} is not allowed; the network has no extra blocks to lose.")
    trainer = partial(trainer_class, augmentation=augmentation)
    history = fit(model, train_data, test_data, recipe, trainer_class=trainer, **options)
    if history.outcome == FINISHED:
        model.set_mutation(len(model.units))
        model.set_depth(0)
    return history
