"""ShiftAddNAS table 8 (appendix A): cost of a search of translation networks.

Ours: seconds of table 3's searches, among all block types and, as HAT, among attention alone. One search evolves
networks under three limits.
"""

from __future__ import annotations

from repro.papers.shiftaddnas import search_costs
from repro.papers.shiftaddnas.translation_recipes import RECIPES, SCALE, SEEDS
from repro.papers.table import Table


def trained(recipe, seeds, run):
    """One row per method and seed, mean over language pairs; by phase in `attrs["extra"]["phases"]`."""
    phases = search_costs.translation_phases(recipe, seeds, run)
    frame = search_costs.days(phases, ["method"])
    frame.attrs["extra"] = {"phases": phases}
    return frame


TABLE = Table(
    "Cost of a search of translation networks",
    trained=trained,
    recipes=RECIPES,
    seeds=SEEDS,
    scale={
        preset: f"{search_costs.MACHINE} Evolved Transformer's search is not repeated. The searches of table 3: {text}"
        for preset, text in SCALE.items()
    },
    keeps=("phases",),
    fills="method != 'Evolved Trans.'",
    unit="search",
)
