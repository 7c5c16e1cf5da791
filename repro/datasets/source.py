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


@dataclass
class Decoded:
    """One split in memory: images (N, C, H, W) uint8, labels (N,) int64, class names if the source has them."""

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
