"""Analytic tables have the published schema, say why cells are empty, and the accountings tell what they should."""

from __future__ import annotations

import pytest

from repro.errors import InputError
from repro.papers import computed
from repro.papers.accountings import networks as accountings
from repro.papers.analytic import analytic_frame
from repro.papers.shiftaddaug import t03 as shiftaddaug_t03
from repro.papers.shiftaddnas import f01, t03, t06
from repro.report import compare
from repro.report.published import published, table_spec

QUICK = [
    "acghostnet_t02",
    "shiftaddaug_t01",
    "shiftaddaug_t06",
    "shiftaddnas_t01",
    "shiftaddnas_t02",
    "shiftaddnas_t05",
]
CELLS = ["autoshiftnet_t05", "autoshiftnet_t06"]


@pytest.mark.parametrize("table_id", [*QUICK, *CELLS, "shiftaddnas_t07"])
def test_frames_have_the_published_schema_and_explain_empty_rows(table_id):
    ours, theirs, spec = computed(table_id), published(table_id), table_spec(table_id)
    assert [c for c in ours.columns if c != "note"] == [c for c in theirs.columns if c != "note"]
    for name in spec.key:
        assert ours[name].tolist() == theirs[name].tolist()
    assert ours[spec.named("empirical", "cost")].isna().all(axis=None)
    empty = ours[spec.named("analytic", "definition")].isna().all(axis=1)
    assert ours["note"][empty].ne("").all()
    assert ours.attrs["convention"]
    compare(table_id, ours)


@pytest.mark.parametrize(
    "table_id", ["acghostnet_t02", "shiftaddaug_t02", "shiftaddnas_t01", "shiftaddnas_t02", *CELLS]
)
def test_definitions_equal_the_printed_ones(table_id):
    frame = compare(table_id, computed(table_id))
    definitions = frame[frame["role"] == "definition"]
    assert len(definitions) and definitions["matches_printed"].all()


def test_misspelt_rows_and_accountings_are_refused():
    with pytest.raises(InputError, match="has no row 'GhostNet'"):
        analytic_frame("acghostnet_t04", {"GhostNet": {}}, convention="")
    with pytest.raises(InputError, match="Did you mean 'unbiased'"):
        shiftaddaug_t03.computed("unbiassed")


def test_unit_energies_differ_from_the_printed_table_in_the_two_exchanged_entries():
    frame = compare("shiftaddaug_t01", computed("shiftaddaug_t01"))
    off = frame[frame["matches_printed"].eq(False)]
    assert set(zip(off["op"], off["column"])) == {("Add", "energy_fp32_pj"), ("Mult.", "energy_fp16_pj")}


def test_8_bit_translation_rows_follow_from_the_searched_networks():
    """Both printed 8-bit En-Fr rows: all four columns, from the networks of the two full-precision rows."""
    frame = compare("shiftaddnas_t03", t03.computed())
    rows = frame[frame["row"].isin([10, 12]) & (frame["dataset"] == "WMT14 En-Fr") & (frame["role"] == "analytic")]
    assert len(rows) == 8 and rows["matches_printed"].all()


def test_figure_1_swaps_its_platforms():
    assert (f01.computed()["node"] != f01.computed()["node_as_printed"]).all()


def test_nearly_all_savings_vanish_under_equal_widths_and_traffic():
    saved = accountings.savings(["ShiftAddAug"])
    shift, adder = (saved[saved["operator"] == operator] for operator in ("shift", "adder"))
    assert shift["published_pct"].between(67.7, 69.1).all() and shift["unbiased_pct"].between(3.5, 5.5).all()
    assert adder["published_pct"].between(45, 60).all() and adder["unbiased_pct"].between(2, 3.1).all()


def test_array_sizes_explain_most_of_table_6():
    frame = t06.energies_by_array()
    same = frame[(frame["accounting"] == "published") & (frame["pe_limit"] == 192)].set_index("method")["latency_ms"]
    printed = frame[frame["as_printed"]].set_index("method")["latency_ms"]
    assert 1 - printed["w/ HWS"] / printed["w/ Naive WS"] == pytest.approx(0.35, abs=0.005)
    assert 1 - same["w/ HWS"] / same["w/ Naive WS"] == pytest.approx(0.07, abs=0.005)
