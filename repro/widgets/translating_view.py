"""The translation explorer: a sentence, a network of the supernet, what it makes of it and what that costs."""

from __future__ import annotations

import html
import math

import ipywidgets as widgets

from repro.cost import ACCOUNTINGS
from repro.errors import InputError
from repro.models.translation_configs import CROSS_LAYERS
from repro.report.palette import COLOURS
from repro.widgets.parts import Message, beside, button, column, control, figure, guarded, heading, table_html
from repro.widgets.translating import CHOSEN, Translator

SCORE, COST = "validation BLEU", "modelled energy (mJ)"


class TranslationExplorer:
    """State and widgets of one view; `view` is what is displayed."""

    def __init__(self, translator: Translator):
        self.translator = translator
        source, target = translator.languages
        example = translator.examples[0] if translator.examples else ""
        self.network = control(widgets.Dropdown, "network", options=list(translator.networks))
        self.genes = {
            name: control(widgets.Dropdown, name, f"gene of the network: {name}", options=_shown(name, options))
            for name, options in translator.genes.items()
            if len(options) > 1
        }
        self.editor = widgets.Accordion([column(*self.genes.values())], titles=("Its genes; change one",))
        self.measure = button("Measure BLEU", "greedy BLEU and loss on the validation sentences", self._measure)
        self.measure_message = Message()
        self.sentence = control(widgets.Text, f"sentence ({source})", value=example)
        self.beam = control(widgets.IntSlider, "beam", "translations kept at each token", min=1, max=8, value=4)
        self.accounting = control(widgets.Dropdown, "accounting", options=list(ACCOUNTINGS))
        self.bits = control(widgets.Dropdown, "word width (bit)", options=[32, 8])
        self.sentence_message, self.output, self.readout = Message(), widgets.HTML(), widgets.HTML()
        self.map = figure(title="Networks of the supernet", x=COST, y=SCORE, width=560, height=360, showlegend=False)
        self.map.chart.add_scatter(mode="markers", marker={"color": COLOURS["faint"], "size": 9})
        self.map.chart.add_scatter(mode="markers", marker={"color": COLOURS["chosen"], "size": 13})
        self.network.observe(lambda _: self._chosen(), "value")
        for each in self.genes.values():
            each.observe(lambda _: self._edited(), "value")
        for each in (self.accounting, self.bits):
            each.observe(lambda _: self._costs(), "value")
        for each in (self.sentence, self.beam):
            each.observe(lambda _: self._translate(), "value")
        self._translate = guarded(self.sentence_message, self.output)(self._translate)
        left = column(
            heading("Network (weights inherited from the supernet)"),
            self.network,
            self.editor,
            self.measure,
            self.measure_message,
            heading("Translation"),
            self.sentence,
            self.beam,
            self.sentence_message,
            heading("Modelled chip, 30 tokens"),
            self.accounting,
            self.bits,
            self.readout,
        )
        self.view = beside(left, column(heading(f"{source} to {target}"), self.output, self.map))
        self._showing = False
        self._chosen()

    def _chosen(self) -> None:
        """Another network: its genes in the editor, then costs and translation."""
        if self._showing:
            return
        self._showing = True
        for name, option in self.translator.genes_of(self.network.value).items():
            if name in self.genes:
                self.genes[name].value = option
        self._showing = False
        self.measure_message.clear()
        self._absent()
        self._costs()
        self._translate()

    def _edited(self) -> None:
        """Another gene: the network is one chosen by hand from here on."""
        if self._showing:
            return
        fixed = self.translator.genes_of(self.network.value)
        name = self.translator.choose(fixed | {name: gene.value for name, gene in self.genes.items()})
        self._showing = True
        self.network.options = list(self.translator.networks)
        self.network.value = name
        self._showing = False
        self._chosen()

    def _absent(self) -> None:
        """Genes of layers that the network has not cannot be changed."""
        shown = self.translator.genes_of(self.network.value)
        for name, gene in self.genes.items():
            side, _, rest = name.partition(" ")
            layer = rest.partition(" ")[0]
            gene.disabled = layer.isdigit() and int(layer) >= shown[f"{side} layers"]

    def _measure(self) -> None:
        self.measure.disabled, name = True, self.network.value
        self.measure_message.note("Measuring on the validation sentences …")
        try:
            scores = self.translator.measure(name)
            self.measure_message.note(f"Measured now: validation BLEU {scores['validation_bleu']:.1f}.")
            self._costs()
        except InputError as error:
            self.measure_message.error(error)
        finally:
            self.measure.disabled = False

    def _translate(self) -> None:
        found = self.translator.translate(self.network.value, self.sentence.value, beam=self.beam.value)
        self.sentence_message.clear()
        self.output.value = f'<div role="status" style="font-size:16px;line-height:1.5">{html.escape(found)}</div>'

    def _costs(self) -> None:
        options = {"accounting": self.accounting.value, "bits": self.bits.value}
        facts = {name: self.translator.facts(name, **options) for name in self.translator.networks}
        mine = facts[self.network.value]
        with self.map.change() as chart:
            chart.data[0].x = [each["energy_mj"] for each in facts.values()]
            chart.data[0].y = [each["validation_bleu"] for each in facts.values()]
            chart.data[0].text = list(facts)
            chart.data[1].x, chart.data[1].y = [mine["energy_mj"]], [mine["validation_bleu"]]
        measured = not math.isnan(mine["validation_bleu"])
        of = "" if self.network.value == CHOSEN else ", of the record"
        rows = [
            (f"validation BLEU{of}", f"{mine['validation_bleu']:.1f}" if measured else "not measured"),
            ("validation loss (nats per token)", f"{mine['validation_loss']:.3f}" if measured else "not measured"),
            ("parameters (thousands)", f"{mine['params'] / 1e3:.1f}"),
            ("FLOPs (millions)", f"{mine['flops'] / 1e6:.2f}"),
            ("modelled latency (µs)", f"{1e3 * mine['latency_ms']:.1f}"),
            ("modelled energy (µJ)", f"{1e3 * mine['energy_mj']:.1f}"),
        ]
        layers = self.translator.layers(self.network.value)
        rows += [(f"{side}, layer", f"{block}, {ffn} wide, heads: {heads}") for side, block, ffn, heads in layers]
        self.readout.value = table_html(rows)


def _shown(gene: str, options: tuple) -> list[tuple[str, object]]:
    """(label, option) of a gene; how many encoder layers are attended to is a code."""
    if gene.endswith(" cross"):
        return [(f"last {CROSS_LAYERS[code]} of the encoder's layers", code) for code in options]
    return [(str(option), option) for option in options]


def translation_explorer(translator: Translator) -> widgets.Widget:
    """Translate a sentence with any network of a trained supernet; see its BLEU, latency and energy."""
    return TranslationExplorer(translator).view
