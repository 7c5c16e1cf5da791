"""Figures 9 and 10: blocks as the models' strings have them, their operations those of the whole network's rest."""

from __future__ import annotations

import pytest
from matplotlib.colors import same_color

from repro.cost import count, traced
from repro.models.shiftaddnas import BLOCKS, RANK1, RANK2
from repro.papers import computed, entry
from repro.report.palette import COLOURS


@pytest.mark.parametrize(
    ("table_id", "name", "stages"),
    [("shiftaddnas_f09", "shiftaddnas_t1", RANK1), ("shiftaddnas_f10", "shiftaddnas_t1_rank2", RANK2)],
)
def test_every_block_of_the_built_network_is_a_row_and_a_box(table_id, name, stages):
    frame = computed(table_id)
    assert frame["operator"].tolist() == [BLOCKS[letter] for letter in "".join(stages)]
    assert frame.groupby("stage").size().tolist() == [len(letters) for letters in stages]
    assert frame.drop_duplicates("stage")["channels"].tolist() == [256, 512, 1024, 2048]
    assert frame.drop_duplicates("stage")["resolution_px"].tolist() == [64, 32, 16, 16], "no last stride in T1"
    assert frame["heads"].tolist() == [
        heads if operator == "attention" else 0
        for operator, heads in zip(frame["operator"], frame["stage"].map({1: 1, 2: 2, 3: 4, 4: 8}))
    ]
    model, layers = traced(name, 256)
    whole = count(model, convention="shiftaddnas", layers=list(layers))
    rest = whole.layers[~whole.layers["name"].str.startswith("blocks.")]
    for kind in ("mults", "shifts", "adds"):
        assert frame[f"{kind}_m"].sum() * 1e6 + rest[kind].sum() == pytest.approx(getattr(whole, kind))
    (drawing,) = entry(table_id).draw(frame)
    boxes = drawing.figure.axes[0].patches
    assert len(boxes) == 16
    assert all(same_color(box.get_facecolor(), COLOURS[row.operator]) for box, row in zip(boxes, frame.itertuples()))
    assert f"{(frame['operator'] == 'shift').sum()} Shift" in drawing.caption
    assert "attention in 0 of the first 8 and 5 of the last 8" in drawing.caption
