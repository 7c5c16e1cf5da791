"""Figures 3 and 8 show one supernet without sharing: the same runs, of one resolution and of all."""

import pandas as pd
import pytest

from repro.papers import entry
from repro.papers.shiftaddnas.sharing import middle_cells, supernet_specs

OPS = ["conv", "shift", "adder"]


@pytest.fixture(scope="module")
def frame(smoke_table):
    return smoke_table("shiftaddnas_f08")


def test_figure_8_shows_the_supernets_of_figure_3_layer_by_layer(frame, smoke_table):
    other = smoke_table("shiftaddnas_f03")
    pd.testing.assert_frame_equal(frame, other, check_like=True)
    recipe = entry("shiftaddnas_f08").recipes["smoke", "digits"]
    assert set(frame["setting"]) == {"w/o WS"}
    assert set(zip(frame["layer"], frame["level"])) == set(middle_cells(recipe.space))
    assert sorted(map(tuple, frame[["layer", "op"]].values)) == sorted(
        (layer, op) for layer in set(frame["layer"]) for op in OPS
    )
    asked = {}
    entry("shiftaddnas_f08").trained(recipe, [0], lambda specs: asked.update(specs) or {})
    assert asked == supernet_specs(recipe, ("w/o WS",), [0])


def test_a_panel_for_every_operator_of_every_layer(frame):
    (drawing,) = entry("shiftaddnas_f08").draw(frame)
    bars = frame.attrs["extra"]["histograms"].groupby(["layer", "op"])["density"]
    panels = dict(zip([(layer, op) for layer in sorted(set(frame["layer"])) for op in OPS], drawing.figure.axes))
    for (layer, op), axis in panels.items():
        (row,) = frame[(frame["layer"] == layer) & (frame["op"] == op)].to_dict("records")
        told = f"{row['better_fit']}, excess kurtosis {row['excess_kurtosis']:z.1f}"
        assert axis.get_title() == f"layer {layer}, {op}:\n{told}"
        assert [bar.get_height() for bar in axis.patches] == bars.get_group((layer, op)).tolist()
        assert f"layer {layer}, {op} {row['correlation_with_start']:.2f}" in drawing.caption


def test_a_resolution_without_an_operator_leaves_its_panel_empty(frame):
    layer = frame["layer"].max()
    fewer = frame[(frame["layer"] != layer) | (frame["op"] != "shift")]
    fewer.attrs = frame.attrs
    (drawing,) = entry("shiftaddnas_f08").draw(fewer)
    assert [axis.get_title() == "" for axis in drawing.figure.axes[:6]] == [False] * 4 + [True, False]
