"""The two grey data sets: digits (shipped with scikit-learn) and Fashion-MNIST (IDX files)."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from repro.datasets.source import Decoded, Source, damaged, read_bounded
from repro.datasets.subset import stratified_order

# Where Debian's package dataset-fashion-mnist puts its files.
DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
DIGITS_TEST_ROWS = 360


@dataclass(frozen=True)
class DigitsSource(Source):
    """scikit-learn's digits: grey levels 0..16, stored here as round(level * 255 / 16), all 17 levels distinct.

    scikit-learn defines no split. Ours: 360 test images, the first of the stratified order with seed 0 over all 1797,
    and the remaining 1437 for training; both keep the original order.
    """

    kind = "scikit-learn"

    @property
    def package(self) -> str:
        """The package that carries the data, with its version."""
        return f"scikit-learn {version('scikit-learn')}"

    def read(self) -> Decoded:
        from sklearn.datasets import load_digits

        levels, labels = load_digits(return_X_y=True)
        images = np.rint(levels * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
        test = np.sort(stratified_order(labels, seed=0)[:DIGITS_TEST_ROWS])
        rows = test if self.split == "test" else np.setdiff1d(np.arange(len(labels)), test)
        return Decoded(images[rows], labels[rows].astype(np.int64), None, {"image_format": "grey levels 0..16"})


class FashionSource(Source):
    """Fashion-MNIST as the two IDX files of a split, gzip-compressed or not: images first, labels second."""

    kind = "IDX files"

    def read(self) -> Decoded:
        images, labels = (read_idx(file) for file in self.files)
        if images.ndim != 3 or images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
            raise damaged(self.files[0], f"shapes {images.shape} and {labels.shape} are not N x 28 x 28 and N")
        return Decoded(images[:, None], labels.astype(np.int64), None, {"image_format": "raw bytes"})


def read_idx(path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes: 0, 0, type 8, number of dimensions, big-endian extents, then the values."""
    raw = read_bounded(path)
    if len(raw) < 4 or raw[:3] != b"\0\0\x08" or not 1 <= raw[3] <= 3:
        raise damaged(path, "it does not begin like an IDX file of bytes")
    start = 4 + 4 * raw[3]
    shape = [int.from_bytes(raw[place : place + 4]) for place in range(4, start, 4)]
    if len(raw) - start != math.prod(shape):
        raise damaged(path, f"{len(raw) - start} values where its header promises {' x '.join(map(str, shape))}")
    return np.frombuffer(raw, dtype=np.uint8, offset=start).reshape(shape)


def locate_fashion(split: str, root: Path) -> Source | None:
    """Fashion-MNIST under `root` (fashion-mnist/ or FashionMNIST/raw/), else in Debian's folder."""
    stem = {"train": "train", "test": "t10k"}[split]
    names = [f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"]
    for folder in (root / "fashion-mnist", root / "FashionMNIST" / "raw", DEBIAN_FASHION):
        found = [next((f for f in (folder / f"{n}.gz", folder / n) if f.is_file()), None) for n in names]
        if all(found):
            return FashionSource("fashion-mnist", split, root, tuple(found))  # type: ignore[arg-type]
        if any(found):
            lost = [n for n, f in zip(names, found) if f is None]
            raise damaged(folder, f"{lost[0]}.gz is not in it")
    return None


def locate_digits(split: str, root: str | os.PathLike) -> Source:
    """Digits need no files: scikit-learn brings them."""
    return DigitsSource("digits", split, Path(root), ())
