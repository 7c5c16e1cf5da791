"""The learnt kernel T of a trained supernet as it acts (notebook 33)."""

from __future__ import annotations

import ipywidgets as widgets
import numpy as np
import pandas as pd
from scipy import stats

from repro.report.palette import COLOURS
from repro.widgets.parts import beside, column, control, figure, table_html


def kernel_explorer(curves: pd.DataFrame) -> widgets.Widget:
    """Choose a way of sharing, a seed and a resolution; see T over the pool's weights, and what T makes of them.

    Args:
        curves: the frame of figure 4: setting, seed, level, share, pool, remapped.
    """
    setting = control(widgets.Dropdown, "way of sharing", options=list(dict.fromkeys(curves["setting"])))
    seed = control(widgets.Dropdown, "seed", options=sorted(set(curves["seed"])))
    level = control(widgets.Dropdown, "resolution", "0 is the finest", options=sorted(set(curves["level"])))
    readout = widgets.HTML()
    plot = figure(x="weight in the pool", y="weight of the adder layer", width=560, height=420)
    plot.chart.add_scatter(mode="lines", name="T", line={"color": COLOURS["adder"], "width": 2})
    plot.chart.add_scatter(mode="lines", name="no change", line={"color": COLOURS["faint"], "dash": "dot"})
    plot.chart.add_scatter(mode="lines", name="to Laplace(0, 1)", line={"color": COLOURS["ink"], "dash": "dash"})

    def update(_=None) -> None:
        chosen = (
            (curves["setting"] == setting.value) & (curves["seed"] == seed.value) & (curves["level"] == level.value)
        )
        mine = curves[chosen].sort_values("pool")
        pool, remapped = mine["pool"].to_numpy(), mine["remapped"].to_numpy()
        with plot.change() as chart:
            chart.data[0].x, chart.data[0].y = pool, remapped
            chart.data[1].x, chart.data[1].y = pool, pool
            chart.data[2].x, chart.data[2].y = pool, stats.laplace.ppf((np.arange(len(pool)) + 0.5) / len(pool))
            chart.layout.title.text = f"T, {setting.value}, resolution {level.value}"
        numbers = {"deviation": np.std, "excess kurtosis": stats.kurtosis}
        rows = [
            (f"{name} of {what}", f"{number(values):z.2f}")
            for name, number in numbers.items()
            for what, values in (("the pool", pool), ("T(pool)", remapped))
        ]
        readout.value = table_html(rows)

    for widget in (setting, seed, level):
        widget.observe(update, "value")
    update()
    return beside(column(setting, seed, level, readout), plot)
