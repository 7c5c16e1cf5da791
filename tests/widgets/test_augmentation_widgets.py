"""The explorers of notebook 21: what their controls change."""

import pandas as pd
import pytest
import torch

from repro.errors import InputError

pytest.importorskip("ipywidgets", reason="the notebooks extra is not installed")
pytest.importorskip("anywidget", reason="the notebooks extra is not installed")

from repro.widgets.augmentation_view import AugmentationExplorer
from repro.widgets.channels_view import ChannelExplorer
from repro.widgets.weights_view import WeightExplorer


def test_a_wider_network_costs_training_and_leaves_the_deployed_one():
    view = AugmentationExplorer()
    before, title = dict(view.cost), view.chart.chart.layout.title.text
    assert before["macs"] == 29_722_800, "MobileNetV2-w0.35 at 160 pixels"
    view.width.value = 3.2
    assert view.cost["training_params"] > before["training_params"] and view.cost["step"] > before["step"]
    assert [view.cost[name] for name in ("params", "macs", "energy_mj")] == [
        before[name] for name in ("params", "macs", "energy_mj")
    ]
    assert view.chart.chart.layout.title.text != title
    assert list(view.chart.chart.data[1].y)[1] == pytest.approx(view.cost["mean_macs"] / view.cost["macs"])
    view.width.value = view.expand.value = 1.0
    assert view.cost["mean_macs"] == view.cost["widest_macs"] == view.cost["macs"] and view.cost["step"] == 2
    view.op.value = "adder"
    assert before["energy_mj"] < view.cost["energy_mj"] < view.cost["multiplicative_mj"]


def test_a_target_that_cannot_be_priced_is_said_and_the_chart_stays():
    view = AugmentationExplorer()
    spec = view.chart.spec
    view.resolution.value = 16
    assert "use a larger input" in view.message.value and view.chart.spec == spec
    view.resolution.value = 160
    assert not view.message.value and view.chart.spec == spec


def places():
    rows = [
        (0, "a", 0, 0, 1.0, True, False), (0, "a", 1, 1, 2.0, False, False),
        (1, "a", 0, 1, 3.0, True, True), (1, "a", 1, 0, 1.0, False, True),
        (0, "b", 0, 0, 5.0, True, False), (0, "b", 1, 1, 4.0, False, False),
        (1, "b", 0, 0, 6.0, True, False), (1, "b", 1, 1, 2.0, False, False),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["epoch", "layer", "place", "channel", "importance", "in_target", "moved"])


def test_the_slider_over_the_training_shows_which_channels_came_in():
    view = ChannelExplorer(places())
    shown = {trace.name: list(trace.y) for trace in view.bars.chart.data}
    assert shown["just came into it"] == [3.0] and shown["just left the target"] == [1.0]
    assert list(view.counts.chart.data[0].y) == [0, 1]
    assert view.readout.value.count(">1<") == 2, "one came in, one began outside"
    view.epoch.value = 0
    assert not len(view.bars.chart.data[1].y) and "before the training" in view.bars.chart.layout.title.text
    view.layer.value = "b"
    assert list(view.bars.chart.data[0].y) == [5.0] and list(view.counts.chart.data[0].y) == [0, 0]


def test_channels_without_a_training_are_refused():
    with pytest.raises(InputError, match="places is empty"):
        ChannelExplorer(places().iloc[:0])
    with pytest.raises(InputError, match="moved"):
        ChannelExplorer(places().drop(columns="moved"))


def test_trained_weights_have_their_own_spread():
    weight = torch.linspace(-1, 1, 600).reshape(20, 30)
    view = WeightExplorer({"blocks.1": weight})
    assert view.kind.value == "trained: blocks.1" and view.std.disabled
    assert view.spread == pytest.approx(float(weight.std(correction=0))) and view.weight.shape == (600,)
    drawn = view.map.spec
    view.kind.value = "Gaussian sample"
    assert not view.std.disabled and view.spread == view.std.value and view.map.spec != drawn
