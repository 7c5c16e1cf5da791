"""Semantic segmentation: masks in place of labels, pixel cross entropy, and every score from one confusion matrix.

A mask (H, W) holds a class per pixel, `IGNORED` where none is given: such pixels count nowhere. `fit_segmentation` is
`repro.train.fit` with another Trainer, so schedules, divergence, checkpoints and resuming are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repro.errors import InputError, check_int, check_number
from repro.train.data import WHOLE, Batch, Transform, digest_of, steps_per_epoch
from repro.train.diagnose import first_bad_output
from repro.train.distributed import over_processes
from repro.train.evaluate import evaluating
from repro.train.loop import Divergence, History, Trainer, fit
from repro.train.recipe import TrainRecipe, input_transform

IGNORED = 255
"""Class of a pixel of which nothing is said, as in Pascal VOC."""


# ------------------------------------------------------------------ transforms


@dataclass(frozen=True)
class WithMasks:
    """Moves images and masks alike by a transform of images (flip, crop, Cutout); what it fills in is ignored.

    A mask travels as one more channel that holds 255 - class: filled with 0, it says `IGNORED`.
    """

    transform: Transform

    def __call__(
        self, images: Tensor, masks: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) uint8 and (B, H, W) uint8 -> the same, moved."""
        both = self.transform(torch.cat([images, IGNORED - masks[:, None]], dim=1), generator)
        return both[:, :-1], IGNORED - both[:, -1]


@dataclass(frozen=True)
class RandomZoom:
    """Enlarges every image and its mask by a factor uniform in [low, high] around a random place.

    Images are read bilinearly, masks at the nearest pixel. Below 1 what lies around the image is 0, and ignored.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        check_number("low", self.low, above=0)
        check_number("high", self.high, minimum=self.low)

    def __call__(
        self, images: Tensor, masks: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) uint8 and (B, H, W) uint8 -> the same, zoomed."""
        number, *_, height, width = images.shape
        where = generator.device if generator is not None else "cpu"
        draws = torch.rand(number, 3, generator=generator, device=where).to(images.device)
        shown = 1 / (self.low + (self.high - self.low) * draws[:, 0])  # share of each side that is seen
        window = torch.zeros(number, 2, 3, device=images.device)
        window[:, 0, 0] = window[:, 1, 1] = shown
        window[:, :, 2] = (2 * draws[:, 1:] - 1) * (1 - shown).abs()[:, None]
        grid = F.affine_grid(window, (number, 1, height, width), align_corners=False)  # type: ignore[arg-type]
        images = F.grid_sample(images.float(), grid, mode="bilinear", align_corners=False)
        classes = F.grid_sample((IGNORED - masks[:, None]).float(), grid, mode="nearest", align_corners=False)
        return images.round().to(torch.uint8), IGNORED - classes[:, 0].to(torch.uint8)


@dataclass(frozen=True)
class SegmentationRecipe(TrainRecipe):
    """A TrainRecipe whose transforms move the mask with the image; `zoom` is `RandomZoom`'s range, (1, 1) for none."""

    zoom: tuple[float, float] = (1.0, 1.0)
    eval_batch_size: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.zoom, tuple | list) or len(self.zoom) != 2:
            raise InputError(f"zoom={self.zoom!r} is not allowed; it must be two factors (low, high).")
        RandomZoom(*self.zoom)


def mask_transform(recipe: SegmentationRecipe):
    """The recipe's transforms of stored images and masks, called as transform(images, masks, generator), or None."""
    zoom = RandomZoom(*recipe.zoom) if tuple(recipe.zoom) != (1.0, 1.0) else None
    moved = input_transform(recipe)
    parts = [part for part in (zoom, None if moved is None else WithMasks(moved)) if part is not None]
    if not parts:
        return None

    def transform(images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        for part in parts:
            images, masks = part(images, masks, generator)
        return images, masks

    return transform


# ------------------------------------------------------------------ data


@dataclass(frozen=True)
class MaskData:
    """Images (N, C, H, W) with masks (N, H, W) uint8; takes the place of TensorData.

    `normalize` turns a stored batch (uint8) into float32 inputs; None says that the images are inputs already.
    Raises: InputError for shapes that do not fit, and for classes of `num_classes` or more that are not `IGNORED`.
    """

    images: Tensor
    masks: Tensor
    num_classes: int
    normalize: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        check_int("num_classes", self.num_classes, minimum=1, maximum=IGNORED)
        fits = self.images.ndim == 4 and self.masks.shape == (len(self.images), *self.images.shape[2:])
        if not fits or self.masks.dtype != torch.uint8:
            raise InputError(
                f"images of shape {tuple(self.images.shape)} with masks of shape {tuple(self.masks.shape)} "
                f"({self.masks.dtype}) do not fit; expected (N, C, H, W) and (N, H, W) of torch.uint8."
            )
        check_classes(self.masks, self.num_classes)

    @property
    def labels(self) -> Tensor:
        """The classes there are, (num_classes,): what a Trainer compares a network's outputs with."""
        return torch.arange(self.num_classes)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def digest(self) -> str:
        """SHA-256 of images, masks and how images become inputs."""
        return digest_of(self.images, self.masks, self.as_inputs(self.images[:1]))

    def take(self, index: Tensor | slice) -> MaskData:
        """The examples at `index`."""
        return replace(self, images=self.images[index], masks=self.masks[index])

    def as_inputs(self, images: Tensor) -> Tensor:
        """Network inputs of stored images."""
        return images if self.normalize is None else self.normalize(images)

    def batches(
        self, batch_size: int, generator: torch.Generator, transform=None, share: slice = WHOLE
    ) -> Iterator[Batch]:
        """One shuffled pass, as `TensorData.batches`; `transform(images, masks, generator)` sees the stored images."""
        order = torch.randperm(len(self), generator=generator).to(self.images.device)
        for start in range(0, steps_per_epoch(len(self), batch_size) * batch_size, batch_size):
            index = order[start : start + batch_size]
            images, masks = self.images[index], self.masks[index]
            if transform is not None:
                images, masks = transform(images, masks, generator)
            yield Batch(self.as_inputs(images[share]), masks[share], len(masks[share]) / len(index))

    def pairs(self, batch_size: int, limit: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and masks of the first `limit` examples in order, in batches."""
        stop = len(self) if limit is None else min(limit, len(self))
        for start in range(0, stop, batch_size):
            rows = slice(start, min(start + batch_size, stop))
            yield self.as_inputs(self.images[rows]), self.masks[rows]

    def input_batches(self, batch_size: int, limit: int | None = None) -> Iterator[Tensor]:
        """Inputs of the first `limit` examples in order, in batches."""
        return (inputs for inputs, _ in self.pairs(batch_size, limit))


def check_classes(masks: Tensor, num_classes: int) -> None:
    """InputError if a mask holds a class that is neither below `num_classes` nor `IGNORED`."""
    wrong = masks[(masks >= num_classes) & (masks != IGNORED)]
    if wrong.numel():
        raise InputError(
            f"a mask holds the class {int(wrong.max())}; with {num_classes} classes allowed are 0..{num_classes - 1}, "
            f"and {IGNORED} for pixels to ignore."
        )


def as_masks(data):
    """MaskData of a data set of `repro.datasets` whose labels are masks; what has `pairs` of its own passes through."""
    if hasattr(data, "pairs"):
        return data
    if torch.as_tensor(data.labels).ndim != 3:
        raise InputError("data has one label per image; segmentation needs a mask (H, W) for each.")
    return MaskData(data.images, data.labels, data.num_classes, data.normalize)


# ------------------------------------------------------------------ training


def pixel_cross_entropy(logits: Tensor, masks: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross entropy in nats over the pixels that are not ignored; 0 where all are.

    logits: (B, classes, H, W). masks: (B, H, W) of whole numbers.
    """
    # As rows of pixels: torch's two-dimensional form is not deterministic on a GPU.
    rows, classes = logits.permute(0, 2, 3, 1).flatten(0, 2), masks.flatten().long()
    total = F.cross_entropy(rows, classes, ignore_index=IGNORED, label_smoothing=label_smoothing, reduction="sum")
    return total / (classes != IGNORED).sum().clamp(min=1)


class SegmentationTrainer(Trainer):
    """A Trainer whose examples are images with masks; accuracies are shares of pixels."""

    def __init__(self, model: nn.Module, recipe: SegmentationRecipe, **options):
        super().__init__(model, recipe, **options)
        self.transform = mask_transform(recipe)
        self.device = next(model.parameters()).device

    def step(self, batch: Batch) -> tuple[float, int, int]:
        """As `Trainer.step`; answers are pixels, those that count."""
        mean_loss, right, count = super().step(batch)
        return mean_loss, right, max(1, count)

    def _placed(self, batch: Batch) -> Batch:
        return super()._placed(Batch(batch.inputs.to(self.device), batch.labels.to(self.device), batch.share))

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return pixel_cross_entropy(logits, labels, self.recipe.label_smoothing)

    def _counted(self, labels: Tensor) -> Tensor:
        return (labels != IGNORED).sum()

    def _logits(self, images: Tensor) -> Tensor:
        logits = self._forward(images)
        if logits.ndim != 4 or logits.shape[2:] != images.shape[2:] or logits.shape[1] <= self.highest_label:
            raise InputError(
                f"the network's outputs have shape {tuple(logits.shape)}; {self.highest_label + 1} classes need a map "
                f"each of the images' {images.shape[2]}x{images.shape[3]} pixels."
            )
        return logits

    def evaluate(self, data) -> dict[str, float]:
        """Share of right pixels and loss on `data`; NaN if outputs are not finite."""
        try:
            found = measure(self.model, data, batch_size=self.recipe.eval_batch_size)
        except Divergence:
            return {"accuracy_pct": math.nan, "loss": math.nan}
        return {"accuracy_pct": found.pixel_accuracy_pct, "loss": found.loss}


def fit_segmentation(model: nn.Module, train_data, test_data, recipe: SegmentationRecipe, **options) -> History:
    """`repro.train.fit` for images with masks: trains `model` in place and returns its History.

    Args:
        train_data, test_data: data sets of `repro.datasets` with masks, MaskData or a MaskFolder; `test_data` None: no
            evaluation. Rows of the History call the share of right pixels `test_accuracy_pct`; `measure` has the rest.
        options: seed, on_epoch, evaluate_every, checkpoint, stop_after, as `fit` takes them.
    """
    train, test = as_masks(train_data), None if test_data is None else as_masks(test_data)
    return fit(model, train, test, recipe, trainer_class=over_processes(SegmentationTrainer), **options)


# ------------------------------------------------------------------ scores


@dataclass(frozen=True, eq=False)
class Segmented:
    """What a network made of test images: a confusion matrix (classes, classes) int64 of each, and the mean loss.

    Row is the true class, column the predicted one. Scores come of the sum over images: IoU of a class is the share of
    the pixels that either is or is called so, that is both.
    """

    confusions: np.ndarray
    loss: float = math.nan

    @property
    def confusion(self) -> np.ndarray:
        """Pixels of all images, (classes, classes)."""
        return self.confusions.sum(axis=0)

    @property
    def iou_pct(self) -> np.ndarray:
        """Per class, in per cent; NaN for a class that neither is there nor was predicted."""
        return iou_pct(self.confusion)

    @property
    def miou_pct(self) -> float:
        """Mean over the classes that are there or were predicted, in per cent."""
        return float(miou_pct(self.confusion))

    @property
    def pixel_accuracy_pct(self) -> float:
        """Right pixels in per cent of those that count."""
        return 100 * float(np.trace(self.confusion)) / max(1, int(self.confusion.sum()))


def iou_pct(confusion: np.ndarray) -> np.ndarray:
    """(..., classes, classes) -> (..., classes): intersection over union in per cent, NaN where the union is empty."""
    both = np.diagonal(confusion, axis1=-2, axis2=-1)
    either = confusion.sum(-1) + confusion.sum(-2) - both
    return np.where(either > 0, 100 * both / np.maximum(either, 1e-300), np.nan)


def miou_pct(confusion: np.ndarray) -> np.ndarray:
    """(..., classes, classes) -> (...): mean IoU in per cent over the classes whose union is not empty."""
    shares = iou_pct(confusion)
    known = ~np.isnan(shares)
    return np.where(known.any(-1), np.where(known, shares, 0).sum(-1) / np.maximum(known.sum(-1), 1), np.nan)


def confusion_matrices(predicted: Tensor, masks: Tensor, num_classes: int) -> Tensor:
    """Predicted and true classes (B, H, W) -> (B, num_classes, num_classes) int64; ignored pixels are left out."""
    image = torch.arange(len(masks), device=masks.device)[:, None, None]
    cells = (image * num_classes + masks.long()) * num_classes + predicted.long()
    counts = torch.bincount(cells[masks != IGNORED], minlength=len(masks) * num_classes**2)
    return counts.view(len(masks), num_classes, num_classes)


@torch.inference_mode()
def measure(model: nn.Module, data, *, batch_size: int = 100) -> Segmented:
    """Test a network in evaluation mode on MaskData or a MaskFolder, at the size that the data have.

    Raises: InputError for no examples, or outputs for fewer classes; Divergence if outputs are NaN or infinite.
    """
    if len(data) == 0:
        raise InputError("data holds no examples; scores need at least one.")
    device, confusions, loss, pixels = next(model.parameters()).device, [], 0.0, 0
    with evaluating(model):
        for inputs, masks in data.pairs(batch_size):
            inputs, masks = inputs.to(device), masks.to(device)
            logits = model(inputs)
            if logits.shape[1] != data.num_classes:
                raise InputError(
                    f"the network has {logits.shape[1]} outputs; the masks have {data.num_classes} classes."
                )
            if not logits.isfinite().all():
                raise Divergence(f"outputs are not finite; first bad output in {first_bad_output(model, inputs)}")
            confusions.append(confusion_matrices(logits.argmax(dim=1), masks, data.num_classes).cpu().numpy())
            known = int((masks != IGNORED).sum())
            loss, pixels = loss + known * pixel_cross_entropy(logits, masks).item(), pixels + known
    return Segmented(np.concatenate(confusions), loss / max(1, pixels))
