"""One segmentation network trained by itself, as `repro.papers.jobs` for networks that tell classes.

A run keeps the confusion matrix of every test image: mIoU is no mean over images, so what it would be with other test
images is found by drawing images anew and adding up their matrices (`miou_draws`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from repro.datasets.registry import REGISTRY, SPLITS
from repro.models.registry import create
from repro.papers.data import DataRecipe, device
from repro.papers.kinds import spec_of
from repro.papers.resampling import resampled_scores
from repro.papers.weights import keep_weights
from repro.report.examples import pack_counts, unpack_counts
from repro.runs import Outcome, RunContext, RunSpec
from repro.train.evaluate import reestimate_batch_norm
from repro.train.loop import Divergence
from repro.train.segmentation import (
    MaskData,
    SegmentationRecipe,
    as_masks,
    fit_segmentation,
    iou_pct,
    measure,
    miou_pct,
)


@dataclasses.dataclass(frozen=True)
class SegmentationJob:
    """A named network and how it is trained; see `repro.papers.jobs.Job`."""

    model: str
    options: Mapping[str, Any]
    data: DataRecipe
    train: SegmentationRecipe
    calibration_images: int = 0

    @property
    def model_options(self) -> dict[str, Any]:
        """All options of the model, with channels and classes of the data."""
        facts = self.data.facts
        return {**self.options, "in_channels": facts["in_channels"], "num_classes": facts["num_classes"]}


@dataclasses.dataclass(frozen=True)
class MaskSplits:
    """Images with masks: `train` for weights, `test` for the result, or held-out images where settings are chosen."""

    train: Any
    test: Any


def spec(job: SegmentationJob, seed: int) -> RunSpec:
    """One training of a named network."""
    return spec_of("segmentation", job, seed, model=job.model, parallel=True)


@functools.lru_cache(maxsize=4)
def mask_splits(recipe: DataRecipe) -> MaskSplits:
    """The recipe's images and masks; a set of files is read batch by batch."""
    from repro.datasets import load
    from repro.datasets.subset import stratified_order
    from repro.train.folders import open_folder

    def part(data, start: int | None, stop: int | None):
        order = torch.from_numpy(stratified_order(np.zeros(len(data)), seed=0))
        return data.take(order[start:stop].sort().values)

    if REGISTRY[recipe.dataset].folders:
        train, test = (open_folder(recipe.dataset, split, size=recipe.size) for split in SPLITS)
        train, test = part(train, None, recipe.train_images), part(test, None, recipe.test_images)
    else:
        limits = zip(SPLITS, (recipe.train_images, recipe.test_images), strict=True)
        train, test = (as_masks(load(recipe.dataset, s, limit=limit, size=recipe.size)) for s, limit in limits)
    kept = round(len(train) * (1 - recipe.held_out))
    weights, held_out = part(train, None, kept), part(train, kept, None)
    return MaskSplits(weights, held_out if recipe.tested_on == "held out" else test)


def class_names(recipe: DataRecipe) -> list[str]:
    """Names of the classes of a recipe's masks, in order."""
    entry = REGISTRY[recipe.dataset]
    return list(entry.class_names or mask_splits(recipe).test.class_names)


def train_segmentation(job: SegmentationJob, seed: int, context: RunContext) -> dict[str, Any]:
    """Run function: what `train_and_test` says of the named network."""
    _, _, value = train_and_test(lambda: create(job.model, **job.model_options), job, seed, context)
    return value


def train_and_test(
    build: Callable[[], nn.Module], job, seed: int, context: RunContext
) -> tuple[nn.Module, MaskSplits, dict[str, Any]]:
    """Seed, build, train and test one network.

    Args:
        build: makes the network; torch's global generator is seeded before it is called.
        job: has data (DataRecipe), train (SegmentationRecipe) and calibration_images (0 for none).
    Returns: the network, its data, and what `tested` says, or the outcome "diverged" without numbers.
    """
    data = mask_splits(job.data)
    torch.manual_seed(seed)
    model = build().to(device())
    history = fit_segmentation(
        model,
        data.train,
        None,
        job.train,
        seed=seed,
        on_epoch=lambda row: context.log(**row),
        checkpoint=context.checkpoint / "training",
    )
    if history.diverged:
        return model, data, diverged(history.detail)
    if job.calibration_images:
        inputs = data.train.input_batches(job.calibration_images, limit=job.calibration_images)
        reestimate_batch_norm(model, (batch.to(device()) for batch in inputs))
    value = tested(model, data.test, batch_size=job.train.eval_batch_size)
    if value["outcome"] != "diverged":
        keep_weights(context, model, job, seed, value)
    return model, data, value


def tested(model: nn.Module, data: MaskData, *, batch_size: int = 100) -> dict[str, Any]:
    """Scores of a trained network.

    Returns: {"outcome", "detail", "miou_pct", "iou_pct" (one per class, None where it has none), "pixel_accuracy_pct",
        "test_loss", "examples", "classes", "confusions"}. outcome is "done", "diverged" (no numbers), or "dead" (one
        class everywhere); `confusions` is the packed text of a matrix per test image, in their order.
    """
    try:
        found = measure(model, data, batch_size=batch_size)
    except Divergence as problem:
        return diverged(str(problem))
    called = np.flatnonzero(found.confusion.sum(axis=0))
    dead = len(called) < 2
    return {
        "outcome": "dead" if dead else "done",
        "detail": f"every pixel is called class {called[0]}" if dead else "",
        "miou_pct": found.miou_pct,
        "iou_pct": [None if np.isnan(share) else float(share) for share in found.iou_pct],
        "pixel_accuracy_pct": found.pixel_accuracy_pct,
        "test_loss": found.loss,
        "examples": len(found.confusions),
        "classes": found.confusions.shape[1],
        "confusions": pack_counts(found.confusions),
    }


def diverged(detail: str) -> dict[str, Any]:
    """What `tested` says of a network without numbers."""
    scores = dict.fromkeys(("miou_pct", "pixel_accuracy_pct", "test_loss"))
    return {"outcome": "diverged", "detail": detail, **scores, "iou_pct": [], "examples": 0, "confusions": ""}


def confusions_of(outcome: Outcome) -> np.ndarray | None:
    """A confusion matrix per test image (N, classes, classes) of a run; None if it has no result."""
    value = outcome.value or {}
    if not value.get("examples"):
        return None
    return unpack_counts(value["confusions"], (value["examples"], value["classes"], value["classes"]))


def class_frame(rows: Iterable[tuple[Mapping[str, Any], int, Outcome]], class_names: Sequence[str]) -> pd.DataFrame:
    """The extra frame `classes` of an entry. rows: (key, seed, outcome). Returns: key columns, seed, class, iou_pct."""
    return pd.DataFrame(
        {**key, "seed": seed, "class": name, "iou_pct": float(share)}
        for key, seed, outcome in rows
        if (confusions := confusions_of(outcome)) is not None
        for name, share in zip(class_names, iou_pct(confusions.sum(axis=0)), strict=True)
    )


def confusion_frame(rows: Iterable[tuple[Mapping[str, Any], int, Outcome]], class_names: Sequence[str]) -> pd.DataFrame:
    """The extra frame `confusions` of an entry. rows: (key, seed, outcome).

    Returns: key columns, seed, true, predicted, share_pct (of the pixels that are truly of that class; NaN for none).
    """
    found = []
    for key, seed, outcome in rows:
        confusions = confusions_of(outcome)
        if confusions is not None:
            total = confusions.sum(axis=0)
            shares = 100 * total / np.where(total.sum(1) > 0, total.sum(1), np.nan)[:, None]
            found += [
                {**key, "seed": seed, "true": true, "predicted": predicted, "share_pct": float(share)}
                for true, line in zip(class_names, shares, strict=True)
                for predicted, share in zip(class_names, line, strict=True)
            ]
    return pd.DataFrame(found)


def miou_draws(
    rows: Iterable[tuple[Mapping[str, Any], str, Sequence[Outcome]]], *, column: str = "miou_pct", count: int = 200
) -> pd.DataFrame:
    """The extra frame `draws` of an entry: mIoU with other test images, the mean over a row's seeds.

    Args:
        rows: (key, data set, outcomes of its seeds). Rows of one data set are judged on the same images and share
            their resamples, so that differences between them can be judged.
    Returns: key columns, column, draw, value; none for a row with a run that has no result, and none for a data set
        whose rows were not tested on the same number of images.
    """
    counted = ((key, dataset, [confusions_of(outcome) for outcome in outcomes]) for key, dataset, outcomes in rows)
    return resampled_scores(counted, miou_pct, column=column, count=count)
