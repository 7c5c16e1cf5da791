"""One segmentation training of ShiftAddAug (table 5): a network by itself or inside a wider one, and its test."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from repro.augment import AugmentedNetwork, augment, laplace_scales
from repro.augment.segmentation import fit_augmented_segmentation, fit_plain_segmentation
from repro.papers.data import device
from repro.papers.kinds import spec_of
from repro.papers.segmentation_jobs import diverged, mask_splits, tested
from repro.papers.shiftaddaug.counts import MODELS
from repro.papers.shiftaddaug.networks import segmenter
from repro.papers.shiftaddaug.training import ADDERS, CURVE, TinyJob, augmentation, remap_of
from repro.papers.weights import keep_weights
from repro.report.examples import pack_counts
from repro.runs import RunContext, RunSpec
from repro.train.evaluate import evaluating, reestimate_batch_norm
from repro.train.segmentation import IGNORED, SegmentationRecipe

SHOWN_IMAGES, SHOWN_SIDE = 5, 64
"""Test images of which a run keeps the predicted mask, and their largest side in pixels."""


@dataclasses.dataclass(frozen=True)
class SegmenterJob(TinyJob):
    """A network of `networks.segmenter` and how it is trained; its data have masks.

    Of the method it takes op, around, remap and its scale, reorder and epochs.
    """

    train: SegmentationRecipe


def spec(job: SegmenterJob, seed: int) -> RunSpec:
    """One training."""
    return spec_of("tiny_segmentation", job, seed, model=f"{MODELS[job.model][0]}_seg", parallel=True)


def train_segmenter(job: SegmenterJob, seed: int, context: RunContext) -> dict:
    """Run function: what `segmentation_jobs.tested` says of the deployed network, and how it came to it.

    `curve` has a row per epoch as that of `training.train_tiny`, its accuracies those of pixels; `laplace_scales` is b
    of every adder layer's weights; `stray_areas` and `shown` are those of `looked_at`.
    """
    data, method = mask_splits(job.data), job.method
    train = dataclasses.replace(job.train, epochs=job.train.epochs * method.epochs)
    wide = wide_network(job, seed).to(device())
    common = {"seed": seed, "on_epoch": lambda row: context.log(**row), "checkpoint": context.checkpoint / "training"}
    if method.around is None and method.remap is None:
        model = wide.export_target()
        history = fit_plain_segmentation(model, data.train, train, **common)
    else:
        wide = wide.alone() if method.around is None else wide
        history = fit_augmented_segmentation(wide, data.train, train, augmentation(method), **common)
        model = wide.export_target()
    curve = [{name: row.get(name) for name in CURVE} for row in history.rows]
    if history.diverged:
        return {**diverged(history.detail), "curve": curve}
    batch = job.train.eval_batch_size
    if job.calibration_images:
        inputs = data.train.input_batches(batch, limit=job.calibration_images)
        reestimate_batch_norm(model, (images.to(device()) for images in inputs))
    value = tested(model, data.test, batch_size=batch) | {"curve": curve}
    value["laplace_scales"] = laplace_scales(model, ADDERS)
    if value["outcome"] == "diverged":
        return value
    keep_weights(context, model, job, seed, value)
    return value | looked_at(model, data.test, batch_size=batch)


def wide_network(job: SegmenterJob, seed: int) -> AugmentedNetwork:
    """The network of the job inside the wide one; every method starts from the same wide weights of a seed."""
    method, facts = job.method, job.data.facts
    model = segmenter(
        job.model, job.size, method.op, in_channels=facts["in_channels"], num_classes=facts["num_classes"]
    )
    remap = remap_of(method.remap, method.adder_scale)
    torch.manual_seed(seed)
    return augment(model, width=job.width, expand=job.expand, op=method.op, remap=remap, around=method.around or "conv")


@torch.inference_mode()
def looked_at(model: nn.Module, data, *, batch_size: int) -> dict:
    """What one sees of the masks that a network predicts.

    Returns: stray_areas, per test image (`stray_areas`), and shown: {"shape": (images, height, width), "predicted":
        packed classes} of the first images, every n-th pixel where they are large (`every_nth`).
    """
    stray, first, images = 0, None, 0
    with evaluating(model):
        for inputs, masks in data.pairs(batch_size):
            predicted = model(inputs.to(device())).argmax(dim=1).cpu().numpy()
            stray += int(stray_areas(predicted, masks.numpy(), data.num_classes).sum())
            images += len(predicted)
            if first is None:
                first = every_nth(predicted[:SHOWN_IMAGES])
    return {"stray_areas": stray / images, "shown": {"shape": first.shape, "predicted": pack_counts(first)}}


def every_nth(pictures: np.ndarray) -> np.ndarray:
    """Pictures (N, ..., H, W) with no side above SHOWN_SIDE: every n-th pixel of every n-th line."""
    step = -(-max(pictures.shape[-2:]) // SHOWN_SIDE)
    return pictures[..., ::step, ::step]


def stray_areas(predicted: np.ndarray, masks: np.ndarray, num_classes: int) -> np.ndarray:
    """Connected areas of a class that lie wholly where the class is not, per image: figure 6's "abnormal" ones.

    Pixels are connected by their sides. The first class, the background, and pixels to ignore do not count.
    predicted, masks: (N, H, W). Returns: (N,) int64.
    """
    counts = np.zeros(len(masks), dtype=np.int64)
    for number, (ours, truth) in enumerate(zip(predicted, masks)):
        for label in range(1, num_classes):
            areas, found = ndimage.label((ours == label) & (truth != IGNORED))
            counts[number] += found - np.count_nonzero(np.unique(areas[truth == label]))
    return counts
