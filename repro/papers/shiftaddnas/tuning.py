"""What is tried for ShiftAddNAS: the peak rates of supernets, paths and residual networks, each by its own quality."""

from __future__ import annotations

import dataclasses

from repro.papers.jobs import Job
from repro.papers.jobs import spec as job_spec
from repro.papers.kinds import spec_of
from repro.papers.shiftaddnas import networks
from repro.papers.shiftaddnas.counts import SEARCHED
from repro.papers.shiftaddnas.networks import kind_of
from repro.papers.shiftaddnas.recipes import ADAMW_RATES, ALONE, RECIPES, SGD_RATES, TUNED_SETTINGS
from repro.papers.shiftaddnas.sharing import MODES, PLAIN, PathRun, SupernetRun
from repro.papers.tuning import Tuning
from repro.runs import RunSpec

PATHS = 2
"""How many of the ranked paths choose the rate of a path by itself."""


def tuning(dataset: str) -> Tuning:
    """The plain supernet of each kind of weights, by its paths' mean accuracy on held-out images; two paths alone.

    And every residual network of tables 4 and 11 that is built, by the accuracy on a fifth of its training images. The
    ways of sharing that table 6 is about, and how well any of them ranks, do not enter.
    """
    recipe = RECIPES["study", dataset]
    data = dataclasses.replace(recipe.data, tested_on="held out")
    ranked = tuple(recipe.ranked())
    jobs = {
        kind: SupernetRun(data, recipe.space, MODES[mode], recipe.supernet, ranked) for kind, mode in PLAIN.items()
    } | {f"{ALONE}: {'-'.join(path)}": PathRun(data, recipe.space, path, recipe.alone) for path in ranked[:PATHS]}
    table = networks.RECIPES["study", dataset]
    table = dataclasses.replace(table, data=dataclasses.replace(table.data, held_out=0.2, tested_on="held out"))
    residual = {f"{kind_of(row)}: {row}": table.job(row) for row in networks.ALL if row not in SEARCHED}
    skips = {(name, setting) for name in jobs for setting in SGD_RATES}
    skips |= {(name, setting) for name in residual for setting in ADAMW_RATES}
    return Tuning(jobs | residual, TUNED_SETTINGS, skips=frozenset(skips), spec=_spec)


def _spec(job: SupernetRun | PathRun | Job, seed: int) -> RunSpec:
    if isinstance(job, Job):
        return job_spec(job, seed)
    kind = "shiftaddnas_supernet" if isinstance(job, SupernetRun) else "shiftaddnas_path"
    return spec_of(kind, job, seed)
