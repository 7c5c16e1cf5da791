"""Scrub through a search of cells: edges thicken with their weight, and the cells that would be cut now change."""

from __future__ import annotations

import base64
import functools
import html
import io

import ipywidgets as widgets

from repro.report.figures import house_style
from repro.report.palette import COLOURS, OPERATORS, SERIES, lighter
from repro.search.cell_supernet import CONVOLUTIONS, OPERATIONS, TOPOLOGY
from repro.search.gradient import CellSearch
from repro.widgets.cell_search import (
    KIND_NAMES,
    PHASE_NAMES,
    STEP_NAMES,
    coefficient_history,
    edge_names,
    edge_view,
    epoch_figure,
    history,
    state_name,
)
from repro.widgets.parts import beside, column, control, figure, table_html

_SHADES = dict(zip(CONVOLUTIONS, (OPERATORS["shift"], lighter(OPERATORS["shift"], 0.4), SERIES[0], SERIES[5])))
_SHADES |= dict(zip(TOPOLOGY, (COLOURS["faint"], SERIES[4], SERIES[1], COLOURS["ink"])))


def _picture(search: CellSearch, epoch: int, kind: str) -> str:
    """The cell after an epoch as an image element; what it shows is its alternative text."""
    with house_style():
        stream = io.BytesIO()
        epoch_figure(search, epoch, kind).savefig(stream, format="svg", metadata={"Date": None})
    view = edge_view(search, epoch, kind)
    cut = view[view["cut"]].itertuples()
    kept = ", ".join(f"{row.operation} from {state_name(row.input)} into node {row.node}" for row in cut)
    data = base64.b64encode(stream.getvalue()).decode()
    text = html.escape(f"{KIND_NAMES[kind]} after epoch {epoch}; would be cut: {kept}")
    return f'<img alt="{text}" style="width:100%;max-width:880px" src="data:image/svg+xml;base64,{data}">'


def cell_search_explorer(search: CellSearch) -> widgets.Widget:
    """Move through the epochs of a search with a slider (or its arrow keys), or play them.

    Shown for an epoch: step, phase, rate, temperature and accuracies, the edges of one kind of cell, what would be cut
    now, drawn and as the genotype that the model "cells" takes; and the coefficients of an edge over all epochs.
    Raises: InputError for a search without epochs.
    """
    rows = history(search)
    last = len(rows)
    epoch = control(widgets.IntSlider, "epoch", "arrow keys move it by one", min=1, max=last, value=last)
    play = widgets.Play(min=1, max=last, value=last, interval=1200, tooltip="play the epochs")
    widgets.jslink((play, "value"), (epoch, "value"))
    kind = control(widgets.Dropdown, "cell", options=[(name, value) for value, name in KIND_NAMES.items()])
    edge = control(widgets.Dropdown, "edge", "whose candidates the chart shows", options=edge_names(search))
    readout, genotype, cells = widgets.HTML(), widgets.HTML(), widgets.HTML()
    plot = figure(x="epoch", y="coefficient of the candidate", width=760, height=340)
    for operation in OPERATIONS:
        plot.chart.add_scatter(
            mode="lines+markers", name=operation, line={"color": _SHADES[operation]}, marker={"size": 5}
        )
    plot.chart.add_vline(x=last, line={"color": COLOURS["chosen"], "dash": "dot"})
    plot.chart.update_yaxes(rangemode="tozero")
    plot.chart.update_xaxes(range=[0.5, last + 0.5])
    picture = functools.cache(functools.partial(_picture, search))

    def follow_edge(_=None) -> None:
        candidates = coefficient_history(search, kind.value, edge.value)
        with plot.change() as chart:
            for trace in chart.data:
                mine = candidates[candidates["operation"] == trace.name]
                trace.x, trace.y = mine["epoch"], mine["coefficient"]
                trace.visible = bool(len(mine))
            chart.layout.title.text = f"{edge.label}, {KIND_NAMES[kind.value]}: its candidates over the search"

    def follow_epoch(_=None) -> None:
        now = rows.iloc[epoch.value - 1]
        cells.value = picture(epoch.value, kind.value)
        genotype.value = (
            '<div style="font-weight:600">Genotype cut after this epoch</div><pre style="white-space:pre-wrap">'
            f"{html.escape(search.genotype_at(epoch.value).as_text())}</pre>"
        )
        with plot.change() as chart:
            chart.layout.shapes[0].x0 = chart.layout.shapes[0].x1 = epoch.value
        temperature = f"{now['temperature']:.3g}" if now["step"] == "topology" else "none in step one"
        edges = 2 * len(search.genotype_at(epoch.value).normal)
        facts = [
            ("step", STEP_NAMES[now["step"]]),
            ("trained", PHASE_NAMES[now["phase"]]),
            ("learning rate of the weights", f"{now['lr']:.3g}"),
            ("temperature of the pairs", temperature),
            ("accuracy, training images", f"{now['train_accuracy_pct']:.1f} %"),
            ("accuracy, held-out images", f"{now['held_out_accuracy_pct']:.1f} %"),
        ]
        if search.genotype is not None:
            facts.append(("edges cut now as in the end", f"{now['edges_as_final']:.0f} of {edges}"))
        readout.value = table_html(facts)

    def follow_kind(_=None) -> None:
        follow_edge()
        follow_epoch()

    epoch.observe(follow_epoch, "value")
    kind.observe(follow_kind, "value")
    edge.observe(follow_edge, "value")
    follow_kind()
    return beside(column(epoch, play, kind, edge, readout, genotype), column(cells, plot))
