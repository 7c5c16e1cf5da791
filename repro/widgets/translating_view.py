"""The translation explorer: a sentence, a network of the supernet, what it makes of it and what that costs."""

from __future__ import annotations

import html

import ipywidgets as widgets

from repro.cost import ACCOUNTINGS
from repro.report.palette import COLOURS
from repro.widgets.parts import Message, beside, column, control, figure, guarded, heading, table_html
from repro.widgets.translating import Translator

SCORE, COST = "validation BLEU", "modelled energy (mJ)"


class TranslationExplorer:
    """State and widgets of one view; `view` is what is displayed."""

    def __init__(self, translator: Translator):
        self.translator = translator
        source, target = translator.languages
        example = translator.examples[0] if translator.examples else ""
        self.network = control(widgets.Dropdown, "network", options=list(translator.networks))
        self.sentence = control(widgets.Text, f"sentence ({source})", value=example)
        self.beam = control(widgets.IntSlider, "beam", "translations kept at each token", min=1, max=8, value=4)
        self.accounting = control(widgets.Dropdown, "accounting", options=list(ACCOUNTINGS))
        self.bits = control(widgets.Dropdown, "word width (bit)", options=[32, 8])
        self.sentence_message, self.output, self.readout = Message(), widgets.HTML(), widgets.HTML()
        self.map = figure(title="Networks of the supernet", x=COST, y=SCORE, width=560, height=360, showlegend=False)
        self.map.chart.add_scatter(mode="markers", marker={"color": COLOURS["faint"], "size": 9})
        self.map.chart.add_scatter(mode="markers", marker={"color": COLOURS["chosen"], "size": 13})
        for each in (self.network, self.accounting, self.bits):
            each.observe(lambda _: self._costs(), "value")
        for each in (self.network, self.sentence, self.beam):
            each.observe(lambda _: self._translate(), "value")
        self._translate = guarded(self.sentence_message, self.output)(self._translate)
        left = column(
            heading("Network (weights inherited from the supernet)"),
            self.network,
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
        self._costs()
        self._translate()

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
        rows = [
            ("validation BLEU, of the record", f"{mine['validation_bleu']:.1f}"),
            ("validation loss (nats per token)", f"{mine['validation_loss']:.3f}"),
            ("parameters (thousands)", f"{mine['params'] / 1e3:.1f}"),
            ("FLOPs (millions)", f"{mine['flops'] / 1e6:.2f}"),
            ("modelled latency (µs)", f"{1e3 * mine['latency_ms']:.1f}"),
            ("modelled energy (µJ)", f"{1e3 * mine['energy_mj']:.1f}"),
        ]
        layers = self.translator.layers(self.network.value)
        rows += [(f"{side}, layer", f"{block}, {ffn} wide, {heads} heads") for side, block, ffn, heads in layers]
        self.readout.value = table_html(rows)


def translation_explorer(translator: Translator) -> widgets.Widget:
    """Translate a sentence with a network of a trained supernet; see its recorded BLEU, latency and energy."""
    return TranslationExplorer(translator).view
