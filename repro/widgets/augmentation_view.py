"""The augmentation explorer: a target, the network around it, and what training and deployment cost."""

from __future__ import annotations

import ipywidgets as widgets

from repro.errors import InputError
from repro.report.palette import COLOURS
from repro.widgets import design
from repro.widgets.augmentation import MODELS, OPERATORS, Plan, augmentation_cost
from repro.widgets.parts import Message, beside, column, control, figure, heading, table_html

PARTS = {
    "parameters": ("params", "training_params"),
    "one pass, drawn network": ("macs", "mean_macs"),
    "one pass, widest network": ("macs", "widest_macs"),
}


class AugmentationExplorer:
    """State and widgets of one view; `view` is what is displayed, `cost` what `augmentation_cost` said last."""

    def __init__(self):
        slider = widgets.FloatSlider
        self.model = control(widgets.Dropdown, "target", options=list(MODELS))
        self.op = control(widgets.Dropdown, "operator", options=list(OPERATORS))
        self.resolution = control(widgets.BoundedIntText, "resolution (pixels)", value=160, min=16, max=512)
        self.width = control(slider, "width, up to (×)", value=2.2, min=1, max=3.2, step=0.2, readout_format=".1f")
        self.expand = control(slider, "expansion, up to (×)", value=2.2, min=1, max=3.2, step=0.2, readout_format=".1f")
        self.depth = control(widgets.IntSlider, "blocks per stage", "extra blocks behind each stage", min=0, max=3)
        self.message, self.readout = Message(), widgets.HTML()
        self.chart = figure(y="times the deployed network", width=560, height=360)
        self.chart.chart.add_bar(x=list(PARTS), name="deployed", marker={"color": COLOURS["shift"]})
        self.chart.chart.add_bar(x=list(PARTS), name="in training", marker={"color": COLOURS["conv"]})
        controls = (self.model, self.op, self.resolution, self.width, self.expand, self.depth)
        for each in controls:
            each.observe(lambda _: self._update(), "value")
        left = column(heading("Target and the network around it"), *controls, self.message, self.readout)
        self.view = beside(left, column(self.chart))
        self._update()

    @property
    def plan(self) -> Plan:
        """What the controls say."""
        network = design.replace(design.network_defaults(self.model.value), resolution=self.resolution.value)
        return Plan(network, self.op.value, self.width.value, self.expand.value, self.depth.value)

    def _update(self) -> None:
        try:
            self.cost = cost = augmentation_cost(self.plan)
        except InputError as error:
            self.message.error(error)
            return
        self.message.clear()
        with self.chart.change() as chart:
            chart.data[0].y = [1.0] * len(PARTS)
            chart.data[0].marker.color = COLOURS[self.op.value]
            chart.data[1].y = [cost[training] / cost[deployed] for deployed, training in PARTS.values()]
            chart.layout.title.text = f"{self.model.value}: an augmented step costs {cost['step']:.1f} plain ones"
        self.readout.value = table_html(
            [
                ("deployed: parameters", f"{cost['params'] / 1e6:.3f} M"),
                ("deployed: multiply-accumulates", f"{cost['macs'] / 1e6:.2f} M"),
                ("deployed: modelled energy", f"{cost['energy_mj']:.3f} mJ"),
                ("the same with convolutions", f"{cost['multiplicative_mj']:.3f} mJ"),
                ("in training: parameters", f"{cost['training_params'] / 1e6:.3f} M"),
                ("in training: passes of a step over plain", f"{cost['step']:.2f} ×"),
            ]
        )


def augmentation_explorer() -> widgets.Widget:
    """Choose a target, its operator and the multiples around it; see what training costs and what is deployed.

    Costs of a step are multiply-accumulates, not seconds: memory traffic and small layers make real steps dearer.
    """
    return AugmentationExplorer().view
