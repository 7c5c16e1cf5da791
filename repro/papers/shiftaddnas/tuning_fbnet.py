"""What is tried for the FBNet space of tables 5 and 7: rates of each operator set's supernet and of one network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from repro.papers import jobs
from repro.papers.shiftaddnas.fbnet_space import (
    FOUND,
    FOUND_RATES,
    RECIPES,
    SETS,
    SUPERNET,
    SUPERNET_RATES,
    TUNED,
    FBNetRecipe,
    FBNetRun,
    kind_of,
    limit_of,
    operations,
    run_spec,
)
from repro.papers.tuning import Tuning, all_but_near
from repro.runs import RunSpec
from repro.search.fbnet_supernet import SKIP
from repro.search.supernet import Path
from repro.train.data import generator_for

PATHS = 16
"""How many random paths judge a supernet."""


def tuning(dataset: str) -> Tuning:
    """Supernets by their paths' mean accuracy on held-out images; one path's network by its own, on the same images.

    No search is done, and no operator set is compared with another. Where a training takes minutes, one seed tries what
    digits chose and the rates on either side of it.
    """
    recipe = RECIPES["study", dataset]
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, tested_on="held out"))
    paths = {name: judged(recipe, name) for name in SETS}
    supernets = {
        kind_of(SUPERNET, name): dataclasses.replace(recipe.run(name), search=None, paths=paths[name]) for name in SETS
    }
    networks = {
        f"{kind_of(FOUND, name)}: {' '.join(path)}": recipe.job(name, path)
        for name in SETS
        for path in [representative(recipe, name, paths[name])]
    }
    skips = {(network, rate) for network in supernets for rate in FOUND_RATES}
    skips |= {(network, rate) for network in networks for rate in SUPERNET_RATES}
    jobs, settings = supernets | networks, SUPERNET_RATES | FOUND_RATES
    if dataset == "digits":
        return Tuning(jobs, settings, skips=frozenset(skips), spec=spec_of_job)
    skips |= all_but_near(jobs, settings, TUNED["digits"])
    return Tuning(jobs, settings, skips=frozenset(skips), seeds=(0,), spec=spec_of_job)


def judged(recipe: FBNetRecipe, name: str) -> tuple[Path, ...]:
    """Fixed random paths of an operator set."""
    return tuple(recipe.within(name).paths.sample_distinct(PATHS, generator_for("judged paths")))


def representative(recipe: FBNetRecipe, name: str, paths: Sequence[Path]) -> Path:
    """Of the paths with all operators of a set, the one with most operations that its search might find."""
    most = limit_of(recipe.within(name), recipe.data, recipe.search)
    wanted = {path: operations(recipe.space, recipe.data, path)["macs_m"] for path in paths if _whole(path, name)}
    return max((path for path, macs in wanted.items() if macs <= most), key=wanted.__getitem__)


def _whole(path: Path, name: str) -> bool:
    return {block.partition(":")[2] for block in path if block != SKIP} == set(SETS[name])


def spec_of_job(job: FBNetRun | jobs.Job, seed: int) -> RunSpec:
    """One supernet, or one network by itself."""
    return run_spec(job, seed) if isinstance(job, FBNetRun) else jobs.spec(job, seed)
