"""Choosing and shrinking images with exact, machine-independent arithmetic on NumPy arrays."""

from __future__ import annotations

from fractions import Fraction

import numpy as np


def stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """An order of all rows in which every prefix holds the classes in their overall proportions, within one row.

    Prefixes are nested: the first 100 rows are among the first 200. Random bits come from PCG64's raw stream, which
    NumPy promises to keep, so the order is the same on every machine and version.
    """
    tie = np.random.PCG64(seed).random_raw(len(labels))
    shuffled = np.argsort(tie, kind="stable")
    position = np.empty(len(labels))
    for label in np.unique(labels):
        rows = shuffled[labels[shuffled] == label]
        position[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    return np.lexsort((tie, position))


def area_resize(images: np.ndarray, size: int) -> np.ndarray:
    """Average (N, C, H, W) uint8 images over `size` x `size` equal areas; a pixel cut by a border counts in part.

    Weights are whole numbers (pixel i covers [i*size, (i+1)*size), cell j covers [j*H, (j+1)*H)), so the result,
    rounded half up, is exact. Enlarging by a whole factor repeats pixels.
    """
    *_, height, width = images.shape
    rows, columns = _overlap(height, size), _overlap(width, size)
    out = np.empty((*images.shape[:2], size, size), dtype=np.uint8)
    area = height * width
    for start in range(0, len(images), 1024):
        # float64 holds these whole numbers (at most 255 * H * W) without rounding and lets BLAS do the work.
        total = rows @ images[start : start + 1024].astype(np.float64) @ columns.T
        out[start : start + 1024] = (2 * total.astype(np.int64) + area) // (2 * area)
    return out


def middle_resize(masks: np.ndarray, size: int) -> np.ndarray:
    """Masks (N, H, W) at `size` x `size` pixels: the class in the middle of each of as many equal areas.

    The class that has most of an area would let small parts shrink: at a tie one class must always lose.
    """
    rows, columns = ((2 * np.arange(size) + 1) * extent // (2 * size) for extent in masks.shape[1:])
    return masks[:, rows[:, None], columns]


def _overlap(extent: int, size: int) -> np.ndarray:
    pixel = np.arange(extent)[None, :]
    cell = np.arange(size)[:, None]
    covered = np.minimum((pixel + 1) * size, (cell + 1) * extent) - np.maximum(pixel * size, cell * extent)
    return np.maximum(covered, 0).astype(np.float64)


def channel_stats(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation (over N, H, W) of each channel of uint8 images on the scale 0..1, exactly rounded.

    A constant channel gets the deviation 1, so that normalising it does not divide by zero.
    """
    means, deviations = [], []
    for channel in range(images.shape[1]):
        counts = [int(c) for c in np.bincount(images[:, channel].reshape(-1), minlength=256)]
        number = sum(counts)
        mean = Fraction(sum(v * c for v, c in enumerate(counts)), number)
        variance = Fraction(sum(v * v * c for v, c in enumerate(counts)), number) - mean**2
        means.append(float(mean / 255))
        deviations.append(float(variance) ** 0.5 / 255 or 1.0)
    return tuple(means), tuple(deviations)
