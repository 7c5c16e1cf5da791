"""ACGhostNet figure 3: energy and accuracy of what the search finds, by warm-up and by learning rate.

Left: separate warm-up to several thresholds t, and none (uniform sampling for as long). Right: the adaptive rate on
both operators, and on adders only. Every setting is a search of its own (CARS with pNSGA-III), judged as in table 4:
models A to D of its last front, each trained by itself.

The paper searches 16 blocks of 8 module types. At `smoke` and `quick` there are six blocks, one per stage, with the
same 8 types: 262,144 networks, and a search of a fraction of the time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pandas as pd

from repro.models.acghostnet import TOY_BLOCKS
from repro.papers.acghostnet.found import RECIPES as SEARCHES
from repro.papers.acghostnet.found import (
    SearchRun,
    generations_of,
    search_spec,
    searches,
    small_search,
)
from repro.papers.acghostnet.models import models_by_energy
from repro.papers.acghostnet.networks import NetworkRun, network_spec, trained
from repro.papers.acghostnet.scale import front_of
from repro.papers.acghostnet.t04 import RECIPES as TABLE_4
from repro.papers.data import DataRecipe
from repro.papers.registry import Experiment
from repro.runs import Outcome, RunSpec
from repro.search.cars import SearchRecipe
from repro.search.warmup import Warmup
from repro.train import TrainRecipe

KEY = ("panel", "setting", "seed")
POINT = ("path", "energy_uj", "inherited_accuracy_pct")


@dataclasses.dataclass(frozen=True)
class FrontRecipe:
    """A search, the thresholds t (percent) of the left panel, and how the found networks are trained by themselves.

    `search` is the setting that both panels share: separate warm-up, adaptive rate on both operators.
    `calibration_images` is explained at `NetworkRun`; `estimate_s` is for one network.
    """

    search: SearchRun
    thresholds_pct: tuple[float, ...]
    data: DataRecipe
    train: TrainRecipe
    calibration_images: int = 0
    estimate_s: float | None = None


def _with(run: SearchRun, **changes) -> SearchRun:
    return dataclasses.replace(run, search=dataclasses.replace(run.search, **changes))


def _threshold(search: SearchRecipe, t: float) -> Warmup:
    return dataclasses.replace(search.separate, threshold_pct=t)


def settings(recipe: FrontRecipe) -> list[tuple[str, str, SearchRun]]:
    """(panel, setting, search) of every curve; a search that serves both panels is named in each."""
    base = recipe.search
    adders_only = dataclasses.replace(base.search.train, adaptive="adder")
    return [
        ("warmup", "none", _with(base, separate=None)),
        *(
            ("warmup", f"separate {t:g}%", _with(base, separate=_threshold(base.search, t)))
            for t in recipe.thresholds_pct
        ),
        ("adaptive_lr", "both operators", base),
        ("adaptive_lr", "adders only", _with(base, train=adders_only)),
    ]


def plan(recipe: FrontRecipe, seeds: Sequence[int]) -> list[RunSpec]:
    """One search per setting and seed; equal ones once."""
    specs = [search_spec(run, seed) for _, _, run in settings(recipe) for seed in seeds]
    return list({spec.folder: spec for spec in specs}.values())


def _network(recipe: FrontRecipe, path: Sequence[str]) -> NetworkRun:
    shape = recipe.search.shape
    return NetworkRun("acghostnet", "-".join(path), recipe.data, shape, recipe.train, recipe.calibration_images)


def follow(recipe: FrontRecipe, seeds: Sequence[int], outcomes: Sequence[Outcome]) -> list[RunSpec]:
    """Models A to D of every search, trained with the search's seed; networks found twice are trained once."""
    specs = [
        network_spec(_network(recipe, found.path), outcome.spec.seed, recipe.estimate_s)
        for outcome in searches(outcomes)
        for found in models_by_energy(outcome).values()
    ]
    return list({spec.folder: spec for spec in specs}.values())


def tabulate(recipe: FrontRecipe, outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Long table: panel, setting, seed, model, path, energy_uj, inherited_accuracy_pct, accuracy_pct (trained alone).

    `attrs["extra"]`: fronts, the whole last front of every search with inherited accuracies; warmup, how each
    sub-supernet's warm-up ended, a search that two curves share once.
    """
    alone = {(row.run, row.seed): row.top1_pct for row in trained(outcomes).itertuples()}
    found = {(outcome.spec.recipe, outcome.spec.seed): outcome for outcome in searches(outcomes)}
    rows, fronts, warmups, told = [], [], [], set()
    for panel, setting, run in settings(recipe):
        for seed in sorted(seed for known, seed in found if known == run):
            key, outcome = {"panel": panel, "setting": setting, "seed": seed}, found[run, seed]
            generations = generations_of(outcome)
            fronts += [{**key, **_point(c)} for c in (front_of(generations[-1].survivors) if generations else [])]
            if (run, seed) not in told:
                warmups += [{**key, **group} for group in outcome.value["warmup"]]
            told.add((run, seed))
            rows += [
                {**key, "model": name, **_point(c), "accuracy_pct": alone.get((_network(recipe, c.path), seed))}
                for name, c in models_by_energy(outcome).items()
            ]
    frame = pd.DataFrame(rows, columns=[*KEY, "model", *POINT, "accuracy_pct"]).astype({"accuracy_pct": float})
    frame.attrs["extra"] = {"fronts": pd.DataFrame(fronts, columns=[*KEY, *POINT]), "warmup": pd.DataFrame(warmups)}
    return frame


def _point(candidate) -> dict:
    values = ("-".join(candidate.path), candidate.energy / 1e6, candidate.accuracy_pct)
    return dict(zip(POINT, values))


def _six_blocks(
    preset: str,
    dataset: str,
    search: SearchRecipe,
    thresholds_pct: tuple[float, ...],
    *,
    epochs: int,
    search_s: float,
    network_s: float,
) -> FrontRecipe:
    """Data, channels and training of the preset's full search and of table 4, but one block per stage."""
    full, networks = SEARCHES[preset, dataset], TABLE_4[preset, dataset]
    return FrontRecipe(
        SearchRun(full.data, dataclasses.replace(full.shape, blocks=TOY_BLOCKS), search, search_s),
        thresholds_pct,
        networks.data,
        dataclasses.replace(networks.train, epochs=epochs),
        networks.calibration_images,
        network_s,
    )


RECIPES = {
    ("smoke", "digits"): _six_blocks(
        "smoke", "digits", small_search(4, 3, 1, 4, 70.0, probes=1), (70.0,), epochs=1, search_s=2, network_s=1
    ),
    ("quick", "digits"): _six_blocks(
        "quick",
        "digits",
        dataclasses.replace(small_search(30, 18, 4, 16, 70.0, probes=2), evaluate_images=360),
        (70.0, 90.0),
        epochs=4,
        search_s=28,
        network_s=5,
    ),
    ("quick", "cifar10"): _six_blocks(
        "quick",
        "cifar10",
        dataclasses.replace(small_search(39, 21, 6, 16, 30.0, probes=2), evaluate_images=1000),
        (30.0, 40.0, 70.0),
        epochs=8,
        search_s=300,
        network_s=95,
    ),
}
RECIPES["paper", "cifar10"] = FrontRecipe(
    SEARCHES["paper", "cifar10"],
    (60.0, 70.0, 80.0),
    TABLE_4["paper", "cifar10"].data,
    TABLE_4["paper", "cifar10"].train,
    estimate_s=TABLE_4["paper", "cifar10"].estimate_s,
)

EXPERIMENT = Experiment(
    table_id="acghostnet_f03",
    title="Energy and accuracy of what the search finds, by warm-up and by adaptive rate",
    recipes=RECIPES,
    seeds={"smoke": (0,), "quick": (0, 1), "paper": (0, 1, 2)},
    plan=plan,
    follow=follow,
    tabulate=tabulate,
    scale={
        "smoke": "One generation in six blocks: checks that everything runs, says nothing about the claims.",
        "quick": (
            "Six blocks for the paper's 16, a quarter of the channels, small images, 30 epochs (CIFAR-10: 39) for 500, "
            "population 16 for 128, eta 0.5 for 1/15; networks trained 4 epochs (8), their batch norm re-estimated "
            "before the test. On CIFAR-10 70 % is out of reach: that warm-up runs to its limit of 7 epochs each."
        ),
        "paper": "The paper's settings where it states them; how four models are picked from each front is ours.",
    },
)
