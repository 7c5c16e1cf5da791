"""The ACGhostNet explorer: sixteen choices on a drawn network, energy by block, budget, files, training command."""

from __future__ import annotations

import functools
import html

import ipywidgets as widgets

from repro.errors import InputError
from repro.models.acghostnet import MODULE_TYPES
from repro.papers.acghostnet import explorer
from repro.report.palette import COLOURS, lighter
from repro.widgets.parts import Message, beside, button, column, control, figure, heading, row, table_html

# Hue says the primary operation, lightness the cheap one; a bold frame means N/2 groups.
TYPE_COLOURS = {
    "AA": COLOURS["adder"],
    "AC": lighter(COLOURS["adder"], 0.5),
    "CA": lighter(COLOURS["conv"], 0.5),
    "CC": COLOURS["conv"],
}
DRAWN = "As figure 5 draws it: click a block for its next type"


class GhostExplorer:
    """State and widgets of one ACGhostNet view; `view` is what is displayed."""

    def __init__(self, seed: int = 0):
        self.editor = explorer.GhostEditor(seed=seed)
        for inputs in explorer.INPUTS:  # a second each, now rather than at the first change of the images
            explorer.lookup(inputs)
        self.busy = False
        self._make_controls()
        self._make_blocks()
        self._make_figures()
        self._make_files()
        self.view = column(
            row(self.inputs, *self.actions),
            row(self.budget, self.best, self.budget_message),
            beside(self.blocks, column(self.drawing, self.energy)),
            row(column(*self.files), self.readout, gap="24px"),
        )
        self._show()

    def _make_controls(self) -> None:
        self.inputs = control(widgets.Dropdown, "images", options=list(explorer.INPUTS), width="350px")
        self.inputs.observe(lambda _: self._new_inputs(), "value")
        self.actions = [
            button("mutate", "give one random block another type", lambda: self._do(self.editor.mutate)),
            button("random", "draw all sixteen blocks anew", lambda: self._do(self.editor.random)),
            button("undo", "take the last change back", lambda: self._do(self.editor.undo)),
            button("all CCg1", "a plain GhostNet", lambda: self._do(lambda: self.editor.set(["CCg1"] * 16))),
            button("all AAg1", "adders in every block", lambda: self._do(lambda: self.editor.set(["AAg1"] * 16))),
        ]
        self.budget = control(widgets.FloatText, "energy budget (mJ)", value=0.15, step=0.005, width="350px")
        self.best = button("best under budget", explorer.PROXY, self._best)
        self.budget_message = Message("560px")
        self.budget_message.note(explorer.PROXY)

    def _make_blocks(self) -> None:
        self.dropdowns = []
        for index, stage in enumerate(explorer.stage_of_blocks()):
            made = widgets.Dropdown(
                options=list(MODULE_TYPES),
                description=f"block {index}",
                tooltip=f"module type of block {index}, stage {stage}",
                style={"description_width": "64px"},
                layout=widgets.Layout(width="auto", overflow="visible"),
            )
            made.observe(functools.partial(self._chosen, index), "value")
            self.dropdowns.append(made)
        grid = widgets.GridBox(
            self.dropdowns,
            layout=widgets.Layout(
                grid_template_columns="minmax(0, 175px) minmax(0, 175px)",
                grid_template_rows="repeat(8, auto)",
                grid_auto_flow="column",
                grid_gap="0 8px",
                max_width="372px",
            ),
        )
        self.blocks = column(heading("Module type of each block"), grid)

    def _make_figures(self) -> None:
        self.drawing = figure(title=DRAWN, width=860, height=190)
        self.drawing.chart.update_layout(bargap=0.06, margin={"l": 20, "r": 20, "b": 40}, title_font_size=12)
        numbers = list(range(explorer.NUM_BLOCKS))
        self.drawing.chart.update_xaxes(title="block", tickvals=numbers, range=[-1.9, 15.7], showgrid=False)
        self.drawing.chart.update_yaxes(visible=False, range=[0, 1.25])
        self.drawing.chart.add_bar(
            x=numbers, y=[1] * len(numbers), showlegend=False, textposition="inside", insidetextanchor="middle"
        )
        self.drawing.on_click(self._clicked)
        for stage in sorted(set(explorer.stage_of_blocks())):
            mine = [n for n, s in zip(numbers, explorer.stage_of_blocks()) if s == stage]
            self.drawing.chart.add_annotation(x=sum(mine) / len(mine), y=1.14, text=f"{stage}", showarrow=False)
        self.drawing.chart.add_annotation(x=-0.6, y=1.14, text="stage", showarrow=False, xanchor="right")
        self.energy = figure(title="Energy of each block", x="block", y="energy (µJ)", width=860, height=270)
        self.energy.chart.update_layout(barmode="stack", margin={"l": 60, "r": 20}, legend_y=-0.36)
        self.energy.chart.update_xaxes(dtick=1, range=[-0.7, 15.7])
        self.energy.chart.add_bar(name="multiplications, 3.7 pJ each", marker={"color": COLOURS["conv"]})
        self.energy.chart.add_bar(name="additions, 0.9 pJ each", marker={"color": COLOURS["adder"]})
        self.readout = widgets.HTML()

    def _make_files(self) -> None:
        self.text = widgets.Textarea(
            description="JSON", layout=widgets.Layout(width="520px", height="90px"), continuous_update=False
        )
        self.text.style.description_width = "64px"
        self.text.tooltip = "the architecture; edit it or paste another, then press load"
        self.command = widgets.Text(
            description="train", disabled=False, layout=widgets.Layout(width="520px"), continuous_update=False
        )
        self.command.style.description_width = "64px"
        self.download = widgets.HTML()
        self.copy = widgets.HTML()
        self.file_message = Message("520px")
        load = button("load JSON", "read the architecture from the text above", self._load)
        self.files = [heading("Keep and train"), self.text, row(load, self.download, gap="12px")]
        self.files += [self.file_message, self.command, self.copy]

    # -- actions ----------------------------------------------------------------------------------------------------

    def _do(self, change) -> None:
        change()
        self._show()

    def _chosen(self, block: int, change) -> None:
        if not self.busy:
            self._do(lambda: self.editor.set_block(block, change["new"]))

    def _clicked(self, trace: int, block: int) -> None:
        following = (MODULE_TYPES.index(self.editor.choices[block]) + 1) % len(MODULE_TYPES)
        self._do(lambda: self.editor.set_block(block, following))

    def _new_inputs(self) -> None:
        low, high = (energy * 1e-9 for energy in explorer.lookup(self.inputs.value).energy_range_pj())
        self.budget.value = round(low + 0.5 * (high - low), 4)
        self._show()

    def _best(self) -> None:
        try:
            self.editor.best_under(self.budget.value, self.inputs.value)
        except InputError as error:
            self.budget_message.error(error, {"budget": self.budget.description})
            return
        self.budget_message.note(explorer.PROXY)
        self._show()

    def _load(self) -> None:
        try:
            self.editor.set(explorer.from_json(self.text.value))
        except InputError as error:
            self.file_message.error(error)
            return
        self._show()

    # -- drawing ----------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        choices, inputs = self.editor.choices, self.inputs.value
        frame = explorer.block_frame(choices, inputs)
        total = explorer.lookup(inputs).score(list(choices)).iloc[0]
        low, high = (energy * 1e-9 for energy in explorer.lookup(inputs).energy_range_pj())
        self.busy = True
        for dropdown, choice in zip(self.dropdowns, choices):
            dropdown.value = choice
        self.busy = False
        with self.drawing.change() as chart:
            bars = chart.data[0]
            bars.marker.color = [TYPE_COLOURS[name[:2]] for name in choices]
            bars.marker.line.width = [4 if name.endswith("2") else 0 for name in choices]
            bars.marker.line.color = COLOURS["ink"]
            bars.text = [f"{name[:2]}<br>{name[2:]}" for name in choices]
            bars.hovertext = [
                f"block {item.block}: {item.module_type}<br>{item.energy_mj * 1e3:.2f} µJ"
                for item in frame.itertuples()
            ]
            bars.hoverinfo = "text"
        with self.energy.change() as chart:
            for bar, count, price in zip(chart.data, ("fmul_m", "fadd_m"), (3.7, 0.9)):
                bar.x, bar.y = frame["block"].to_list(), (frame[count] * price).to_list()
            chart.layout.title.text = f"Energy of each block; the whole network {total['energy_pj'] * 1e-9:.4f} mJ"
        self.readout.value = heading("Whole network").value + table_html(
            [
                ("parameters", f"{total['params'] / 1e6:.3f} M"),
                ("multiplications", f"{total['fmul'] / 1e6:.2f} M"),
                ("additions", f"{total['fadd'] / 1e6:.2f} M"),
                ("energy of these operations", f"{total['energy_pj'] * 1e-9:.4f} mJ"),
                ("cheapest and dearest of the space", f"{low:.4f} to {high:.4f} mJ"),
                ("changes to undo", str(self.editor.steps)),
            ]
        )
        self._show_files(choices, inputs)

    def _show_files(self, choices, inputs: str) -> None:
        self.file_message.clear()
        self.text.value = explorer.to_json(choices, inputs)
        self.command.value = explorer.training_command(choices)
        quoted = html.escape(self.command.value, quote=True)
        encoded = self.text.value.encode().hex(" ").replace(" ", "%")
        self.download.value = (
            f'<a download="acghostnet.json" href="data:application/json,%{encoded}">download as acghostnet.json</a>'
        )
        self.copy.value = (
            f'<button class="jupyter-button widget-button" style="width:auto" data-command="{quoted}" '
            "onclick=\"navigator.clipboard.writeText(this.dataset.command); this.textContent='copied'\">"
            "copy command</button>"
        )


def acghostnet_explorer(seed: int = 0) -> widgets.Widget:
    """Choose the module type of sixteen blocks; mutate, undo, sample under a budget; keep and train the result.

    Counts and energies are those of `repro.papers.acghostnet.energy`; nothing is trained.
    """
    return GhostExplorer(seed).view
