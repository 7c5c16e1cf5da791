"""Figures 1, 2 and 4: what the search begins with, its schedule, and accuracies during searches given here."""

from __future__ import annotations

import math

import pytest

from repro.models.genotypes import NAMED
from repro.papers import computed, entry
from repro.papers.autoshiftnet import f04
from repro.papers.autoshiftnet.recipes import SEARCHES
from repro.runs import Outcome


def test_figure_1_is_the_space_of_edges_operations_and_pairs():
    frame = computed("autoshiftnet_f01")
    assert list(zip(frame["node"], frame["input"])) == [(node, i) for node in (1, 2, 3, 4) for i in range(node + 1)]
    assert (frame["pairs"] == [math.comb(node + 1, 2) for node in frame["node"]]).all()
    assert (frame["pairs_with_edge"] == frame["node"]).all()
    assert frame.groupby("node")["start_weight"].sum().tolist() == pytest.approx([2, 2, 2, 2])
    assert (
        {text.count(";") for text in frame["topology_operations"]}
        == {3}
        == {text.count(";") for text in frame["convolutions"]}
    )
    schedule, penalties = frame.attrs["extra"]["schedule"], frame.attrs["extra"]["penalties"]
    assert schedule.groupby(["step", "phase"], sort=False).size().tolist() == [15, 15, 20, 20]
    terms = penalties.pivot(index="exponent", columns="penalty", values="value")
    assert terms["adaptive, 4^P"].to_dict() == pytest.approx({p: 4.0**p for p in range(-14, 1)})
    assert terms["conventional, P² + S²"].to_dict() == pytest.approx({p: p * p + 1.0 for p in range(-14, 1)})


def test_figure_1_draws_what_its_frame_holds():
    frame = computed("autoshiftnet_f01")
    (drawing,) = entry("autoshiftnet_f01").draw(frame)
    space, supernet, pairs, cell, rate, terms = drawing.figure.axes
    assert {text.get_text() for text in space.texts} > {"none", "skip_connect", "sep_conv_3x3", "dil_conv_5x5"}
    assert len(supernet.lines) == 2 * len(frame) and len(pairs.lines) == 10 and len(cell.lines) == 8
    assert len(rate.patches) == 2 and len(terms.lines) == 2
    assert "14 edges" in drawing.caption and "20 pairs of edges (1, 3, 6, 10 by node)" in drawing.caption


def test_figure_2_is_the_rate_of_every_epoch_and_begins_again_at_epoch_31():
    frame = computed("autoshiftnet_f02")
    rates = frame.pivot(index="epoch", columns="setting", values="lr")
    assert len(rates) == 70 and rates.loc[1].tolist() == [0.01] * 3
    assert rates.loc[31, "reset"] == 0.01 and rates.loc[31, "no reset"] < rates.loc[30, "no reset"]
    assert rates.loc[70].round(4).to_dict() == {"reset": 0.0047, "reset, own cosine": 0.0010, "no reset": 0.0010}
    figure = entry("autoshiftnet_f02").draw(frame)[0].figure
    assert [len(axes.lines) for axes in figure.axes] == [3, 1]


def test_figure_4_keeps_the_accuracy_of_every_epoch_of_both_settings():
    asked = {}

    def run(specs):
        asked.update(specs)
        row = {"step": "topology", "phase": "search", "lr": 0.1, "train_accuracy_pct": 50.0}
        outcomes = {}
        for (setting, seed), spec in specs.items():
            rows = [{**row, "epoch": e, "held_out_accuracy_pct": 40.0 + e + (setting == "reset")} for e in (1, 2)]
            plain = {
                "outcome": "done",
                "detail": "",
                "genotype": NAMED["darts_v1"].as_dict(),
                "kept": None,
                "rows": rows,
            }
            outcomes[setting, seed] = Outcome(spec, "done" if seed < 2 else "failed", plain if seed < 2 else None, "")
        return outcomes

    frame = f04.trained(SEARCHES["quick", "digits"], [0, 1, 2], run)
    assert {spec.recipe.search.reset for spec in asked.values()} == {"whole", "none"}
    assert frame.groupby("setting")["accuracy_pct"].agg(["mean", "count"]).to_dict("index") == {
        "reset": {"mean": 43.0, "count": 2},
        "no reset": {"mean": 42.0, "count": 2},
    }
    assert len(frame.attrs["extra"]["epochs"]) == 8
    drawing = f04.draw(frame)[0]
    assert [len(axes.lines) for axes in drawing.figure.axes] == [4, 4]


def test_without_finished_searches_figure_4_has_no_rows():
    def failed(specs):
        return {key: Outcome(spec, "failed", None, "") for key, spec in specs.items()}

    frame = f04.trained(SEARCHES["quick", "digits"], [0], failed)
    assert frame.empty and list(frame.columns) == ["setting", "seed", "accuracy_pct"]
    assert [len(axes.lines) for axes in f04.draw(frame)[0].figure.axes] == [0, 0]
