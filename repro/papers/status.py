"""The status board with what only the entries know: which file regenerates an id, and whether its code has changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd

from repro.paths import cache_root, published_root, repo_root, results_root, sealed_json, unsealed_json, write_text


def _code_of(record) -> dict[str, str | None]:
    from repro.papers.regenerate import code_now

    return code_now(record.table_id, record.provenance)


def presets_of(table_id: str) -> list[str]:
    """Presets at which something is trained for a published id; empty if it has no entry, or one that only computes."""
    from repro.papers.registry import entry, file_of

    return list(dict.fromkeys(preset for preset, _ in entry(table_id).recipes)) if file_of(table_id) else []


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

    return report.update_readme(path, code_of=_code_of, file_of=file_of, presets_of=presets_of)


def board_is_current(path: Path | None = None) -> bool:
    """Whether README.md and VERDICTS.md hold exactly what the committed records and the code give now."""
    from repro import report
    from repro.papers.registry import file_of

    return report.board_is_current(path, code_of=_code_of, file_of=file_of, presets_of=presets_of)
