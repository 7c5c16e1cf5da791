"""What is tried for the residual networks of ShiftAddNAS's tables 4 and 11: peak rates, each kind by itself."""

from __future__ import annotations

import dataclasses

from repro.papers.shiftaddnas.counts import SEARCHED
from repro.papers.shiftaddnas.networks import ALL, RECIPES, SGD_RATES, kind_of
from repro.papers.tuning import Tuning


def tuning(dataset: str) -> Tuning:
    """Every residual network that is built, tested on a fifth of its training images."""
    recipe = RECIPES["study", dataset]
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, held_out=0.2, tested_on="held out"))
    return Tuning({f"{kind_of(row)}: {row}": recipe.job(row) for row in ALL if row not in SEARCHED}, SGD_RATES)
