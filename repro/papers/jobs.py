"""One network trained by itself: the job behind most rows of most tables.

`train_network` trains a model that `repro.models` knows by name. Networks that only one table has call `train_and_test`
with what builds them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from repro.models import create
from repro.papers.data import DataRecipe, OnDevice, Splits, device, load_splits
from repro.papers.kinds import spec_of
from repro.runs import Outcome, RunContext, RunSpec
from repro.train import TensorData, TrainRecipe
from repro.train.distributed import fit_distributed
from repro.train.evaluate import evaluating, reestimate_batch_norm


@dataclasses.dataclass(frozen=True)
class Job:
    """A named network and how it is trained.

    Attributes:
        model, options: as `repro.models.create` takes them; channels and classes are those of the data.
        calibration_images: so many training images re-estimate batch norm, in one batch, before the test; 0 keeps the
            running statistics. A short training needs it: an adder layer turns a dead (all zero) channel into a
            constant that moves with every step, batch norm magnifies what its running mean lags behind by up to
            1/sqrt(eps) = 316, and a deep adder network that fits its training batches at 99 % is then at chance in
            evaluation mode.
    """

    model: str
    options: Mapping[str, Any]
    data: DataRecipe
    train: TrainRecipe
    calibration_images: int = 0

    @property
    def model_options(self) -> dict[str, Any]:
        """All options of the model, with channels and classes of the data."""
        facts = self.data.facts
        return {**self.options, "in_channels": facts["in_channels"], "num_classes": facts["num_classes"]}


def spec(job: Job, seed: int) -> RunSpec:
    """One training of a named network; several processes may share it (engine "torchrun")."""
    return spec_of("network", job, seed, model=job.model, parallel=True)


def specs(job_by_row: Mapping[Any, Job], seeds: Sequence[int]) -> dict[tuple[Any, int], RunSpec]:
    """{(row, seed): spec}: every job with every seed."""
    return {(row, seed): spec(job, seed) for row, job in job_by_row.items() for seed in seeds}


def train_network(job: Job, seed: int, context: RunContext) -> dict:
    """Run function: top-1 and top-5 test accuracy (percent) after the last epoch."""
    _, _, value = train_and_test(lambda: create(job.model, **job.model_options), job, seed, context)
    return value


def train_and_test(
    build: Callable[[], nn.Module], job, seed: int, context: RunContext
) -> tuple[nn.Module, Splits, dict[str, Any]]:
    """Seed, build, train and test one network.

    Args:
        build: makes the network; torch's global generator is seeded before it is called.
        job: has data (DataRecipe), train (TrainRecipe) and calibration_images (0 for none).
    Returns: the network, its data, and {"outcome", "detail", "top1_pct", "top5_pct"} (None if it diverged).
    """
    data = load_splits(job.data)
    torch.manual_seed(seed)
    model = build().to(device())
    history = fit_distributed(
        model,
        data.train,
        None,
        job.train,
        seed=seed,
        on_epoch=lambda row: context.log(**row),
        checkpoint=context.checkpoint / "training",
    )
    value = {"outcome": "diverged" if history.diverged else "done", "detail": history.detail}
    if history.diverged:
        return model, data, {**value, "top1_pct": None, "top5_pct": None}
    if job.calibration_images:
        reestimate_batch_norm(model, data.train.input_batches(job.calibration_images, limit=job.calibration_images))
    top1, top5 = top_accuracies(model, data.test, batch_size=job.train.eval_batch_size)
    return model, data, {**value, "top1_pct": top1, "top5_pct": top5}


@torch.inference_mode()
def top_accuracies(model: nn.Module, data: TensorData | OnDevice, *, batch_size: int = 1000) -> tuple[float, float]:
    """Percentage of `data` whose label is the first, and among the first five, of the model's classes."""
    hits = [0, 0]
    labels = data.labels.to(device())
    start = 0
    with evaluating(model):
        for inputs in data.input_batches(batch_size):
            mine = labels[start : start + len(inputs)]
            best = model(inputs.to(device())).topk(5, dim=1).indices == mine[:, None]
            hits = [hits[0] + int(best[:, 0].sum()), hits[1] + int(best.any(dim=1).sum())]
            start += len(inputs)
    return tuple(round(100 * count / len(labels), 4) for count in hits)


def accuracy_of(outcome: Outcome, name: str = "top1_pct") -> float:
    """An accuracy of a training; NaN where it diverged or failed."""
    value = (outcome.value or {}).get(name)
    return float("nan") if value is None else value


def note_of(outcome: Outcome) -> str:
    """What a row must say of a training that did not end well, or ''."""
    return (
        "" if outcome.state == "done" else f"{outcome.state}: {(outcome.value or {}).get('detail') or outcome.message}"
    )
