"""Wide comparisons, explained mismatches, and the figures of the analytic tables."""

import numpy as np
import pandas as pd
import pytest

from repro.errors import InputError
from repro.report import compare, published, save_figure
from repro.report.charts import (
    energy_accuracy,
    errors_of,
    layer_breakdown,
    level_breakdown,
    parts_of,
    rank_lines,
    relative_errors,
    savings_by_accounting,
    table_points,
)


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_FIGURES", str(tmp_path / "figures"))
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path / "results"))


def ours():
    """Two rows of ACGhostNet table 4, one parameter count beyond rounding."""
    rows = [
        {"model": "GhostNet-1.0x", "params_m": 3.914, "fadd_m": 42.7, "note": ""},
        {"model": "Adder-GhostNet-1.0x", "params_m": 4.4, "fadd_m": 81.2, "note": "too wide"},
    ]
    return pd.DataFrame(rows)


def test_what_a_paper_calls_ours_is_proposed_here():
    points = table_points("autoshiftnet_t02", x="add_m", y="top1_pct", series="group", name="model")
    assert points.loc[points["name"] == "AutoShiftNet", "series"].tolist() == ["proposed"]
    assert "ours" not in set(points["series"])


def test_printed_points_make_a_front_that_contains_the_most_accurate_row():
    points = table_points("acghostnet_t05", x="energy_mj", y="top1_pct", series="group", name="model")
    assert len(points) == len(published("acghostnet_t05")) and set(points["run"]) == {"published"}
    figure = energy_accuracy(points, x="energy_mj", y="top1_pct", x_label="energy (mJ)", y_label="top-1 (%)")
    front = figure.axes[0].lines[0].get_ydata()
    assert max(front) == points["top1_pct"].max() and (front[1:] > front[:-1]).all()
    assert save_figure(figure, "acghostnet_f01-test", "Front.").exists()


def test_levels_stack_to_the_energy_of_each_operator():
    rows = [(a, op, level, 1.0) for a in ("published", "unbiased") for op in ("conv", "adder") for level in LEVELS]
    frame = pd.DataFrame(rows, columns=["accounting", "operator", "level", "energy_mj"])
    figure = level_breakdown(frame)
    ends = [bar.get_x() + bar.get_width() for bar in figure.axes[0].patches]
    assert max(ends) == pytest.approx(len(LEVELS)) and len(figure.axes) == 2
    save_figure(figure, "levels-test", "Levels.")


LEVELS = ("compute", "rf", "noc", "buffer", "dram")


def test_layers_are_drawn_in_order_with_a_bar_per_level():
    rows = [dict.fromkeys(LEVELS, 0.1 * i) | {"energy_mj": 0.5 * i, "op": "conv"} for i in range(1, 4)]
    table = pd.DataFrame(rows).assign(name=["stem.conv", "cells.0.a", "cells.0.b"])
    figure = layer_breakdown({"conv": table, "adder": table})
    assert len(figure.axes[0].patches) == len(LEVELS)
    outline = figure.axes[0].patches[-1].get_data()
    np.testing.assert_allclose(outline.values, table["energy_mj"])
    parts = parts_of(table, r"^(cells\.\d+|[^.]+)")
    assert list(parts["name"]) == ["stem", "cells.0"]
    np.testing.assert_allclose(parts["energy_mj"], [0.5, 2.5])
    save_figure(figure, "layers-test", "Layers.")


def test_ranks_and_savings_draw_every_network():
    names = [("P", "w", f"n{i}", op) for i, op in enumerate(("conv", "shift", "adder"))]
    ranks = pd.DataFrame([(*n, i + 1, i + 1, 3 - i) for i, n in enumerate(names)])
    ranks.columns = ["paper", "workload", "network", "operator", "rank_published", "rank_corrected", "rank_unbiased"]
    figure = rank_lines(ranks)
    assert sum(len(line.get_xdata()) == 3 for line in figure.axes[0].lines) == 3
    saved = pd.DataFrame([("P", "n", "shift", 70.0, 70.0, 5.0)])
    saved.columns = ["paper", "network", "operator", "published_pct", "corrected_pct", "unbiased_pct"]
    save_figure(savings_by_accounting(saved), "savings-test", "Savings.")
    with pytest.raises(InputError, match="workload"):
        rank_lines(ranks.drop(columns="workload"))


def test_relative_errors_keep_analytic_cells_only():
    errors = errors_of({"acghostnet_t04": compare("acghostnet_t04", ours())})
    assert set(errors["quantity"]) == {"params_m", "fadd_m"} and len(errors) == 4
    save_figure(relative_errors(errors), "errors-test", "Errors.")
