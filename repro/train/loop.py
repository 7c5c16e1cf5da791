"""The training loop: whole-tensor batches, one seed in, the same weights out, divergence recorded and never raised.

Everything random in epoch e is drawn from generators seeded with (seed, e), so an interrupted run continues bit for bit
from the last epoch's weights and optimiser state alone (same machine, same number of threads).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from repro.errors import DamagedError, InputError, check_int, refuse
from repro.paths import set_aside
from repro.train.checkpoint import load_checkpoint, save_checkpoint
from repro.train.data import (
    WHOLE,
    Batch,
    Examples,
    Prepared,
    TensorData,
    generator_for,
    mixed_seed,
    prepare,
    seen_by,
    steps_per_epoch,
)
from repro.train.diagnose import first_bad_gradient, first_bad_output
from repro.train.evaluate import evaluate
from repro.train.recipe import TrainRecipe, input_transform, learning_rate, make_optimizer

FINISHED, DIVERGED, STOPPED = "finished", "diverged", "stopped"


@dataclass
class History:
    """What a run did: one dict per epoch in `rows`, how it ended, and why.

    `outcome` is "finished", "diverged" (then `detail` names the layer, `step` the step) or "stopped" by the caller.
    Rows hold epoch (from 1), steps, lr, train_loss, train_accuracy_pct, test_loss, test_accuracy_pct, seconds.
    """

    rows: list[dict] = field(default_factory=list)
    outcome: str = FINISHED
    detail: str = ""

    @property
    def diverged(self) -> bool:
        return self.outcome == DIVERGED

    def last(self, name: str) -> float:
        """The value of a column in the last epoch that has it, NaN if none has."""
        return next((row[name] for row in reversed(self.rows) if row.get(name) is not None), float("nan"))

    @property
    def accuracy_pct(self) -> float:
        """Test accuracy after the last evaluated epoch (never the best one: that would select on the test set)."""
        return self.last("test_accuracy_pct")


class Divergence(ArithmeticError):
    """Loss or gradient became NaN or infinite; caught by the loops, which record it. The message names the layer."""


def unsafe_in_channels_last(model: nn.Module) -> bool:
    """Whether `model` has a strided 1x1 convolution on the CPU.

    The weight gradient of that one form on channels-last tensors has corrupted the heap (torch 2.13, AVX-512, at some
    shapes), so such models train in the ordinary layout.
    """
    return any(
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
        and module.weight.device.type == "cpu"
        for module in model.modules()
    )


class Trainer:
    """One model, its optimiser and its place in the schedule; the part that plain and supernet training share.

    Args:
        examples: size of the training set.
        seed: whole number, zero or more.
        total_epochs: length of the cosine schedule; the recipe's `epochs` if omitted.
    """

    share = WHOLE  # rows of each global batch that this process sees
    writes_checkpoints = True

    def __init__(
        self, model: nn.Module, recipe: TrainRecipe, *, examples: int, seed: int, total_epochs: int | None = None
    ):
        self.recipe: TrainRecipe
        self.model, self.recipe, self.seed = model, recipe, check_int("seed", seed, minimum=0)
        self.channels_last = recipe.channels_last and not unsafe_in_channels_last(model)
        if self.channels_last:
            model.to(memory_format=torch.channels_last)
        self.optimizer = make_optimizer(model, recipe)
        self.steps_per_epoch = steps_per_epoch(check_int("examples", examples, minimum=1), recipe.batch_size)
        self.total_steps = (recipe.epochs if total_epochs is None else total_epochs) * self.steps_per_epoch
        self.steps_done = 0
        self.highest_label = -1  # of the data seen so far; the network needs an output for it
        self.transform = input_transform(recipe)
        self._named = list(model.named_parameters())

    @property
    def lr(self) -> float:
        """Global learning rate of the next step."""
        return learning_rate(self.recipe, self.steps_done, self.total_steps, self.steps_per_epoch)

    def step(self, batch: Batch) -> tuple[float, int, int]:
        """One update on one batch. Returns mean loss, right answers, and how many there can be, of the global batch.

        Raises Divergence before the weights are touched if loss or gradient is not finite.
        """
        batch = self._placed(batch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        self.optimizer.zero_grad()
        metrics = sum(self._backward(part) for part in batch.parts(self.recipe.accumulate))
        mean_loss, right, count = self.reduce(metrics).tolist()
        self._check(mean_loss, batch.inputs)
        self._update()
        self.steps_done += 1
        return mean_loss, int(right), int(count)

    def _placed(self, batch: Batch) -> Batch:
        """The batch where and as the network takes it."""
        if not self.channels_last:
            return batch
        return batch._replace(inputs=batch.inputs.contiguous(memory_format=torch.channels_last))

    def _backward(self, batch: Batch) -> torch.Tensor:
        """Add the gradients of a batch, or of a part of one. Returns what `_metrics` says of it."""
        logits = self._logits(batch.inputs)
        loss = batch.share * self._loss(logits, batch.labels)
        loss.backward()
        return self._metrics(loss, logits, batch.labels)

    def _loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean over the examples."""
        return F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)

    def _metrics(self, loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(3,) float64: loss, right answers, and how many there can be."""
        right = (logits.detach().argmax(dim=1) == labels).sum()
        return torch.stack([loss.detach().double(), right.double(), self._counted(labels).double()])

    def _counted(self, labels: torch.Tensor) -> torch.Tensor:
        return labels.new_tensor(len(labels))

    def _update(self) -> None:
        self.optimizer.step()

    def _forward(self, *inputs) -> torch.Tensor:
        """The network's outputs, computed as the recipe's `precision` says; float32 where that is less."""
        if self.recipe.precision == "float32":
            return self.model(*inputs)
        with torch.autocast(inputs[0].device.type, dtype=torch.bfloat16):
            return self.model(*inputs).float()

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        """The network's outputs, (B, classes); InputError for data that it cannot be trained on."""
        if not images.is_floating_point():
            raise InputError(f"the network's inputs are {images.dtype}; give data with `normalize`, or float images.")
        try:
            logits = self._forward(images)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise InputError(
                f"batch_size={self.recipe.batch_size} leaves a batch of one example, which cannot train a batch norm "
                "where only one pixel is left; choose another batch size."
            ) from error
        refuse(
            isinstance(logits, tuple),
            "the network gives scores twice (it was built with `auxiliary`); train it with "
            "fit(trainer_class=functools.partial(ShiftTrainer, auxiliary_weight=0.4)), or build it without.",
        )
        if logits.ndim != 2 or logits.shape[1] <= self.highest_label:
            raise InputError(
                f"the network's outputs have shape {tuple(logits.shape)}, but must be (images, classes); "
                "this network does not classify images."
                if logits.ndim != 2
                else f"the network has {logits.shape[1]} outputs, but labels go up to {self.highest_label}; it needs "
                "one output per class."
            )
        return logits

    def reduce(self, metrics: torch.Tensor) -> torch.Tensor:
        """Sum `metrics` and the gradients over processes; nothing to do in one process."""
        return metrics

    def evaluate(self, data: Prepared) -> dict[str, float]:
        """Accuracy and loss on `data` in evaluation mode."""
        return evaluate(self.model, data, batch_size=self.recipe.eval_batch_size)

    def _check(self, loss: float, images: torch.Tensor) -> None:
        if not math.isfinite(loss):
            raise Divergence(
                f"loss is {loss} at step {self.steps_done}; first bad output in {self._bad_output(images)}"
            )
        gradients = [parameter.grad for _, parameter in self._named if parameter.grad is not None]
        if not torch.isfinite(torch.stack(torch._foreach_norm(gradients)).sum()):
            where = first_bad_gradient(self._named)
            raise Divergence(f"gradient is not finite at step {self.steps_done}; in {where}")

    def _bad_output(self, images: torch.Tensor) -> str:
        return first_bad_output(self.model, images)

    def epoch(
        self, data: Prepared, epoch: int, *, before_step: Callable[[int], object] | None = None, phase: str = "train"
    ) -> dict[str, float]:
        """One pass over `data` (TensorData). `before_step(step)` runs before every batch (a supernet picks its path).

        Returns steps, lr (of the first step), train_loss, train_accuracy_pct and seconds. May raise Divergence.
        """
        recipe, started, lr = self.recipe, time.perf_counter(), self.lr
        self.highest_label = max(self.highest_label, highest_label(data))
        self.model.train()
        loss_sum, correct, seen, steps = 0.0, 0, 0, 0
        order = generator_for(phase, self.seed, epoch)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mixed_seed("dropout", phase, self.seed, epoch))
            for batch in data.batches(recipe.batch_size, order, self.transform, self.share):
                if before_step is not None:
                    before_step(self.steps_done)
                loss, hits, count = self.step(batch)
                loss_sum, correct, seen, steps = loss_sum + loss * count, correct + hits, seen + count, steps + 1
        return {
            "steps": steps,
            "lr": lr,
            "train_loss": loss_sum / seen,
            "train_accuracy_pct": 100 * correct / seen,
            "seconds": time.perf_counter() - started,
        }

    def save(self, path: str | Path, identity: dict, **progress: Any) -> None:
        """Write weights, optimiser, place in the schedule and `progress` (plain values); one process does.

        `identity` is what, besides the seed, a training that continues from the file must have in common with this one.
        """
        if self.writes_checkpoints:
            progress |= {"steps_done": self.steps_done}
            identity = {**identity, "seed": self.seed}
            save_checkpoint(path, self.model, self.optimizer, progress=progress, identity=identity)

    def resume(self, path: str | Path | None, identity: dict) -> dict:
        """Take over what `save` wrote to `path` and return its `progress`, {} if there is no such file.

        A file that cannot be read is set aside, which is said, and the training begins again. Raises InputError, with
        nothing changed, for a file of another network, seed or identity.
        """
        if path is None or not Path(path).exists():
            return {}
        identity = {**identity, "seed": self.seed}
        try:
            progress = load_checkpoint(path, self.model, self.optimizer, identity=identity)
        except DamagedError as error:
            if self.writes_checkpoints:
                set_aside(Path(path), "damaged", f"{error} The training begins again.")
            return {}
        self.steps_done = progress.pop("steps_done")
        return progress


def highest_label(data: Examples) -> int:
    """The highest label of `data`; InputError if one is negative."""
    lowest, highest = torch.as_tensor(data.labels).aminmax()
    if lowest < 0:
        raise InputError(f"a label is {int(lowest)}; classes are numbered from 0.")
    return int(highest)


def fit(
    model: nn.Module,
    train_data: Examples,
    test_data: Examples | None,
    recipe: TrainRecipe,
    *,
    seed: int,
    on_epoch: Callable[[dict], object] | None = None,
    evaluate_every: int = 1,
    checkpoint: str | Path | None = None,
    stop_after: int | None = None,
    trainer_class: Callable[..., Trainer] = Trainer,
) -> History:
    """Train `model` in place and return its History.

    Args:
        train_data, test_data: a data set of `repro.datasets` or prepared TensorData; `test_data` None: no evaluation.
        seed: of batch order, transforms and dropout. The weights are the caller's: seed before building the model.
        on_epoch: called with each epoch's row; returning False stops the run after that epoch.
        evaluate_every: test every so many epochs, and always after the last.
        checkpoint: file written after every epoch; if it exists, the run continues from it bit for bit.
        stop_after: end after this many epochs of the schedule (to leave a checkpoint), outcome "stopped".
        trainer_class: the Trainer to use; `repro.train.distributed` has one for several processes.
    Divergence is an outcome, not an error: the History then says where and holds the epochs before it.
    Raises: InputError for data that cannot be trained on (no examples, labels outside the classes, …).
    """
    check_int("evaluate_every", evaluate_every, minimum=1)
    if stop_after is not None:
        check_int("stop_after", stop_after, minimum=1)
    device = next(model.parameters()).device
    train, test = prepare(train_data, device), None if test_data is None else prepare(test_data, device)
    for data in (test, *((train,) if recipe.precision == "float32" else ())):  # autocast takes any
        _check_dtype(model, data)
    if len(train) == 0:
        raise InputError("train_data holds no examples; training needs at least one.")
    trainer = trainer_class(model, recipe, examples=len(train), seed=seed)
    if test is not None and len(test):
        trainer.highest_label = highest_label(test)
    identity = {} if checkpoint is None else {"recipe": recipe.as_dict(), **seen_by(train)}
    history = History(**trainer.resume(checkpoint, identity))
    for epoch in range(len(history.rows), recipe.epochs):
        if history.outcome != FINISHED:
            break
        try:
            row = {"epoch": epoch + 1, **trainer.epoch(train, epoch)}
        except Divergence as problem:
            history.outcome, history.detail = DIVERGED, str(problem)
            break
        last = epoch + 1 == recipe.epochs
        if test is not None and (last or (epoch + 1) % evaluate_every == 0):
            metrics = trainer.evaluate(test)
            row |= {"test_loss": metrics["loss"], "test_accuracy_pct": metrics["accuracy_pct"]}
        history.rows.append(row)
        if checkpoint is not None:
            trainer.save(checkpoint, identity, rows=history.rows)
        stop = on_epoch is not None and on_epoch(row) is False
        if (stop or epoch + 1 == stop_after) and not last:
            history.outcome, history.detail = STOPPED, f"after epoch {epoch + 1} of {recipe.epochs}"
    return history


def _check_dtype(model: nn.Module, data) -> None:
    """Refuse images that go to the network as they are and have another floating dtype than its weights."""
    if not isinstance(data, TensorData) or data.normalize is not None or not data.images.is_floating_point():
        return
    dtype = next(model.parameters()).dtype
    if data.images.dtype is not dtype:
        raise InputError(
            f"images are {data.images.dtype}, but the network's weights are {dtype}; give images.to({dtype})."
        )
