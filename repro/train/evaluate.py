"""Accuracy, and batch-norm statistics re-estimated for networks whose weights were trained in other company."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from repro.errors import InputError
from repro.runtime import beside
from repro.train.data import Prepared

_BATCH_NORMS = nn.modules.batchnorm._BatchNorm
_ALONE: ContextVar[bool] = ContextVar("alone", default=False)


def statistics_are_shared() -> bool:
    """Whether batch norm in training takes in the batches of a group's processes: not while all see the same ones."""
    return dist.is_initialized() and not _ALONE.get()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block, each module's own mode restored after it."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@torch.inference_mode()
def predict(model: nn.Module, data: Prepared, *, batch_size: int = 1000) -> torch.Tensor:
    """Logits (N, classes) of all examples in evaluation mode, in batches, on the model's device."""
    with evaluating(model):
        return torch.cat([model(beside(inputs, model)) for inputs in data.input_batches(batch_size)])


def evaluate(model: nn.Module, data: Prepared, *, batch_size: int = 1000) -> dict[str, float]:
    """{"accuracy_pct", "loss"} on `data` in evaluation mode; loss is the mean cross-entropy in nats.

    Both are NaN if the logits of any example are NaN or infinite: such a network has no accuracy.
    Raises: InputError for what is no prepared data, or holds no examples.
    """
    if not hasattr(data, "input_batches"):
        raise InputError(
            f"data is a {type(data).__name__}; it must be TensorData, an ImageFolder, or what repro.train.prepare "
            "makes of a data set."
        )
    if len(data) == 0:
        raise InputError("data holds no examples; accuracy needs at least one.")
    logits = predict(model, data, batch_size=batch_size).float()
    if not logits.amax(dim=1).isfinite().all():  # among NaN and Inf the first entry would win
        return {"accuracy_pct": math.nan, "loss": math.nan}
    correct = int((logits.argmax(dim=1) == beside(data.labels, logits)).sum())
    return {
        "accuracy_pct": 100 * correct / len(data),
        "loss": F.cross_entropy(logits, beside(data.labels, logits)).item(),
    }


@torch.no_grad()
def reestimate_batch_norm(model: nn.Module, batches: Iterable[torch.Tensor]) -> int:
    """Reset every batch norm that `batches` reaches and set it to the plain average of their statistics.

    Shared statistics are wrong for each single path of a supernet: they mix all paths that were sampled. So they are
    discarded, not continued (momentum None: cumulative average), using a few training batches (N, C, H, W) with all
    other modules in evaluation mode. Layers that these batches do not reach keep their statistics, and all do if a
    batch fails. In a process group each process does it by itself, on the same batches.
    Returns the number of batches used; zero batches is an InputError.
    """
    norms = [module for module in model.modules() if isinstance(module, _BATCH_NORMS) and module.track_running_stats]
    saved = [(module.momentum, *(buffer.clone() for buffer in module.buffers(recurse=False))) for module in norms]
    used, finished, token = 0, False, _ALONE.set(True)
    try:
        with evaluating(model):
            for module in norms:
                module.reset_running_stats()
                module.momentum = None
                module.train()
            for images in batches:
                model(beside(images, model))
                used += 1
        finished = True
    finally:
        _ALONE.reset(token)
        for module, (momentum, *buffers) in zip(norms, saved):
            module.momentum = momentum
            if not finished or module.num_batches_tracked == 0:
                for buffer, value in zip(module.buffers(recurse=False), buffers):
                    buffer.copy_(value)
    if norms and not used:
        raise InputError("batches is empty; re-estimating batch norm needs at least one batch.")
    return used
