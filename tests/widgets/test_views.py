"""What a control of the explorers sets off: which steps run, and which charts are sent to the page."""

import json

import pytest

pytest.importorskip("ipywidgets", reason="the notebooks extra is not installed")
pytest.importorskip("anywidget", reason="the notebooks extra is not installed")

from repro.errors import check_int
from repro.papers.explorers import SOURCES
from repro.widgets import design
from repro.widgets.design_view import DesignExplorer
from repro.widgets.parts import STALE, Message, figure, guarded
from repro.widgets.weights_view import WeightExplorer


@pytest.fixture
def steps(monkeypatch):
    """How often each step of a design ran, as a dict that counts on."""
    counts = dict.fromkeys(("traced", "counted", "priced"), 0)

    def counting(name, run):
        def count_and_run(*arguments):
            counts[name] += 1
            return run(*arguments)

        return count_and_run

    for name in counts:
        monkeypatch.setattr(design, name, counting(name, getattr(design, name)))
    return counts


def sent(view, *names):
    """The charts `names` of a view as a page gets them, and a list that grows by a name for every one sent."""
    log = []
    for name in names:
        getattr(view, name).observe(lambda _, name=name: log.append(name), "spec")
    return log


def changed(counts, action):
    before = dict(counts)
    action()
    return {name: counts[name] - before[name] for name in counts if counts[name] != before[name]}


def test_a_chart_is_sent_whole_and_once_for_all_changes_together():
    plot = figure(title="one", width=300, height=200)
    log = []
    plot.observe(lambda change: log.append(json.loads(change["new"])), "spec")
    with plot.change() as chart:
        chart.add_bar(x=[1, 2], y=[3, 4])
        chart.layout.title.text = "two"
    assert len(log) == 1
    assert log[0]["data"][0]["y"] == [3, 4] and log[0]["layout"]["title"]["text"] == "two"
    with plot.change() as chart:
        chart.layout.title.text = "two"
    assert len(log) == 1, "nothing changed, so nothing is sent"


def test_all_charts_share_one_script():
    first, second = figure(), figure()
    assert first.script == second.script
    assert len(first.spec) < 20_000 and len(first._esm) < 5_000


def test_a_design_control_runs_its_own_step_and_later_ones_once_each(steps):
    view = DesignExplorer(sources=SOURCES)
    once = {"traced": 1, "counted": 1, "priced": 1}
    charts = sent(view, "levels", "bars", "points")
    assert changed(steps, lambda: setattr(view.preset, "value", "adder")) == once
    assert sorted(charts) == ["bars", "levels", "points"]
    assert changed(steps, lambda: setattr(view.resolution, "value", 128)) == once
    without_tracing = {"counted": 1, "priced": 1}
    assert changed(steps, lambda: setattr(view.clock, "value", 500.0)) == without_tracing
    assert changed(steps, lambda: setattr(view.bits, "value", 8)) == without_tracing
    view.chosen.value = (view.base[1].name,)
    assert changed(steps, lambda: view._override("shift")) == without_tracing
    assert changed(steps, lambda: setattr(view.model, "value", "mobilenet_v3_large")) == once
    del charts[:]
    assert changed(steps, lambda: setattr(view.quantity, "value", "latency_ms")) == {}
    assert charts == ["bars"]
    assert changed(steps, lambda: setattr(view.against, "value", "params_m")) == {}
    assert charts == ["bars", "points"]


def test_a_repeated_design_is_not_traced_or_priced_again():
    view = DesignExplorer(sources=SOURCES)
    view.preset.value = "shift"
    before = design._priced.cache_info().misses, design.traced.cache_info().misses
    view.preset.value = "as published"
    view.preset.value = "shift"
    assert (design._priced.cache_info().misses, design.traced.cache_info().misses) == before


def test_a_design_that_does_not_fit_says_so_and_comes_back():
    view = DesignExplorer(sources=SOURCES)
    energy = view.levels.chart.layout.title.text
    view.hardware["pe_limit"].value = 4
    assert "does not fit the modelled accelerator" in view.chip_message.value
    assert "No energy or latency on the chip" in view.note.value and view.cost is None
    assert STALE in view.by_level._dom_classes and STALE in view.by_layer._dom_classes
    assert STALE not in view.results._dom_classes
    view.hardware["pe_limit"].value = 192
    assert view.chip_message.value == "" and view.levels.chart.layout.title.text == energy
    view.width.value = -1.0
    assert "width multiplier = -1.0" in view.network_message.value
    assert STALE in view.results._dom_classes, "numbers of the design before must not look valid"
    view.width.value = 0.5
    assert view.network_message.value == "" and STALE not in view.results._dom_classes


def test_an_error_names_the_control_as_it_is_labelled():
    view = DesignExplorer(sources=SOURCES)
    view.words.value = "16, five"
    assert f"{view.words.description} = " in view.chip_message.value and "words=" not in view.chip_message.value


def test_charts_that_are_older_than_an_error_fade_until_it_is_gone():
    view = WeightExplorer()
    view.powers.value = (-30, 2)
    assert view.round_message.failed and STALE in view.steps._dom_classes and STALE not in view.shapes._dom_classes
    view.powers.value = (-14, 0)
    assert not view.round_message.failed and STALE not in view.steps._dom_classes

    message, shown, limit = Message(), figure(), [0]

    @guarded(message, shown)
    def update():
        check_int("limit", limit[0], minimum=1)
        message.clear()

    for limit[0], faded in ((0, True), (1, False)):
        update()
        assert (STALE in shown._dom_classes) == faded == message.failed


def test_a_design_without_published_tables_is_counted_and_priced_all_the_same(steps):
    view = DesignExplorer()
    charts = sent(view, "levels", "bars", "points")
    assert changed(steps, lambda: setattr(view.preset, "value", "adder")) == {"traced": 1, "counted": 1, "priced": 1}
    assert sorted(charts) == ["bars", "levels"] and view.points not in view.right


def test_weight_sliders_send_only_what_they_change():
    view = WeightExplorer()
    charts = sent(view, "shapes", "map", "steps", "sorted", "factors")
    view.pieces.value = 20
    assert sorted(charts) == ["factors", "sorted"] and len(view.factors.chart.data[0].y) == 20
    del charts[:]
    view.bits.value = 4
    assert charts == ["steps"]
    assert view.powers.value == (-6, 0)
    view.powers.value = (-20, 0)
    assert "bits name 7" in view.round_message.value
    del charts[:]
    view.scale.value = 0.1
    assert set(charts) == {"shapes", "map", "sorted", "factors"}
