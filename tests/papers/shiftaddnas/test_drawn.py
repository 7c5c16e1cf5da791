"""Figures 9 and 10: blocks as the models' strings have them, their operations those of the whole network's rest."""

from __future__ import annotations

import pytest
from matplotlib.colors import same_color

from repro.cost import count, traced
from repro.models.shiftaddnas import BLOCKS, RANK1, RANK2
from repro.papers import computed, entry
from repro.papers.shiftaddnas import recipes
from repro.papers.shiftaddnas.path_search import path_costs
from repro.report.palette import COLOURS
from repro.runs import Outcome


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


@pytest.mark.parametrize(("table_id", "rank"), [("shiftaddnas_f09", 1), ("shiftaddnas_f10", 2)])
def test_what_our_searches_found_is_drawn_beside_the_printed_network(table_id, rank):
    recipe, paths = (
        recipes.RECIPES["quick", "digits"],
        (("0C", "0+", "0S", "1A", "1C", "1+"), ("0C",) * 3 + ("1A",) * 3),
    )

    def run(specs):
        return {
            key: Outcome(spec, "done", {"found": {"best": paths} if key[1] == 1 else None}, {})
            for key, spec in specs.items()
        }

    frame = entry(table_id).trained(recipe, [0, 1], run)  # the first search diverged
    frame.attrs["dataset"] = "digits"
    assert set(frame["network"]) == {f"found {way}, rank {rank}" for way in ("w/ HWS", "w/ Naive WS")}
    mine, path = frame[frame["network"].str.contains("HWS")], paths[rank - 1]
    assert mine["operator"].tolist() == [BLOCKS[block[-1]] for block in path] and set(mine["seed"]) == {1}
    assert mine["stage"].tolist() == [1, 1, 1, 2, 2, 2] and mine["resolution_px"].tolist() == [8] * 3 + [4] * 3
    assert 0 < mine["adds_m"].sum() < path_costs(recipe.space, recipe.data, path)["add_m"]  # without stem, classifier
    (drawing,) = entry(table_id).draw(frame)
    assert [len(axes.patches) for axes in drawing.figure.axes[::2]] == [16, 6, 6]
    if rank == 1:
        scores = frame.attrs["extra"]["scores"].query("method == 'w/ HWS'")
        assert scores["shift_add_pct"].tolist() == [50.0, 0.0] and scores["rank"].tolist() == [1, 2]
