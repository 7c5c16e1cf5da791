"""Cells as graphs: an arc and a label for every edge, filled states for the output, widths that follow weights."""

from __future__ import annotations

import pytest
from matplotlib.colors import same_color

from repro.errors import InputError
from repro.models.genotypes import genotype
from repro.report.cell_graphs import cell_figure, draw_cell
from repro.report.figures import new_figure
from repro.report.palette import OPERATORS

CELL = [["sep_conv_3x3", 0], ["skip_connect", 1], ["dil_conv_5x5", 2], ["max_pool_3x3", 0]]
CELLS = {"normal": CELL, "reduce": CELL, "normal_concat": [2], "reduce_concat": [2, 3]}


@pytest.mark.parametrize(("space", "operator"), [("shift", "shift"), ("real", "conv")])
def test_every_edge_has_an_arc_and_a_label(space, operator):
    axes = cell_figure(CELLS, space=space).axes[0]
    assert [text.get_text() for text in axes.texts if text.get_text()] == [
        *("sep 3×3", "skip", "dil 5×5", "max 3×3"),
        *("in 1", "in 2", "1", "2"),
    ]
    starts, ends = zip(*((round(line.get_xdata()[0]), round(line.get_xdata()[-1])) for line in axes.lines))
    assert starts == (0, 1, 2, 0) and ends == (2, 2, 3, 3)
    assert same_color(axes.lines[0].get_color(), OPERATORS[operator]) and axes.lines[2].get_linestyle() == "--"
    filled = [not same_color(dot.get_facecolor()[0], "white") for dot in axes.collections]
    assert filled == [False, False, True, False]


def test_no_two_labels_meet():
    every = [("sep_conv_3x3", source, state) for state in range(2, 6) for source in range(state)]
    figure, panels = new_figure(width_in=9, height_in=6)
    draw_cell(panels[0, 0], every)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in panels[0, 0].texts if text.get_text()]
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])


def test_widths_follow_weights():
    _, panels = new_figure()
    draw_cell(panels[0, 0], [("skip_connect", 0, 2), ("skip_connect", 1, 2)], weights=[0.0, 1.0], labels=False)
    thin, thick = (line.get_linewidth() for line in panels[0, 0].lines)
    assert thick > 5 * thin
    with pytest.raises(InputError, match="weights has 1 values; 2 edges"):
        draw_cell(panels[0, 0], [("skip_connect", 0, 2), ("skip_connect", 1, 2)], weights=[1.0])
    with pytest.raises(InputError, match="space='reel' is not known"):
        draw_cell(panels[0, 0], [("skip_connect", 0, 2)], space="reel")


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ({}, "cells lacks normal, reduce, normal_concat, reduce_concat; they are a genotype"),
        (CELLS | {"normal": CELL[:3]}, "pairs has 3 edges; a cell has two for each node"),
        (CELLS | {"reduce": [["skip_connect", 2], ["skip_connect", 0]]}, r"edges hold \('skip_connect', 2, 2\)"),
        (CELLS | {"reduce": [["skip_connect", -1], ["skip_connect", 0]]}, r"edges hold \('skip_connect', -1, 2\)"),
        (None, "cells is None; they are a genotype"),
    ],
)
def test_what_is_no_cell_is_not_drawn(cells, sentence):
    with pytest.raises(InputError, match=sentence):
        cell_figure(cells)


def test_a_genotype_is_drawn_as_its_fields_are():
    fields = CELLS | {"normal_concat": [2, 3]}
    whole = genotype(fields)
    texts = [[text.get_text() for text in cell_figure(cells).axes[0].texts] for cells in (whole, whole.as_dict())]
    assert texts[0] == texts[1] != []
