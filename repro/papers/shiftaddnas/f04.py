"""ShiftAddNAS figure 4b (Sec. 3.2): the learnt kernel T, from the pool's sorted weights to those of adder layers.

Figure 4a is a diagram; what it says of the pool is `repro.search.weight_sharing`.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from repro.papers.shiftaddnas import recipes, sharing
from repro.papers.table import Drawing, Table
from repro.report.figures import new_figure
from repro.report.palette import COLOURS, SERIES

SETTINGS = ("T from 1", "HWS w/o KL", "w/ HWS", "T and KL as released")


def trained(recipe, seeds, run):
    """One row per setting, level, supernet and place among the sorted weights: pool, and remapped, which is T(pool)."""
    done = run(sharing.supernet_specs(recipe, [name for name in SETTINGS if name in recipe.modes], seeds))
    curves = [
        pd.DataFrame({"setting": setting, "seed": seed, "level": each["level"], "share": each["share"]}).assign(
            pool=_short(each["pool"]), remapped=_short(each["remapped"])
        )
        for (setting, seed), outcome in done.items()
        for each in (outcome.value or {}).get("kernels", [])
    ]
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame()


def _short(weights: Sequence[float]) -> list[float]:
    """Five significant digits: nothing but a curve is drawn of them."""
    return [float(f"{weight:.5g}") for weight in weights]


def draw(ours):
    """T(w) over w after training, one panel per setting, one line per level (first seed)."""
    settings = list(dict.fromkeys(ours["setting"]))
    figure, axes = new_figure(1, len(settings), width_in=2.6, height_in=2.6)
    for setting, axis in zip(settings, axes.flat):
        mine = ours[(ours["setting"] == setting) & (ours["seed"] == ours["seed"].min())]
        for (level, curve), colour in zip(mine.groupby("level"), SERIES):
            curve = curve.sort_values("pool")
            axis.plot(curve["pool"], curve["remapped"], color=colour, linewidth=1, label=f"resolution {level}")
        ends = [mine["pool"].min(), mine["pool"].max()]
        axis.plot(ends, ends, color=COLOURS["faint"], linestyle=":", linewidth=1)
        axis.set(title=setting, xlabel="weight in the pool", ylabel="weight of the adder layer")
    axes.flat[0].legend(fontsize=8, frameon=False)
    caption = "The kernel T of 3x3 adder filters after training, against no change (dotted); first seed."
    return [Drawing(figure, caption)]


TABLE = Table(
    "The learnt kernel T that maps shared weights to those of adder layers",
    trained=trained,
    draw=draw,
    recipes=recipes.RECIPES,
    seeds=recipes.SEEDS,
    scale=recipes.SCALE,
    unit="supernet",
)
