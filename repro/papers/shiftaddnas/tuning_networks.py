"""What is tried for the networks of ShiftAddNAS's tables 4 and 11: peak rates, each kind by itself."""

from __future__ import annotations

import dataclasses

from repro.papers.shiftaddnas.counts import SEARCHED
from repro.papers.shiftaddnas.networks import ADAMW_RATES, ALL, RECIPES, SGD_RATES, TUNED, kind_of, spec_of_job
from repro.papers.tuning import Tuning, all_but_near

SMALLEST = ("ShiftAddNAS-T0", "BossNAS-T0")
"""Searched networks that choose for all of them."""


def tuning(dataset: str) -> Tuning:
    """Every residual network that is built and two searched ones, tested on a fifth of their training images.

    Where a training takes minutes, one seed tries what digits chose and the rates on either side of it.
    """
    recipe = RECIPES["study", dataset]
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, held_out=0.2, tested_on="held out"))
    rows = [row for row in ALL if row not in SEARCHED or row in SMALLEST]
    jobs = {f"{kind_of(row)}: {row}": recipe.job(row) for row in rows}
    other = {row: SGD_RATES if row in SEARCHED else ADAMW_RATES for row in rows}
    skips = {(f"{kind_of(row)}: {row}", rate) for row in rows for rate in other[row]}
    settings = SGD_RATES | ADAMW_RATES
    if dataset == "digits":
        return Tuning(jobs, settings, skips=frozenset(skips), spec=spec_of_job)
    skips |= all_but_near(jobs, settings, TUNED["digits"])
    return Tuning(jobs, settings, skips=frozenset(skips), seeds=(0,), spec=spec_of_job)
