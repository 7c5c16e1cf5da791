"""What is tried for ShiftAddAug: the peak rate of each operator, by the quality of the network by itself (Sec. 4.1)."""

from __future__ import annotations

import dataclasses

from repro.datasets.registry import REGISTRY, SEGMENTATION
from repro.papers.shiftaddaug import segmentation_training, training
from repro.papers.shiftaddaug.methods import ADD, BASE, SHIFT
from repro.papers.shiftaddaug.recipes import TUNED_SETTINGS, presets
from repro.papers.shiftaddaug.segmentation_recipes import RECIPES
from repro.papers.tuning import Tuning


def tuning(dataset: str) -> Tuning:
    """Direct trainings of the first model of the study preset, tested on a fifth of the training images.

    The preset is that of table 3, or of table 5 for data with masks; accuracy is then the share of right pixels.
    """
    masks = REGISTRY[dataset].task == SEGMENTATION
    recipe = (RECIPES if masks else presets(("MobileNetV2-w0.35",)))["study", dataset]
    data = dataclasses.replace(recipe.data, held_out=0.2, tested_on="held out")
    recipe = dataclasses.replace(recipe, data=data)
    jobs = {method.op: recipe.job(recipe.models[0], method) for method in (BASE, SHIFT, ADD)}
    if masks:
        return Tuning(jobs, TUNED_SETTINGS, spec=segmentation_training.spec, measure="pixel_accuracy_pct")
    return Tuning(jobs, TUNED_SETTINGS, spec=training.spec)
