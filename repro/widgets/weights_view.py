"""The weight explorer: a layer's distribution under remapping and rounding, and the kernel T as it acts."""

from __future__ import annotations

from collections.abc import Mapping

import ipywidgets as widgets
import numpy as np
import torch

from repro.augment.remap import PIECES, gaussian_to_laplacian
from repro.errors import InputError
from repro.ops.quantize import shift_exponents
from repro.report.palette import COLOURS
from repro.widgets import weights
from repro.widgets.parts import Message, beside, column, control, fade, figure, heading, row, table_html


class WeightExplorer:
    """State and widgets of one weight view; `view` is what is displayed.

    Args:
        trained: weights of trained layers by name, shown beside those that are drawn.
    """

    def __init__(self, trained: Mapping[str, torch.Tensor] | None = None):
        slider = widgets.FloatLogSlider
        self.trained = {f"trained: {name}": weight.detach().flatten() for name, weight in (trained or {}).items()}
        options = [*self.trained, *weights.STATES]
        self.kind = control(widgets.Dropdown, "weights of a layer", options=options)
        self.std = control(slider, "standard deviation", value=0.05, base=10, min=-3, max=0, step=0.05)
        self.scale = control(slider, "Laplace scale b", value=0.05, base=10, min=-3, max=0, step=0.05)
        self.bits = control(widgets.IntSlider, "shift weights (bit)", value=5, min=2, max=6)
        self.powers = control(widgets.IntRangeSlider, "powers of two, P", value=shift_exponents(5), min=-30, max=2)
        self.pieces = control(widgets.IntSlider, "pieces of T", value=PIECES, min=1, max=PIECES)
        self.remap_message, self.round_message = Message(), Message()
        self.readout = widgets.HTML()
        for each in (self.kind, self.std, self.scale):
            each.observe(lambda _: self._remap(), "value")
        self.bits.observe(lambda _: self._new_bits(), "value")
        self.powers.observe(lambda _: self._round(), "value")
        self.pieces.observe(lambda _: self._kernel(), "value")
        self._make_figures()
        left = column(
            heading("Layer and remapping (ShiftAddAug, equation 5)"),
            self.kind,
            self.std,
            self.scale,
            self.remap_message,
            heading("Rounding to powers of two (DeepShift-Q)"),
            self.bits,
            self.powers,
            self.round_message,
            heading("Transformation kernel T (ShiftAddNAS, equation 8)"),
            self.pieces,
            self.readout,
        )
        right = column(row(self.shapes, self.map), row(self.steps, self.sorted), self.factors)
        self.view = beside(left, right)
        self._remap()

    def _make_figures(self) -> None:
        share = "share of the weights (%)"
        self.shapes = figure(title="Distribution of the weights", x="weight", y=share, width=400)
        self.shapes.chart.add_scatter(mode="lines", name="Gaussian, as shared", line={"color": COLOURS["conv"]})
        self.shapes.chart.add_scatter(mode="lines", name="remapped to Laplace", line={"color": COLOURS["adder"]})
        self.map = figure(title="The mapping r", x="weight", y="remapped weight r(w)", width=340)
        self.map.chart.add_scatter(mode="lines", showlegend=False, line={"color": COLOURS["adder"]})
        self.map.chart.add_scatter(
            mode="lines", name="unchanged", showlegend=False, line={"color": COLOURS["faint"], "dash": "dot"}
        )
        self.steps = figure(title="After rounding", x="weight", y=share, width=400)
        self.steps.chart.add_bar(name="±2^P", marker={"color": COLOURS["shift"]})
        self.steps.chart.update_layout(showlegend=False)
        self.sorted = figure(title="T on the sorted weights", x="place in descending order", y="weight", width=340)
        for name, colour in (("shared", "conv"), ("T(W)", "shiftadd"), ("Laplace", "adder")):
            self.sorted.chart.add_scatter(mode="lines", name=name, line={"color": COLOURS[colour]})
        self.sorted.chart.data[2].line.dash = "dot"
        self.factors = figure(
            title="Factors of T, one per piece", x="piece", y="factor", width=752, height=260, showlegend=False
        )
        self.factors.chart.add_bar(marker={"color": COLOURS["shiftadd"]}, name="factor")

    def _remap(self) -> None:
        """New weights, their Laplace twin, and everything that follows from them."""
        self._remapped()
        for each in (self.shapes, self.map, self.sorted, self.factors):
            fade(each, self.remap_message.failed)
        fade(self.steps, self.remap_message.failed or self.round_message.failed)

    def _remapped(self) -> None:
        try:
            self.std.disabled = self.kind.value in self.trained
            if self.std.disabled:
                self.weight = self.trained[self.kind.value]
                self.spread = float(self.weight.std(correction=0))
            else:
                self.weight, self.spread = weights.layer_weights(self.std.value, self.kind.value), self.std.value
            self.target = gaussian_to_laplacian(self.weight, self.scale.value)
            self.limit = 4 * max(self.spread, 1.5 * self.scale.value)
            grid, mapped = weights.mapping(self.spread, self.scale.value, 3.5 * self.spread)
        except InputError as error:
            self.remap_message.error(error)
            return
        self.remap_message.clear()
        with self.shapes.change() as chart:
            for line, values in zip(chart.data, (self.weight, self.target)):
                line.x, share = weights.histogram(values, self.limit)
                line.y = 100 * share
            chart.layout.title.text = f"Distribution, b = {self.scale.value:.3g}"
        with self.map.change() as chart:
            chart.data[0].x, chart.data[0].y = grid, mapped
            chart.data[1].x, chart.data[1].y = grid, grid
        self._round()
        self._kernel()

    def _new_bits(self) -> None:
        """The range that the bits can name; a narrower one may be chosen afterwards."""
        before = self.powers.value
        self.powers.value = shift_exponents(self.bits.value)
        if self.powers.value == before:
            self._round()

    def _round(self) -> None:
        self._rounded()
        fade(self.steps, self.remap_message.failed or self.round_message.failed)

    def _rounded(self) -> None:
        try:
            values = weights.rounded(self.weight, self.bits.value, *self.powers.value).double().numpy()
        except InputError as error:
            self.round_message.error(error)
            return
        levels, counts = np.unique(values, return_counts=True)
        shown = np.abs(levels) <= 2 * self.limit
        with self.steps.change() as chart:
            bars = chart.data[0]
            bars.x, bars.y = levels[shown], 100 * counts[shown] / len(values)
            bars.width = np.maximum(0.012 * self.limit, 0.16 * np.abs(levels[shown]))
            chart.layout.xaxis.range = [-self.limit, self.limit]
            chart.layout.title.text = f"After rounding, {len(levels)} different values"
        lost = np.sqrt(np.mean((values - self.weight.double().numpy()) ** 2)) / self.spread
        self.round_message.note(
            f"{len(levels)} different weights; the root-mean-square change is {100 * lost:.1f} % of the deviation."
        )

    def _kernel(self) -> None:
        kernel = weights.fitted_kernel(self.weight, self.target, self.pieces.value)
        moved = kernel(self.weight).detach()
        every = slice(None, None, max(1, len(moved) // 500))
        places = np.arange(len(moved))[every]
        with self.sorted.change() as chart:
            lines = (self.weight, moved[self.weight.argsort(descending=True)], self.target)
            for line, values, sort in zip(chart.data, lines, (True, False, True)):
                values = values.sort(descending=True).values if sort else values
                line.x, line.y = places, values.numpy()[every]
        with self.factors.change() as chart:
            chart.data[0].x = list(range(1, kernel.pieces + 1))
            chart.data[0].y = kernel.alpha.detach().numpy()
            chart.layout.title.text = f"Factors of T, {kernel.pieces} pieces, fitted by least squares"
        rows = [("excess kurtosis (Gauss 0, Laplace 3)", "")]
        for name, values in (("shared weights", self.weight), ("remapped by r", self.target), ("mapped by T", moved)):
            rows.append((name, f"{weights.laplace_excess(values):.2f}"))
        self.readout.value = table_html(rows)


def weight_explorer(trained: Mapping[str, torch.Tensor] | None = None) -> widgets.Widget:
    """Move spread, Laplace scale, bits and P range, and see what becomes of the weights of a layer.

    The weights are those of `trained` by layer, or drawn; the kernel's factors are the least-squares ones, which
    training would approach if the distribution were its only aim.
    """
    return WeightExplorer(trained).view
