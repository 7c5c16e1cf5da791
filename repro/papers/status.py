"""The status board with what only the entries know: which file regenerates an id, and whether its code has changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd

from repro.papers.table import Table
from repro.paths import cache_root, published_root, repo_root, results_root, sealed_json, unsealed_json, write_text
from repro.report.claims import published_table
from repro.report.conform import folded
from repro.report.expressions import Evaluator, parse
from repro.report.verdicts import Offer


def _code_of(record) -> dict[str, str | None]:
    from repro.papers.regenerate import code_now

    return code_now(record.table_id, record.provenance)


def offers_of(table_id: str) -> list[Offer]:
    """The runs that the entry of a published id offers; none if it has no entry, or one that only computes."""
    from repro.papers.registry import entry, file_of

    if not file_of(table_id):
        return []
    table = entry(table_id)
    fills = {dataset: _fills(table_id, table, dataset) for _, dataset in table.recipes}
    return [Offer(preset, dataset, fills[dataset], table.stands_for or {}) for preset, dataset in table.recipes]


def _fills(table_id: str, table: Table, dataset: str) -> frozenset[int] | None:
    """Rows of the printed table that a run on a data set fills; None for all."""
    if not table.fills and table.stands_for is None:
        return None
    printed = published_table(table_id)
    rows = set(Evaluator({table_id: printed}, table_id).rows(table_id, parse(table.fills) if table.fills else None))
    if table.stands_for is not None:
        own, named = folded(table.stands_for.get(dataset, dataset)), printed.columns["dataset"][0]
        rows = {row for row in rows if folded(named[row]) == own}
    return frozenset(rows)


def _inputs() -> str:
    """Digest of all that the board follows from: records, printed numbers, criteria, code."""
    digest = hashlib.sha256()
    for root, pattern in ((results_root(), "*.*"), (published_root(), "*.*"), (repo_root() / "repro", "*.py")):
        for path in sorted(root.rglob(pattern)):
            digest.update(f"{path.relative_to(root)}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def status_board() -> pd.DataFrame:
    """`repro.report.status_board` of the committed records, with the state of the code behind each.

    Judging every claim takes seconds, so the board is kept in the cache until one of its inputs changes.
    """
    key, kept = _inputs(), cache_root() / "status_board.json"
    try:
        stored = unsealed_json(kept)
        if stored["key"] == key:
            return pd.DataFrame(stored["rows"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    from repro import report

    board = report.status_board(_code_of)
    write_text(kept, sealed_json({"key": key, "rows": board.to_dict("records")}))
    return board


def update_readme(path: Path | None = None) -> Path:
    """Write the board into README.md, every id linked to its entry, and VERDICTS.md beside the records."""
    from repro import report
    from repro.papers.registry import file_of

    return report.update_readme(path, code_of=_code_of, file_of=file_of, offers_of=offers_of)


def board_is_current(path: Path | None = None) -> bool:
    """Whether README.md and VERDICTS.md hold exactly what the committed records and the code give now."""
    from repro import report
    from repro.papers.registry import file_of

    return report.board_is_current(path, code_of=_code_of, file_of=file_of, offers_of=offers_of)
