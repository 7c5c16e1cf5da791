"""Glyphs: handwritten digits in clutter, drawn here, so that a data set that does not saturate needs no network.

scikit-learn's digits, turned by up to 25 degrees, sheared, scaled and shifted into 16x16 pixels, among three stray
strokes, under varying contrast and noise. Test glyphs are drawn from other digits than training glyphs. Everything
follows from fixed seeds; `numpy.random.RandomState` promises the same numbers in every version.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from repro.datasets.grey import DigitsSource
from repro.datasets.source import Decoded, Source

SIDE = 16
ROWS = {"train": 6000, "test": 4000}
_SEEDS = {"train": 20240, "test": 20241}
STROKES = 3


@dataclass(frozen=True)
class GlyphsSource(Source):
    """The glyphs of one split, drawn from scikit-learn's digits of the same split."""

    kind = "drawn from scikit-learn's digits"

    @property
    def package(self) -> str:
        """What brings the digits, with its version."""
        return f"drawn from the digits of scikit-learn {version('scikit-learn')}"

    def read(self) -> Decoded:
        digits = DigitsSource("digits", self.split, self.root, ()).read()
        random = np.random.RandomState(_SEEDS[self.split])
        count = ROWS[self.split]
        base = random.permutation(np.resize(np.arange(len(digits.labels)), count))
        images = draw_glyphs(digits.images[base, 0] / 255.0, random)
        stored = np.rint(255 * images).astype(np.uint8)[:, None]
        return Decoded(stored, digits.labels[base].astype(np.int64), None, {"image_format": "drawn"})


def draw_glyphs(digits: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Digits (N, 8, 8) in 0..1 as cluttered images (N, 16, 16) in 0..1."""
    count = len(digits)

    def uniform(low: float, high: float, *shape: int) -> np.ndarray:
        return random.uniform(low, high, (count, *shape))

    glyphs = _warped(digits, uniform)
    level, contrast = uniform(0.0, 0.25)[:, None, None], uniform(0.45, 0.9)[:, None, None]
    strokes = np.max([_stroke(uniform) for _ in range(STROKES)], axis=0)
    images = level + contrast * np.maximum(glyphs, strokes) * (1 - level)
    return np.clip(images + random.normal(0.0, 0.08, images.shape), 0.0, 1.0)


def _warped(digits: np.ndarray, uniform) -> np.ndarray:
    """Each digit turned, sheared, scaled and shifted, sampled bilinearly; outside the digit there is nothing."""
    angle, shear, scale = np.deg2rad(uniform(-25, 25)), uniform(-0.2, 0.2), 8 / (SIDE * uniform(0.7, 1.0))
    shift = uniform(-2.0, 2.0, 2)
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    inverse = np.stack([np.stack([cos, -sin + shear * cos], 1), np.stack([sin, cos + shear * sin], 1)], 1)
    grid = np.stack(np.meshgrid(*[np.arange(SIDE) - (SIDE - 1) / 2] * 2, indexing="ij"), -1).reshape(-1, 2)
    places = (grid[None] - shift[:, None]) @ inverse.transpose(0, 2, 1) + 3.5
    padded = np.pad(digits, ((0, 0), (1, 2), (1, 2)))
    low = np.clip(np.floor(places).astype(int), -1, 8)
    part = np.clip(places - low, 0.0, 1.0)
    rows = np.arange(len(digits))[:, None]
    (y, x), (dy, dx) = np.moveaxis(low + 1, -1, 0), np.moveaxis(part, -1, 0)
    upper = padded[rows, y, x] * (1 - dx) + padded[rows, y, x + 1] * dx
    lower = padded[rows, y + 1, x] * (1 - dx) + padded[rows, y + 1, x + 1] * dx
    return (upper * (1 - dy) + lower * dy).reshape(-1, SIDE, SIDE)


def _stroke(uniform) -> np.ndarray:
    """One straight stroke a image: (N, 16, 16) in 0..1, soft at its edges."""
    start, angle, length = uniform(0, SIDE, 2), uniform(0, 2 * np.pi), uniform(4, 9)
    along = np.stack([np.sin(angle), np.cos(angle)], 1)
    grid = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"), -1).reshape(1, -1, 2)
    offset = grid - start[:, None]
    place = np.clip((offset * along[:, None]).sum(-1), 0, length[:, None])
    distance = np.linalg.norm(offset - place[..., None] * along[:, None], axis=-1)
    return (uniform(0.4, 0.9)[:, None] * np.exp(-((distance / 0.8) ** 2))).reshape(-1, SIDE, SIDE)


def locate_glyphs(split: str, root: str | os.PathLike) -> Source:
    """Glyphs need no files: they are drawn."""
    return GlyphsSource("glyphs", split, Path(root), ())
