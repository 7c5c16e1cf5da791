"""Glyphs: handwritten digits in clutter, 16x16 grey, so that a data set that does not saturate needs no network.

scikit-learn's digits, turned by up to 25 degrees, sheared, scaled and shifted, among three stray strokes, under varying
contrast and noise. Test glyphs are drawn from other digits than training glyphs.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np

from repro.datasets.drawn import CHUNK, DrawnSource, Stream, pixels, segments, to_bytes
from repro.datasets.grey import DigitsSource
from repro.datasets.registry import info
from repro.datasets.source import Decoded

SIZE = 16
STROKES = 3


class GlyphsSource(DrawnSource):
    """The glyphs of one split, drawn from scikit-learn's digits of the same split."""

    version = "glyphs 2"

    @property
    def package(self) -> str:
        """Version and seed, and what brings the digits."""
        return f"{super().package}, from the digits of scikit-learn {version('scikit-learn')}"

    def read(self) -> Decoded:
        """6,000 training or 4,000 test glyphs, every digit about equally often, in random order."""
        entry = info(self.name)
        digits = DigitsSource("digits", self.split, self.root, ()).read()
        stream, count = Stream(entry.seed, self.split), entry.rows[self.split]  # type: ignore[arg-type]
        order = np.argsort(stream.uniform(0, 1, count), kind="stable") % len(digits.labels)
        grey = digits.images[:, 0] / 255.0
        parts = [draw(grey[order[start : start + CHUNK]], stream) for start in range(0, count, CHUNK)]
        labels = digits.labels[order].astype(np.int64)
        return Decoded(np.concatenate(parts)[:, None], labels, None, {"image_format": "grey 0..255"})


def draw(digits: np.ndarray, stream: Stream) -> np.ndarray:
    """Digits (N, 8, 8) in 0..1 as cluttered images (N, 16, 16) uint8."""
    number = len(digits)
    glyphs = _warped(digits, stream)
    for _ in range(STROKES):
        glyphs = np.maximum(glyphs, _stroke(number, stream))
    level, contrast = stream.uniform(0.0, 0.25, number, 1, 1), stream.uniform(0.45, 0.9, number, 1, 1)
    grey = level + contrast * glyphs * (1 - level)
    return to_bytes(grey + stream.noise(0.08, number, SIZE, SIZE))


def _warped(digits: np.ndarray, stream: Stream) -> np.ndarray:
    """Each digit turned, sheared, scaled and shifted, sampled bilinearly; outside the digit there is nothing."""
    number, side = len(digits), digits.shape[1]
    cosine, sine = (part[:, None, None] for part in stream.turn(0.2217, number))  # tan(12.5 degrees): up to 25
    shear, shrink = stream.uniform(-0.2, 0.2, number, 1, 1), stream.uniform(0.7, 1.0, number, 1, 1)
    rows, columns = (place - (SIZE - 1) / 2 for place in pixels(SIZE))
    down, across = rows - stream.uniform(-2, 2, number, 1, 1), columns - stream.uniform(-2, 2, number, 1, 1)
    across = across + shear * down
    middle, step = (side - 1) / 2, side / (SIZE * shrink)
    row = middle + step * (cosine * down - sine * across)
    column = middle + step * (sine * down + cosine * across)
    padded = np.pad(digits, ((0, 0), (1, 2), (1, 2)))
    top, left = (np.clip(np.floor(place), -1, side).astype(np.int64) for place in (row, column))
    low, right = np.clip(row - top, 0.0, 1.0), np.clip(column - left, 0.0, 1.0)
    each = np.arange(number)[:, None, None]
    upper = padded[each, top + 1, left + 1] * (1 - right) + padded[each, top + 1, left + 2] * right
    lower = padded[each, top + 2, left + 1] * (1 - right) + padded[each, top + 2, left + 2] * right
    return upper * (1 - low) + lower * low


def _stroke(number: int, stream: Stream) -> np.ndarray:
    """One straight stroke an image, (N, 16, 16) in 0..1, about two pixels wide."""
    top, left = stream.uniform(0, SIZE, number), stream.uniform(0, SIZE, number)
    bottom, right = top + stream.uniform(-7, 7, number), left + stream.uniform(-7, 7, number)
    ink = np.clip(1.5 - segments(top, left, bottom, right, SIZE), 0.0, 1.0)
    return stream.uniform(0.4, 0.9, number, 1, 1) * ink


def locate(split: str, root: Path) -> GlyphsSource:
    """Glyphs need no files but scikit-learn's digits."""
    return GlyphsSource("glyphs", split, root, ())
