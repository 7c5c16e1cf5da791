"""ACGhostNet figure 6: FLOPs and energy of each block, averaged over the searched models. Each seed is a search."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from repro.papers.acghostnet.energy import EnergyLookup
from repro.papers.acghostnet.f05 import plan
from repro.papers.acghostnet.found import RECIPES, SCALE, SearchRun, energy_lookup, searches
from repro.papers.acghostnet.models import models_by_energy
from repro.papers.registry import Experiment
from repro.runs import Outcome


def mean_blocks(lookup: EnergyLookup, paths: Sequence[Sequence[str]]) -> pd.DataFrame:
    """block (from 1), flops_m (additions and multiplications) and energy_uj, averaged over networks."""
    table = lookup.table.set_index(["block", "module_type"])
    flops, energy = (table["fadd"] + table["fmul"]) / 1e6, table["energy_pj"] / 1e6
    rows = []
    for block in range(lookup.num_blocks):
        chosen = [(block, path[block]) for path in paths]
        rows.append({"block": block + 1, "flops_m": flops[chosen].mean(), "energy_uj": energy[chosen].mean()})
    return pd.DataFrame(rows)


def tabulate(recipe: SearchRun, outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Means over models A to D at the size at which the search trains them, one row per block and seed.

    `attrs["extra"]["paper_size"]`: the same networks at width 1 and 32 pixels.
    """
    lookups = {"ours": energy_lookup(recipe), "paper_size": EnergyLookup(32, 10)}
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in lookups}
    for outcome in searches(outcomes):
        paths = [found.path for found in models_by_energy(outcome).values()]
        for name, lookup in lookups.items():
            if paths:
                parts[name].append(mean_blocks(lookup, paths).assign(seed=outcome.spec.seed))
    frames = {name: pd.concat(part, ignore_index=True) if part else pd.DataFrame() for name, part in parts.items()}
    frames["ours"].attrs["extra"] = {"paper_size": frames["paper_size"]}
    return frames["ours"]


EXPERIMENT = Experiment(
    table_id="acghostnet_f06",
    title="Energy and FLOPs per block, averaged over the searched models",
    recipes=RECIPES,
    seeds={"smoke": (0,), "quick": (0,), "paper": (0,)},
    plan=plan,
    tabulate=tabulate,
    scale=SCALE,
)
