"""One network of AutoShiftNet trained by itself, in the bit-shift domain (P and S throughout) or with real weights."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from repro.errors import check_choice
from repro.models.registry import create
from repro.papers import jobs
from repro.papers.data import DataRecipe, device, load_splits
from repro.papers.kinds import spec_of
from repro.papers.weights import keep_weights
from repro.runs import RunContext, RunSpec
from repro.train import TrainRecipe, fit, reestimate_batch_norm
from repro.train.distributed import over_processes
from repro.train.shift_trainer import ShiftTrainer

SHIFT, REAL = "BS", "R"
"""The domains, as tables 3 and 7 name them."""
CURVE = ("epoch", "steps", "lr", "train_loss", "train_accuracy_pct", "test_accuracy_pct")


@dataclasses.dataclass(frozen=True)
class NetworkJob:
    """A named network, its domain and how it is trained.

    Attributes:
        model, options: as `repro.models.create` takes them; operator, channels and classes follow from domain and data.
        domain: "BS": every layer is a shift layer, stem and classifier too (table 2 has no multiplication), or "R".
        l2, drop_path, auxiliary_weight, calibration_images: as `ShiftTrainer`.
        tested_each_epoch: whether the curve has test accuracies; nothing is chosen by them.
    """

    model: str
    options: Mapping[str, Any]
    data: DataRecipe
    train: TrainRecipe
    domain: str = SHIFT
    l2: str = "code"
    drop_path: float = 0.0
    auxiliary_weight: float = 0.0
    calibration_images: int = 0
    tested_each_epoch: bool = False

    def __post_init__(self):
        check_choice("domain", self.domain, (SHIFT, REAL))


def spec(job: NetworkJob, seed: int) -> RunSpec:
    """One training."""
    return spec_of("autoshiftnet_network", job, seed, model=job.model, parallel=True)


def build(job: NetworkJob) -> nn.Module:
    """The network, initialised from torch's global generator."""
    facts = job.data.facts
    shape = {"in_channels": facts["in_channels"], "num_classes": facts["num_classes"]}
    every = {"op": "shift", "keep": (), "op_options": {"shift": {"mode": "ps"}}}
    auxiliary = {"auxiliary": True} if job.auxiliary_weight else {}
    return create(job.model, **job.options, **shape, **auxiliary, **(every if job.domain == SHIFT else {"op": "conv"}))


def train_network(job: NetworkJob, seed: int, context: RunContext) -> dict:
    """Run function: what `jobs.tested` says of the network after the last epoch, and `curve`, a row per epoch."""
    data = load_splits(job.data)
    torch.manual_seed(seed)
    model = build(job).to(device())
    names = ("l2", "drop_path", "auxiliary_weight", "calibration_images")
    history = fit(
        model,
        data.train,
        data.test if job.tested_each_epoch else None,
        job.train,
        seed=seed,
        on_epoch=lambda row: context.log(**row),
        checkpoint=context.checkpoint / "training",
        trainer_class=functools.partial(over_processes(ShiftTrainer), **{name: getattr(job, name) for name in names}),
    )
    curve = [{name: row.get(name) for name in CURVE} for row in history.rows]
    if history.diverged:
        failed = {"outcome": "diverged", "detail": history.detail, "top1_pct": None, "top5_pct": None}
        return {**failed, "examples": 0, "correct": {}, "curve": curve}
    if job.calibration_images:
        reestimate_batch_norm(model, data.train.input_batches(job.calibration_images, limit=job.calibration_images))
    classes, batch = job.data.facts["num_classes"], job.train.eval_batch_size
    value = jobs.tested(model, data.test, classes=classes, batch_size=batch)
    keep_weights(context, model, job, seed, value)
    return {**value, "curve": curve}
