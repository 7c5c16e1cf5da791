"""How `repro table` prints what it has: tables beside the published numbers, and figures' points."""

from __future__ import annotations

import json

import pytest

from repro.cli import main as command_line
from repro.papers import list_ids
from repro.report import compare, published_tables
from repro.report.records import latest


@pytest.mark.parametrize("table_id", list_ids())
def test_every_record_is_printed_in_every_form(table_id, capsys):
    """Figures' points may have a `column` of their own, which no comparison is."""
    record = latest(table_id)
    if record is None:
        return  # a figure that is drawn of nothing trained or computed
    compared = compare(table_id, record.frame) if table_id in published_tables() else record.frame
    command_line._print_comparison(table_id, compared, "a scale")
    printed = capsys.readouterr().out
    assert table_id in printed and "a scale" in printed
    assert ("published and ours" in printed) is (table_id in published_tables())
    assert command_line._formatted(compared, "csv").count("\n") >= len(compared)
    assert len(json.loads(command_line._formatted(compared, "json"))) == len(compared)
    assert command_line._formatted(compared, "latex").startswith(r"\begin{tabular}")
