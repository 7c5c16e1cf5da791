"""The status board with what only the entries know: which file regenerates an id, and whether its code has changed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from repro import report
from repro.papers.regenerate import code_now
from repro.papers.registry import file_of


def _code_of(record: report.Record) -> dict[str, str]:
    return code_now(record.table_id, record.provenance)


def status_board() -> pd.DataFrame:
    """`repro.report.status_board` of the committed records, with the state of the code behind each."""
    return report.status_board(_code_of)


def update_readme(path: Path | None = None) -> Path:
    """Write the board into README.md, every id linked to its entry, and VERDICTS.md beside the records."""
    return report.update_readme(path, code_of=_code_of, file_of=file_of)


def board_is_current(path: Path | None = None) -> bool:
    """Whether README.md holds exactly the board that the committed records and the code give now."""
    return report.board_is_current(path, code_of=_code_of, file_of=file_of)
