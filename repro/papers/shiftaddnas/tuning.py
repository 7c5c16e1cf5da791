"""What is tried for ShiftAddNAS: the peak rate of supernets and of paths, by their quality by themselves (Sec. 3.2)."""

from __future__ import annotations

import dataclasses

from repro.papers.kinds import spec_of
from repro.papers.shiftaddnas.recipes import ALONE, RECIPES, TUNED, TUNED_SETTINGS
from repro.papers.shiftaddnas.sharing import MODES, PLAIN, PathRun, SupernetRun
from repro.papers.tuning import Tuning, all_but_near
from repro.runs import RunSpec

PATHS = 4
"""How many of the ranked paths choose the rate of a path by itself."""


def tuning(dataset: str) -> Tuning:
    """The plain supernet of each kind of weights, by its paths' mean accuracy on held-out images; paths alone.

    The ways of sharing that table 6 is about, and how well any of them ranks, do not enter. Where a training takes
    minutes, one seed tries what digits chose and the rates on either side of it.
    """
    recipe = RECIPES["study", dataset]
    data = dataclasses.replace(recipe.data, tested_on="held out")
    ranked = tuple(recipe.ranked())
    jobs = {
        kind: SupernetRun(data, recipe.space, MODES[mode], recipe.supernet, ranked) for kind, mode in PLAIN.items()
    } | {f"{ALONE}: {'-'.join(path)}": PathRun(data, recipe.space, path, recipe.alone) for path in ranked[:PATHS]}
    if dataset == "digits":
        return Tuning(jobs, TUNED_SETTINGS, spec=_spec)
    skips = all_but_near(jobs, TUNED_SETTINGS, TUNED["digits"])
    return Tuning(jobs, TUNED_SETTINGS, skips=skips, seeds=(0,), spec=_spec)


def _spec(job: SupernetRun | PathRun, seed: int) -> RunSpec:
    kind = "shiftaddnas_supernet" if isinstance(job, SupernetRun) else "shiftaddnas_path"
    return spec_of(kind, job, seed)
