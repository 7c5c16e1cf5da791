"""The design explorer: controls on the left, counts, energies, layers and published networks on the right."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets as widgets

from repro.cost import ACCOUNTINGS, CONVENTIONS, Hardware
from repro.cost.eyeriss import RULES
from repro.errors import InputError
from repro.report.palette import COLOURS, LEVELS
from repro.widgets import design
from repro.widgets.design import Chip, Network
from repro.widgets.parts import Message, beside, button, column, control, fade, figure, heading, row, table_html
from repro.widgets.published import Source, published_front, published_points, quantities, standing

LAYER_QUANTITIES = {
    "energy_mj": "energy (mJ)",
    "latency_ms": "latency (ms)",
    "mults": "multiplications",
    "shifts": "shifts",
    "adds": "additions",
    "params": "parameters",
}
CHIP_FIELDS = {
    "pe_limit": ("PEs, fewer than", "processing elements; a mapping must use strictly fewer"),
    "buffer_words": ("on-chip buffer (words)", "inputs and partial sums of one pass must stay below it"),
    "weight_words": ("weights per PE (words)", "weight register file of a processing element"),
    "input_words": ("inputs per PE (words)", "input register file of a processing element"),
    "psum_words": ("sums per PE (words)", "partial sums of a processing element"),
}


def _changes(*controls: widgets.Widget, call) -> None:
    for each in controls:
        each.observe(lambda _: call(), "value")


class DesignExplorer:
    """State and widgets of one explorer; `view` is what is displayed. `sources` are the tables it is compared with.

    A control calls only the step it changes: `_network` traces the model, `_operators` applies operators chosen by
    hand, `_cost` prices, `_draw` draws. An error stops there, its sentence stands below the controls that caused it
    and names them by their labels, and figures keep, faded, the last design that could be built.
    """

    def __init__(self, model: str = "mobilenet_v2", sources: Sequence[Source] = ()):
        self.sources = {source.title: source for source in sources}
        self.params, self.base, self.layers = 0, (), []
        self.overrides: list[tuple[str, str]] = []
        self.found = self.cost = None
        self.busy = False
        self._make_network(model)
        self._make_operators()
        self._make_chip()
        self._make_figures()
        self._make_points()
        self.results = column(*self.right)
        self.view = beside(column(*self.left), self.results)
        self._network()

    # -- controls ---------------------------------------------------------------------------------------------------

    def _make_network(self, model: str) -> None:
        start = design.network_defaults(model)
        self.model = control(widgets.Dropdown, "model", options=design.models(), value=model)
        self.width = control(widgets.FloatText, "width multiplier", value=start.width, step=0.05)
        self.resolution = control(widgets.IntText, "image side (pixels)", value=start.resolution, step=16)
        self.classes = control(widgets.IntText, "classes", value=start.num_classes)
        self.options = control(widgets.Text, "other options", placeholder='form="cifar", head=448')
        self.preset = control(widgets.Dropdown, "operators", options=list(design.PRESETS), value=start.preset)
        self.network_message = Message()
        self.model.observe(lambda _: self._new_model(), "value")
        _changes(self.width, self.resolution, self.classes, self.options, self.preset, call=self._network)
        self.left = [heading("Network"), self.model, self.width, self.resolution, self.classes, self.options]
        self.left += [self.preset, self.network_message]

    def _make_operators(self) -> None:
        self.group = control(widgets.Dropdown, "select by stage or role", options=["(none)"])
        self.chosen = control(widgets.SelectMultiple, "layers", rows=7)
        self.operator_message = Message()
        self.group.observe(lambda _: self._select_group(), "value")
        buttons = [
            button(op, f"make the selected layers {op} layers", lambda op=op: self._override(op))
            for op in design.OPERATORS
        ]
        buttons.append(button("undo all", "give every layer the operator of the preset", lambda: self._override(None)))
        self.left += [heading("Operator of single layers"), self.group, self.chosen]
        self.left += [row(widgets.HTML("make them"), *buttons, gap="6px"), self.operator_message]

    def _make_chip(self) -> None:
        self.convention = control(widgets.Dropdown, "counting convention", options=list(CONVENTIONS))
        self.accounting = control(widgets.Dropdown, "accounting", options=list(ACCOUNTINGS))
        self.bits = control(widgets.Dropdown, "word width (bit)", options=[32, 8])
        self.energies = control(widgets.Dropdown, "unit energies", options=list(design.energy_tables()))
        self.words = control(
            widgets.Text,
            "own word widths (bit)",
            "widths of input, weight and output words, such as 16, 5, 16; empty: those of the accounting",
            placeholder="input, weight, output",
        )
        self.rule = control(widgets.Dropdown, "tiling that minimises", options=list(RULES))
        standard = Hardware()
        self.hardware = {
            name: control(widgets.IntText, label, tooltip, value=getattr(standard, name))
            for name, (label, tooltip) in CHIP_FIELDS.items()
        }
        self.clock = control(widgets.FloatText, "clock (MHz)", value=standard.clock_mhz)
        self.chip_message, self.note = Message(), Message("800px")
        chip = [self.accounting, self.bits, self.energies, self.words, self.rule, *self.hardware.values(), self.clock]
        _changes(self.convention, *chip, call=self._cost)
        self.left += [heading("Counting and modelled chip"), self.convention, *chip, self.chip_message]

    def _make_figures(self) -> None:
        self.readout = widgets.HTML()
        self.levels = figure(title="Energy by level", x="energy (mJ)", width=440, height=230, barmode="stack")
        self.levels.chart.update_layout(legend={"y": -0.6, "traceorder": "normal"}, margin={"l": 20, "b": 70})
        self.levels.chart.update_yaxes(showticklabels=False)
        for name, colour in LEVELS.items():
            self.levels.chart.add_bar(
                x=[0], y=[""], orientation="h", name=design.LEVEL_NAMES[name], marker={"color": colour}
            )
        self.quantity = control(widgets.Dropdown, "per layer", options=[(v, k) for k, v in LAYER_QUANTITIES.items()])
        self.bars = figure(x="layer, in order of execution", y="energy (mJ)", width=800, height=300, barmode="stack")
        for op in design.OPERATORS:
            self.bars.chart.add_bar(name=op, marker={"color": COLOURS[op]}, hovertemplate="%{text}<extra></extra>")
        self.quantity.observe(lambda _: self._draw_layers(), "value")
        self.by_level, self.by_layer = column(self.levels), column(self.bars)
        self.right = [row(self.readout, self.by_level), self.note, self.quantity, self.by_layer]

    def _make_points(self) -> None:
        self.source = control(widgets.Dropdown, "published networks", options=list(self.sources))
        self.against = control(widgets.Dropdown, "accuracy against")
        self.points = figure(y="printed accuracy (%)", width=800, height=340)
        self.points.chart.add_scatter(
            mode="markers", name="printed networks", marker={"color": COLOURS["faint"], "size": 8}, hoverinfo="text"
        )
        self.points.chart.add_scatter(
            mode="lines+markers", name="their Pareto front", line={"shape": "hv", "color": COLOURS["conv"]}
        )
        self.points.chart.add_scatter(
            mode="lines", name="this design", line={"color": COLOURS["chosen"], "width": 3, "dash": "dash"}
        )
        self.standing = Message("800px")
        self.source.observe(lambda _: self._draw_points(), "value")
        self.against.observe(lambda _: None if self.busy else self._draw_points(), "value")
        if self.sources:
            self.right += [row(self.source, self.against), self.points, self.standing]

    # -- steps ------------------------------------------------------------------------------------------------------

    def _new_model(self) -> None:
        """Set width, resolution and classes to the published form of the chosen model."""
        start = design.network_defaults(self.model.value)
        self.busy = True
        self.width.value, self.resolution.value = start.width, start.resolution
        self.classes.value, self.options.value, self.preset.value = start.num_classes, "", start.preset
        self.busy = False
        self._network()

    def _network(self) -> None:
        """Trace the network that the controls describe."""
        if self.busy:
            return
        network = Network(
            self.model.value,
            self.width.value,
            self.resolution.value,
            self.classes.value,
            self.preset.value,
            self.options.value,
        )
        try:
            self.params, self.base = design.traced(network)
        except InputError as error:
            self._refuse(error)
            return
        self.network_message.clear()
        fade(self.results, False)
        self.operator_message.clear()
        names = {layer.name for layer in self.base}
        self.overrides = [pair for pair in self.overrides if pair[0] in names]
        self.groups = {"(none)": []} | design.groups(self.base)
        if list(self.group.options) != list(self.groups):
            self.group.options = list(self.groups)
        self._operators()

    def _refuse(self, error: InputError) -> None:
        """Say why there is no such network, and fade the numbers and charts of the one before."""
        controls = {"width": self.width, "resolution": self.resolution, "num_classes": self.classes}
        controls |= {"options": self.options}
        self.network_message.error(error, {name: each.description for name, each in controls.items()})
        fade(self.results, True)

    def _select_group(self) -> None:
        self.chosen.value = tuple(self.groups.get(self.group.value, ()))

    def _override(self, op: str | None) -> None:
        """Give the selected layers an operator, or every layer that of the preset again."""
        if op is None:
            self.overrides = []
        elif not self.chosen.value:
            self.operator_message.error("No layer is selected; choose layers, or a stage or role, first.")
            return
        else:
            wanted = [(name, op) for name in self.chosen.value]
            try:
                design.assigned(self.base, wanted)
            except InputError as error:
                self.operator_message.error(error)
                return
            self.overrides = [pair for pair in self.overrides if pair[0] not in self.chosen.value] + wanted
        self.operator_message.clear()
        self._operators()

    def _operators(self) -> None:
        """Apply the operators chosen by hand and list the layers with theirs."""
        self.layers = design.assigned(self.base, self.overrides)
        named = {layer.name: layer.op for layer in self.layers if layer.kind != "matmul"}
        options = [(f"{op:<6} {name}", name) for name, op in named.items()]
        if list(self.chosen.options) != options:
            selected = [name for name in self.chosen.value if name in named]
            self.chosen.options = options
            self.chosen.value = selected
        self._cost()

    def _cost(self) -> None:
        """Count and price the layers."""
        self.found = design.counted(self.layers, self.params, self.convention.value)
        try:
            self.unit = design.unit_energies(self._chip())
            self.cost = design.priced(self.layers, self._chip())
        except InputError as error:
            labels = {name: each.description for name, each in self.hardware.items()}
            self.chip_message.error(
                error, labels | {"clock_mhz": self.clock.description, "word widths": self.words.description}
            )
            self.cost = None
        else:
            self.chip_message.clear()
        self._draw()

    def _chip(self) -> Chip:
        sizes = {name: each.value for name, each in self.hardware.items()}
        return Chip(
            self.accounting.value,
            self.bits.value,
            self.energies.value,
            self.words.value,
            self.rule.value,
            Hardware(**sizes, clock_mhz=self.clock.value),
        )

    # -- drawing ----------------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        found, cost = self.found, self.cost
        rows = [
            ("parameters", f"{found.params / 1e6:.3f} M"),
            ("multiplications", f"{found.mults / 1e6:.2f} M"),
            ("shifts", f"{found.shifts / 1e6:.2f} M"),
            ("additions", f"{found.adds / 1e6:.2f} M"),
            ("energy of these operations", f"{design.arithmetic_mj(found, self.unit):.4f} mJ"),
            ("energy on the modelled chip", f"{cost.energy_mj:.3f} mJ" if cost else "–"),
            ("latency on the modelled chip", f"{cost.latency_ms:.3f} ms" if cost else "–"),
        ]
        self.readout.value = table_html(rows)
        notes = [f"Counting: {found.convention.text}.", f"Unit energies: {self.unit.source}."]
        fade(self.by_level, cost is None)
        if cost is None:
            notes.append("No energy or latency on the chip: see the message below its settings.")
        else:
            notes += [f"As published: {note}." for note in cost.notes]
            with self.levels.change() as chart:
                for bar, name in zip(chart.data, LEVELS):
                    bar.x = [cost.by_level[name]]
                chart.layout.title.text = f"Energy by level, {cost.energy_mj:.3f} mJ in all"
        self.note.note(" ".join(notes))
        self.frame = design.layer_frame(found, cost)
        self._draw_layers()
        self._draw_points()

    def _draw_layers(self) -> None:
        quantity = self.quantity.value
        fade(self.by_layer, quantity not in self.frame)
        if quantity not in self.frame:
            return
        label = LAYER_QUANTITIES[quantity]
        with self.bars.change() as chart:
            for bar, op in zip(chart.data, design.OPERATORS):
                mine = self.frame[self.frame["op"] == op]
                bar.x, bar.y = mine.index.to_list(), mine[quantity].to_list()
                bar.text = [
                    f"{item.name}, {item.role}, {op}<br>{item.in_channels} → {item.out_channels} channels, "
                    f"{item.out_height}×{item.out_height}<br>{label}: {getattr(item, quantity):.4g}"
                    for item in mine.itertuples(index=False)
                ]
                bar.textposition = "none"
            chart.layout.yaxis.title.text = label
            chart.layout.title.text = f"{len(self.frame)} layers of {self.model.value}"

    def _own(self, quantity: str) -> float | None:
        """The design's value of a quantity that published points are drawn against."""
        if quantity == "energy_mj" and self.sources[self.source.value].energy == "chip":
            return None if self.cost is None else self.cost.energy_mj
        own = {"params_m": self.found.params, "mult_m": self.found.mults}
        if quantity in own:
            return own[quantity] / 1e6
        return design.arithmetic_mj(self.found, design.SIMULATOR_ENERGIES[32])

    def _draw_points(self) -> None:
        if not self.sources:
            return
        source = self.sources[self.source.value]
        known = [(label, name) for name, label in quantities(source).items()]
        if list(self.against.options) != known:
            self.busy = True
            self.against.options, self.against.value = known, known[0][1]
            self.busy = False
        quantity = self.against.value
        points, best = published_points(source), published_front(source, quantity)
        value = self._own(quantity)
        low, high = points["accuracy_pct"].min(), points["accuracy_pct"].max()
        with self.points.change() as chart:
            everything, edge, own = chart.data
            everything.x, everything.y = points[quantity].to_list(), points["accuracy_pct"].to_list()
            everything.text = [
                f"{item.label}<br>{item.accuracy_pct:.2f} %, {getattr(item, quantity):.4g}"
                for item in points.itertuples()
            ]
            edge.x, edge.y = best[quantity].to_list(), best["accuracy_pct"].to_list()
            own.x, own.y = ([], []) if value is None else ([value] * 2, [low, high])
            chart.layout.xaxis.title.text = dict(map(reversed, known))[quantity]
            chart.layout.title.text = f"Printed networks of {source.title}"
        if value is None:
            self.standing.note("The design has no modelled energy; see the message beside the chip's controls.")
        else:
            self.standing.note(standing(source, quantity, value))


def design_explorer(model: str = "mobilenet_v2", sources: Sequence[Source] = ()) -> widgets.Widget:
    """Choose a network, its operators and the chip; see counts, energy, latency, layers and published networks.

    Args:
        sources: published tables whose networks the design is compared with; none leaves that part out.

    Energy and latency are modelled (`repro.cost`), nothing is trained, and an accuracy is never predicted.
    """
    return DesignExplorer(model, sources).view
