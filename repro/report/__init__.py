"""Published against ours: tables, claims, verdicts, figures, provenance. Trains nothing."""

from repro.report.board import board_is_current, status_board, update_readme, verdict_counts
from repro.report.claims import judge_published
from repro.report.compare import compare
from repro.report.decide import Decision, decide
from repro.report.figures import save_figure
from repro.report.published import claims, figure_index, published, published_text, table_index
from repro.report.published import figure_ids as published_figures
from repro.report.published import table_ids as published_tables
from repro.report.records import freshness, latest, load_records, save_record
from repro.report.reference import compare_with_reference
from repro.report.rounding import tidy
from repro.report.tables import printable, render_table
from repro.report.verdicts import Verdict, criteria, judge, judge_all

__all__ = [
    "Decision",
    "Verdict",
    "board_is_current",
    "claims",
    "compare",
    "compare_with_reference",
    "criteria",
    "decide",
    "figure_index",
    "freshness",
    "judge",
    "judge_all",
    "judge_published",
    "latest",
    "load_records",
    "printable",
    "published",
    "published_figures",
    "published_tables",
    "published_text",
    "render_table",
    "save_figure",
    "save_record",
    "status_board",
    "table_index",
    "tidy",
    "update_readme",
    "verdict_counts",
]
