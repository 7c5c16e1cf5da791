"""What page 04 shows of the simulation: rates of wrong verdicts as a table, power as a picture."""

from __future__ import annotations

import pandas as pd

from repro.papers.table import Drawing
from repro.report.figures import new_figure
from repro.report.palette import SERIES


def wrong_verdicts(rates: pd.DataFrame) -> pd.DataFrame:
    """One row a claim and setting of `repro.report.simulate.false_verdicts`; a cell is both rates, in per cent."""
    both = (
        rates["false_reproduced_pct"].map("{:.1f}".format)
        + " / "
        + rates["false_not_reproduced_pct"].map("{:.1f}".format)
    )
    cells = rates.assign(both=both, seeds=rates["seeds"].map("{} seeds".format))
    rows = cells.pivot_table("both", ["setting", "claim"], "seeds", aggfunc="first", sort=False)
    return rows.reset_index().rename_axis(columns=None)


def power_curves(power: pd.DataFrame) -> Drawing:
    """How often a true gap is found, over its size: a panel a setting, a line a number of seeds.

    Args:
        power: as `repro.report.simulate.power` gives it.
    """
    settings = list(power.groupby("setting", sort=False))
    figure, panels = new_figure(1, len(settings), width_in=3.4, height_in=2.8)
    for axis, (setting, part) in zip(panels[0], settings):
        for colour, (seeds, line) in zip(SERIES, part.groupby("seeds")):
            axis.plot(
                line["gap"], line["reproduced_pct"], marker="o", markersize=3, color=colour, label=f"{seeds} seeds"
            )
        axis.set(xlabel="true gap (points)", ylabel="tables found reproduced (%)", title=setting, ylim=(-2, 102))
    panels[0, 0].legend(fontsize=8, frameon=False)
    caption = "How often 'A > B' is found reproduced where A is better by the gap; at a gap of 0 it is a false verdict."
    return Drawing(figure, caption)
