"""Wide comparisons, explained mismatches, and the figures of the analytic tables."""

import numpy as np
import pandas as pd
import pytest
from repro.report.cost_figures import (
    energy_accuracy,
    errors_of,
    layer_breakdown,
    layer_rows,
    level_breakdown,
    parts_of,
    rank_lines,
    relative_errors,
    savings_by_accounting,
    table_points,
    unit_ratios,
)

from repro.errors import InputError
from repro.report import compare, published, save_figure
from repro.report.wide import agreement, mismatches, render_wide


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


def test_a_wide_table_has_a_row_per_key_and_says_what_was_not_run():
    text = render_wide(compare("acghostnet_t04", ours()), ["params_m", "accuracy_pct"])
    assert text.count("<tr>") == 2 + len(published("acghostnet_t04"))
    assert "3.91 (+0.4 %)" in text and "not run" in text and "too wide" in text
    assert "fadd_m" not in text and "| GhostNet-1.0x | 3.9 |" in text.markdown


def test_an_unknown_column_of_a_wide_table_is_refused():
    with pytest.raises(InputError, match="params_m"):
        render_wide(compare("acghostnet_t04", ours()), ["param_m"])


def test_only_cells_beyond_the_printed_digits_are_mismatches():
    found = mismatches(compare("acghostnet_t04", ours()))
    assert list(found["model"]) == ["Adder-GhostNet-1.0x"] and list(found["explanation"]) == ["too wide"]
    assert found["last_digits"].item() == pytest.approx(5)


def test_a_mismatch_without_a_note_is_called_rounding_only_within_one_digit():
    near = ours().assign(params_m=[3.96, 4.4], note="")
    explained = mismatches(compare("acghostnet_t04", near)).set_index("model")["explanation"]
    assert explained["GhostNet-1.0x"] == "at most one unit of the last printed digit"
    assert explained["Adder-GhostNet-1.0x"] == "not explained"


def test_agreement_counts_printed_computed_and_equal_cells():
    row = agreement(compare("acghostnet_t04", ours())).set_index("quantity").filter(like="params", axis=0).iloc[0]
    assert (row["printed"], row["computed"], row["equal"]) == (6, 2, 1)


def test_printed_points_make_a_front_that_contains_the_most_accurate_row():
    points = table_points("acghostnet_t05", x="energy_mj", y="top1_pct", series="group", name="model")
    assert len(points) == len(published("acghostnet_t05")) and set(points["run"]) == {"published"}
    figure = energy_accuracy(points, x="energy_mj", y="top1_pct", x_label="energy (mJ)", y_label="top-1 (%)")
    front = figure.axes[0].lines[0].get_ydata()
    assert max(front) == points["top1_pct"].max() and (front[1:] > front[:-1]).all()
    assert save_figure(figure, "acghostnet_f01-test", points, "Front.").exists()


def test_levels_stack_to_the_energy_of_each_operator():
    rows = [(a, op, level, 1.0) for a in ("published", "unbiased") for op in ("conv", "adder") for level in LEVELS]
    frame = pd.DataFrame(rows, columns=["accounting", "operator", "level", "energy_mj"])
    figure = level_breakdown(frame)
    ends = [bar.get_x() + bar.get_width() for bar in figure.axes[0].patches]
    assert max(ends) == pytest.approx(len(LEVELS)) and len(figure.axes) == 2
    save_figure(figure, "levels-test", frame, "Levels.")


LEVELS = ("compute", "rf", "noc", "buffer", "dram")


def test_layers_are_drawn_in_order_with_a_bar_per_level():
    rows = [dict.fromkeys(LEVELS, 0.1 * i) | {"energy_mj": 0.5 * i, "op": "conv"} for i in range(1, 4)]
    table = pd.DataFrame(rows).assign(name=["stem.conv", "cells.0.a", "cells.0.b"])
    figure = layer_breakdown({"conv": table, "adder": table})
    assert len(figure.axes[0].patches) == len(LEVELS)
    outline = figure.axes[0].patches[-1].get_data()
    np.testing.assert_allclose(outline.values, table["energy_mj"])
    rows = layer_rows({"conv": table, "adder": table})
    assert list(rows["layer"]) == [1, 2, 3] * 2 and set(rows["network"]) == {"conv", "adder"}
    np.testing.assert_allclose(rows["energy_mj"], [*table["energy_mj"]] * 2)
    parts = parts_of(table, r"^(cells\.\d+|[^.]+)")
    assert list(parts["name"]) == ["stem", "cells.0"]
    np.testing.assert_allclose(parts["energy_mj"], [0.5, 2.5])
    save_figure(figure, "layers-test", rows, "Layers.")


def test_ranks_and_savings_draw_every_network():
    names = [("P", "w", f"n{i}", op) for i, op in enumerate(("conv", "shift", "adder"))]
    ranks = pd.DataFrame([(*n, i + 1, i + 1, 3 - i) for i, n in enumerate(names)])
    ranks.columns = ["paper", "workload", "network", "operator", "rank_published", "rank_corrected", "rank_unbiased"]
    figure = rank_lines(ranks)
    assert sum(len(line.get_xdata()) == 3 for line in figure.axes[0].lines) == 3
    saved = pd.DataFrame([("P", "n", "shift", 70.0, 70.0, 5.0)])
    saved.columns = ["paper", "network", "operator", "published_pct", "corrected_pct", "unbiased_pct"]
    save_figure(savings_by_accounting(saved), "savings-test", saved, "Savings.")
    with pytest.raises(InputError, match="workload"):
        rank_lines(ranks.drop(columns="workload"))


def test_relative_errors_keep_analytic_cells_only():
    errors = errors_of({"acghostnet_t04": compare("acghostnet_t04", ours())})
    assert set(errors["quantity"]) == {"params_m", "fadd_m"} and len(errors) == 4
    save_figure(relative_errors(errors), "errors-test", errors, "Errors.")


def test_unit_ratios_have_a_panel_per_platform():
    frame = pd.DataFrame(
        [("shift", "INT32", "FPGA", 196.0, float("nan")), ("add", "FP32", "45 nm CMOS", 4.1, 4.11)],
        columns=["operation", "number_format", "node", "ratio", "computed_ratio"],
    )
    assert [axes.get_title() for axes in unit_ratios(frame).axes] == ["FPGA", "45 nm CMOS"]
