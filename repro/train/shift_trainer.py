"""Networks of exponents P and signs S trained by themselves, and their real-valued twins by the same loop.

What such a training has beside `repro.train.loop`: RAdam with decoupled decay, an L2 term of P and S, and P put back
into its range after every step; of cell networks (DARTS, Liu et al. 2019) a drop-path rate that rises with the epochs
and the loss of a second classifier.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from repro.errors import InputError, check_choice, check_int, check_number, refuse
from repro.ops import shift_exponents
from repro.train.data import Batch
from repro.train.evaluate import reestimate_batch_norm
from repro.train.loop import Trainer
from repro.train.optim import rescaled_layers
from repro.train.recipe import TrainRecipe
from repro.train.shift import FORMS, adaptive_l2, clamp_shifts, shift_modules, shift_optimizer


class _WithLoss(torch.autograd.Function):
    """Scores as they are; a second loss joins the first one's backward pass with gradient 1."""

    @staticmethod
    def forward(ctx, scores: torch.Tensor, loss: torch.Tensor) -> torch.Tensor:
        return scores.view_as(scores)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return gradient, gradient.new_ones(())


class ShiftTrainer(Trainer):
    """A `Trainer` for networks with or without layers of P and S; optimizer="radam" decouples weight decay.

    Args:
        l2: form of the L2 term of P and S (`repro.search.adaptive_l2`), with the recipe's weight_decay / 2. Rows tell
            losses without it.
        drop_path: of a cell network: the rate in epoch e (from 0) of E is drop_path x e / E.
        auxiliary_weight: of a cell network built with `auxiliary`: weight of its second classifier's loss.
        calibration_images: so many training images re-estimate batch norm, in one batch, before every test; 0 keeps the
            running statistics, which lag behind P and S that move fast.
    Raises: InputError for an optimiser other than radam where there are P and S, which plain descent hardly moves, for
        an adaptive rate with radam, for drop_path where the network has none, and for auxiliary_weight without a second
        classifier or the other way round.
    Source: AutoShiftNet, sec. 4.3 and appendix B.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: TrainRecipe,
        *,
        l2: str = "code",
        drop_path: float = 0.0,
        auxiliary_weight: float = 0.0,
        calibration_images: int = 0,
        **options,
    ):
        super().__init__(model, recipe, **options)
        self.l2 = check_choice("l2", l2, FORMS)
        self.drop_path = check_number("drop_path", drop_path, minimum=0, below=1)
        self.auxiliary_weight = check_number("auxiliary_weight", auxiliary_weight, minimum=0)
        self.calibration_images = check_int("calibration_images", calibration_images, minimum=0)
        if drop_path and not hasattr(model, "drop_path"):
            raise InputError(f"drop_path={drop_path!r} is not allowed; the network has no paths to drop.")
        if auxiliary_weight and getattr(model, "tower", None) is None:
            raise InputError(f"auxiliary_weight={auxiliary_weight!r} needs a network with a second classifier.")
        if not auxiliary_weight and getattr(model, "tower", None) is not None:
            raise InputError(
                f"auxiliary_weight={auxiliary_weight:g} is not allowed for a network with a second classifier; give "
                "its loss a weight above 0, or build the network without `auxiliary`."
            )
        self._batch: Any
        self._data: Any
        self._layers, self._batch, self._data = list(shift_modules(model)), None, None
        odd = [type(layer).__name__ for layer in self._layers if not hasattr(layer, "weight_bits")]
        refuse(bool(odd), f"{(odd or [''])[0]} has P and S but no `weight_bits`, whose range P is kept in.")
        if recipe.optimizer == "radam":
            if recipe.adaptive == "all" or rescaled_layers(model, recipe.adaptive):
                raise InputError(f"adaptive={recipe.adaptive!r} is not allowed with radam here; give 'none'.")
            self.optimizer = shift_optimizer(model, recipe.lr, recipe.weight_decay)
        elif self._layers:
            raise InputError(f"optimizer={recipe.optimizer!r} is not allowed; P and S are trained by radam.")
        if self._layers:
            self.optimizer.register_step_pre_hook(self._regularise)
            self.optimizer.register_step_post_hook(self._clamp)

    def _regularise(self, *_) -> None:
        """Add the gradient of the L2 term."""
        if self.l2 != "none" and self.recipe.weight_decay > 0:
            term = self.recipe.weight_decay / 2 * adaptive_l2(self.model, self.l2)
            if term.requires_grad:  # not where P and S are frozen
                term.backward()

    def _clamp(self, *_) -> None:
        for layer in self._layers:
            clamp_shifts(layer, *shift_exponents(layer.weight_bits))

    def _join_auxiliary(self, model: nn.Module, inputs, outputs):
        """Scores of the network, to which the second classifier's loss is tied."""
        if not isinstance(outputs, tuple):  # in evaluation mode
            return outputs
        scores, auxiliary = outputs
        smoothing = self.recipe.label_smoothing
        loss = F.cross_entropy(auxiliary, self._batch.labels, label_smoothing=smoothing)
        return _WithLoss.apply(scores, self.auxiliary_weight * self._batch.share * loss)

    def _backward(self, batch: Batch) -> torch.Tensor:
        """As `Trainer._backward`; the network itself stays as it was given, for who trains or calls it afterwards."""
        self._batch = batch
        if not self.auxiliary_weight:
            return super()._backward(batch)
        joined = self.model.register_forward_hook(self._join_auxiliary)
        try:
            return super()._backward(batch)
        finally:
            joined.remove()
            self._batch = None

    def epoch(self, data, epoch: int, **options) -> dict[str, float]:
        """As `Trainer.epoch`."""
        self._data = data
        if self.drop_path:
            self.model.drop_path = self.drop_path * epoch / self.recipe.epochs
        return super().epoch(data, epoch, **options)

    def evaluate(self, data) -> dict[str, float]:
        """As `Trainer.evaluate`, with batch norm re-estimated first where that is asked for."""
        if self.calibration_images and self._data is not None:
            reestimate_batch_norm(self.model, self._data.input_batches(*[self.calibration_images] * 2))
        return super().evaluate(data)

    def save(self, path: str | Path, identity: dict, **progress) -> None:
        """As `Trainer.save`; the settings of this class, too, must be those of a training that continues."""
        super().save(path, identity | self._identity(), **progress)

    def resume(self, path: str | Path | None, identity: dict) -> dict:
        """As `Trainer.resume`."""
        return super().resume(path, identity | self._identity())

    def _identity(self) -> dict:
        return {name: getattr(self, name) for name in ("l2", "drop_path", "auxiliary_weight", "calibration_images")}
