"""What is tried for ShiftAddAug: the peak rate of each operator, by the quality of the network by itself (Sec. 4.1)."""

from __future__ import annotations

import dataclasses

from repro.papers.shiftaddaug.methods import ADD, BASE, SHIFT
from repro.papers.shiftaddaug.recipes import TUNED_SETTINGS, presets
from repro.papers.shiftaddaug.training import spec
from repro.papers.tuning import Tuning


def tuning(dataset: str) -> Tuning:
    """Direct trainings of the first model of table 3's study preset, tested on a fifth of the training images."""
    recipe = presets(("MobileNetV2-w0.35",))["study", dataset]
    data = dataclasses.replace(recipe.data, held_out=0.2, tested_on="held out")
    recipe = dataclasses.replace(recipe, data=data)
    jobs = {method.op: recipe.job(recipe.models[0], method) for method in (BASE, SHIFT, ADD)}
    return Tuning(jobs=jobs, settings=TUNED_SETTINGS, spec=spec)
