"""Channels-last tensors to NCHW and back: each image a matrix to transpose, 8x8 elements at a time, on all threads.

torch copies between the two element by element, which for layers of few taps takes longer than the layer.
"""

from __future__ import annotations

from array import array

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from repro.cpu import memory
from repro.cpu.runner import TICKET, run, thread_count
from repro.cpu.simd import _I32, _I64, _bytes, _element, _pointer

SIDE = 8
TASK_ROWS = 256
WORK = 8  # of a thread, for one element, beside one |x - w| term
_SOURCE, _TARGET, _IMAGES, _ROWS, _COLS = range(2, 7)


@intrinsic
def _transpose(typingctx, unit, source, source_pitch, target, target_pitch):
    """SIDE rows of SIDE elements, transposed; pitches in bytes."""

    def codegen(context, builder, signature, args):
        element = _element(signature.args[0])
        source, source_pitch, target, target_pitch = args[1:]
        vector = ir.VectorType(element, SIDE)
        rows = []
        for row in range(SIDE):
            at = builder.mul(source_pitch, ir.Constant(_I64, row))
            rows.append(builder.load(_pointer(builder, source, at), align=_bytes(element), typ=vector))
        for distance in (4, 2, 1):  # exchange blocks of that size beside the diagonal
            low = [i if not i & distance else i - distance + SIDE for i in range(SIDE)]
            high = [i + distance if not i & distance else i + SIDE for i in range(SIDE)]
            masks = [ir.Constant(ir.VectorType(_I32, SIDE), order) for order in (low, high)]
            for first in (i for i in range(SIDE) if not i & distance):
                pair = rows[first], rows[first + distance]
                rows[first], rows[first + distance] = (builder.shuffle_vector(*pair, mask) for mask in masks)
        for row, value in enumerate(rows):
            at = builder.mul(target_pitch, ir.Constant(_I64, row))
            builder.store(value, _pointer(builder, target, at), align=_bytes(element))
        return context.get_dummy_value()

    return types.none(unit, *(types.int64,) * 4), codegen


@numba.njit(inline="always")
def _transpose_all(unit, p):
    size = memory.size_of(unit)
    rows, cols = memory.load_int(p, _ROWS), memory.load_int(p, _COLS)
    per_image = (rows + TASK_ROWS - 1) // TASK_ROWS
    tasks = memory.load_int(p, _IMAGES) * per_image
    while True:
        task = memory.take_ticket(p + 8 * TICKET)
        if task >= tasks:
            break
        image, first = task // per_image, (task % per_image) * TASK_ROWS
        end = min(rows, first + TASK_ROWS)
        source = memory.load_int(p, _SOURCE) + image * rows * cols * size
        target = memory.load_int(p, _TARGET) + image * rows * cols * size
        for col in range(0, cols, SIDE):
            c = min(col, cols - SIDE)  # the last block overlaps the one before
            for row in range(first, end, SIDE):
                r = min(row, rows - SIDE)
                _transpose(
                    unit, source + (r * cols + c) * size, cols * size, target + (c * rows + r) * size, rows * size
                )


def transpose_f32(p):
    """Transpose matrices of 4-byte elements."""
    _transpose_all(np.float32(0), p)


def transpose_f64(p):
    """Transpose matrices of 8-byte elements."""
    _transpose_all(np.float64(0), p)


def _into(target: torch.Tensor, source: torch.Tensor, rows: int, cols: int) -> torch.Tensor:
    p = array("q", bytes(8 * 7))
    p[_SOURCE], p[_TARGET], p[_IMAGES], p[_ROWS], p[_COLS] = (
        source.data_ptr(), target.data_ptr(), source.shape[0], rows, cols,
    )  # fmt: skip
    kernel = transpose_f32 if source.element_size() == 4 else transpose_f64
    run(kernel, p, thread_count(WORK * source.numel()))
    return target


def _serves(x: torch.Tensor, pixels: int) -> bool:
    return x.dtype in (torch.float32, torch.float64) and min(pixels, x.shape[1]) >= SIDE and x.shape[0] > 0


def to_nchw(x: torch.Tensor) -> torch.Tensor:
    """`x.contiguous()`, quickly if x is channels-last."""
    pixels = x.shape[2] * x.shape[3]
    if x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last) or not _serves(x, pixels):
        return x.contiguous()
    return _into(torch.empty(x.shape, dtype=x.dtype, device="cpu"), x, pixels, x.shape[1])


def to_channels_last(x: torch.Tensor) -> torch.Tensor:
    """`x.contiguous(memory_format=torch.channels_last)`, quickly if x is NCHW."""
    pixels = x.shape[2] * x.shape[3]
    if not x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last) or not _serves(x, pixels):
        return x.contiguous(memory_format=torch.channels_last)
    target = torch.empty(x.shape, dtype=x.dtype, memory_format=torch.channels_last, device="cpu")
    return _into(target, x, x.shape[1], pixels)
