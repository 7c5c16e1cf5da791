"""Training of an augmented network on images with masks: equation 3 with pixel cross entropy (ShiftAddAug Sec. 4.4).

Schedule, optimiser and reordering are those of `repro.augment.train`; data, loss and scores are those of
`repro.train.segmentation`. A network by itself takes the same optimiser as the target of an augmented one.
"""

from __future__ import annotations

from repro.augment.network import AugmentedNetwork
from repro.augment.train import AugmentedTrainer, AugmentRecipe, PlainTrainer, fit_around
from repro.errors import InputError, refuse
from repro.train.data import Batch
from repro.train.distributed import over_processes
from repro.train.loop import History, fit
from repro.train.segmentation import SegmentationRecipe, SegmentationTrainer, as_masks


class PlainSegmentationTrainer(PlainTrainer, SegmentationTrainer):
    """A PlainTrainer whose examples are images with masks; accuracies are shares of pixels."""


class AugmentedSegmentationTrainer(AugmentedTrainer, PlainSegmentationTrainer):
    """An AugmentedTrainer whose examples are images with masks.

    Raises: InputError for an augmentation with distillation, whose losses are those of one label per image.
    """

    def __init__(self, model: AugmentedNetwork, recipe: SegmentationRecipe, *, augmentation: AugmentRecipe, **options):
        if augmentation.distillation != "none":
            raise InputError(
                f"distillation={augmentation.distillation!r} is not allowed with masks; it must be 'none'."
            )
        super().__init__(model, recipe, augmentation=augmentation, **options)
        self._pixels = 0  # that count, of an epoch

    def epoch(self, data, epoch: int, **options) -> dict[str, float]:
        """As `AugmentedTrainer.epoch`; augmented_accuracy_pct is of pixels."""
        self._pixels = 0
        row = super().epoch(data, epoch, **options)
        if "augmented_accuracy_pct" in row:
            row["augmented_accuracy_pct"] = 100 * self._augmented[1] / self._pixels
        return row

    def step(self, batch: Batch) -> tuple[float, int, int]:
        """As `AugmentedTrainer.step`."""
        done = super().step(batch)
        self._pixels += done[2]
        return done


def fit_plain_segmentation(model, train_data, recipe: SegmentationRecipe, *, seed: int, **options) -> History:
    """As `fit_augmented_segmentation`, for a network by itself under the settings of an augmented one."""
    trainer = over_processes(PlainSegmentationTrainer)
    return fit(model, as_masks(train_data), None, recipe, seed=seed, trainer_class=trainer, **options)


def fit_augmented_segmentation(
    model: AugmentedNetwork,
    train_data,
    recipe: SegmentationRecipe,
    augmentation: AugmentRecipe,
    *,
    seed: int,
    **options,
) -> History:
    """Train an augmented segmentation network in place.

    Args:
        train_data: a data set of `repro.datasets` with masks, MaskData or a MaskFolder.
        augmentation: as `fit_augmented` takes it, without distillation.
        options: on_epoch, checkpoint, stop_after, as `repro.train.fit` takes them; there are no tests during training.
    Returns: the History; accuracies of its rows are shares of pixels. At the end all units are multiplication-free and
        the target has no extra block.
    """
    refuse(
        not isinstance(recipe, SegmentationRecipe),
        f"recipe is a {type(recipe).__name__}; it must be a repro.train.SegmentationRecipe.",
    )
    trainer = over_processes(AugmentedSegmentationTrainer)
    return fit_around(model, as_masks(train_data), None, recipe, augmentation, trainer, seed=seed, **options)
