"""One training of ShiftAddAug: a tiny network by itself, or as the target inside a wider one, and its test."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from repro.augment import (
    AugmentedNetwork,
    AugmentRecipe,
    Window,
    augment,
    fit_augmented,
    fit_plain,
    laplace_scales,
    remapping,
)
from repro.augment.remapping import ADDER_SCALE, FITTED
from repro.layers import AdderConv2d, AdderLinear
from repro.papers import jobs
from repro.papers.data import DataRecipe, device, load_splits
from repro.papers.kinds import spec_of
from repro.papers.shiftaddaug.counts import MODELS
from repro.papers.shiftaddaug.methods import Method
from repro.papers.shiftaddaug.networks import tiny
from repro.papers.weights import keep_weights
from repro.runs import RunContext, RunSpec
from repro.train import TrainRecipe
from repro.train.evaluate import evaluate, reestimate_batch_norm


@dataclasses.dataclass(frozen=True)
class TinyJob:
    """A tiny network and how it is trained.

    Attributes:
        model: as the tables print it.  size: "small" or "paper" (`networks.multiplicative`).
        width, expand: largest multiples of the augmentation (table 2).
        calibration_images: training images that re-estimate batch norm before the test, for every method alike.
    """

    model: str
    data: DataRecipe
    train: TrainRecipe
    method: Method
    size: str = "small"
    width: float = 2.2
    expand: float = 2.2
    calibration_images: int = 0


def spec(job: TinyJob, seed: int) -> RunSpec:
    """One training."""
    return spec_of("tiny", job, seed, model=MODELS[job.model][0], parallel=True)


def train_tiny(job: TinyJob, seed: int, context: RunContext) -> dict:
    """Run function: what `jobs.tested` says of the deployed network, its test loss (nats), and how it came to it.

    `curve` has a row per epoch with the accuracies of target and augmented network on training batches (percent) and
    how many channels moved; `laplace_scales` is b of every adder layer's weights; `weights` are those that the target
    computes with ("computed") and, with R, those in memory that R goes by ("saved"), packed float32 by layer;
    `channels` says of the latter which channels, numbered as at the start, are in their rows and columns.
    """
    data, method = load_splits(job.data), job.method
    train = dataclasses.replace(job.train, epochs=job.train.epochs * method.epochs)
    torch.manual_seed(seed)
    wide = wide_network(job, seed, context).to(device())
    common = {"seed": seed, "on_epoch": lambda row: context.log(**row), "checkpoint": context.checkpoint / "training"}
    if method.around is None and method.remap is None:
        model = _tiny(job, method.op).to(device()) if method.own_start else wide.export_target()
        history = fit_plain(model, data.train, train, **common)
        saved = None
    else:
        saved = wide.alone() if method.around is None else wide
        history = fit_augmented(saved, data.train, train, augmentation(method), **common)
    curve = [{name: row.get(name) for name in CURVE} for row in history.rows]
    if history.diverged:
        failed = {"outcome": "diverged", "detail": history.detail, "top1_pct": None, "top5_pct": None}
        return {**failed, "examples": 0, "correct": {}, "test_loss": None, "curve": curve, "weights": {}}
    model = model if saved is None else saved.export_target()
    if job.calibration_images:
        calibration = min(job.calibration_images, CALIBRATION_BATCH)
        reestimate_batch_norm(model, data.train.input_batches(calibration, limit=job.calibration_images))
    batch = job.train.eval_batch_size
    value = jobs.tested(model, data.test, classes=job.data.facts["num_classes"], batch_size=batch)
    value |= {"test_loss": evaluate(model, data.test, batch_size=batch)["loss"], "curve": curve}
    value["laplace_scales"] = laplace_scales(model, ADDERS)
    keep_weights(context, model, job, seed, value)
    return {**value, "weights": packed_weights(model, saved), "channels": channels(saved)}


CALIBRATION_BATCH = 2048
"""Images at a time of which batch norm is re-estimated: the paper's 16,000 would not fit a memory at once."""
ADDERS = (AdderConv2d, AdderLinear)
CURVE = ("epoch", "train_loss", "train_accuracy_pct", "augmented_loss", "augmented_accuracy_pct", "moved")


def augmentation(method: Method) -> AugmentRecipe:
    """NetAug's schedule with what the method changes; extra blocks leave the target in the mutation's window."""
    return AugmentRecipe(
        augmented=method.around is not None,
        reorder=method.reorder,
        mutation=method.mutation,
        depth=Window(0.1, 0.6) if method.depth else None,
        distillation=method.distillation,
        distillation_share=method.distillation_share,
    )


def wide_network(job: TinyJob, seed: int, context: RunContext) -> AugmentedNetwork:
    """The network of the job inside the wide one; every method starts from the same wide weights of a seed."""
    method, model = job.method, _tiny(job)
    trained = _trained_alone(job, seed, context) if method.remap in FITTED else None
    remap = remap_of(method.remap, method.adder_scale, trained)
    torch.manual_seed(seed)
    return augment(
        model,
        width=job.width,
        expand=job.expand,
        depth=method.depth,
        op=method.op,
        remap=remap,
        around="same" if method.around == "same" else "conv",
    )


def remap_of(
    name: str | None,
    adder_scale: float | Mapping[str, float] | None,
    trained: Mapping[str, torch.Tensor] | None = None,
) -> Callable | None:
    """R by name as `augment` takes it, None without one; b of adders where none was measured is that of their start."""
    if name is None:
        return None
    return remapping(name, adder_scale=ADDER_SCALE if adder_scale is None else adder_scale, trained=trained)


def _trained_alone(job: TinyJob, seed: int, context: RunContext) -> dict[str, torch.Tensor]:
    """Weights of the same target trained by itself first: what the fitted FC of equation 5 is fitted to."""
    alone = dataclasses.replace(job, method=Method(job.method.op))
    model = wide_network(alone, seed, context).export_target().to(device())
    data = load_splits(job.data)
    fit_plain(model, data.train, job.train, seed=seed, checkpoint=context.checkpoint / "alone")
    return {name: m.weight.detach().cpu() for name, m in model.named_modules() if hasattr(m, "weight")}


def _tiny(job: TinyJob, op: str = "conv") -> nn.Module:
    facts = job.data.facts
    return tiny(job.model, job.size, op, in_channels=facts["in_channels"], num_classes=facts["num_classes"])


def packed_weights(model: nn.Module, wide: AugmentedNetwork | None) -> dict[str, dict[str, str]]:
    """{"computed": {layer: text}, "saved": …}: weights of the deployed layers and, of layers with R, the wide ones."""
    computed = {name: m.weight for name, m in model.named_modules() if getattr(m, "weight", None) is not None}
    packed = {"computed": {name: pack(weight) for name, weight in computed.items() if weight.ndim > 1}}
    if wide is not None:
        packed["saved"] = {name: pack(layer.weight) for name, layer in wide.wide_layers() if layer.remap is not None}
    return packed


def channels(wide: AugmentedNetwork | None) -> dict[str, list[list[int]]]:
    """{layer: [rows, columns]} of layers with R: the channel in each place, by its number at the start."""
    layers = [] if wide is None else [name for name, layer in wide.wide_layers() if layer.remap is not None]
    return {name: [places.tolist() for places in wide.channels_of(name)] for name in layers}


def pack(tensor: torch.Tensor) -> str:
    """A tensor's values as base64 of little-endian float32."""
    return base64.b64encode(tensor.detach().cpu().numpy().astype("<f4").tobytes()).decode("ascii")


def unpack(text: str) -> np.ndarray:
    """What `pack` packed, flat."""
    return np.frombuffer(base64.b64decode(text), dtype="<f4")
