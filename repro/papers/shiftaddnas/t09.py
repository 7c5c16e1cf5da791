"""ShiftAddNAS table 9 (appendix A): cost of a search of vision networks.

Ours: seconds of table 6's supernet with heterogeneous sharing and of the search with it.
"""

from __future__ import annotations

from repro.papers.shiftaddnas import recipes, search_costs
from repro.papers.table import Table


def trained(recipe, seeds, run):
    """One row per seed; by phase in `attrs["extra"]["phases"]`."""
    phases = search_costs.vision_phases(recipe, seeds, run)
    frame = search_costs.days(phases, ["method"])
    frame.attrs["extra"] = {"phases": phases}
    return frame


TABLE = Table(
    "Cost of a search of vision networks",
    trained=trained,
    recipes=recipes.RECIPES,
    seeds=recipes.SEEDS,
    scale={
        preset: f"{search_costs.MACHINE} No run of ours stands for DARTS and BossNAS. The searches of table 6: {text}"
        for preset, text in recipes.SCALE.items()
    },
    keeps=("phases",),
    fills="method == 'ShiftAddNAS'",
    unit="search",
)
