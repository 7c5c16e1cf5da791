"""ShiftAddNAS table 7 (Sec. 4.7): operator sets of the search space.

`computed`: operations of the one network that is published (T0 at 256 pixels). `trained`: the four rows of the paper's
own space; each set has a supernet with heterogeneous sharing, a search, and the network found trained alone. The FBNet
space's rows are not run.
"""

from __future__ import annotations

import dataclasses

import pandas as pd

from repro.cost import CONVENTIONS
from repro.models.shiftaddnas import BLOCKS
from repro.papers import jobs
from repro.papers.analytic import analytic_frame
from repro.papers.kinds import spec_of
from repro.papers.shiftaddnas import sharing
from repro.papers.shiftaddnas.counts import vision_counts
from repro.papers.table import Table
from repro.search.hybrid_space import HybridSpace

SPACE, DATASET = "Our Space", "ImageNet"
SETS = {"Attn&Conv": "AC", "Shift&Add": "S+", "Attn&Conv&Add": "AC+", "All": "ACS+"}


def with_operators(space: HybridSpace, letters: str) -> HybridSpace:
    """The space with other operators; attention only at the resolutions where it was."""
    levels = [
        dataclasses.replace(
            level,
            operators="".join(x for x in BLOCKS if x in letters and (x != "A" or x in level.operators)),
        )
        for level in space.levels
    ]
    return HybridSpace(tuple(levels), space.layers)


def trained(recipe, seeds, run):
    """Test accuracy of what a search in each operator set found, trained alone; one row per set and search."""
    search = dataclasses.replace(recipe.search, limits={"macs_m": 1.0})
    spaces = {name: with_operators(recipe.space, letters) for name, letters in SETS.items()}
    supernets = {
        name: sharing.SupernetRun(recipe.data, space, sharing.MODES["w/ HWS"], recipe.supernet, (), search)
        for name, space in spaces.items()
    }
    done = run(
        {
            (name, seed): spec_of("shiftaddnas_supernet", each, seed)
            for name, each in supernets.items()
            for seed in seeds
        }
    )
    found = sharing.found_paths(seeds, done, SETS)
    retrained = run(
        {
            (row["method"], row["seed"]): sharing.path_spec(
                dataclasses.replace(recipe, space=spaces[row["method"]]), row["path"], recipe.found, row["seed"]
            )
            for row in found
        }
    )
    key = {"space": SPACE, "dataset": DATASET}
    frame = pd.DataFrame(
        {
            **key,
            "operators": name,
            "seed": seed,
            "accuracy_pct": jobs.accuracy_of(outcome),
            "note": jobs.note_of(outcome),
        }
        for (name, seed), outcome in retrained.items()
    )
    examples = (
        ({**key, "operators": name}, seed, "accuracy_pct", outcome, "top1_pct")
        for (name, seed), outcome in retrained.items()
    )
    frame.attrs["extra"] = {
        "found": pd.DataFrame({**row, "path": "-".join(row["path"])} for row in found).rename(
            columns={"method": "operators"}
        ),
        "examples": jobs.answers_frame(examples),
    }
    frame.attrs["stands_for"] = {recipe.data.dataset: DATASET}
    return frame


def computed():
    """Operations of the network with all operators."""
    counts = vision_counts("shiftaddnas_t0", 256)
    note = "ShiftAddNAS-T0 at 256 pixels, whose counts in table 4 are the same"
    values = {(SPACE, "All"): {key: counts[key] for key in ("mult_g", "add_g", "shift_g")} | {"note": note}}
    return analytic_frame(
        "shiftaddnas_t07",
        values,
        convention=CONVENTIONS["shiftaddnas"].text,
        unknown="searched architecture not published",
    )


TABLE = Table(
    "Operator sets of the search space",
    trained=trained,
    computed=computed,
    recipes=sharing.RECIPES,
    seeds=sharing.SEEDS,
    scale={
        preset: f"{text} Here four operator sets, each with its own supernet and search; no energy limit."
        for preset, text in sharing.SCALE.items()
    },
    layout="wide",
    keeps=("found", "examples"),
    models=("shiftaddnas_t0",),
    unit="search",
)
