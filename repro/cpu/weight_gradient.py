"""The adder's weight gradient: sum over images and pixels of g * x for every filter tap, to near float64 accuracy.

A matrix product would do, but the library adds up a whole batch in one line, and over 10^5 pixels its rounding error
grows to tens of times that of a pairwise sum. Here neighbouring pixels are the lanes of a vector: a tile of `FILTERS`
filters by `TAPS` taps keeps one vector of sums each, every lane adds at most `CHAIN` products, the lanes are then added
in a tree and the result joins a total in float64. A task takes some images, one group and some filters; tasks write
partial totals of their own, so the result does not depend on the number of threads.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from repro.cpu import correlate as c
from repro.cpu import memory, simd
from repro.cpu.geometry import Walk, plan
from repro.cpu.runner import THREADS, TICKET, launch, thread_count
from repro.cpu.simd import PIECE

FILTERS, TAPS = (4, 6) if simd.HAS_AVX512 else (2, 4)  # sums of a dense tile, which must fit the register file
DEPTHWISE_TAPS = 9
LANES = 2 * PIECE if simd.HAS_AVX512 else PIECE
CHAIN = 64  # products a lane adds up in float32
PARTS = 16  # partial totals at most
PART_BYTES = 8 << 20  # of all partial totals together

G, G_N, G_C, G_H, G_W = c.AUX, c.AUX_N, c.AUX_C, c.AUX_H, c.AUX_W  # grad_out lies over the walk's targets
PARTIAL, PART_COUNT, SPLIT_FILTERS, SPLITS, G_PITCH, OFFSET_LIST = range(c.WORDS, c.WORDS + 6)
WORDS = c.WORDS + 6
_I64 = ir.IntType(64)


def _tree(builder, vectors: list):
    """Sum each vector's lanes; the sum of vector i becomes lane i of the result (LANES to a vector, zeros after)."""
    lanes = vectors[0].type.count
    zero = ir.Constant(vectors[0].type, [0.0] * lanes)
    vectors = vectors + [zero] * (-len(vectors) % lanes)
    even, odd = (
        ir.Constant(ir.VectorType(ir.IntType(32), lanes), [2 * i + first for i in range(lanes)]) for first in (0, 1)
    )
    results = []
    for start in range(0, len(vectors), lanes):
        level = vectors[start : start + lanes]
        while len(level) > 1:
            level = [
                builder.fadd(builder.shuffle_vector(a, b, even), builder.shuffle_vector(a, b, odd))
                for a, b in zip(level[::2], level[1::2], strict=True)
            ]
        results += level
    return results


def _products(filters: int, taps: int, wide: bool):
    """Code of a tile: out[filters * taps] (float64) += sum over steps of LANES pixels of g * x."""

    def codegen(context, builder, signature, args):
        pieces, steps, offsets, g, pitch, out = args
        vector, half = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.FloatType(), PIECE)
        apart = [builder.load(simd._at(builder, offsets, 8 * tap), typ=_I64, align=8) for tap in range(taps)]
        slots = [cgutils.alloca_once(builder, vector) for _ in range(filters * taps)]
        for slot in slots:
            builder.store(ir.Constant(vector, [0.0] * LANES), slot)
        join = ir.Constant(ir.VectorType(ir.IntType(32), LANES), list(range(LANES)))
        per_step = LANES // PIECE

        with cgutils.for_range(builder, steps) as loop:
            here = builder.add(pieces, builder.mul(loop.index, ir.Constant(_I64, 40 * per_step)))
            bases = [
                builder.load(simd._at(builder, here, 40 * i), typ=_I64, align=8) for i in range(1 if wide else per_step)
            ]
            at = builder.add(g, builder.mul(loop.index, ir.Constant(_I64, 4 * LANES)))
            upstream = []
            for _ in range(filters):
                upstream.append(builder.load(simd._pointer(builder, at), align=4, typ=vector))
                at = builder.add(at, pitch)
            for tap in range(taps):
                if wide or per_step == 1:
                    x = builder.load(simd._pointer(builder, bases[0], apart[tap]), align=4, typ=vector)
                else:
                    parts = [
                        builder.load(simd._pointer(builder, base, apart[tap]), align=4, typ=half) for base in bases
                    ]
                    x = builder.shuffle_vector(*parts, join)
                for row in range(filters):
                    slot = slots[row * taps + tap]
                    current = builder.load(slot, typ=vector)
                    builder.store(simd._fma(builder, upstream[row], x, current), slot)

        sums = _tree(builder, [builder.load(slot, typ=vector) for slot in slots])
        wider = ir.VectorType(ir.DoubleType(), LANES)
        for index, lanes in enumerate(sums):
            target = builder.add(out, ir.Constant(_I64, 8 * LANES * index))
            total = builder.load(simd._pointer(builder, target), align=8, typ=wider)
            builder.store(builder.fadd(total, builder.fpext(lanes, wider)), simd._pointer(builder, target), align=8)
        return context.get_dummy_value()

    return codegen


_ARGS = (types.int64,) * 6  # piece list, steps, tap offsets, grad_out of the first filter, its pitch, totals


@intrinsic
def _dense_products(typingctx, pieces, steps, offsets, g, pitch, out):
    return types.none(*_ARGS), _products(FILTERS, TAPS, wide=False)


@intrinsic
def _dense_products_wide(typingctx, pieces, steps, offsets, g, pitch, out):
    return types.none(*_ARGS), _products(FILTERS, TAPS, wide=True)


@intrinsic
def _depthwise_products(typingctx, pieces, steps, offsets, g, pitch, out):
    return types.none(*_ARGS), _products(1, DEPTHWISE_TAPS, wide=False)


def _slot(sums: int) -> int:
    """float64 numbers that a tile of so many sums takes: whole vectors."""
    return -(-sums // LANES) * LANES


DENSE_SLOT, DEPTHWISE_SLOT = _slot(FILTERS * TAPS), _slot(DEPTHWISE_TAPS)


@numba.njit(inline="never")
def _pack_rows(unit, p, to, channel, present, padded, image0, images, row0, rows, col0, cols):
    """grad_out of `padded` filters as rows of pixels in the order of the piece list; zero where no pixel is due.

    The last piece of a row overlaps the one before (`correlate._list_pieces`): pixels counted already are zeroed.
    """
    pitch = memory.load_int(p, G_PITCH)
    stride_w = memory.load_int(p, G_W)
    for index in range(padded):
        line = to + index * pitch
        at_filter = memory.load_int(p, G) + (channel + index) * memory.load_int(p, G_C) + col0 * stride_w
        end = line + pitch
        if index < present:
            for image in range(images):
                for row in range(rows):
                    at = at_filter + (image0 + image) * memory.load_int(p, G_N) + (row0 + row) * memory.load_int(p, G_H)
                    col = 0
                    while col + PIECE <= cols:
                        if stride_w == 4:
                            memory.copy_piece(unit, line, at + col * 4)
                        else:
                            for lane in range(PIECE):
                                memory.store(unit, line + 4 * lane, memory.load(unit, at + (col + lane) * stride_w))
                        line += 4 * PIECE
                        col += PIECE
                    left = cols - col
                    if left > 0:
                        memory.zero_piece(unit, line)
                        first = PIECE - left if cols >= PIECE else 0
                        for lane in range(left):
                            value = memory.load(unit, at + (col + lane) * stride_w)
                            memory.store(unit, line + 4 * (first + lane), value)
                        line += 4 * PIECE
        while line < end:
            memory.zero_piece(unit, line)
            line += 4 * PIECE


@numba.njit(inline="always")
def _walk(p, filters, taps, slot_size, dense):
    unit = np.float32(0)
    slot = memory.take_ticket(p + 8 * THREADS)
    pieces = memory.load_int(p, c.SCRATCH) + slot * memory.load_int(p, c.SCRATCH_BYTES)
    max_pieces = memory.load_int(p, c.MAX_PIECES)
    pitch, split = memory.load_int(p, G_PITCH), memory.load_int(p, SPLIT_FILTERS)
    upstream = pieces + (max_pieces + 2) * 40
    scratch = upstream + pitch * split
    images, groups = memory.load_int(p, c.IMAGES), memory.load_int(p, c.GROUPS)
    rows_out, cols_out = memory.load_int(p, c.ROWS_OUT), memory.load_int(p, c.COLS_OUT)
    task_images, task_rows = memory.load_int(p, c.TASK_IMAGES), memory.load_int(p, c.TASK_ROWS)
    task_cols, direct = memory.load_int(p, c.TASK_COLS), memory.load_int(p, c.DIRECT)
    step_h, step_w = memory.load_int(p, c.STEP_H), memory.load_int(p, c.STEP_W)
    channels, outputs = memory.load_int(p, c.SOURCE_CHANNELS), memory.load_int(p, c.TARGET_CHANNELS)
    down = (rows_out + task_rows - 1) // task_rows
    strips = max(1, cols_out // task_cols)
    bands = ((images + task_images - 1) // task_images) * down * strips
    parts, splits = memory.load_int(p, PART_COUNT), memory.load_int(p, SPLITS)
    tap_blocks = (memory.load_int(p, c.TAPS) + taps - 1) // taps
    filter_blocks = (outputs + filters - 1) // filters
    offsets = memory.load_int(p, c.OFFSETS)
    tasks = parts * groups * splits
    per_step = LANES // PIECE
    while True:
        task = memory.take_ticket(p + 8 * TICKET)
        if task >= tasks:
            break
        part, group, first_filter = task // (groups * splits), (task // splits) % groups, (task % splits) * split
        count_filters = min(split, outputs - first_filter)
        blocks = (count_filters + filters - 1) // filters
        totals = memory.load_int(p, PARTIAL)
        totals += ((part * groups + group) * filter_blocks + first_filter // filters) * tap_blocks * slot_size * 8
        for position in range(blocks * tap_blocks * slot_size):
            memory.store(np.float64(0), totals + 8 * position, 0.0)
        for band in range(part * bands // parts, (part + 1) * bands // parts):
            image0 = (band // (down * strips)) * task_images
            row0, strip = ((band // strips) % down) * task_rows, band % strips
            col0 = strip * task_cols
            count_images, rows = min(task_images, images - image0), min(task_rows, rows_out - row0)
            cols = cols_out - col0 if strip == strips - 1 else task_cols
            if not direct:
                source_rows = (rows - 1) * step_h + memory.load_int(p, c.SPAN_H)
                first_row = row0 * step_h + memory.load_int(p, c.MIN_H)
                first_col = col0 * step_w + memory.load_int(p, c.MIN_W)
                c._fill(unit, p, scratch, image0, count_images, group, first_row, source_rows, first_col)
                memory.zero_piece(unit, scratch + count_images * memory.load_int(p, c.IMAGE_ELEMENTS) * 4)
            count = c._list_pieces(unit, p, scratch, image0, count_images, row0, rows, col0, cols, pieces)
            if direct:
                for piece in range(count):
                    to = pieces + piece * 40
                    base = memory.load_int(to, 0) + group * channels * memory.load_int(p, c.SOURCE_C)
                    memory.store_int(to, 0, base)
            if count % per_step:  # a whole last vector: any address will do, its gradients are zero
                memory.store_int(pieces + count * 40, 0, memory.load_int(pieces + (count - 1) * 40, 0))
            steps = (count + per_step - 1) // per_step
            wide = dense and cols % LANES == 0
            channel = group * outputs + first_filter
            _pack_rows(
                unit, p, upstream, channel, count_filters, blocks * filters,
                image0, count_images, row0, rows, col0, cols,
            )  # fmt: skip
            for first in range(0, steps, CHAIN):
                length = min(CHAIN, steps - first)
                here = pieces + first * per_step * 40
                for block in range(blocks):
                    g = upstream + block * filters * pitch + first * LANES * 4
                    for tap_block in range(tap_blocks):
                        out = totals + (block * tap_blocks + tap_block) * slot_size * 8
                        at = offsets + tap_block * taps * 8
                        if not dense:
                            _depthwise_products(here, length, at, g, pitch, out)
                        elif wide:
                            _dense_products_wide(here, length, at, g, pitch, out)
                        else:
                            _dense_products(here, length, at, g, pitch, out)


def dense(p):
    """All filters of a group, FILTERS by TAPS sums at a time."""
    _walk(p, FILTERS, TAPS, DENSE_SLOT, True)


def depthwise(p):
    """One filter a group, DEPTHWISE_TAPS sums at a time."""
    _walk(p, 1, DEPTHWISE_TAPS, DEPTHWISE_SLOT, False)


def weight_products(walk: Walk, x: torch.Tensor, grad_out: torch.Tensor, flat: bool) -> torch.Tensor:
    """(groups, filters, source channels * taps) float64: sum of g * x for every filter and tap.

    Args:
        walk: the forward walk of the layer (targets are `grad_out`'s pixels).
        x, grad_out: float32, four dimensions, any strides.
        flat: rows and columns of both are one long row.
    """
    strides = [4 * s for s in x.stride()]
    direct = flat and strides[3] == 4 and walk.source_size[1] >= PIECE
    words, offsets, _ = plan(walk, direct, strides[1], 4)
    filters, taps, slot = (1, DEPTHWISE_TAPS, DEPTHWISE_SLOT) if walk.depthwise else (FILTERS, TAPS, DENSE_SLOT)
    filter_blocks, tap_blocks = -(-walk.target_channels // filters), -(-len(offsets) // taps)
    offsets = np.append(offsets, np.repeat(offsets[-1:], -len(offsets) % taps))

    rows, cols = walk.target_size
    task_images, task_rows, task_cols = (int(words[i]) for i in (c.TASK_IMAGES, c.TASK_ROWS, c.TASK_COLS))
    bands = -(-walk.images // task_images) * -(-rows // task_rows) * max(1, cols // task_cols)
    size = walk.groups * filter_blocks * tap_blocks * slot
    parts = max(1, min(bands, PARTS, PART_BYTES // (8 * size)))
    splits = max(1, min(filter_blocks, -(-8 // (parts * walk.groups))))
    split = -(-filter_blocks // splits) * filters
    splits = -(-walk.target_channels // split)
    partial = torch.empty((parts, walk.groups, filter_blocks, tap_blocks, slot), dtype=torch.float64, device="cpu")

    pieces = int(words[c.MAX_PIECES])
    pitch = 4 * PIECE * (pieces + pieces % 2)
    scratch_elements = 0 if direct else task_images * int(words[c.IMAGE_ELEMENTS])
    slot_bytes = (pieces + 2) * 40 + pitch * split + (scratch_elements + 4 * PIECE) * 4
    slot_bytes = -(-slot_bytes // 64) * 64
    threads = thread_count(walk.terms)
    scratch = torch.empty(slot_bytes * threads, dtype=torch.uint8, device="cpu")

    p = np.zeros(WORDS, np.int64)
    p[: c.WORDS] = words
    p[c.SOURCE], p[c.SOURCE_N : c.SOURCE_W + 1] = x.data_ptr(), strides
    p[G], p[G_N : G_W + 1] = grad_out.data_ptr(), [4 * s for s in grad_out.stride()]
    p[c.OFFSETS], p[c.SCRATCH], p[c.SCRATCH_BYTES] = offsets.ctypes.data, scratch.data_ptr(), slot_bytes
    p[PARTIAL], p[PART_COUNT], p[SPLIT_FILTERS], p[SPLITS], p[G_PITCH] = partial.data_ptr(), parts, split, splits, pitch
    launch(depthwise if walk.depthwise else dense, p, threads)

    total = partial.sum(0) if parts > 1 else partial[0]
    total = total[..., : filters * taps].unflatten(-1, (filters, taps)).transpose(2, 3)
    total = total.reshape(walk.groups, filter_blocks * filters, tap_blocks * taps)
    return total[:, : walk.target_channels, : walk.source_channels * walk.taps]
