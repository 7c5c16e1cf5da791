"""Adder linear layers: rows of activations against rows of weights, both read where they lie.

The forward runs along the features: sixteen at a time (eight without AVX-512), the lanes of a sum added up in a tree at
the end. The input gradient has neighbouring features as lanes and runs along the outputs. Nothing is packed or copied,
so a few rows against many weights, a classifier's head, cost little more than reading the weights. Pixels of
channels-last images are such rows too, for 1x1 filters (`repro.cpu.adder`).
"""

from __future__ import annotations

import functools
from array import array

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from repro.cpu import memory
from repro.cpu.depthwise import _masked_load, _masked_store, _tail_mask
from repro.cpu.runner import TICKET, run, thread_count
from repro.cpu.simd import (
    _I32,
    _I64,
    BLOCK,
    HAS_AVX512,
    PIECE,
    _bytes,
    _constant,
    _element,
    _fabs,
    _fma,
    _hardtanh,
    _hardtanh_range,
    _minus,
    _pointer,
    _splat,
)

SIDE = 4 if HAS_AVX512 else 2  # rows of x and rows of weights in a forward tile
CHUNK_BYTES = 128 << 10  # of activations, and of weights, in one forward task
(
    _X, _X_ROW, _W, _W_ROW, _Y, _Y_ROW, _Y_COL, _G, _G_ROW, _G_COL, _ROWS, _OUTPUTS, _FEATURES,
    _X_CHUNK, _W_CHUNK, _WIDTH,
) = range(2, 18)  # fmt: skip
_WORDS = 18


def _vector(element):
    wide = HAS_AVX512 and isinstance(element, ir.FloatType)
    return ir.VectorType(element, 2 * PIECE if wide else PIECE)


def _across(builder, vectors: list):
    """Scalars: each vector's lanes added up in a tree."""
    for vector in vectors:
        level = vector
        while level.type.count > 1:
            half = level.type.count // 2
            low, high = (
                builder.shuffle_vector(level, level, ir.Constant(ir.VectorType(_I32, half), list(range(at, at + half))))
                for at in (0, half)
            )
            level = builder.fadd(low, high)
        yield builder.extract_element(level, ir.Constant(_I32, 0))


def _kept(builder, count) -> list:
    """Row numbers of a tile of SIDE rows; those past `count` repeat the last."""
    last = builder.sub(count, ir.Constant(_I64, 1))
    rows = [ir.Constant(_I64, row) for row in range(SIDE)]
    return [builder.select(builder.icmp_signed("<", last, row), last, row) for row in rows]


class _Strip:
    """Two neighbouring vectors of features, of which `features` exist."""

    def __init__(self, builder, element, features):
        self.builder, self.vector = builder, _vector(element)
        lanes = self.vector.count
        self.apart = [lanes * _bytes(element) * i for i in range(2)]
        self.masks = [
            _tail_mask(builder, self.vector, builder.sub(features, ir.Constant(_I64, lanes * i))) for i in range(2)
        ]

    def _pointers(self, address):
        return [_pointer(self.builder, address, ir.Constant(_I64, offset)) for offset in self.apart]

    def load(self, address) -> list:
        return [
            _masked_load(self.builder, self.vector, pointer, mask)
            for pointer, mask in zip(self._pointers(address), self.masks, strict=True)
        ]

    def store(self, vectors, address) -> None:
        for vector, pointer, mask in zip(vectors, self._pointers(address), self.masks, strict=True):
            _masked_store(self.builder, vector, pointer, mask)


@intrinsic
def _distances(typingctx, unit, x, x_pitch, x_rows, w, w_pitch, w_rows, features, y, y_row, y_col):
    """y = -sum |x - w| for SIDE rows of x by SIDE of w; rows past `x_rows` and `w_rows` repeat the last."""

    def codegen(context, builder, signature, args):
        element = _element(signature.args[0])
        size, vector = _bytes(element), _vector(element)
        x, x_pitch, x_rows, w, w_pitch, w_rows, features, y, y_row, y_col = args[1:]
        lanes = ir.Constant(_I64, vector.count)

        def rows(base, pitch, count):
            return [builder.add(base, builder.mul(row, pitch)) for row in _kept(builder, count)]

        xs, ws = rows(x, x_pitch, x_rows), rows(w, w_pitch, w_rows)
        zero = _constant(vector, 0.0)
        slots = [cgutils.alloca_once(builder, vector) for _ in range(SIDE * SIDE)]
        totals = [cgutils.alloca_once_value(builder, zero) for _ in range(SIDE * SIDE)]
        for slot in totals:
            builder.store(zero, slot)

        def add(offset, load) -> None:
            filters = [load(_pointer(builder, at, offset)) for at in ws]
            for i, at in enumerate(xs):
                value = load(_pointer(builder, at, offset))
                for slot, w_value in zip(slots[i * SIDE :], filters):
                    distance = _fabs(builder, builder.fsub(value, w_value))
                    builder.store(_minus(builder, builder.load(slot, typ=vector), distance), slot)

        whole = builder.sdiv(features, lanes)
        block = ir.Constant(_I64, 2 * BLOCK)
        blocks = builder.sdiv(builder.add(whole, ir.Constant(_I64, 2 * BLOCK - 1)), block)
        with cgutils.for_range(builder, blocks) as outer:
            start = builder.mul(outer.index, block)
            left = builder.sub(whole, start)
            count = builder.select(builder.icmp_signed("<", left, block), left, block)
            for slot in slots:
                builder.store(zero, slot)
            with cgutils.for_range(builder, count) as inner:
                at = builder.mul(builder.add(start, inner.index), ir.Constant(_I64, vector.count * size))
                add(at, lambda pointer: builder.load(pointer, align=size, typ=vector))
            for slot, total in zip(slots, totals, strict=True):
                builder.store(builder.fadd(builder.load(total, typ=vector), builder.load(slot, typ=vector)), total)
        done = builder.mul(whole, lanes)
        with builder.if_then(builder.icmp_signed("<", done, features)):
            mask = _tail_mask(builder, vector, builder.sub(features, done))
            for slot, total in zip(slots, totals, strict=True):
                builder.store(builder.load(total, typ=vector), slot)
            at = builder.mul(done, ir.Constant(_I64, size))
            add(at, lambda pointer: _masked_load(builder, vector, pointer, mask))
            for slot, total in zip(slots, totals, strict=True):
                builder.store(builder.load(slot, typ=vector), total)
        to_rows, to_cols = rows(y, y_row, x_rows), rows(ir.Constant(_I64, 0), y_col, w_rows)
        sums = _across(builder, [builder.load(total, typ=vector) for total in totals])
        for index, scalar in enumerate(sums):
            to = _pointer(builder, to_rows[index // SIDE], to_cols[index % SIDE])
            builder.store(scalar, to, align=size)
        return context.get_dummy_value()

    return types.none(unit, *(types.int64,) * 10), codegen


def _emit_clipped(builder, element, keep_nan: bool, args):
    """Writes the tile; returns whether some weight is not finite, which only `keep_nan` does right."""
    x, x_pitch, rows, w, w_pitch, features, g, g_row, g_col, outputs, y, y_pitch = args
    size, vector = _bytes(element), _vector(element)
    clip = _hardtanh_range if HAS_AVX512 and not keep_nan and size == 4 else _hardtanh
    zero, strip, kept = _constant(vector, 0.0), _Strip(builder, element, features), _kept(builder, rows)
    x_rows = [strip.load(builder.add(x, builder.mul(row, x_pitch))) for row in kept]
    gs = [builder.add(g, builder.mul(row, g_row)) for row in kept]
    slots = [[cgutils.alloca_once(builder, vector) for _ in range(2)] for _ in kept]
    totals = [[cgutils.alloca_once(builder, vector) for _ in range(2)] for _ in kept]
    spoilt = cgutils.alloca_once(builder, vector)  # zero times every weight: zero, or NaN
    for slot in (spoilt, *(s for row in totals for s in row)):
        builder.store(zero, slot)
    block = ir.Constant(_I64, BLOCK)
    blocks = builder.sdiv(builder.add(outputs, ir.Constant(_I64, BLOCK - 1)), block)
    with cgutils.for_range(builder, blocks) as outer:
        start = builder.mul(outer.index, block)
        left = builder.sub(outputs, start)
        count = builder.select(builder.icmp_signed("<", left, block), left, block)
        for slot in (s for row in slots for s in row):
            builder.store(zero, slot)
        with cgutils.for_range(builder, count) as inner:
            output = builder.add(start, inner.index)
            weights = strip.load(builder.add(w, builder.mul(output, w_pitch)))
            for weight in weights if not keep_nan else ():
                builder.store(_fma(builder, weight, zero, builder.load(spoilt, typ=vector)), spoilt)
            at = builder.mul(output, g_col)
            for row, x_row, base in zip(slots, x_rows, gs, strict=True):
                scalar = builder.load(_pointer(builder, base, at), align=size, typ=element)
                upstream = builder.fneg(_splat(builder, scalar, vector))
                for slot, x_value, w_value in zip(row, x_row, weights, strict=True):
                    clipped = clip(builder, builder.fsub(x_value, w_value))
                    builder.store(_fma(builder, upstream, clipped, builder.load(slot, typ=vector)), slot)
        for row, total_row in zip(slots, totals, strict=True):
            for slot, total in zip(row, total_row, strict=True):
                builder.store(builder.fadd(builder.load(total, typ=vector), builder.load(slot, typ=vector)), total)
    for row, x_row, total_row in zip(kept, x_rows, totals, strict=True):
        values = [builder.load(total, typ=vector) for total in total_row]
        if not keep_nan:  # the one-instruction clip loses a NaN in x; put it back
            values = [
                builder.select(builder.fcmp_unordered("uno", x, x), x, v) for x, v in zip(x_row, values, strict=True)
            ]
        strip.store(values, builder.add(y, builder.mul(row, y_pitch)))
    value = builder.load(spoilt, typ=vector)
    lanes = builder.bitcast(builder.fcmp_unordered("uno", value, value), ir.IntType(vector.count))
    return builder.icmp_unsigned("!=", lanes, ir.Constant(ir.IntType(vector.count), 0))


@intrinsic
def _clipped(typingctx, unit, x, x_pitch, rows, w, w_pitch, features, g, g_row, g_col, outputs, y, y_pitch):
    """y = sum over outputs of g * HardTanh(w - x), SIDE rows by two vectors of neighbouring features."""

    def codegen(context, builder, signature, args):
        element = _element(signature.args[0])
        with builder.if_then(_emit_clipped(builder, element, False, args[1:]), likely=False):
            _emit_clipped(builder, element, True, args[1:])
        return context.get_dummy_value()

    return types.none(unit, *(types.int64,) * 12), codegen


@intrinsic
def _differences(typingctx, unit, x, x_pitch, rows, w, w_pitch, features, g, g_row, g_col, outputs, y, y_pitch):
    """y = sum over rows of g * (x - w), SIDE outputs (those past `outputs` repeat the last) by two vectors."""

    def codegen(context, builder, signature, args):
        x, x_pitch, rows, w, w_pitch, features, g, g_row, g_col, outputs, y, y_pitch = args[1:]
        element = _element(signature.args[0])
        strip = _Strip(builder, element, features)
        kept = _kept(builder, outputs)
        weights = [strip.load(builder.add(w, builder.mul(row, w_pitch))) for row in kept]
        gs = [builder.add(g, builder.mul(row, g_col)) for row in kept]
        slots = [[cgutils.alloca_once(builder, strip.vector) for _ in strip.apart] for _ in kept]
        for slot in (s for row in slots for s in row):
            builder.store(_constant(strip.vector, 0.0), slot)
        with cgutils.for_range(builder, rows) as loop:
            values = strip.load(builder.add(x, builder.mul(loop.index, x_pitch)))
            at = builder.mul(loop.index, g_row)
            for row, w_row, base in zip(slots, weights, gs, strict=True):
                scalar = builder.load(_pointer(builder, base, at), align=_bytes(element), typ=element)
                upstream = _splat(builder, scalar, strip.vector)
                for slot, x_value, w_value in zip(row, values, w_row, strict=True):
                    difference = builder.fsub(x_value, w_value)
                    builder.store(_fma(builder, upstream, difference, builder.load(slot, typ=strip.vector)), slot)
        for row, slot_row in zip(kept, slots, strict=True):
            sums = [builder.load(slot, typ=strip.vector) for slot in slot_row]
            strip.store(sums, builder.add(y, builder.mul(row, y_pitch)))
        return context.get_dummy_value()

    return types.none(unit, *(types.int64,) * 12), codegen


@numba.njit(inline="always")
def _forward(unit, p):
    rows, outputs, features = memory.load_int(p, _ROWS), memory.load_int(p, _OUTPUTS), memory.load_int(p, _FEATURES)
    x_chunk, w_chunk = memory.load_int(p, _X_CHUNK), memory.load_int(p, _W_CHUNK)
    x_row, w_row = memory.load_int(p, _X_ROW), memory.load_int(p, _W_ROW)
    y_row, y_col = memory.load_int(p, _Y_ROW), memory.load_int(p, _Y_COL)
    w_tasks = (outputs + w_chunk - 1) // w_chunk
    tasks = w_tasks * ((rows + x_chunk - 1) // x_chunk)
    while True:
        task = memory.take_ticket(p + 8 * TICKET)
        if task >= tasks:
            break
        x0, w0 = (task // w_tasks) * x_chunk, (task % w_tasks) * w_chunk
        x1, w1 = min(rows, x0 + x_chunk), min(outputs, w0 + w_chunk)
        for i in range(w0, w1, SIDE):
            w = memory.load_int(p, _W) + i * w_row
            for j in range(x0, x1, SIDE):
                x, y = memory.load_int(p, _X) + j * x_row, memory.load_int(p, _Y) + j * y_row + i * y_col
                _distances(unit, x, x_row, x1 - j, w, w_row, w1 - i, features, y, y_row, y_col)


@numba.njit(inline="always")
def _backward(unit, p):
    size = memory.size_of(unit)
    rows, outputs, features = memory.load_int(p, _ROWS), memory.load_int(p, _OUTPUTS), memory.load_int(p, _FEATURES)
    x_row, w_row, y_row = memory.load_int(p, _X_ROW), memory.load_int(p, _W_ROW), memory.load_int(p, _Y_ROW)
    g_row, g_col = memory.load_int(p, _G_ROW), memory.load_int(p, _G_COL)
    chunk, width = memory.load_int(p, _X_CHUNK), memory.load_int(p, _WIDTH)
    strips = (features + width - 1) // width
    tasks = strips * ((rows + chunk - 1) // chunk)
    while True:
        task = memory.take_ticket(p + 8 * TICKET)
        if task >= tasks:
            break
        first, col = (task // strips) * chunk, (task % strips) * width
        w = memory.load_int(p, _W) + col * size
        for row in range(first, min(rows, first + chunk), SIDE):
            x, y = memory.load_int(p, _X) + row * x_row + col * size, memory.load_int(p, _Y) + row * y_row + col * size
            g = memory.load_int(p, _G) + row * g_row
            _clipped(unit, x, x_row, rows - row, w, w_row, features - col, g, g_row, g_col, outputs, y, y_row)


@numba.njit(inline="always")
def _backward_weight(unit, p):
    size = memory.size_of(unit)
    rows, outputs, features = memory.load_int(p, _ROWS), memory.load_int(p, _OUTPUTS), memory.load_int(p, _FEATURES)
    x_row, w_row, y_row = memory.load_int(p, _X_ROW), memory.load_int(p, _W_ROW), memory.load_int(p, _Y_ROW)
    g_row, g_col = memory.load_int(p, _G_ROW), memory.load_int(p, _G_COL)
    chunk, width = memory.load_int(p, _W_CHUNK), memory.load_int(p, _WIDTH)
    while True:
        first = memory.take_ticket(p + 8 * TICKET) * chunk
        if first >= outputs:
            break
        for output in range(first, min(outputs, first + chunk), SIDE):
            w, y = memory.load_int(p, _W) + output * w_row, memory.load_int(p, _Y) + output * y_row
            g = memory.load_int(p, _G) + output * g_col
            for col in range(0, features, width):
                x, at, left = memory.load_int(p, _X) + col * size, col * size, features - col
                _differences(
                    unit, x, x_row, rows, w + at, w_row, left, g, g_row, g_col, outputs - output, y + at, y_row
                )  # fmt: skip


def forward_f32(p):
    """Adder linear, float32."""
    _forward(np.float32(0), p)


def forward_f64(p):
    """Adder linear, float64."""
    _forward(np.float64(0), p)


def clipped_f32(p):
    """Input gradient of adder linear, float32."""
    _backward(np.float32(0), p)


def clipped_f64(p):
    """Input gradient of adder linear, float64."""
    _backward(np.float64(0), p)


def weight_f32(p):
    """Weight gradient of adder linear, float32."""
    _backward_weight(np.float32(0), p)


def weight_f64(p):
    """Weight gradient of adder linear, float64."""
    _backward_weight(np.float64(0), p)


def _whole(count: int) -> int:
    return max(SIDE, count // SIDE * SIDE)


@functools.lru_cache(maxsize=1024)
def _words(rows: int, outputs: int, features: int, size: int, backward: bool) -> array:
    """Parameter words without addresses and strides."""
    p = array("q", bytes(8 * _WORDS))
    p[_ROWS], p[_OUTPUTS], p[_FEATURES] = rows, outputs, features
    if backward:  # a strip of weights stays in the cache while a chunk of rows passes
        p[_WIDTH] = 4 * PIECE if HAS_AVX512 and size == 4 else 2 * PIECE
        strips = -(-features // p[_WIDTH])
        p[_X_CHUNK] = _whole(min(rows, max(SIDE, -(-rows * strips // 16), 64)))
        p[_W_CHUNK] = _whole(min(outputs, -(-outputs // 16) + SIDE - 1))
        return p
    fitting = _whole(CHUNK_BYTES // max(1, size * features))
    p[_X_CHUNK] = _whole(min(fitting, rows + SIDE - 1))
    shared = -(-rows // p[_X_CHUNK])  # tasks there are without cutting the weights
    p[_W_CHUNK] = _whole(min(fitting, -(-outputs * shared // 8) + SIDE - 1))
    return p


def forward(x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> None:
    """Fill y (N, C_out), any strides, with -sum |x - w|; x (N, C_in), weight (C_out, C_in), features neighbouring."""
    (rows, features), outputs, size = x.shape, weight.shape[0], x.element_size()
    p = _words(rows, outputs, features, size, False)[:]
    p[_X], p[_X_ROW], p[_W], p[_W_ROW] = x.data_ptr(), size * x.stride(0), weight.data_ptr(), size * weight.stride(0)
    p[_Y], p[_Y_ROW], p[_Y_COL] = y.data_ptr(), size * y.stride(0), size * y.stride(1)
    run(forward_f32 if size == 4 else forward_f64, p, thread_count(rows * outputs * features))


def _fill_backward(p: array, grad_out, x, weight, result) -> None:
    size = x.element_size()
    p[_X], p[_X_ROW], p[_W], p[_W_ROW] = x.data_ptr(), size * x.stride(0), weight.data_ptr(), size * weight.stride(0)
    p[_Y], p[_Y_ROW] = result.data_ptr(), size * result.stride(0)
    p[_G], p[_G_ROW], p[_G_COL] = grad_out.data_ptr(), size * grad_out.stride(0), size * grad_out.stride(1)


def backward_input(grad_out: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, grad_x: torch.Tensor) -> None:
    """Fill grad_x (N, C_in) with sum g * HardTanh(w - x); grad_out (N, C_out) of any strides, others row by row."""
    (rows, features), outputs, size = x.shape, weight.shape[0], x.element_size()
    p = _words(rows, outputs, features, size, True)[:]
    _fill_backward(p, grad_out, x, weight, grad_x)
    run(clipped_f32 if size == 4 else clipped_f64, p, thread_count(rows * outputs * features))


def backward_weight(grad_out: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, grad_weight: torch.Tensor) -> None:
    """Fill grad_weight (C_out, C_in) with sum g * (x - w), one line of additions over the rows."""
    (rows, features), outputs, size = x.shape, weight.shape[0], x.element_size()
    p = _words(rows, outputs, features, size, True)[:]
    _fill_backward(p, grad_out, x, weight, grad_weight)
    run(weight_f32 if size == 4 else weight_f64, p, thread_count(rows * outputs * features))
