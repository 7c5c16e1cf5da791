"""Published against ours: tables, claims, verdicts, figures, provenance. Trains nothing."""

from repro.report.claims import judge_published
from repro.report.compare import compare
from repro.report.published import claims, figure_index, published, published_text, table_index

__all__ = ["claims", "compare", "figure_index", "judge_published", "published", "published_text", "table_index"]
