"""Random numbers and brush strokes of the drawn data sets, the same to the last bit on every machine.

Bits come from PCG64's raw stream, which NumPy promises to keep, and pixels from sums, products, quotients, roots and
comparisons alone, element by element: IEEE 754 rounds these in one way, whereas sines, logarithms and the order of a
reduction are each library's own.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from repro.datasets.registry import SPLITS, info
from repro.datasets.source import Source

CHUNK = 500
"""Images that are drawn at a time, to bound memory; numbers are taken chunk by chunk, so another value draws others."""


class Stream:
    """Random numbers from a seed and a split."""

    def __init__(self, seed: int, split: str) -> None:
        self._bits = np.random.PCG64([seed, SPLITS.index(split)])

    def uniform(self, low: float, high: float, *shape: int) -> np.ndarray:
        """Numbers in [low, high), float64 of the given shape."""
        raw = self._bits.random_raw(int(np.prod(shape, dtype=np.int64)))
        return low + (high - low) * ((raw >> np.uint64(11)) * 2.0**-53).reshape(shape)

    def noise(self, deviation: float, *shape: int) -> np.ndarray:
        """Nearly normal numbers with mean 0: each the sum of four uniform ones."""
        parts = self.uniform(-1.0, 1.0, 4, *shape)
        return deviation * math.sqrt(3 / 4) * (parts[0] + parts[1] + parts[2] + parts[3])

    def turn(self, largest_tangent: float, *shape: int) -> tuple[np.ndarray, np.ndarray]:
        """Cosines and sines of random angles; the tangent of half the angle is uniform up to +-`largest_tangent`."""
        tangent = self.uniform(-largest_tangent, largest_tangent, *shape)
        square = tangent * tangent
        return (1 - square) / (1 + square), 2 * tangent / (1 + square)


@dataclass(frozen=True)
class DrawnSource(Source):
    """A data set that is computed; its registry entry has the seed."""

    kind = "drawn"

    @property
    @abstractmethod
    def version(self) -> str:
        """What the pixels depend on besides the seed; it must change when the drawing does."""

    @property
    def package(self) -> str:
        """What stands for files in records: version and seed."""
        return f"{self.version}, seed {info(self.name).seed}"


def pixels(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (size, 1) and columns (1, size) of pixel centres."""
    places: np.ndarray = np.arange(size, dtype=np.float64)
    return places[:, None], places[None, :]


def segments(top: np.ndarray, left: np.ndarray, bottom: np.ndarray, right: np.ndarray, size: int) -> np.ndarray:
    """Distance (..., size, size) of every pixel from straight strokes, whose ends are arrays (...)."""
    rows, columns = pixels(size)
    top, left, bottom, right = (end[..., None, None] for end in (top, left, bottom, right))
    down, across = bottom - top, right - left
    along = ((rows - top) * down + (columns - left) * across) / np.maximum(down * down + across * across, 1e-9)
    along = np.clip(along, 0.0, 1.0)
    off_row, off_column = rows - top - along * down, columns - left - along * across
    return np.sqrt(off_row * off_row + off_column * off_column)


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Grey values 0..1 as uint8, rounded half up, cut off at the ends."""
    return np.floor(255 * np.clip(values, 0.0, 1.0) + 0.5).astype(np.uint8)
