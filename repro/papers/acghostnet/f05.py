"""ACGhostNet figure 5: the searched models, block by block. Each seed is a search of its own."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from repro.models.acghostnet import module_type
from repro.papers.acghostnet.found import (
    RECIPES,
    SCALE,
    STAGE_LENGTHS,
    SearchRun,
    search_spec,
    searches,
)
from repro.papers.acghostnet.models import frames, models_by_energy
from repro.papers.registry import Experiment
from repro.runs import Outcome, RunSpec

PLACES = tuple((stage, block) for stage, length in enumerate(STAGE_LENGTHS, 1) for block in range(1, length + 1))
"""(stage, block within it) of the sixteen blocks, both counted from 1."""


def plan(recipe: SearchRun, seeds: Sequence[int]) -> list[RunSpec]:
    """One search per seed."""
    return [search_spec(recipe, seed) for seed in seeds]


def drawn_models(path_by_model: dict[str, Sequence[str]]) -> pd.DataFrame:
    """model, stage, block, first_op, second_op, groups, module_type: one row per model and block."""
    rows = []
    for model, path in path_by_model.items():
        for (stage, block), name in zip(PLACES, path, strict=True):
            kind = module_type(name)
            operators = {"first_op": kind.primary, "second_op": kind.cheap, "groups": {1: "N", 2: "N/2"}[kind.divide]}
            rows.append({"model": model, "stage": str(stage), "block": block, **operators, "module_type": name})
    return pd.DataFrame(rows)


def tabulate(recipe: SearchRun, outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Models A to D of every search; `attrs["extra"]` has those of `acghostnet_models.frames`."""
    parts = [
        drawn_models({f"ACGhostNet-{name}": found.path for name, found in models_by_energy(outcome).items()}).assign(
            seed=outcome.spec.seed
        )
        for outcome in searches(outcomes)
    ]
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    frame.attrs["extra"] = frames(recipe, outcomes)
    return frame


EXPERIMENT = Experiment(
    table_id="acghostnet_f05",
    title="The searched models A to D, block by block",
    recipes=RECIPES,
    seeds={"smoke": (0,), "quick": (0,), "paper": (0,)},
    plan=plan,
    tabulate=tabulate,
    scale=SCALE,
)
