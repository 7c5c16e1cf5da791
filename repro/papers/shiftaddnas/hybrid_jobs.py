"""Searched networks of attention, convolution, shift and adder blocks, trained as paths of a supernet are.

By AdamW, from blocks that begin as their shortcuts. Rows with an arrow are tested on larger images, without fine-tuning
(Sec. 4.3).
"""

from __future__ import annotations

import dataclasses

import torch

from repro.models.registry import create
from repro.models.shiftaddnas import zero_last_gammas
from repro.papers import jobs
from repro.papers.data import device, load_splits
from repro.papers.kinds import spec_of
from repro.papers.shiftaddnas.sharing import fit_logged
from repro.papers.weights import keep_weights
from repro.runs import RunContext, RunSpec
from repro.train.data import prepare
from repro.train.evaluate import reestimate_batch_norm


@dataclasses.dataclass(frozen=True)
class HybridJob(jobs.Job):
    """A training of a searched network.

    Attributes:
        test_size: pixels a side of the test images; batch norm stays as training images left it. 0: as in training.
    """

    test_size: int = 0


def spec(job: HybridJob, seed: int) -> RunSpec:
    """One training; with the same seed its weights are those of the job without enlarged test images."""
    return spec_of("shiftaddnas_hybrid", job, seed, model=job.model, parallel=True)


def train_hybrid(job: HybridJob, seed: int, context: RunContext) -> dict:
    """Run function: what `jobs.tested` says of the network after its last epoch, or the outcome "diverged"."""
    train = prepare(load_splits(job.data).train, device())
    torch.manual_seed(seed)
    network = zero_last_gammas(create(job.model, **job.model_options)).to(device())
    history = fit_logged(network, train, job.train, seed, context)
    if history.diverged:
        failed = {"outcome": "diverged", "detail": history.detail, "top1_pct": None, "top5_pct": None}
        return {**failed, "examples": 0, "correct": {}}
    if job.calibration_images:
        reestimate_batch_norm(network, train.input_batches(job.calibration_images, limit=job.calibration_images))
    shown = dataclasses.replace(job.data, size=job.test_size) if job.test_size else job.data
    test = prepare(load_splits(shown).test, device())
    classes, batch = job.data.facts["num_classes"], job.train.eval_batch_size
    value = jobs.tested(network, test, classes=classes, batch_size=batch)
    keep_weights(context, network, job, seed, value)
    return value
