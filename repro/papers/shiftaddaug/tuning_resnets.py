"""What is tried for the ResNets of figure 5: the peak rate of each, by its own quality."""

from __future__ import annotations

import dataclasses

from repro.papers.shiftaddaug.f05 import RATES, REFERENCES, TABLE
from repro.papers.tuning import Tuning


def tuning(dataset: str) -> Tuning:
    """Trainings of the study preset's reference networks, tested on a fifth of the training images."""
    recipe = TABLE.recipes["study", dataset]
    data = dataclasses.replace(recipe.methods.data, held_out=0.2, tested_on="held out")
    recipe = dataclasses.replace(recipe, methods=dataclasses.replace(recipe.methods, data=data))
    return Tuning({op: recipe.reference_job(op) for op in REFERENCES.values()}, RATES)
