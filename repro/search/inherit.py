"""Weights that paths inherit: one epoch of single-path training, and accuracies of paths with the shared weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F

from repro.errors import refuse
from repro.search.supernet import Path, SinglePathSupernet
from repro.train.data import Prepared, generator_for
from repro.train.evaluate import predict, reestimate_batch_norm
from repro.train.loop import Divergence, Trainer


def sampled_epoch(
    supernet: SinglePathSupernet,
    trainer: Trainer,
    train: Prepared,
    epoch: int,
    sample: Callable[[torch.Generator], Path],
) -> dict:
    """One epoch with a freshly sampled path per step; paths depend on (seed, epoch) only. May raise Divergence."""
    generator = generator_for("paths", trainer.seed, epoch)
    try:
        return trainer.epoch(train, epoch, before_step=lambda _: supernet.set_path(sample(generator)), phase="supernet")
    except Divergence as problem:
        raise Divergence(f"{problem}; path {'-'.join(supernet.path)}") from problem


def evaluate_paths(
    supernet: SinglePathSupernet,
    paths: Sequence[Path],
    data: Prepared,
    *,
    calibration: Prepared | None = None,
    calibration_batches: int = 2,
    batch_size: int = 1000,
) -> list[dict]:
    """Every path with inherited weights: [{"path", "accuracy_pct", "loss", "right"}] in the order of `paths`.

    `right` is a tensor of bools (N,): which examples of `data` the path gets right.

    Args:
        calibration: training examples; the first `calibration_batches` batches of up to 256 re-estimate each path's
            batch norm. None keeps the supernet's running statistics, which are wrong for any single path.
    The supernet is not changed. A path whose logits are not finite gets accuracy and loss NaN.
    Raises: InputError for what is no prepared data, or holds no examples.
    """
    refuse(
        not hasattr(data, "input_batches") or len(data) == 0,
        f"data is a {type(data).__name__}; it must be what repro.train.prepare makes of a data set, with examples.",
    )
    results = []
    for path in paths:
        network = supernet.subnet(path)
        if calibration is not None:
            reestimate_batch_norm(network, calibration.input_batches(256, limit=256 * calibration_batches))
        logits = predict(network, data, batch_size=batch_size).float()
        loss, right = F.cross_entropy(logits, data.labels).item(), logits.argmax(dim=1) == data.labels
        accuracy = 100 * right.double().mean().item()
        if not math.isfinite(loss):
            loss, accuracy, right = math.nan, math.nan, torch.zeros_like(right)
        results.append({"path": path, "accuracy_pct": accuracy, "loss": loss, "right": right.cpu()})
    return results
