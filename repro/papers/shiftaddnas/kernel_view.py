"""The learnt kernel T of a trained supernet as it acts (notebook 33)."""

from __future__ import annotations

import ipywidgets as widgets
import numpy as np
import pandas as pd
from scipy import stats

from repro.papers.shiftaddnas.sharing import MODES
from repro.report.palette import COLOURS
from repro.widgets.parts import beside, column, control, figure, table_html

PERCENTS = (1, 5, 50, 95, 99)


def kernel_explorer(curves: pd.DataFrame) -> widgets.Widget:
    """Choose a way of sharing, a seed and a resolution; see T over the pool's weights, and what T makes of them.

    Args:
        curves: the frame of figure 4: setting, seed, level, share (of the weights that are larger), pool, remapped.
    Dashed: the weights that a Laplace distribution, with the scale that the way of sharing pulls T(pool) to, has at the
    same places. The largest and the smallest weight have no such place.
    """
    setting = control(widgets.Dropdown, "way of sharing", options=list(dict.fromkeys(curves["setting"])))
    seed = control(widgets.Dropdown, "seed", options=sorted(set(curves["seed"])))
    level = control(widgets.Dropdown, "resolution", "0 is the finest", options=sorted(set(curves["level"])))
    readout = widgets.HTML()
    plot = figure(x="weight in the pool", y="weight of the adder layer", width=560, height=420)
    plot.chart.add_scatter(mode="lines", name="T", line={"color": COLOURS["adder"], "width": 2})
    plot.chart.add_scatter(mode="lines", name="no change", line={"color": COLOURS["faint"], "dash": "dot"})
    plot.chart.add_scatter(mode="lines", name="Laplace", line={"color": COLOURS["ink"], "dash": "dash"})

    def update(_=None) -> None:
        chosen = (
            (curves["setting"] == setting.value) & (curves["seed"] == seed.value) & (curves["level"] == level.value)
        )
        mine = curves[chosen].sort_values("pool")
        pool, remapped, share = (mine[name].to_numpy() for name in ("pool", "remapped", "share"))
        scale = MODES[setting.value].scale if setting.value in MODES else 1.0
        with plot.change() as chart:
            chart.data[0].x, chart.data[0].y = pool, remapped
            chart.data[1].x, chart.data[1].y = pool, pool
            inside = (share > 0) & (share < 1)
            chart.data[2].x, chart.data[2].y = pool[inside], stats.laplace.isf(share[inside], scale=scale)
            chart.data[2].name = f"Laplace(0, {scale:g})"
            chart.layout.title.text = f"T, {setting.value}, resolution {level.value}"
        larger = np.sort(share)  # the places fall where the weights rise
        rows = [
            (f"{percent:g} % of {what} below", f"{np.interp(1 - percent / 100, larger, np.sort(values)[::-1]):z.2f}")
            for percent in PERCENTS
            for what, values in (("the pool", pool), ("T(pool)", remapped))
        ]
        readout.value = table_html(rows)

    for widget in (setting, seed, level):
        widget.observe(update, "value")
    update()
    return beside(column(setting, seed, level, readout), plot)
