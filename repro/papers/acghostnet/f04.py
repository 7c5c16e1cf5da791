"""ACGhostNet figure 4 (Sec. 4.4): predicted against true accuracy of the 64 networks. The runs are those of table 6."""

from __future__ import annotations

import dataclasses
import math

from scipy import stats

from repro.papers.acghostnet import t06
from repro.papers.table import Drawing
from repro.report.figures import new_figure, scatter_with_fit


def trained(recipe, seeds, run):
    """One row per supernet and path: its accuracy with inherited weights and that of the path trained alone."""
    return t06.ranking_points(*t06.outcomes(recipe, seeds, run))


def draw(ours):
    """One panel per strategy, a dot per architecture (seeds averaged), Kendall's tau of the dots in the title."""
    accuracies = ["predicted_accuracy_pct", "true_accuracy_pct"]
    mean = ours.groupby([*t06.KEY, "path"], as_index=False)[accuracies].mean().dropna()
    strategies = list(mean.groupby(t06.KEY))
    if not strategies:
        return []
    columns = min(2, len(strategies))
    figure, panels = new_figure(math.ceil(len(strategies) / columns), columns, share_x=True, share_y=True)
    taus = []
    for axes, ((adaptive, separate), mine) in zip(panels.flat, strategies):
        tau = stats.kendalltau(mine["predicted_accuracy_pct"], mine["true_accuracy_pct"]).statistic
        words = f"adaptive rate on {'both' if adaptive else 'adders'}", f"{'separate' if separate else 'no'} warm-up"
        scatter_with_fit(
            axes,
            mine["true_accuracy_pct"],
            mine["predicted_accuracy_pct"],
            x_label="true accuracy (%)",
            y_label="predicted accuracy (%)",
            title=f"{words[0]},\n{words[1]}: tau = {tau:.3f}",
        )
        taus.append(f"{tau:.3f} ({', '.join(words)})")
    for axes in list(panels.flat)[len(strategies) :]:
        axes.set_axis_off()
    count = max(len(mine) for _, mine in strategies)
    caption = (
        f"Supernet accuracy against stand-alone accuracy of {count} architectures, both mean over seeds, with the "
        f"fitted line. Kendall's tau of the dots: {'; '.join(taus)}. Table 6 has the mean tau of single "
        "supernets against single trainings."
    )
    return [Drawing(figure, caption)]


TABLE = dataclasses.replace(
    t06.TABLE,
    title="Predicted against true accuracy of the networks of the toy space",
    trained=trained,
    draw=draw,
    keeps=(),
)
