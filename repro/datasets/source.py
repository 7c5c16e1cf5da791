"""Where a split lies on disk and what reading it yields; shared by the readers."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from repro.errors import MissingDataError


def damaged(path: Path | str, reason: object) -> MissingDataError:
    """The error for a file that is there but cannot be used."""
    text = " ".join(str(reason).split()).rstrip(".") or type(reason).__name__
    return MissingDataError(f"{path} is damaged or incomplete ({text}); delete it and fetch or copy it again.")


MAX_FILE_BYTES = 2**28
"""No file of a known data set unpacks to more: the largest, a batch file of CIFAR-100, has 160 MB."""


def read_bounded(path: Path, limit: int | None = None) -> bytes:
    """A file's content, unpacked if its name ends in .gz; MissingDataError if it is broken or unpacks beyond bounds.

    limit: bytes; MAX_FILE_BYTES if it is not given.
    """
    limit = MAX_FILE_BYTES if limit is None else limit
    parts, size = [], 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as handle:
            while size <= limit and (part := handle.read(2**24)):
                parts.append(part)
                size += len(part)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, error) from error
    if size > limit:
        raise damaged(path, f"it holds more than {limit} bytes")
    return b"".join(parts)


def whole_labels(values: object, path: Path | str) -> np.ndarray:
    """Labels (N,) as int64; MissingDataError if one of them is no whole number."""
    if isinstance(values, list) and any(isinstance(value, (list, tuple, dict)) for value in values):
        raise damaged(path, "labels are not whole numbers")  # nested lists may unpack to any size
    try:
        labels = np.asarray(values)
    except ValueError as error:  # lists of several lengths
        raise damaged(path, "labels are not whole numbers") from error
    if labels.ndim != 1 or (labels.size and not np.issubdtype(labels.dtype, np.integer)):
        raise damaged(path, "labels are not whole numbers")
    return labels.astype(np.int64)


@dataclass
class Decoded:
    """One split in memory: images (N, C, H, W) uint8, labels (N,) int64 or masks (N, H, W) uint8, names if known."""

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...] | None = None
    details: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Source(ABC):
    """Files under `root` that hold one split of one data set."""

    name: str
    split: str
    root: Path
    files: tuple[Path, ...]

    kind = "files"

    @abstractmethod
    def read(self) -> Decoded:
        """Decode the split; MissingDataError if a file is damaged."""

    def relative(self, file: Path) -> str:
        """`file` as it is called in records: relative to the data root, so that no record names a machine's folders."""
        try:
            return file.relative_to(self.root).as_posix()
        except ValueError:
            return file.name


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as a hex string."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def content_sha256_of(path: Path) -> str:
    """SHA-256 of the content of a gzip file; MissingDataError if it breaks off."""
    try:
        with gzip.open(path, "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, error) from error
