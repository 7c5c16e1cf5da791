"""The channel explorer: which channels came into the target, epoch by epoch."""

from __future__ import annotations

import ipywidgets as widgets
import pandas as pd

from repro.errors import InputError, check_choice
from repro.report.palette import COLOURS, lighter
from repro.widgets.parts import beside, column, control, figure, table_html

COLUMNS = ("epoch", "layer", "place", "channel", "importance", "in_target", "moved")
KINDS = {
    "in the target": (True, False, COLOURS["shift"]),
    "just came into it": (True, True, COLOURS["chosen"]),
    "augmented part": (False, False, lighter(COLOURS["conv"], 0.4)),
    "just left the target": (False, True, COLOURS["attention"]),
}


class ChannelExplorer:
    """State and widgets of one view; `view` is what is displayed.

    Args:
        places: a row per epoch (0: before the training), layer and place: `COLUMNS`; moved: the channel came into the
            target, or left it, in the exchange before this epoch.
    Raises: InputError for a missing column or no rows.
    """

    def __init__(self, places: pd.DataFrame):
        for name in COLUMNS:
            check_choice("column of places", name, places.columns)
        if not len(places):
            raise InputError("places is empty; watch a training with an augmented network first.")
        self.places = places
        layers = list(dict.fromkeys(places["layer"]))
        self.layer = control(widgets.Dropdown, "layer", "the layer that makes the channels", options=layers)
        last = int(places["epoch"].max())
        self.epoch = control(widgets.IntSlider, "epoch", "0: before the training", value=min(1, last), min=0, max=last)
        self.readout = widgets.HTML()
        self.bars = figure(x="place of the channel", y="importance (L1 norm)", width=640, height=340, barmode="overlay")
        for name, (*_, colour) in KINDS.items():
            self.bars.chart.add_bar(name=name, marker={"color": colour})
        self.counts = figure(
            title="Channels that came into the target", x="epoch", y="channels", width=640, height=260, showlegend=False
        )
        self.counts.chart.add_bar(name="came in")
        for each in (self.layer, self.epoch):
            each.observe(lambda _: self._update(), "value")
        self.view = beside(column(self.layer, self.epoch, self.readout), column(self.bars, self.counts))
        self._update()

    def _update(self) -> None:
        mine = self.places[self.places["layer"] == self.layer.value]
        now = mine[mine["epoch"] == self.epoch.value]
        with self.bars.change() as chart:
            for trace, (inside, moved, _) in zip(chart.data, KINDS.values()):
                shown = now[(now["in_target"] == inside) & (now["moved"] == moved)]
                trace.x, trace.y = shown["place"], shown["importance"]
                trace.customdata = shown["channel"]
                trace.hovertemplate = "place %{x}, began at %{customdata}<br>importance %{y:.2f}<extra></extra>"
            when = f"after epoch {self.epoch.value}" if self.epoch.value else "before the training"
            chart.layout.title.text = f"Channels of {self.layer.value}, {when}"
        came = mine[mine["moved"] & mine["in_target"]].groupby("epoch").size()
        epochs = sorted(mine["epoch"].unique())
        with self.counts.change() as chart:
            chart.data[0].x, chart.data[0].y = epochs, [int(came.get(epoch, 0)) for epoch in epochs]
            chosen = [COLOURS["chosen"] if epoch == self.epoch.value else COLOURS["faint"] for epoch in epochs]
            chart.data[0].marker.color = chosen
        target = now[now["in_target"]]
        self.readout.value = table_html(
            [
                ("channels of the target", f"{len(target)} of {len(now)}"),
                ("came in before this epoch", f"{int(target['moved'].sum())}"),
                ("of the target's, began outside of it", f"{int((target['channel'] >= len(target)).sum())}"),
            ]
        )


def channel_explorer(places: pd.DataFrame) -> widgets.Widget:
    """Move through a training, epoch by epoch, and see which channels were exchanged; `places` as `ChannelExplorer`."""
    return ChannelExplorer(places).view
