"""The explorers' default views as plain tables and a figure, for pages on which no control is alive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from repro.widgets import design
from repro.widgets.design import Chip

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEFAULT_MODEL = "mobilenet_v2"
DEFAULT_PRESETS = ("conv", "shift", "adder")


def default_designs() -> tuple[pd.DataFrame, pd.DataFrame]:
    """(one row per operator preset, one row per layer and preset) of `DEFAULT_MODEL` in its published form."""
    start = design.network_defaults(DEFAULT_MODEL)
    totals, layers = [], []
    for preset in DEFAULT_PRESETS:
        params, traced = design.traced(design.replace(start, preset=preset))
        found, cost = design.counted(traced, params, "plain"), design.priced(traced, Chip())
        totals.append(
            {
                "operators": preset,
                "parameters (M)": params / 1e6,
                "multiplications (M)": found.mults / 1e6,
                "shifts (M)": found.shifts / 1e6,
                "additions (M)": found.adds / 1e6,
                "modelled energy (mJ)": cost.energy_mj,
                "modelled latency (ms)": cost.latency_ms,
            }
            | {f"{design.LEVEL_NAMES[level]} (mJ)": energy for level, energy in cost.by_level.items()}
        )
        layers.append(design.layer_frame(found, cost).assign(preset=preset, place=np.arange(len(traced))))
    return pd.DataFrame(totals), pd.concat(layers, ignore_index=True)


def layer_figure(layers: pd.DataFrame) -> Figure:
    """Modelled energy per layer, one panel per operator preset."""
    from repro.report.figures import new_figure
    from repro.report.palette import COLOURS

    figure, panels = new_figure(len(DEFAULT_PRESETS), 1, width_in=7.2, height_in=1.9)
    for axis, preset in zip(panels[:, 0], DEFAULT_PRESETS):
        for op in design.OPERATORS:
            mine = layers[(layers["preset"] == preset) & (layers["op"] == op)]
            if len(mine):
                axis.bar(mine["place"], mine["energy_mj"], color=COLOURS[op], label=op)
        axis.set(ylabel="energy (mJ)", title=f"{DEFAULT_MODEL}, {preset}")
        axis.legend(ncols=3, fontsize=8)
        axis.set(xlabel="layer, in order of execution" if preset == DEFAULT_PRESETS[-1] else " ")
    return figure
