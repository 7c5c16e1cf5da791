"""The benchmark's records: one CSV row for each operator, shape and peer; rows are appended, never edited."""

from __future__ import annotations

import csv
import datetime
import hashlib
import io
import sys
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from filelock import FileLock

from repro.errors import InputError
from repro.paths import atomic_path, cache_root, records_root, results_root


@dataclass(frozen=True)
class Row:
    """One measurement; empty numbers are None.

    `ratio` is ours over the peer: of times, or for mode "forward extra memory" of MiB over the allowance.
    `peak_mem_mib` is what the call takes beyond its inputs and output (operators), or the whole step (networks).
    `pct_of_bound` is the machine's least time for this work over our median. `terms_per_s` counts |x - w| terms.
    `preset` is "full" or "quick". A commit that ends in + had changed files. `form` is how our kernel adds up |x - w|
    ("max+fma"); empty where it does not, on a GPU, and in rows from before there was a choice, which were "add".
    In a file each row ends with a digest of its own text, so that damage shows.
    """

    op: str
    backend: str
    mode: str
    kind: str
    shape: str
    dtype: str
    ms_p50: float | None
    ms_p20: float | None
    ms_p80: float | None
    peer: str
    peer_ms_p50: float | None
    ratio: float | None
    terms_per_s: float | None
    peak_mem_mib: float | None
    pct_of_bound: float | None
    preset: str
    device: str
    torch: str
    triton: str
    numba: str
    threads: int
    commit: str
    date: str
    form: str = ""


COLUMNS = tuple(Row.__dataclass_fields__)
CONTEXT = COLUMNS[COLUMNS.index("preset") : COLUMNS.index("form")]
_HEAD = ",".join((*COLUMNS, "digest")).encode()


def folder() -> Path:
    """Where a benchmark writes: output/records/bench, or the committed records in reference mode."""
    return records_root() / "bench"


def context(device: str, threads: int, preset: str) -> dict[str, object]:
    """The columns that say where and when: device, versions, threads, commit, date."""
    from repro.revision import git_revision
    from repro.runs.provenance import device_name, versions

    found = versions()
    revision, clean = git_revision()
    name = device_name()
    if device == "cpu":
        from repro.cpu.simd import isa_name

        name = f"{name}, {isa_name()}"
    return {
        "preset": preset,
        "device": name,
        "torch": found.get("torch", ""),
        "triton": found.get("triton", ""),
        "numba": found.get("numba", ""),
        "threads": threads,
        "commit": revision if clean else f"{revision}+",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _text(value: object) -> object:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else value


def append(group: str, rows: list[Row]) -> Path:
    """Add rows to the file of one group, below those that are there; a kill leaves the old file or the new one.

    What is damaged stays as it is, apart from a damaged header, which is written anew and told.
    Raises: InputError if the file has other columns (then nothing is written); `check_files` says so beforehand.
    """
    path = folder() / f"{group}.csv"
    lock = cache_root() / "locks" / f"bench-{group}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        text = _mended(path, told=True) + "".join(map(_line, rows)).encode()
        with atomic_path(path) as temporary:
            temporary.write_bytes(text)
    return path


def check_files() -> None:
    """Refuse, before anything is measured, a folder with a file that rows cannot be appended to. Raises: InputError."""
    for path in sorted(folder().glob("*.csv")):
        _mended(path)


def _mended(path: Path, *, told: bool = False) -> bytes:
    """What the file holds, with a sound header and an end of its last line; InputError if it has other columns."""
    before = path.read_bytes() if path.exists() else b""
    head, _, rows = before.partition(b"\n")
    if before and head != _HEAD:
        if not any(_sound(line) for line in rows.splitlines()):
            raise InputError(f"{path.name} has other columns than this version writes; move it away first.")
        if told:
            print(f"The header of {path.name} was damaged; it is written anew.", file=sys.stderr, flush=True)
        before = rows if len(head) == len(_HEAD) else before  # a longer one may hold the first row
    elif before:
        before = rows
    return b"\n".join(filter(None, [_HEAD, before.removesuffix(b"\n")])) + b"\n"


def _line(row: Row) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([_text(value) for value in asdict(row).values()])
    return f"{text.getvalue()},{_digest(text.getvalue())}\n"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def frame(rows: list[Row]) -> pd.DataFrame:
    """Rows as a data frame with the columns of the records."""
    return pd.DataFrame([asdict(row) for row in rows], columns=COLUMNS)


def committed_folder() -> Path:
    """The records that came with this checkout."""
    return results_root() / "bench"


def read() -> pd.DataFrame:
    """All records: those that came with the checkout, and your own."""
    files = [path for place in dict.fromkeys((committed_folder(), folder())) for path in sorted(place.glob("*.csv"))]
    parts = [part for part in map(_checked, files) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def _sound(line: bytes) -> str:
    """A line's row without its digest; empty if they do not fit, or its columns are not those of today."""
    row, _, digest = line.decode("utf-8", errors="replace").rpartition(",")
    sound = digest == _digest(row) and len(next(csv.reader([row]))) == len(COLUMNS)
    return row if sound else ""


def _checked(path: Path) -> pd.DataFrame:
    """The rows of one file; damaged ones are left out and said."""
    lines = [line for line in path.read_bytes().splitlines() if line != _HEAD]
    sound = list(filter(None, map(_sound, lines)))
    if len(sound) < len(lines):
        warnings.warn(
            f"{path.name}: {len(lines) - len(sound)} damaged rows of benchmark records are left out.",
            RuntimeWarning,
            stacklevel=3,
        )
    if not sound:
        return pd.DataFrame(columns=COLUMNS)
    versions = {"commit": str, "torch": str, "triton": str, "numba": str}
    found = pd.read_csv(io.StringIO("\n".join(sound)), names=COLUMNS, dtype=versions)
    return found.assign(form=found["form"].astype(object).fillna(""))


def of_newest_machine(records: pd.DataFrame) -> pd.DataFrame:
    """The latest rows of the full benchmark from the device and thread count that were measured last.

    Raises: InputError if there are none.
    """
    rows = records[records["preset"] == "full"]
    if rows.empty:
        raise InputError("there are no full benchmark records; 'make bench' makes some.")
    newest = rows.loc[rows["date"].idxmax()]
    return latest(rows[(rows["device"] == newest["device"]) & (rows["threads"] == newest["threads"])])


def latest(records: pd.DataFrame) -> pd.DataFrame:
    """The newest row of every operator, mode, shape, peer, device and thread count."""
    key = ["op", "backend", "mode", "kind", "shape", "dtype", "peer", "device", "threads"]
    ordered = records.sort_values("date", kind="stable").drop_duplicates(key, keep="last")
    return ordered.sort_index().reset_index(drop=True)
