"""The two small explorers that notebooks 01 and 10 show."""

from __future__ import annotations

import ipywidgets as widgets
import numpy as np
import pandas as pd

from repro.report.palette import COLOURS
from repro.widgets.parts import Message, beside, column, control, figure, guarded, table_html
from repro.widgets.small import MEAN, adder_share, adder_term_at, ranking_view, strategies

LIMIT = 3.0
TERM_LINES = {
    "y": ("output y = −|x − w|", COLOURS["ink"]),
    "dy/dw": ("gradient for w: x − w", COLOURS["conv"]),
    "dy/dx": ("gradient for x: HT(w − x)", COLOURS["adder"]),
}


def adder_term_explorer() -> widgets.Widget:
    """One term of an adder layer: move its weight w and its input x, watch output and both surrogate gradients.

    Curves and values come from `repro.ops` through its backward.
    """
    import torch

    from repro.widgets.small import adder_term

    # Everything depends on x - w alone, so that the operator runs once and the curves move with w.
    distance = torch.linspace(-2 * LIMIT, 2 * LIMIT, 241)
    curves = {name: values.numpy() for name, values in adder_term(distance).items()}
    offsets = distance.numpy()

    weight = control(widgets.FloatSlider, "weight w", min=-LIMIT, max=LIMIT, step=0.1, value=0.5)
    x = control(widgets.FloatSlider, "input x", min=-LIMIT, max=LIMIT, step=0.1, value=-1.0)
    readout = widgets.HTML()
    plot = figure(title="One term of an adder layer", x="input x", y="value", width=620, height=380)
    plot.chart.update_xaxes(range=[-LIMIT, LIMIT])
    plot.chart.update_yaxes(range=[-2 * LIMIT, 2 * LIMIT])
    for name, (label, colour) in TERM_LINES.items():
        plot.chart.add_scatter(x=offsets, y=curves[name], mode="lines", name=label, line={"color": colour, "width": 2})
    for label, colour in TERM_LINES.values():
        plot.chart.add_scatter(
            x=[0], y=[0], mode="markers", name=label, showlegend=False, marker={"color": colour, "size": 11}
        )
    plot.chart.add_vline(x=0, line={"color": COLOURS["faint"], "dash": "dot"})

    def update(_=None) -> None:
        values = adder_term_at(x.value, weight.value)
        with plot.change() as chart:
            for index, name in enumerate(TERM_LINES):
                chart.data[index].x = offsets + weight.value
                chart.data[index + 3].x, chart.data[index + 3].y = [x.value], [values[name]]
            chart.layout.shapes[0].x0 = chart.layout.shapes[0].x1 = weight.value
            chart.layout.title.text = f"One term of an adder layer, w = {weight.value:.1f}"
        readout.value = table_html([(label, f"{values[name]:.2f}") for name, (label, _) in TERM_LINES.items()])

    for slider in (weight, x):
        slider.observe(update, "value")
    update()
    return beside(column(weight, x, readout), plot)


def ranking_explorer(points: pd.DataFrame) -> widgets.Widget:
    """Predicted against true accuracy of every network, for a strategy and seed to choose; hovering shows the path.

    Args:
        points: adaptive_lr, separate_warmup, seed, path, predicted_accuracy_pct, true_accuracy_pct.
    Raises: InputError when a column is missing or there are no points.
    """
    known = strategies(points)
    seeds = [MEAN, *(str(seed) for seed in sorted(set(points["seed"])))]
    strategy = control(widgets.Dropdown, "training strategy", options=list(known), value=list(known)[-1])
    seed = control(widgets.Dropdown, "seed", options=seeds)
    path = control(widgets.Dropdown, "network", "mark one network", options=["none", *sorted(set(points["path"]))])
    message, readout = Message(), widgets.HTML()
    plot = figure(
        x="true accuracy, trained alone (%)", y="predicted accuracy, in the supernet (%)", width=620, height=440
    )
    plot.chart.add_scatter(
        mode="markers",
        name="networks",
        showlegend=False,
        marker={
            "size": 9,
            "colorscale": "Viridis",
            "cmin": 0,
            "cmax": 1,
            "colorbar": {"title": {"text": "adder<br>share"}, "thickness": 12, "tickformat": ".0%"},
        },
        hovertemplate="%{text}<br>true %{x:.2f} %<br>predicted %{y:.2f} %<extra></extra>",
    )
    plot.chart.add_scatter(
        mode="markers",
        showlegend=False,
        hoverinfo="skip",
        marker={"size": 18, "symbol": "circle-open", "line": {"width": 3}, "color": COLOURS["chosen"]},
    )

    @guarded(message, plot, readout)
    def update(_=None) -> None:
        view, tau = ranking_view(points, strategy.value, seed.value)
        chosen = view[view["path"] == path.value]
        with plot.change() as chart:
            chart.data[0].x, chart.data[0].y = view["true_accuracy_pct"], view["predicted_accuracy_pct"]
            chart.data[0].text = [
                f"{item.path}<br>rank {item.true_rank} true, {item.predicted_rank} predicted"
                for item in view.itertuples()
            ]
            chart.data[0].marker.color = [adder_share(item) for item in view["path"]]
            chart.data[1].x, chart.data[1].y = chosen["true_accuracy_pct"], chosen["predicted_accuracy_pct"]
            known_tau = f"Kendall tau = {tau:.3f}" if np.isfinite(tau) else "too few networks for Kendall tau"
            chart.layout.title.text = f"{len(view)} networks, {known_tau}"
        message.clear()
        if path.value != "none" and chosen.empty:
            message.note(f"{path.value} has no complete pair of accuracies under this choice.")
        readout.value = ""
        if len(chosen):
            item = next(chosen.itertuples())
            readout.value = table_html(
                [
                    ("true accuracy", f"{item.true_accuracy_pct:.2f} %, rank {item.true_rank}"),
                    ("predicted accuracy", f"{item.predicted_accuracy_pct:.2f} %, rank {item.predicted_rank}"),
                ]
            )

    for widget in (strategy, seed, path):
        widget.observe(update, "value")
    update()
    return beside(column(strategy, seed, path, message, readout), plot)
