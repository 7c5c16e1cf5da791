"""The explorer that page 04 shows: the chance of each verdict on a claim whose truth is chosen."""

from __future__ import annotations

import ipywidgets as widgets

from repro.report.palette import COLOURS
from repro.report.simulate import FORMS, Setting, verdict_rates
from repro.widgets.parts import Message, beside, column, control, figure, guarded, table_html

TABLES, ANSWERS = 300, 8_000_000  # simulated for a change: at most so many, fewer where a table has many answers
COLOUR = {"reproduced": COLOURS["shift"], "not reproduced": COLOURS["chosen"], "undecided": COLOURS["faint"]}


def judging_explorer() -> widgets.Widget:
    """Seeds, test images, true gap and spread over seeds of two methods; shown is how often each verdict is reached.

    Every change simulates some hundreds of tables (`repro.report.simulate`), always the same ones for the same values.
    """
    claim = control(widgets.Dropdown, "claim", options=list(FORMS))
    gap = control(widgets.FloatSlider, "true gap (points)", "A minus B", min=-5, max=5, step=0.25, value=2)
    seeds = control(widgets.IntSlider, "seeds", "trainings of each method", min=1, max=10, value=3)
    images = control(widgets.Dropdown, "test images", options=[100, 360, 1000, 2000, 5000, 10_000], value=2000)
    seed_sd = control(
        widgets.FloatSlider, "spread (points)", "standard deviation over seeds", min=0, max=3, step=0.25, value=1
    )
    accuracy = control(
        widgets.FloatSlider,
        "accuracy (%)",
        "of the best method",
        min=20,
        max=99,
        step=1,
        value=47,
        readout_format=".0f",
    )
    message, readout = Message(), widgets.HTML()
    plot = figure(y="simulated tables (%)", width=620, height=380, showlegend=False)
    plot.chart.update_yaxes(range=[0, 105])
    plot.chart.add_bar(x=list(COLOUR), marker={"color": list(COLOUR.values())}, cliponaxis=False)

    @guarded(message, plot, readout)
    def update(_=None) -> None:
        per_table = len(FORMS[claim.value].levels) * seeds.value * images.value
        tables = max(20, min(TABLES, ANSWERS // per_table))
        setting = Setting(images.value, accuracy.value, seed_sd.value)
        rates = verdict_rates(claim.value, setting, seeds=seeds.value, gap=gap.value, tables=tables)
        with plot.change() as chart:
            chart.data[0].y = [rates[name] for name in COLOUR]
            chart.data[0].text = [f"{rates[name]:.0f} %" for name in COLOUR]
            chart.layout.title.text = f"Verdicts on “{claim.value}” in {tables} simulated tables"
        readout.value = table_html([(name, f"{rates[name]:.1f} %") for name in COLOUR])
        message.clear()
        if seeds.value < 3 and rates["undecided"] == 100:
            message.note("Fewer than 3 seeds decide nothing here: too little is known of their spread.")

    for widget in (claim, gap, seeds, images, seed_sd, accuracy):
        widget.observe(update, "value")
    update()
    return beside(column(claim, gap, seeds, images, seed_sd, accuracy, message, readout), plot)
