"""Small trainings of each kind, and, run by torchrun in test_over_processes, the same with the processes of a group."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sys
from pathlib import Path

import torch

from repro.augment import AugmentRecipe, Window, fit_augmented, fit_plain
from repro.augment.segmentation import fit_augmented_segmentation
from repro.search.hybrid_supernet import fit_paths
from repro.train import fit, save_checkpoint
from repro.train.distributed import over_processes, process_group
from repro.train.segmentation import fit_segmentation
from repro.train.shift_trainer import ShiftTrainer
from repro.train.translation import fit_translation
from tests.augment import test_segmentation, test_train
from tests.search import test_hybrid_supernet
from tests.train import test_shift_trainer, test_translation

# Small steps and no rounding to powers of two: a rounding that falls to the other side is no small difference.
IMAGES = dataclasses.replace(test_train.RECIPE, epochs=2, lr=0.02)
MASKS = dataclasses.replace(test_segmentation.RECIPE, lr=0.02)


# Each takes what is to change in its recipe, as test_precision asks for.
def _augmented(**changes):
    model = test_train.network("conv", depth=1)
    recipe = AugmentRecipe(depth=Window(0.2, 0.5), distillation="kl", distillation_share=0.5)
    return model, fit_augmented(model, test_train.data(), dataclasses.replace(IMAGES, **changes), recipe, seed=0)


def _augmented_adders(**changes):
    model = test_train.network("adder", remap="laplace")
    data, recipe = test_train.data(), AugmentRecipe(alpha=0.5)
    # One step: signs, too, fall to the other side.
    once = dataclasses.replace(IMAGES, **{"epochs": 1, "batch_size": 32, **changes})
    return model, fit_augmented(model, data, once, recipe, seed=0, test_data=test_train.data(), calibration_images=32)


def _plain(**changes):
    model = test_train.network("conv").export_target()
    return model, fit_plain(model, test_train.data(), dataclasses.replace(IMAGES, **changes), seed=0)


def _masks():
    # Without pixels to ignore: each process's mean counts by its images.
    data = test_segmentation.data()
    return dataclasses.replace(data, masks=torch.where(data.masks == 255, 0, data.masks))


def _segmentation(**changes):
    model = test_segmentation.network("conv").export_target()
    return model, fit_segmentation(model, _masks(), None, dataclasses.replace(MASKS, **changes), seed=0)


def _augmented_segmentation(**changes):
    model, recipe = test_segmentation.network("conv"), dataclasses.replace(MASKS, **changes)
    return model, fit_augmented_segmentation(model, _masks(), recipe, AugmentRecipe(), seed=0)


def _supernet(**changes):
    model, recipe = test_hybrid_supernet.supernet("HWS"), dataclasses.replace(test_hybrid_supernet.RECIPE, **changes)
    return model, fit_paths(model, test_hybrid_supernet.data(), recipe, seed=0)


def _translation(**changes):
    model = test_translation.network(dropout=0.0)
    # A last batch with one sentence: one of two processes has none of it.
    train = test_translation.reversal(count=17)
    recipe = dataclasses.replace(test_translation.RECIPE, **changes)
    return model, fit_translation(model, train, test_translation.reversal(4, 1), recipe, seed=0)


def _shifts(**changes):
    """P and S with their L2 term, and a second classifier."""
    model = test_shift_trainer.cells(auxiliary=True)
    recipe = dataclasses.replace(test_shift_trainer.RECIPE, **{"epochs": 2, "batch_size": 32, "lr": 0.01, **changes})
    trainer = functools.partial(over_processes(ShiftTrainer), auxiliary_weight=0.4, calibration_images=32)
    data = test_train.data()
    data = dataclasses.replace(data, labels=data.labels % 3)
    return model, fit(model, data, data, recipe, seed=0, trainer_class=trainer)


TRAININGS = {
    "plain": _plain,
    "augmented": _augmented,
    "augmented adders": _augmented_adders,
    "segmentation": _segmentation,
    "augmented segmentation": _augmented_segmentation,
    "supernet": _supernet,
    "translation": _translation,
    "shifts": _shifts,
}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with process_group() as (rank, _):
        for name, train in TRAININGS.items():
            model, history = train()
            save_checkpoint(folder / f"{name}{rank}.pt", model)
            (folder / f"{name}{rank}.json").write_text(json.dumps([history.outcome, history.rows]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    sys.stdout.flush()
    # gloo's threads abort the process at exit once in a while, after all work is done and written.
    os._exit(0)
