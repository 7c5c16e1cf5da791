"""One network trained by itself: the job behind most rows of most tables.

`train_network` trains a model that `repro.models` knows by name. Networks that only one table has call `train_and_test`
with what builds them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import nn

from repro.models.registry import create
from repro.papers.data import DataRecipe, OnDevice, Splits, device, load_splits
from repro.papers.kinds import spec_of
from repro.papers.weights import keep_weights
from repro.report.examples import pack
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
    """Run function: top-1 and top-5 test accuracy (percent) after the last epoch, and which test images were right."""
    _, _, value = train_and_test(lambda: create(job.model, **job.model_options), job, seed, context)
    return value


def train_and_test(
    build: Callable[[], nn.Module], job, seed: int, context: RunContext
) -> tuple[nn.Module, Splits, dict[str, Any]]:
    """Seed, build, train and test one network.

    Args:
        build: makes the network; torch's global generator is seeded before it is called.
        job: has data (DataRecipe), train (TrainRecipe) and calibration_images (0 for none).
    Returns: the network, its data, and {"outcome", "detail", "top1_pct", "top5_pct", "examples", "correct"}: outcome is
        "done", "diverged" (accuracies None, no answers), or "dead" (accuracy at chance); `correct` has one packed text
        of right answers for "top1_pct" and "top5_pct" (`repro.report.examples`), in the order of the test images.
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
    if history.diverged:
        failed = {"outcome": "diverged", "detail": history.detail, "top1_pct": None, "top5_pct": None}
        return model, data, {**failed, "examples": 0, "correct": {}}
    if job.calibration_images:
        reestimate_batch_norm(model, data.train.input_batches(job.calibration_images, limit=job.calibration_images))
    value = tested(model, data.test, classes=job.data.facts["num_classes"], batch_size=job.train.eval_batch_size)
    keep_weights(context, model, job, seed, value)
    return model, data, value


def tested(model: nn.Module, data: TensorData | OnDevice, *, classes: int, batch_size: int = 1000) -> dict[str, Any]:
    """What `train_and_test` says of a trained network: outcome, accuracies and right answers."""
    answers = right_answers(model, data, batch_size=batch_size)
    shares = {name: 100 * right.double().mean().item() for name, right in answers.items()}
    dead = at_chance(shares["top1_pct"], classes, len(data))
    detail = f"{shares['top1_pct']:.1f} % is no better than chance" if dead else ""
    correct = {name: pack(right.numpy()) for name, right in answers.items()}
    outcome = {"outcome": "dead" if dead else "done", "detail": detail}
    return {**outcome, **shares, "examples": len(data), "correct": correct}


@torch.inference_mode()
def right_answers(model: nn.Module, data: TensorData | OnDevice, *, batch_size: int = 1000) -> dict[str, torch.Tensor]:
    """{"top1_pct", "top5_pct"}: bools (N,), whether each label is the first, or among the first five, of the classes.

    NaN is never a right answer: its classes have no order.
    """
    found: dict[str, list[torch.Tensor]] = {"top1_pct": [], "top5_pct": []}
    labels = data.labels.to(device())
    start = 0
    with evaluating(model):
        for inputs in data.input_batches(batch_size):
            mine = labels[start : start + len(inputs)]
            logits = model(inputs.to(device()))
            hits = (logits.topk(5, dim=1).indices == mine[:, None]) & ~logits.isnan().any(dim=1, keepdim=True)
            found["top1_pct"].append(hits[:, 0].cpu())
            found["top5_pct"].append(hits.any(dim=1).cpu())
            start += len(inputs)
    return {name: torch.cat(parts) for name, parts in found.items()}


def at_chance(accuracy_pct: float, classes: int, examples: int) -> bool:
    """Whether an accuracy is no further above guessing than three of its standard deviations."""
    chance = 1 / classes
    return accuracy_pct <= 100 * (chance + 3 * math.sqrt(chance * (1 - chance) / examples))


def answers_frame(rows: Iterable[tuple[Mapping[str, Any], int, str, Outcome, str]]) -> pd.DataFrame:
    """The extra frame `examples` of an entry: which test images every run got right.

    Args:
        rows: (key, seed, column, outcome, measure): the row and column of the table whose number comes of this run, and
            which of its measures it is ("top1_pct", "top5_pct").
    Returns: key columns, seed, column, outcome, examples (how many), correct (packed text); a run without answers has
        none.
    """
    return pd.DataFrame(
        {
            **key,
            "seed": seed,
            "column": column,
            "outcome": (outcome.value or {}).get("outcome", outcome.state),
            "examples": (outcome.value or {}).get("examples", 0),
            "correct": (outcome.value or {}).get("correct", {}).get(measure, ""),
        }
        for key, seed, column, outcome, measure in rows
    )


def accuracy_of(outcome: Outcome, name: str = "top1_pct") -> float:
    """An accuracy of a training; NaN where it diverged or failed."""
    value = (outcome.value or {}).get(name)
    return float("nan") if value is None else value


def note_of(outcome: Outcome) -> str:
    """What a row must say of a training that did not end well, or ''."""
    value = outcome.value or {}
    ended = value.get("outcome", outcome.state) if outcome.state == "done" else outcome.state
    return "" if ended == "done" else f"{ended}: {value.get('detail') or outcome.message}"
