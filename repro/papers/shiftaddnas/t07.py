"""ShiftAddNAS table 7 (Sec. 4.7): operator sets of the search space.

`computed`: operations of the one network that is published (T0 at 256 pixels). `trained`: each operator set of either
space has a supernet with heterogeneous sharing, a search, and the network found trained alone.
"""

from __future__ import annotations

import dataclasses

import pandas as pd

from repro.cost import CONVENTIONS
from repro.models.shiftaddnas import BLOCKS
from repro.papers import jobs
from repro.papers.analytic import analytic_frame
from repro.papers.shiftaddnas import fbnet_space, recipes, sharing
from repro.papers.shiftaddnas.counts import vision_counts
from repro.papers.shiftaddnas.path_search import COSTS, COUNTS, path_costs
from repro.papers.table import Table
from repro.search.hybrid_space import HybridSpace, Level

SPACE, DATASET = "Our Space", "ImageNet"
FBNET, FBNET_DATASET = "FBNet Space", "CIFAR100"
SETS = {"Attn&Conv": "AC", "Shift&Add": "S+", "Attn&Conv&Add": "AC+", "All": "ACS+"}


@dataclasses.dataclass(frozen=True)
class VariantsRecipe:
    """The searches in the paper's own space and in FBNet's."""

    own: sharing.SharingRecipe
    fbnet: fbnet_space.FBNetRecipe


def with_operators(space: HybridSpace, letters: str) -> HybridSpace:
    """The space with those of its operators that are among the letters, at each resolution.

    Where none is left, all the letters: the printed Shift&Add network has 0.1 G multiplications, so that its blocks at
    7x7, where the space has attention and convolution, are none of these.
    """

    def kept(level: Level) -> Level:
        left = "".join(x for x in BLOCKS if x in letters and x in level.operators)
        return dataclasses.replace(level, operators=left or letters)

    return HybridSpace(tuple(map(kept, space.levels)), space.layers)


def trained(recipe, seeds, run):
    """Test accuracy of what a search in each operator set found, trained alone; one row per space, set and search.

    `attrs["extra"]`: found and found_fbnet (paths with their costs), examples.
    """
    found, retrained = _own_space(recipe.own, seeds, run)
    fbnet = fbnet_space.searched(recipe.fbnet, SETS, seeds, run)
    outcomes = [
        ({"space": space, "dataset": dataset, "operators": name}, seed, outcome)
        for space, dataset, done in ((SPACE, DATASET, retrained), (FBNET, FBNET_DATASET, fbnet.trained))
        for (name, seed), outcome in done.items()
    ]
    frame = pd.DataFrame(
        {**key, "seed": seed, "accuracy_pct": jobs.accuracy_of(outcome), "note": jobs.note_of(outcome)}
        for key, seed, outcome in outcomes
    )
    key = ["space", "operators", "seed"]
    large = found[list(COUNTS)].rename(columns=lambda name: name.replace("_m", "_g")) / 1e3
    counts = [
        pd.concat([found.assign(space=SPACE)[key], large], axis=1),
        fbnet.found.assign(space=FBNET)[[*key, *COUNTS]],
    ]
    frame = frame.merge(pd.concat(counts), how="left", on=key)
    frame.attrs["extra"] = {
        "found": found,
        "found_fbnet": fbnet.found,
        "examples": jobs.answers_frame(
            (key, seed, "accuracy_pct", outcome, "top1_pct") for key, seed, outcome in outcomes
        ),
    }
    frame.attrs["stands_for"] = {recipe.own.data.dataset: DATASET}
    return frame


def _own_space(recipe: sharing.SharingRecipe, seeds, run):
    """What the searches in the paper's own space found, one row each, and {(operators, seed): its training}."""
    search = dataclasses.replace(recipe.search, limits={"macs_m": 1.0})
    spaces = {name: with_operators(recipe.space, letters) for name, letters in SETS.items()}
    supernets = {
        name: sharing.SupernetRun(recipe.data, space, sharing.MODES["w/ HWS"], recipe.training("w/ HWS"), (), search)
        for name, space in spaces.items()
    }
    done = run({(name, seed): sharing.supernet_spec(each, seed) for name, each in supernets.items() for seed in seeds})
    found = sharing.found_paths(seeds, done, SETS)
    retrained = run(
        {
            (row["method"], row["seed"]): sharing.path_spec(
                dataclasses.replace(recipe, space=spaces[row["method"]]), row["path"], recipe.found, row["seed"]
            )
            for row in found
        }
    )
    rows = pd.DataFrame(
        [
            {**row, **path_costs(spaces[row["method"]], recipe.data, row["path"]), "path": "-".join(row["path"])}
            for row in found
        ],
        columns=["method", "seed", "path", "loss", *COSTS, "macs_m_limit", *COUNTS],
    )
    return rows.rename(columns={"method": "operators"}), retrained


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
    recipes={key: VariantsRecipe(recipe, fbnet_space.RECIPES[key]) for key, recipe in recipes.RECIPES.items()},
    seeds=recipes.SEARCH_SEEDS,
    scale={
        preset: f"{text} Here four operator sets, each with its own supernet and search; no energy limit. "
        "Each resolution keeps those of its operators that are in the set; where it has none of them (Shift&Add at 7x7 "
        "pixels of the paper's space) it takes the whole set. "
        f"{fbnet_space.SCALE[preset]}"
        for preset, text in recipes.SCALE.items()
    },
    layout="wide",
    keeps=("found", "found_fbnet", "examples"),
    models=("shiftaddnas_t0",),
    unit="search",
)
