"""glyphs: scikit-learn's digits, turned, scaled, shifted and scribbled over, 16x16 grey.

Plain digits saturate with networks of a thousand weights; these do not with several thousand, and they need no files.
Test images are drawn from the test images of `digits`: no digit is in both parts.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np

from repro.datasets.drawn import CHUNK, DrawnSource, Stream, pixels, segments, to_bytes
from repro.datasets.grey import locate_digits
from repro.datasets.registry import info
from repro.datasets.source import Decoded

SIZE = 16
STROKES = 3
HALF_TURN = 0.2217  # tangent of 12.5 degrees: digits are turned by up to 25


class GlyphsSource(DrawnSource):
    """Every base digit is drawn equally often, up to one time."""

    @property
    def version(self) -> str:
        return f"glyphs 1 of scikit-learn {version('scikit-learn')}"

    def read(self) -> Decoded:
        """6,000 training or 4,000 test images; the order mixes the classes."""
        entry = info(self.name)
        bases = locate_digits(self.split, self.root).read()
        stream, count = Stream(entry.seed, self.split), entry.rows[self.split]
        order = np.argsort(stream.uniform(0, 1, count), kind="stable") % len(bases.labels)
        levels = bases.images[:, 0].astype(np.float64) / 255
        images = np.empty((count, 1, SIZE, SIZE), dtype=np.uint8)
        for start in range(0, count, CHUNK):
            rows = order[start : start + CHUNK]
            images[start : start + CHUNK, 0] = draw(levels[rows], stream)
        return Decoded(images, bases.labels[order], None, {"image_format": "grey levels 0..255"})


def draw(digits: np.ndarray, stream: Stream) -> np.ndarray:
    """Glyphs (N, 16, 16) uint8 from digits (N, 8, 8) of grey levels 0..1."""
    number = len(digits)
    ink = warped(digits, stream) * stream.uniform(0.55, 1.0, number, 1, 1)
    for _ in range(STROKES):
        top, left = stream.uniform(0, SIZE - 1, 2, number)
        length, (cosine, sine) = stream.uniform(4, 9, number), stream.turn(1.0, number)
        distance = segments(top, left, top + length * sine, left + length * cosine, SIZE)
        thick, strength = stream.uniform(0.4, 0.9, number, 1, 1), stream.uniform(0.4, 0.9, number, 1, 1)
        ink = np.maximum(ink, strength * np.clip(thick + 0.5 - distance, 0.0, 1.0))
    paper = stream.uniform(0.0, 0.25, number, 1, 1)
    return to_bytes(paper + (1 - paper) * ink + stream.noise(0.08, number, SIZE, SIZE))


def warped(digits: np.ndarray, stream: Stream) -> np.ndarray:
    """Digits (N, 8, 8) turned, scaled to 1.2 to 1.8 times, shifted by up to 2 pixels: (N, 16, 16), read bilinearly."""
    number, extent = len(digits), digits.shape[1]
    cosine, sine = (part[:, None, None] for part in stream.turn(HALF_TURN, number))
    scale = stream.uniform(1.2, 1.8, number, 1, 1)
    down, across = stream.uniform(-2.0, 2.0, 2, number, 1, 1)
    rows, columns = pixels(SIZE)
    middle = (SIZE - 1) / 2
    row, column = rows - middle - down, columns - middle - across
    source_row = (cosine * row + sine * column) / scale + (extent - 1) / 2
    source_column = (cosine * column - sine * row) / scale + (extent - 1) / 2
    padded = np.pad(digits, ((0, 0), (1, 2), (1, 2)))
    source_row, source_column = (np.clip(place + 1, 0.0, extent + 1.0) for place in (source_row, source_column))
    top, left = np.floor(source_row).astype(np.int64), np.floor(source_column).astype(np.int64)
    low, right = source_row - top, source_column - left
    each = np.arange(number)[:, None, None]
    upper = (1 - right) * padded[each, top, left] + right * padded[each, top, left + 1]
    lower = (1 - right) * padded[each, top + 1, left] + right * padded[each, top + 1, left + 1]
    return (1 - low) * upper + low * lower


def locate(split: str, root: Path) -> GlyphsSource:
    """Glyphs need no files."""
    return GlyphsSource("glyphs", split, root, ())
