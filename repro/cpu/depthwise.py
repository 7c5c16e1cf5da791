"""Depthwise adder layers on NCHW tensors: one plane at a time, row by row, straight from registers to the output.

The plane is copied into a scratch whose zero border is written once a thread. Forward: an output row is a sum over taps
of |x - w| on shifted rows (for column stride 2, every second pixel is picked from two loads). Input gradient: the
output's gradient is spread over a scratch of the input's size, with zeros between for strides, and every input row sums
g * HardTanh(w - x) over the taps. Layouts, strides and sizes that this does not serve take `repro.cpu.correlate`.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from repro.cpu import memory
from repro.cpu.runner import THREADS, TICKET, launch, thread_count
from repro.cpu.simd import (
    _I64,
    HAS_AVX512,
    PIECE,
    _bytes,
    _call,
    _constant,
    _element,
    _fabs,
    _fma,
    _hardtanh,
    _minus,
    _pointer,
    _splat,
    _suffix,
)

MAX_PLANE = 1 << 16  # scratch elements of a plane; larger ones are cut into bands by the general kernels
TASK_PIXELS = 4096
(
    _SOURCE, _SOURCE_N, _SOURCE_C, _SOURCE_H, _TARGET, _TARGET_N, _TARGET_C, _TARGET_H, _AUX, _AUX_N, _AUX_C, _AUX_H,
    _WEIGHT, _OFFSETS, _SCRATCH, _SCRATCH_ELEMENTS, _IMAGES, _CHANNELS, _ROWS, _COLS, _OUT_ROWS, _OUT_COLS,
    _ROW0, _COL0, _PITCH, _STEP_H, _STEP_W, _SPREAD_H, _SPREAD_W, _TAPS, _BATCH,
) = range(2, 33)  # fmt: skip


def _vector(element):
    wide = HAS_AVX512 and isinstance(element, ir.FloatType)
    return ir.VectorType(element, 2 * PIECE if wide else PIECE)


def _tail_mask(builder, vector, left):
    """Lanes below `left`."""
    lanes = ir.VectorType(_I64, vector.count)
    return builder.icmp_signed("<", ir.Constant(lanes, list(range(vector.count))), _splat(builder, left, lanes))


def _masked_store(builder, value, pointer, mask):
    align = ir.Constant(ir.IntType(32), _bytes(value.type.element))
    _call(builder, f"llvm.masked.store.{_suffix(value.type)}.p0", ir.VoidType(), [value, pointer, align, mask])


def _masked_load(builder, vector, pointer, mask):
    align = ir.Constant(ir.IntType(32), _bytes(vector.element))
    args = [pointer, align, mask, _constant(vector, 0.0)]
    return _call(builder, f"llvm.masked.load.{_suffix(vector)}.p0", vector, args)


def _row(step_w: int, clipped: bool):
    def codegen(context, builder, signature, args):
        element = _element(signature.args[0])
        size, vector = _bytes(element), _vector(element)
        source, x_row, out, count, offsets, weights, taps = args[1:]
        lanes = ir.Constant(_I64, vector.count)
        blocks = builder.sdiv(builder.add(count, ir.Constant(_I64, vector.count - 1)), lanes)
        total = cgutils.alloca_once(builder, vector)
        evens = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), list(range(0, 2 * vector.count, 2)))
        with cgutils.for_range(builder, blocks) as outer:
            first = builder.mul(outer.index, lanes)
            mask = _tail_mask(builder, vector, builder.sub(count, first))
            base = builder.add(source, builder.mul(first, ir.Constant(_I64, size * step_w)))
            to = builder.mul(first, ir.Constant(_I64, size))
            builder.store(_constant(vector, 0.0), total)
            if clipped:
                x = _masked_load(builder, vector, _pointer(builder, x_row, to), mask)
            with cgutils.for_range(builder, taps) as loop:
                where = builder.mul(loop.index, ir.Constant(_I64, 8))
                at = builder.add(base, builder.load(_pointer(builder, offsets, where), typ=_I64, align=8))
                value = builder.load(_pointer(builder, at), typ=vector, align=size)
                if step_w == 2:
                    more = _pointer(builder, at, ir.Constant(_I64, vector.count * size))
                    value = builder.shuffle_vector(value, builder.load(more, typ=vector, align=size), evens)
                scalar = _pointer(builder, weights, builder.mul(loop.index, ir.Constant(_I64, size)))
                w = _splat(builder, builder.load(scalar, typ=element, align=size), vector)
                so_far = builder.load(total, typ=vector)
                if clipped:
                    so_far = _fma(builder, value, _hardtanh(builder, builder.fsub(w, x)), so_far)
                else:
                    so_far = _minus(builder, so_far, _fabs(builder, builder.fsub(value, w)))
                builder.store(so_far, total)
            _masked_store(builder, builder.load(total, typ=vector), _pointer(builder, out, to), mask)
        return context.get_dummy_value()

    return codegen


_ROW_ARGS = (types.int64,) * 7


@intrinsic
def _l1_row(typingctx, unit, source, x_row, out, count, offsets, weights, taps):
    return types.none(unit, *_ROW_ARGS), _row(1, clipped=False)


@intrinsic
def _l1_row_step2(typingctx, unit, source, x_row, out, count, offsets, weights, taps):
    return types.none(unit, *_ROW_ARGS), _row(2, clipped=False)


@intrinsic
def _clipped_row(typingctx, unit, source, x_row, out, count, offsets, weights, taps):
    return types.none(unit, *_ROW_ARGS), _row(1, clipped=True)


@intrinsic
def _copy_row(typingctx, unit, target, source, count):
    """Copy `count` neighbouring elements, reading and writing no others."""

    def codegen(context, builder, signature, args):
        element = _element(signature.args[0])
        vector = _vector(element)
        target, source, count = args[1:]
        lanes = ir.Constant(_I64, vector.count)
        blocks = builder.sdiv(builder.add(count, ir.Constant(_I64, vector.count - 1)), lanes)
        with cgutils.for_range(builder, blocks) as loop:
            first = builder.mul(loop.index, lanes)
            mask = _tail_mask(builder, vector, builder.sub(count, first))
            to = builder.mul(first, ir.Constant(_I64, _bytes(element)))
            value = _masked_load(builder, vector, _pointer(builder, source, to), mask)
            _masked_store(builder, value, _pointer(builder, target, to), mask)
        return context.get_dummy_value()

    return types.none(unit, types.int64, types.int64, types.int64), codegen


@numba.njit(inline="always")
def _planes(unit, p, clipped):
    size = memory.size_of(unit)
    elements = memory.load_int(p, _SCRATCH_ELEMENTS)
    scratch = memory.load_int(p, _SCRATCH) + memory.take_ticket(p + 8 * THREADS) * elements * size
    for position in range(0, elements, PIECE):
        memory.zero_piece(unit, scratch + position * size)
    channels, batch = memory.load_int(p, _CHANNELS), memory.load_int(p, _BATCH)
    planes = memory.load_int(p, _IMAGES) * channels
    rows, cols = memory.load_int(p, _ROWS), memory.load_int(p, _COLS)
    out_rows, out_cols = memory.load_int(p, _OUT_ROWS), memory.load_int(p, _OUT_COLS)
    pitch, step_h, step_w = memory.load_int(p, _PITCH), memory.load_int(p, _STEP_H), memory.load_int(p, _STEP_W)
    spread_h, spread_w = memory.load_int(p, _SPREAD_H), memory.load_int(p, _SPREAD_W)
    inner = scratch + (memory.load_int(p, _ROW0) * pitch + memory.load_int(p, _COL0)) * size
    taps, offsets = memory.load_int(p, _TAPS), memory.load_int(p, _OFFSETS)
    while True:
        first = memory.take_ticket(p + 8 * TICKET) * batch
        if first >= planes:
            break
        for plane in range(first, min(first + batch, planes)):
            image, channel = plane // channels, plane % channels
            at = memory.load_int(p, _SOURCE) + image * memory.load_int(p, _SOURCE_N)
            at += channel * memory.load_int(p, _SOURCE_C)
            for row in range(rows):
                line, to = at + row * memory.load_int(p, _SOURCE_H), inner + row * spread_h * pitch * size
                if spread_w == 1:
                    _copy_row(unit, to, line, cols)
                else:
                    for col in range(cols):
                        memory.store(unit, to + col * spread_w * size, memory.load(unit, line + col * size))
            weights = memory.load_int(p, _WEIGHT) + channel * taps * size
            out = memory.load_int(p, _TARGET) + image * memory.load_int(p, _TARGET_N)
            out += channel * memory.load_int(p, _TARGET_C)
            x = memory.load_int(p, _AUX) + image * memory.load_int(p, _AUX_N) + channel * memory.load_int(p, _AUX_C)
            for row in range(out_rows):
                source, to = scratch + row * step_h * pitch * size, out + row * memory.load_int(p, _TARGET_H)
                if clipped:
                    x_row = x + row * memory.load_int(p, _AUX_H)
                    _clipped_row(unit, source, x_row, to, out_cols, offsets, weights, taps)
                elif step_w == 1:
                    _l1_row(unit, source, x, to, out_cols, offsets, weights, taps)
                else:
                    _l1_row_step2(unit, source, x, to, out_cols, offsets, weights, taps)


def forward_f32(p):
    """Depthwise adder forward, float32."""
    _planes(np.float32(0), p, False)


def forward_f64(p):
    """Depthwise adder forward, float64."""
    _planes(np.float64(0), p, False)


def clipped_f32(p):
    """Depthwise adder input gradient, float32."""
    _planes(np.float32(0), p, True)


def clipped_f64(p):
    """Depthwise adder input gradient, float64."""
    _planes(np.float64(0), p, True)


def _launch(kernels, source, target, aux, weight, scratch_size, origin, step, spread, taps) -> None:
    size = source.element_size()
    pitch = scratch_size[1]
    elements = -(-(scratch_size[0] * pitch + 8 * PIECE) // PIECE) * PIECE
    offsets = np.array([(a * pitch + b) * size for a, b in taps], dtype=np.int64)
    threads = thread_count(target.numel() * len(taps) * 4)
    scratch = torch.empty(threads * elements, dtype=source.dtype, device="cpu")
    p = np.zeros(33, np.int64)
    for start, tensor in ((_SOURCE, source), (_TARGET, target), (_AUX, aux)):
        if tensor is not None:
            p[start : start + 4] = (tensor.data_ptr(), *(size * s for s in tensor.stride()[:3]))
    per_plane = target.shape[2] * target.shape[3]
    p[_WEIGHT:] = (
        weight.data_ptr(), offsets.ctypes.data, scratch.data_ptr(), elements, *target.shape[:2], *source.shape[2:],
        *target.shape[2:], *origin, pitch, *step, *spread, len(taps), max(1, TASK_PIXELS // per_plane),
    )  # fmt: skip
    launch(kernels[0] if source.dtype == torch.float32 else kernels[1], p, threads)


def serves_forward(x, y, stride, padding) -> bool:
    """Whether `forward` takes these tensors: rows of neighbouring elements, column stride 1 or 2, a plane that fits."""
    size = (x.shape[2] + 2 * padding[0]) * (x.shape[3] + 2 * padding[1])
    return x.stride(3) == y.stride(3) == 1 and stride[1] <= 2 and size <= MAX_PLANE


def forward(x, weight, y, stride, padding, dilation) -> None:
    """Fill y (N, C, H_out, W_out) with -sum |x - w| for x (N, C, H, W) and weight (C, 1, K_h, K_w)."""
    size = x.shape[2] + 2 * padding[0], x.shape[3] + 2 * padding[1]
    taps = [(a * dilation[0], b * dilation[1]) for a in range(weight.shape[2]) for b in range(weight.shape[3])]
    _launch(
        (forward_f32, forward_f64), x, y, None, weight.contiguous(), size, padding, stride, (1, 1), taps
    )  # fmt: skip


def serves_backward(grad_out, x, grad_x, weight, stride, padding, dilation) -> bool:
    """Whether `backward_input` takes these tensors; every pixel must be reached by a tap, so that zeros do no harm."""
    reach = [dilation[i] * (weight.shape[2 + i] - 1) for i in range(2)]
    size = (x.shape[2] + reach[0]) * (x.shape[3] + reach[1])
    rows = grad_out.stride(3) == x.stride(3) == grad_x.stride(3) == 1
    return rows and size <= MAX_PLANE and all(padding[i] <= reach[i] for i in range(2))


def backward_input(grad_out, x, weight, grad_x, stride, padding, dilation) -> None:
    """Fill grad_x with sum g * HardTanh(w - x); weights and activations must be finite where strides leave zeros."""
    reach = [dilation[i] * (weight.shape[2 + i] - 1) for i in range(2)]
    size = x.shape[2] + reach[0], x.shape[3] + reach[1]
    origin = reach[0] - padding[0], reach[1] - padding[1]
    taps = [
        (reach[0] - a * dilation[0], reach[1] - b * dilation[1])
        for a in range(weight.shape[2])
        for b in range(weight.shape[3])
    ]
    _launch(
        (clipped_f32, clipped_f64), grad_out, grad_x, x, weight.contiguous(), size, origin, (1, 1), stride, taps
    )  # fmt: skip
