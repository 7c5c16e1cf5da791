"""Answers that several records share, kept once: a record's CSV names them by a digest.

The same runs stand behind several tables, and the packed answers of one to 10,000 test images take 1,668 characters.
They lie in <root>/answers/<first digit>.csv, a row per text; what a record holds in their place is "@" and the first 16
hex digits of the text's SHA-256. Short texts stay where they are.
"""

from __future__ import annotations

import functools
import hashlib
import io
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
from filelock import FileLock

from repro.errors import DamagedError
from repro.paths import cache_root, write_text

FOLDER = "answers"
COLUMN = "correct"
LONG = 200
"""Characters from which on a text is kept here."""


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_long(value: object) -> bool:
    return isinstance(value, str) and len(value) >= LONG


def put_away(frame: pd.DataFrame, root: Path) -> pd.DataFrame:
    """The frame with names of its long answers in their place; the answers are added to those below `root`."""
    if COLUMN not in frame or not frame[COLUMN].map(_is_long).any():
        return frame
    texts = {_key(text): text for text in frame[COLUMN] if _is_long(text)}
    for digit in sorted({key[0] for key in texts}):
        path = root / FOLDER / f"{digit}.csv"
        with held(root):
            known = _read(path)
            if more := {key: text for key, text in texts.items() if key[0] == digit and known.get(key) != text}:
                _write(path, known | more)
    return frame.assign(**{COLUMN: [f"@{_key(value)}" if _is_long(value) else value for value in frame[COLUMN]]})


def fetched(frame: pd.DataFrame, root: Path) -> pd.DataFrame:
    """The frame with the answers themselves. Raises: DamagedError where one is not there."""
    if COLUMN not in frame or not frame[COLUMN].map(_names_one).any():
        return frame
    return frame.assign(**{COLUMN: [_text(value, root) if _names_one(value) else value for value in frame[COLUMN]]})


def prune(root: Path, files: Callable[[], Iterable[Path]]) -> int:
    """Remove the answers that none of the files (CSV, as they are stored) names; returns how many they were."""
    removed = 0
    with held(root):
        named = {key for path in files() for key in re.findall(r"@([0-9a-f]{16})\b", path.read_text("utf-8"))}
        for path in sorted((root / FOLDER).glob("*.csv")):
            known = _read(path)
            kept = {key: text for key, text in known.items() if key in named}
            removed += len(known) - len(kept)
            if not kept:
                path.unlink()
            elif kept != known:
                _write(path, kept)
    return removed


def _names_one(value: object) -> bool:
    return isinstance(value, str) and value.startswith("@")


def _text(value: str, root: Path) -> str:
    key = value[1:]
    text = _read(root / FOLDER / f"{key[:1]}.csv").get(key)
    if text is None or _key(text) != key:
        raise DamagedError(f"the answers {key} are {'lost' if text is None else 'not what was written'}")
    return text


def held(root: Path) -> FileLock:
    """One writer at a time, of answers and of what names them; the lock lies outside of what is committed."""
    folder = cache_root() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"answers-{_key(str(root.resolve()))}.lock", is_singleton=True)


def _read(path: Path) -> dict[str, str]:
    try:
        about = path.stat()
    except FileNotFoundError:
        return {}
    return dict(_parsed(path, about.st_mtime_ns, about.st_size))


@functools.lru_cache(maxsize=64)
def _parsed(path: Path, mtime_ns: int, size: int) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    return dict(line.split(",", 1) for line in lines if "," in line)


def _write(path: Path, texts: dict[str, str]) -> None:
    out = io.StringIO()
    pd.DataFrame(sorted(texts.items()), columns=["answers", COLUMN]).to_csv(out, index=False, lineterminator="\n")
    write_text(path, out.getvalue())
