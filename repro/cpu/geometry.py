"""How an adder layer is cut into tasks: tap offsets, bands, scratch layout; integers, worked out once a shape."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from repro.cpu import correlate as c
from repro.cpu.simd import HAS_AVX512, PIECE, PIECES, PIXELS

SCRATCH_ELEMENTS = 48 * 1024  # of one band's sources; with filters and sums it stays within a core's second-level cache
TASK_PIXELS = 512  # pixels that make a task worth handing out
PAIR_ELEMENTS = 96 * 1024  # most of a pair of images, whose sources lie there once for each filter column
PAIR_FILTERS = 16  # that read what was copied so often
HEADER_ELEMENTS = 2 * c.TILE_ROWS * PIXELS


@dataclass(frozen=True)
class Walk:
    """One call of a kernel of `correlate`: what does not depend on the tensors' addresses and strides."""

    taps_h: tuple[int, ...]  # source row offset of each filter row that takes part
    taps_w: tuple[int, ...]
    source_step: tuple[int, int]
    source_channels: int  # of one group
    target_channels: int
    groups: int
    images: int
    source_size: tuple[int, int]
    target_size: tuple[int, int]  # rows and columns of this phase

    @property
    def taps(self) -> int:
        return len(self.taps_h) * len(self.taps_w)

    @property
    def depthwise(self) -> bool:
        """One channel and one filter a group."""
        return self.source_channels == self.target_channels == 1 and self.groups > 1

    @property
    def terms(self) -> int:
        """Number of |x - w| (or clipped) terms."""
        rows, cols = self.target_size
        return self.images * self.groups * self.target_channels * self.source_channels * self.taps * rows * cols


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _band(walk: Walk, direct: bool) -> tuple[int, int, int]:
    """Images, rows and columns of one task."""
    rows, cols = walk.target_size
    span_h = max(walk.taps_h) - min(walk.taps_h) + 1
    span_w = max(walk.taps_w) - min(walk.taps_w) + 1
    step_h, step_w = walk.source_step
    budget = SCRATCH_ELEMENTS if not direct else 1 << 60

    def scratch(r: int, w: int) -> int:
        return walk.source_channels * ((r - 1) * step_h + span_h) * ((w - 1) * step_w + span_w + step_w)

    task_cols = cols
    while task_cols >= 8 * PIXELS and (scratch(1, task_cols) > budget or (direct and task_cols > TASK_PIXELS)):
        task_cols = _ceil(task_cols // 2, PIXELS) * PIXELS
    # Enough tasks that two to four threads end together, but none too small to be worth taking.
    wanted = max(1, min(rows, _ceil(TASK_PIXELS, task_cols)))
    task_rows = rows
    while task_rows > 1 and (scratch(task_rows, task_cols) > budget or (walk.images < 8 and task_rows > wanted)):
        task_rows = _ceil(task_rows, 2)
    task_images = 1
    if task_rows == rows and task_cols == cols:
        pieces = rows * _ceil(cols, PIECE)
        task_images = max(1, TASK_PIXELS // (2 * pieces * PIECE))
        # As many images as fill their last tile, where that leaves enough tasks.
        whole = PIECES // math.gcd(PIECES, pieces)
        if walk.images >= 8 * whole:
            task_images = _ceil(task_images, whole) * whole
        task_images = max(1, min(walk.images, task_images, budget // max(1, scratch(rows, cols))))
    return task_images, task_rows, task_cols


def pairs(walk: Walk) -> int:
    """Elements that a pair of images takes where images lie in pairs (see `repro.cpu.correlate`), 0 where they do not.

    They do where a row is one piece of neighbouring pixels, half of an AVX-512 register, and many filters read it.
    """
    one_piece = walk.target_size[1] == PIECE and walk.source_step[1] == 1 and walk.images > 1
    if not (HAS_AVX512 and one_piece and walk.target_channels >= PAIR_FILTERS):
        return 0
    band_rows = (walk.target_size[0] - 1) * walk.source_step[0] + max(walk.taps_h) - min(walk.taps_h) + 1
    elements = 2 * PIECE * len(walk.taps_w) * band_rows * walk.source_channels
    return elements if elements <= PAIR_ELEMENTS else 0


@functools.lru_cache(maxsize=1024)
def plan(
    walk: Walk, direct: bool, channel_stride: int, element_bytes: int, summed_filters: int = 0, paired: bool = False
) -> tuple[np.ndarray, np.ndarray, int]:
    """Parameter words without addresses, tap offsets in bytes, and bytes of scratch a thread needs.

    `summed_filters`: filters whose sums each thread makes and keeps in its scratch. `paired`: images may lie in pairs.
    """
    pair = pairs(walk) if paired and not direct else 0
    rows, cols = walk.target_size
    step_h, step_w = walk.source_step
    min_h, min_w = min(walk.taps_h), min(walk.taps_w)
    span_h, span_w = max(walk.taps_h) - min_h + 1, max(walk.taps_w) - min_w + 1
    task_images, task_rows, task_cols = (2, *walk.target_size) if pair else _band(walk, direct)
    widest = cols if cols // task_cols <= 1 else cols - (cols // task_cols - 1) * task_cols
    col_pitch = _ceil((widest - 1) * step_w + span_w, step_w)
    row_pitch = col_pitch * step_w
    band_rows = (task_rows - 1) * step_h + span_h
    if pair:
        row_pitch = len(walk.taps_w) * 2 * PIECE
    plane = band_rows * row_pitch
    image_elements = walk.source_channels * plane
    pieces = task_images * task_rows * _ceil(widest, PIECE)
    if direct:
        offsets = np.arange(walk.source_channels, dtype=np.int64) * channel_stride
        scratch = image_elements = 0
    else:
        across = np.array([((t - min_w) % step_w) * col_pitch + (t - min_w) // step_w for t in walk.taps_w])
        if pair:
            across = np.arange(len(walk.taps_w)) * 2 * PIECE
        down = np.array([(t - min_h) * row_pitch for t in walk.taps_h])
        over = np.arange(walk.source_channels) * plane
        offsets = (over[:, None, None] + down[None, :, None] + across[None, None, :]).reshape(-1) * element_bytes
        offsets = np.ascontiguousarray(offsets, dtype=np.int64)
        scratch = pair or task_images * image_elements
    words = np.zeros(c.WORDS, dtype=np.int64)
    slot = (HEADER_ELEMENTS + 2 * summed_filters + scratch + 4 * PIECE) * element_bytes + pieces * 40
    slot = _ceil(slot, 64) * 64
    for index, value in (
        (c.SCRATCH_BYTES, slot), (c.IMAGES, walk.images), (c.GROUPS, walk.groups),
        (c.SOURCE_CHANNELS, walk.source_channels), (c.TARGET_CHANNELS, walk.target_channels),
        (c.SOURCE_ROWS, walk.source_size[0]), (c.SOURCE_COLS, walk.source_size[1]),
        (c.ROWS_OUT, rows), (c.COLS_OUT, cols), (c.STEP_H, step_h), (c.STEP_W, step_w),
        (c.MIN_H, min_h), (c.MIN_W, min_w), (c.SPAN_H, span_h), (c.SPAN_W, span_w),
        (c.TAPS, len(offsets)), (c.TASK_IMAGES, task_images), (c.TASK_ROWS, task_rows), (c.TASK_COLS, task_cols),
        (c.COL_PITCH, col_pitch), (c.ROW_PITCH, row_pitch), (c.PLANE, plane), (c.IMAGE_ELEMENTS, image_elements),
        (c.MAX_PIECES, pieces), (c.DIRECT, int(direct)), (c.SUMMED_FILTERS, summed_filters),
        (c.PAIR_TAPS, len(walk.taps_w) if pair else 0), (c.PAIR_FIRST, walk.taps_w[0]),
        (c.PAIR_STEP, walk.taps_w[1] - walk.taps_w[0] if len(walk.taps_w) > 1 else 0),
    ):  # fmt: skip
        words[index] = value
    words.setflags(write=False)
    offsets.setflags(write=False)
    return words, offsets, slot


@functools.lru_cache(maxsize=1024)
def phase_taps(
    phase: int, extent: int, stride: int, padding: int, dilation: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Filter rows that reach input rows of index `phase` modulo the stride, and the output row offset of each."""
    reached = [k for k in range(extent) if (phase + padding - k * dilation) % stride == 0]
    return tuple(reached), tuple((phase + padding - k * dilation) // stride for k in reached)
