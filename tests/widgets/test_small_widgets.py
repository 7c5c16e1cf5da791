"""The small explorers of notebooks 01, 04 and 10: functions, and controls moved from Python."""

import json

import numpy as np
import pandas as pd
import pytest

from repro.errors import InputError
from repro.widgets.small import MEAN, adder_share, adder_term_at, ranking_view, strategies

pytest.importorskip("ipywidgets", reason="the notebooks extra is not installed")
pytest.importorskip("anywidget", reason="the notebooks extra is not installed")


@pytest.fixture
def points():
    """Two strategies, two seeds, four networks; under the second strategy the prediction is perfect."""
    rows = []
    for adaptive, sign in ((False, -1.0), (True, 1.0)):
        for seed in (0, 1):
            for rank, path in enumerate(("AA", "AC", "CA", "CC")):
                rows.append((adaptive, True, seed, path, 50 + sign * rank + 0.1 * seed, 80.0 + rank))
    columns = ["adaptive_lr", "separate_warmup", "seed", "path", "predicted_accuracy_pct", "true_accuracy_pct"]
    return pd.DataFrame(rows, columns=columns)


def controls(view, label):
    """Every widget below `view` whose description is `label`, the first one."""
    found = [view]
    for widget in found:
        if getattr(widget, "description", None) == label:
            return widget
        found.extend(getattr(widget, "children", ()))
    raise AssertionError(f"no control {label!r}")


def text_of(view):
    """All that the HTML widgets below `view` say."""
    found = [view]
    for widget in found:
        found.extend(getattr(widget, "children", ()))
    return " ".join(widget.value for widget in found if isinstance(getattr(widget, "value", None), str))


def figures(view):
    from repro.widgets.plot import Plot

    found, drawn = [view], []
    for widget in found:
        if isinstance(widget, Plot):
            drawn.append(widget)
        found.extend(getattr(widget, "children", ()))
    return drawn


def test_adder_term_is_the_paper_formula():
    assert adder_term_at(2.0, 0.5) == {"y": -1.5, "dy/dx": -1.0, "dy/dw": 1.5}
    assert adder_term_at(0.25, 0.5) == {"y": -0.25, "dy/dx": 0.25, "dy/dw": -0.25}


def test_moving_the_weight_moves_curves_and_markers():
    from repro.widgets import adder_term_explorer

    view = adder_term_explorer()
    (plot,) = figures(view)
    controls(view, "input x").value = 1.0
    controls(view, "weight w").value = -1.0
    output, marker = plot.chart.data[0], plot.chart.data[3]
    assert np.isclose(output.x[np.argmax(output.y)], -1.0)
    assert (marker.x[0], marker.y[0]) == (1.0, -2.0)


def test_ranking_view_selects_strategy_and_seed(points):
    names = list(strategies(points))
    assert len(names) == 2
    worst, tau_worst = ranking_view(points, names[0], MEAN)
    best, tau_best = ranking_view(points, names[1], 1)
    assert (tau_worst, tau_best) == (-1.0, 1.0)
    assert list(best["predicted_accuracy_pct"]) == pytest.approx([50.1, 51.1, 52.1, 53.1])
    assert list(worst["predicted_rank"]) == [1, 2, 3, 4] and list(worst["true_rank"]) == [4, 3, 2, 1]


def test_ranking_view_leaves_out_networks_without_both_accuracies(points):
    points.loc[points["path"] == "AA", "true_accuracy_pct"] = np.nan
    view, _ = ranking_view(points, next(iter(strategies(points))))
    assert list(view["path"]) == ["AC", "CA", "CC"]


def test_ranking_view_refuses_what_it_does_not_know(points):
    with pytest.raises(InputError, match="true_accuracy_pct"):
        strategies(points.drop(columns="true_accuracy_pct"))
    with pytest.raises(InputError, match="empty"):
        strategies(points.iloc[:0])
    with pytest.raises(InputError, match="seed='7'"):
        ranking_view(points, next(iter(strategies(points))), 7)


def test_ranking_explorer_marks_the_chosen_network(points):
    from repro.widgets import ranking_explorer

    view = ranking_explorer(points)
    (plot,) = figures(view)
    assert "tau = 1.000" in plot.chart.layout.title.text
    controls(view, "network").value = "CA"
    assert list(plot.chart.data[1].x) == [82.0]
    controls(view, "training strategy").value = next(iter(strategies(points)))
    assert "tau = -1.000" in plot.chart.layout.title.text
    assert "CA" in plot.chart.data[0].text[2]


@pytest.mark.parametrize(
    ("path", "share"), [("CAAC", 0.5), ("CCg1,AAg1,AAg1,AAg1", 0.75), (("CCg1", "AAg1"), 0.5), ("", 0.0)]
)
def test_adder_share_of_both_spellings(path, share):
    assert adder_share(path) == share


def test_judging_explorer_follows_truth_and_effort(monkeypatch):
    from repro.report.simulate import SETTINGS, verdict_rates
    from repro.widgets import judging_explorer, judging_view

    monkeypatch.setattr(judging_view, "TABLES", 40)
    monkeypatch.setattr(judging_view, "ANSWERS", 5_000_000)
    view = judging_explorer()
    (plot,) = figures(view)
    (bars,) = plot.chart.data
    expected = verdict_rates("A > B", SETTINGS["CIFAR-like"], seeds=3, gap=2.0, tables=40)
    assert dict(zip(bars.x, bars.y)) == expected and "40 simulated tables" in plot.chart.layout.title.text
    shown = json.loads(plot.spec)
    assert shown["data"][0]["y"] == [expected[name] for name in bars.x] and shown["layout"]["yaxis"]["range"] == [
        0,
        105,
    ]
    controls(view, "true gap (points)").value = 5.0
    assert bars.y[0] > expected["reproduced"]
    controls(view, "true gap (points)").value = -5.0
    assert bars.y[0] == 0 and bars.y[1] > 50
    controls(view, "claim").value = "order of 4"
    assert "order of 4" in plot.chart.layout.title.text
    controls(view, "claim").value = "A > B"
    controls(view, "seeds").value = 2
    assert tuple(bars.y) == (0, 0, 100) and "Fewer than 3 seeds" in text_of(view)
    controls(view, "seeds").value = 10
    controls(view, "test images").value = 10_000
    assert "25 simulated tables" in plot.chart.layout.title.text, "large tables: fewer of them, in the same time"


def test_judging_explorer_says_what_cannot_be(monkeypatch):
    from repro.widgets import judging_explorer, judging_view

    monkeypatch.setattr(judging_view, "TABLES", 20)
    view = judging_explorer()
    (plot,) = figures(view)
    controls(view, "accuracy (%)").value = 98
    before = plot.spec
    controls(view, "true gap (points)").value = -4
    assert plot.spec == before and "must be a number between 0 and 100" in text_of(view)
    controls(view, "true gap (points)").value = -1
    assert plot.spec != before and "must be" not in text_of(view)
