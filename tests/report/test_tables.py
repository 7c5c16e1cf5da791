"""Comparison tables say which run they show, escape what comes from data, and scroll sideways where they are wide."""

import math

import pandas as pd
import pytest

from repro.errors import InputError
from repro.report import compare, printable, published, render_table
from repro.report.tables import markdown_table, relative_text
from repro.report.wide import agreement, mismatches, render_wide


def ours():
    """Two rows of ACGhostNet table 4, one parameter count beyond rounding."""
    rows = [
        {"model": "GhostNet-1.0x", "params_m": 3.914, "fadd_m": 42.7, "note": ""},
        {"model": "Adder-GhostNet-1.0x", "params_m": 4.4, "fadd_m": 81.2, "note": "too wide"},
    ]
    return pd.DataFrame(rows)


def taus():
    return pd.DataFrame({"adaptive_lr": [1, 1], "separate_warmup": [1, 1], "seed": [0, 1], "kendall_tau": [0.4, 0.5]})


def test_a_rendered_table_shows_both_numbers_the_spread_and_the_run():
    table = render_table(compare("acghostnet_t06", taus()), "quick, digits, seeds 0 1")
    for text in (table.html, table.markdown):
        assert "0.442" in text and "0.4500 ± 0.0707 (n = 2)" in text and "not run" in text
        assert "quick, digits, seeds 0 1" in text
    assert table._repr_html_() == table.html and table.html.count("<tr>") == 5


@pytest.mark.parametrize("render", [render_table, render_wide])
def test_what_comes_from_data_is_escaped(render):
    frame = pd.DataFrame({"model": ["ACGhostNet-A"], "fadd_m": [71.0], "note": ["<script>|"]})
    table = render(compare("acghostnet_t04", frame), label="<b>mine</b>")
    for text in (table.html, table.markdown):
        assert "<script>" not in text and "<b>" not in text and "&lt;script" in text
    assert "\\|" in table.markdown


@pytest.mark.parametrize("render", [render_table, render_wide])
def test_a_table_is_the_same_bytes_each_time_in_a_box_that_scrolls(render):
    first, second = (render(compare("acghostnet_t04", ours())).html for _ in range(2))
    assert first == second and first.startswith('<div style="overflow-x:auto')


def test_texts_and_numbers_print_in_the_same_columns():
    texts = printable(compare("acghostnet_t02", published("acghostnet_t02")))
    assert list(texts.columns) == ["module_type", "quantity", "published", "ours", "difference", "note"]
    assert (texts["published"] == texts["ours"]).all() and set(texts["ours"]) == {"adder", "conv", "N", "N/2"}
    numbers = printable(compare("acghostnet_t06", taus()))
    assert numbers["ours"].tolist() == ["not run"] * 3 + ["0.4500 ± 0.0707 (n = 2)"]
    assert numbers["adaptive_lr"].tolist() == ["0", "0", "1", "1"]


def test_what_is_far_below_the_printed_numbers_keeps_two_digits():
    """Energies of table 11's small networks are a thousandth of the paper's: "0.002 ± 0.000" said nothing."""
    rows = [
        ("Aug. Width & Expand", 0, 0, "cifar100", seed, mj, 3e-17) for seed, mj in enumerate((0.00185, 0.00157, 0.0))
    ]
    columns = ["method", "depth_aug", "mutation", "dataset", "seed", "energy_mj", "latency_ms"]
    texts = printable(compare("shiftaddaug_t11", pd.DataFrame(rows, columns=columns)))
    ours = texts[texts["method"] == "Aug. Width & Expand"].set_index("quantity")["ours"]
    assert ours["energy_mj (mJ)"] == "0.0011 ± 0.0010 (n = 3)"
    assert ours["latency_ms (ms)"] == "0.000 ± 0.000 (n = 3)"
    equal = pd.DataFrame([(*row[:5], mj, 0.5) for row, mj in zip(rows, (0.5, 0.50002, 0.49998))], columns=columns)
    texts = printable(compare("shiftaddaug_t11", equal)).set_index("quantity")["ours"]
    assert texts["energy_mj (mJ)"].iloc[0] == "0.500 ± 0.000020 (n = 3)"


def test_a_shown_zero_has_no_minus():
    compared = compare("acghostnet_t04", ours())
    row = (compared["model"] == "GhostNet-1.0x") & (compared["column"] == "params_m")
    compared.loc[row, ["difference", "relative_error"]] = -1e-6
    shown = printable(compared)
    cell = shown[(shown["model"] == "GhostNet-1.0x") & shown["quantity"].str.startswith("params_m")].iloc[0]
    assert (cell["difference"], cell["relative"]) == ("0.00", "0.0 %")
    for text in (printable(compared).to_csv(), render_table(compared).markdown, render_wide(compared).markdown):
        assert "-0.0" not in text
    assert [relative_text(error) for error in (-0.002, 0.004, math.nan)] == ["-0.2 %", "+0.4 %", ""]


def test_only_a_long_comparison_can_be_rendered():
    for render in (render_table, render_wide, printable):
        with pytest.raises(InputError, match="long layout"):
            render(pd.DataFrame({"a": [1]}))


def test_markdown_cells_cannot_break_the_table():
    lines = markdown_table(pd.DataFrame({"a|b": ["x|y\nz<script>", 1.50]})).splitlines()
    assert [lines[0], *lines[2:]] == ["| a\\|b |", "| x\\|y z&lt;script> |", "| 1.5 |"]
    assert set(lines[1]) == {"|", "-"}


def test_a_wide_table_has_a_row_per_key_and_says_what_was_not_run():
    text = render_wide(compare("acghostnet_t04", ours()), ["params_m", "accuracy_pct"])
    assert text.count("<tr>") == 2 + len(published("acghostnet_t04"))
    assert "3.91 (+0.4 %)" in text and "not run" in text and "too wide" in text
    assert "fadd_m" not in text and "| GhostNet-1.0x | 3.9 |" in text.markdown


def test_a_cell_of_a_wide_table_says_whether_it_rounds_to_the_printed_digits():
    text = render_wide(compare("acghostnet_t04", ours()), ["params_m"])
    assert 'match" >3.91' in text and 'differs" >4.40' in text


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
