"""ShiftAddNAS table 10 (appendix A): cost of a search by phase.

Ours: seconds of the searches of tables 3 and 6. The latency predictor and the evolution are the architecture search of
translation; scores of the paths that table 6 ranks are no part of a search.
"""

from __future__ import annotations

import dataclasses

import pandas as pd

from repro.papers.shiftaddnas import recipes, search_costs, sharing
from repro.papers.shiftaddnas.translation_recipes import RECIPES, SCALE, SEEDS, TranslationsRecipe
from repro.papers.table import Table


@dataclasses.dataclass(frozen=True)
class PhasesRecipe:
    """The searches of table 3 and of table 6."""

    translation: TranslationsRecipe
    vision: sharing.SharingRecipe


def trained(recipe, seeds, run):
    """One row per phase, domain and seed; its share of the search in `attrs["extra"]["shares"]`."""
    translation = search_costs.translation_phases(recipe.translation, seeds, run)
    phases = pd.concat(
        [
            translation[translation["method"] == "ShiftAddNAS"].assign(domain="NLP"),
            search_costs.vision_phases(recipe.vision, seeds, run).assign(domain="CV"),
        ],
        ignore_index=True,
    )
    frame = search_costs.days(phases, ["phase", "domain"])
    cost = frame["search_cost_gpu_days"]
    share = 100 * cost / cost.groupby([frame["domain"], frame["seed"]]).transform("sum", min_count=2)
    shares = frame[["phase", "domain", "seed"]].assign(share_pct=share)
    frame.attrs["extra"] = {"shares": shares, "phases": phases}
    return frame


_TEXTS = {preset: recipe for (preset, _), recipe in RECIPES.items()}
TABLE = Table(
    "Cost of a search by phase",
    trained=trained,
    recipes={
        (preset, dataset): PhasesRecipe(_TEXTS[preset], recipe) for (preset, dataset), recipe in recipes.RECIPES.items()
    },
    seeds=SEEDS,
    scale={
        preset: f"{search_costs.MACHINE} Translation: {text} Vision: {recipes.SCALE[preset]}"
        for preset, text in SCALE.items()
    },
    keeps=("shares", "phases"),
    unit="search",
)
