"""The evaluator gives every decidable claim its recorded verdict, from the published numbers alone."""

import pytest

from repro.errors import InputError
from repro.report import claims, judge_published
from repro.report.claims import places
from repro.report.expressions import parse, tables_read
from repro.report.published import figure_ids, table_ids

ROWS = list(claims().itertuples())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.claim_id)
def test_published_verdict_equals_the_recorded_one(row):
    recorded = {"true": True, "false": False, "na": None}[row.published_verdict]
    assert judge_published(row.claim_id) is recorded


def test_recorded_verdicts_are_not_all_alike():
    counts = claims()["published_verdict"].value_counts()
    assert counts["true"] > 100 and counts["false"] > 30 and counts["na"] >= 10


def test_every_place_is_a_known_table_or_figure():
    known = {*table_ids(), *figure_ids()}
    assert all(place in known for row in ROWS for place in places(row.claim_id))


def test_every_table_that_a_check_reads_is_listed_with_the_claim():
    for row in ROWS:
        if row.published_verdict == "na":
            continue
        assert set(tables_read(parse(row.check))) <= set(places(row.claim_id)), row.claim_id


def test_unknown_claim_is_one_sentence():
    with pytest.raises(InputError, match="Did you mean 'cross-c01'"):
        judge_published("cros-c01")
