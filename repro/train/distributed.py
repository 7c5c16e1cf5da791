"""Training with several processes through torch.distributed; `torchrun` starts them.

    torchrun --standalone --nproc-per-node 8 train.py      # a script that calls fit_distributed inside process_group()

Every process holds the whole model and takes its share of each global batch (same seed, same order, rows rank,
rank + world, ...). Gradients are averaged, weighted by the shares, before the adaptive learning rate sees
them, and batch norm uses the statistics of the global batch. So the result is that of one process with the same
recipe, up to the rounding of sums in another order. `TrainRecipe.batch_size` is the global batch.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

from repro.errors import InputError
from repro.train.data import Prepared
from repro.train.diagnose import first_bad_gradient
from repro.train.evaluate import evaluate, statistics_are_shared
from repro.train.loop import History, Trainer, fit
from repro.train.recipe import TrainRecipe

Class = TypeVar("Class", bound=type[Trainer])


@contextmanager
def process_group(backend: str | None = None) -> Iterator[tuple[int, int]]:
    """Join the processes that torchrun started: yields (rank, world size); NCCL with CUDA, else gloo.

    Outside torchrun there is one process and no group: (0, 1).
    """
    if "RANK" not in os.environ:
        yield 0, 1
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group(backend or ("nccl" if torch.cuda.is_available() else "gloo"))
    try:
        yield dist.get_rank(), dist.get_world_size()
    finally:
        dist.destroy_process_group()


class _AllReduceSum(torch.autograd.Function):
    """Sum over processes, forward and backward: each process's loss depends on everyone's statistics."""

    @staticmethod
    def forward(ctx, value: torch.Tensor) -> torch.Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d over the batches of all processes together, on any device (torch's own needs CUDA)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or not statistics_are_shared():
            return super().forward(x)
        count = x.new_full((1,), x.numel() / x.shape[1])
        local = torch.cat([x.sum((0, 2, 3)), x.square().sum((0, 2, 3)), count])
        total = _AllReduceSum.apply(local)
        channels = self.num_features
        n = total[-1].detach()
        mean = total[:channels] / n
        variance = (total[channels : 2 * channels] / n - mean.square()).clamp_min(0)
        if self.track_running_stats:
            self._track(mean.detach(), variance.detach() * n / (n - 1))
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        shift = -mean * scale if not self.affine else self.bias - mean * scale
        return x * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)

    @torch.no_grad()
    def _track(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        self.num_batches_tracked.add_(1)
        momentum = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)


def use_global_batch_norm(model: nn.Module) -> nn.Module:
    """Turn every BatchNorm2d of `model` into a GlobalBatchNorm2d, in place, parameters and names kept."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = GlobalBatchNorm2d
    return model


def sum_gradients(model: nn.Module) -> None:
    """Sum the gradients of all processes, one message for all layers (each loss is weighted by its share already).

    A layer without gradient on this process (an inactive path) is left out; all processes run the same path.
    """
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients])):
        gradient.copy_(part.view_as(gradient))


class DistributedTrainer(Trainer):
    """A Trainer whose process sees its share of every global batch; metrics are those of all processes together."""

    def __init__(self, model: nn.Module, recipe: TrainRecipe, **options):
        if not dist.is_initialized():
            raise InputError("no process group is running; start with torchrun and call inside process_group().")
        rank, world = dist.get_rank(), dist.get_world_size()
        if recipe.batch_size < 2 * world * recipe.accumulate:
            parts = "" if recipe.accumulate == 1 else f" and accumulate={recipe.accumulate}"
            raise InputError(
                f"batch_size={recipe.batch_size} is not allowed with {world} processes{parts}; "
                "it is the global batch and must give each at least two examples."
            )
        self.share = slice(rank, None, world)
        self.writes_checkpoints = rank == 0
        for value in model.state_dict().values():
            dist.broadcast(value, src=0)
        super().__init__(use_global_batch_norm(model), recipe, **options)

    def reduce(self, metrics: torch.Tensor) -> torch.Tensor:
        sum_gradients(self.model)
        dist.all_reduce(metrics)
        return metrics

    def evaluate(self, data: Prepared) -> dict[str, float]:
        """Each process evaluates its share of the examples; all get the figures of the whole."""
        mine = data.take(self.share)  # type: ignore[attr-defined]
        metrics = evaluate(self.model, mine, batch_size=self.recipe.eval_batch_size)
        sums = torch.tensor([metrics["accuracy_pct"], metrics["loss"]], dtype=torch.float64, device=mine.labels.device)
        sums *= len(mine) / len(data)
        dist.all_reduce(sums)
        return {"accuracy_pct": sums[0].item(), "loss": sums[1].item()}

    def _bad_output(self, images: torch.Tensor) -> str:
        # Running the model again would wait for processes whose own loss is finite; the summed gradients are at hand.
        return first_bad_gradient(self._named)


def fit_distributed(model: nn.Module, train_data, test_data, recipe: TrainRecipe, *, seed: int, **options) -> History:
    """`fit` with the processes of the running group (plain `fit` if there is none); call it on every process.

    Random transforms are drawn for the global batch on every process, so they are those of one process; dropout masks
    are drawn for each process's own rows. Process 0 writes checkpoints, all read them.
    """
    trainer_class = DistributedTrainer if dist.is_initialized() else Trainer
    return fit(model, train_data, test_data, recipe, seed=seed, trainer_class=trainer_class, **options)


@functools.cache
def _over_processes(trainer_class: type[Trainer]) -> type[Trainer]:
    # Tests may need batch norm re-estimated or scores of their own: every process does them whole.
    return type(
        f"Distributed{trainer_class.__name__}",
        (DistributedTrainer, trainer_class),
        {"evaluate": trainer_class.evaluate},
    )


def over_processes(trainer_class: Class) -> Class:
    """That trainer for the processes of the running group; the trainer itself where there is none.

    What is random in a network's own forward pass (dropout, dropped paths) is drawn for each process's own rows.
    """
    return _over_processes(trainer_class) if dist.is_initialized() else trainer_class  # type: ignore[arg-type, return-value]


def sum_over_processes(values: Sequence[float]) -> list[float]:
    """Each value summed over the processes of the running group; as it is where there is none."""
    if not dist.is_initialized():
        return list(values)
    total = torch.tensor(values, dtype=torch.float64)
    if dist.get_backend() == "nccl":
        total = total.cuda()
    dist.all_reduce(total)
    return total.tolist()
