"""8-bit adder layers as rows of bytes: a filter is a row, and so is the patch under it, eight bytes at a time.

1x1 filters over images of any size, and filters of any size over few input channels. A task takes a run of output
pixels, which may span images, and some filters. It writes its patches into a scratch as elements of eight bytes, one
byte a value in the order of the filters' values (channel, row, column), padded once at the end of a row, so that
three-channel images fill their elements too. Filters are read where they are when their rows are whole elements.
Bytes are stored with 128 added: the machine's instruction for sums of byte differences is unsigned.
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
from repro.cpu.runner import THREADS, TICKET, run, thread_count
from repro.cpu.sad import _LANES, native_or_portable
from repro.cpu.simd import _I32, _I64, PIECE, PIECES, PIXELS, _constant, _pointer, _splat

FILTERS = 4
CHUNK = 64  # pixels whose bytes are interleaved at once
TASK_PIXELS = 256
SCRATCH_ELEMENTS = 32 * 1024
_I8 = ir.IntType(8)
_FLIP = -0x7F7F7F7F7F7F7F80  # 0x80 in every byte
(
    _X, _X_IMAGE, _W, _Y, _IMAGES, _FILTERS, _VALUES, _ELEMENTS, _PIXELS_OUT, _TASK_PIXELS, _PITCH, _FILTER_CHUNK,
    _WHOLE, _POINTS, _SCRATCH, _SLOT_BYTES, _OFFSETS, _CHANNELS, _ROWS, _COLS, _OUT_ROWS, _OUT_COLS,
    _STEP_H, _STEP_W, _PAD_H, _PAD_W, _TASK_ROWS, _BAND_ROWS, _BAND_PITCH, _BAND_BYTES,
) = range(2, 32)  # fmt: skip
_WORDS = 32


@intrinsic
def _interleave(typingctx, base, offsets, values, left, step, target):
    """CHUNK pixels of 8 values, at `base` plus each of 8 offsets, to CHUNK elements at `target`.

    Values past `values` (1 to 8) are zero. Pixels are neighbours or (step 2) every second byte; those from `left` on
    are not read, except for step 2, where the caller has room behind them.
    """

    def codegen(context, builder, signature, args):
        base, offsets, values, left, step, target = args
        vector = ir.VectorType(_I8, CHUNK)
        full = ir.Constant(_I64, -1)
        bit = builder.shl(ir.Constant(_I64, 1), builder.and_(left, ir.Constant(_I64, 63)))
        some = builder.sub(bit, ir.Constant(_I64, 1))
        enough = builder.icmp_signed(">=", left, ir.Constant(_I64, CHUNK))
        mask = builder.bitcast(builder.select(enough, full, some), ir.VectorType(ir.IntType(1), CHUNK))
        rows = [cgutils.alloca_once(builder, vector) for _ in range(8)]
        zero = _constant(vector, 0)

        def addresses():
            for value in range(8):
                index = ir.Constant(_I64, value)
                there = builder.icmp_signed("<", index, values)
                at = builder.select(there, ir.Constant(_I64, 8 * value), ir.Constant(_I64, 0))
                offset = builder.load(_pointer(builder, offsets, at), align=8, typ=_I64)
                yield rows[value], there, _pointer(builder, base, offset)

        def keep(slot, there, value) -> None:
            builder.store(builder.select(there, value, zero), slot)

        with builder.if_else(builder.icmp_signed("==", step, ir.Constant(_I64, 2))) as (apart, together):
            with apart:
                wide = ir.VectorType(_I8, 2 * CHUNK)
                evens = ir.Constant(ir.VectorType(_I32, CHUNK), list(range(0, 2 * CHUNK, 2)))
                for slot, there, pointer in addresses():
                    value = builder.load(pointer, align=1, typ=wide)
                    keep(slot, there, builder.shuffle_vector(value, value, evens))
            with together, builder.if_else(enough) as (all_of_it, part):
                with all_of_it:
                    for slot, there, pointer in addresses():
                        keep(slot, there, builder.load(pointer, align=1, typ=vector))
                with part:
                    name = f"llvm.masked.load.v{CHUNK}i8.p0"
                    for slot, there, pointer in addresses():
                        loaded = [pointer, ir.Constant(_I32, 1), mask, zero]
                        kind = ir.FunctionType(vector, [a.type for a in loaded])
                        function = cgutils.get_or_insert_function(builder.module, kind, name)
                        keep(slot, there, builder.call(function, loaded))

        def weave(a: list, b: list) -> list:
            """Two rows of registers byte by byte in turn; register by register, as wider shuffles compile badly."""
            woven = []
            for first, second in zip(a, b, strict=True):
                for start in (0, CHUNK // 2):
                    order = [start + i // 2 + (CHUNK if i % 2 else 0) for i in range(CHUNK)]
                    mask = ir.Constant(ir.VectorType(_I32, CHUNK), order)
                    woven.append(builder.shuffle_vector(first, second, mask))
            return woven

        bytes_ = [[builder.load(slot, typ=vector)] for slot in rows]
        even = weave(weave(bytes_[0], bytes_[4]), weave(bytes_[2], bytes_[6]))
        odd = weave(weave(bytes_[1], bytes_[5]), weave(bytes_[3], bytes_[7]))
        flip = _constant(vector, -128)
        for index, woven in enumerate(weave(even, odd)):
            to = _pointer(builder, target, ir.Constant(_I64, CHUNK * index))
            builder.store(builder.xor(woven, flip), to, align=1)
        return context.get_dummy_value()

    return types.none(*(types.int64,) * 6), codegen


def _tile(portable: bool):
    @intrinsic
    def tile(typingctx, pixels, pitch, weights, weight_pitch, filters, elements, out, out_pitch, flips):
        """out[FILTERS][PIXELS] (int32) = -sum |x - w|; filters past `filters` repeat the last. Pitches in bytes."""

        def codegen(context, builder, signature, args):
            pixels, pitch, weights, weight_pitch, filters, elements, out, out_pitch, flips = args
            sad, as_bytes = native_or_portable(portable), ir.VectorType(_I8, 8 * PIECE)
            last = builder.sub(filters, ir.Constant(_I64, 1))
            kept = []
            for row in range(FILTERS):
                index = ir.Constant(_I64, row)
                kept.append(builder.select(builder.icmp_signed("<", last, index), last, index))
            rows = [builder.add(weights, builder.mul(row, weight_pitch)) for row in kept]
            slots = [[cgutils.alloca_once(builder, _LANES) for _ in range(PIECES)] for _ in kept]
            for slot in (s for row in slots for s in row):
                builder.store(_constant(_LANES, 0), slot)
            # 128 in every byte, from memory: LLVM's combiner runs in circles over a splat with a constant
            flip = builder.load(_pointer(builder, flips), align=8, typ=_LANES)
            with cgutils.for_range(builder, elements) as loop:
                start = builder.add(pixels, builder.mul(loop.index, pitch))
                values = [
                    builder.load(_pointer(builder, start, ir.Constant(_I64, 64 * i)), align=1, typ=as_bytes)
                    for i in range(PIECES)
                ]
                at = builder.mul(loop.index, ir.Constant(_I64, 8))
                for row, slot_row in zip(rows, slots, strict=True):
                    scalar = builder.load(_pointer(builder, row, at), align=1, typ=_I64)
                    filter_bytes = builder.bitcast(builder.xor(_splat(builder, scalar, _LANES), flip), as_bytes)
                    for slot, value in zip(slot_row, values, strict=True):
                        total = builder.add(builder.load(slot, typ=_LANES), sad(builder, value, filter_bytes))
                        builder.store(total, slot)
            pair = ir.VectorType(_I32, 2 * PIECE)
            in_order = ir.Constant(pair, list(range(2 * PIECE)))
            for row, slot_row in zip(kept, slots, strict=True):
                to = builder.add(out, builder.mul(row, out_pitch))
                for i in range(0, PIECES, 2):
                    sums = [builder.neg(builder.load(slot, typ=_LANES)) for slot in slot_row[i : i + 2]]
                    joined = builder.trunc(builder.shuffle_vector(*sums, in_order), pair)
                    builder.store(joined, _pointer(builder, to, ir.Constant(_I64, 4 * PIECE * i)), align=4)
            return context.get_dummy_value()

        return types.none(*(types.int64,) * 9), codegen

    return tile


_native_tile, _portable_tile = _tile(False), _tile(True)


@numba.njit(inline="never")
def _copy_bytes(target, source, count):
    done = 0
    while done + 64 <= count:
        memory.copy_piece(np.float64(0), target + done, source + done)
        done += 64
    while done < count:
        memory.store_byte(target + done, memory.load_byte(source + done))
        done += 1


@numba.njit(inline="never")
def _fill_points(p, scratch, first, count):
    """Images of one pixel: their rows of bytes, transposed element by element."""
    values, elements, pitch = memory.load_int(p, _VALUES), memory.load_int(p, _ELEMENTS), memory.load_int(p, _PITCH)
    for pixel in range(count):
        row = memory.load_int(p, _X) + (first + pixel) * values
        to = scratch + pixel * 8
        for element in range(values // 8):
            memory.store_int(to + element * pitch, 0, memory.load_eight(row + element * 8) ^ _FLIP)
        if values % 8:
            rest = 0
            for byte in range(values % 8):
                rest |= memory.load_byte(row + values // 8 * 8 + byte) << (8 * byte)
            memory.store_int(to + (elements - 1) * pitch, 0, rest ^ _FLIP)


@numba.njit(inline="never")
def _fill_planes(p, scratch, first, count):
    """1x1 filters: the pixels of each image's planes, byte by byte into elements."""
    values, elements, pitch = memory.load_int(p, _VALUES), memory.load_int(p, _ELEMENTS), memory.load_int(p, _PITCH)
    per_image, offsets = memory.load_int(p, _PIXELS_OUT), memory.load_int(p, _OFFSETS)
    done = 0
    while done < count:
        image, inside = (first + done) // per_image, (first + done) % per_image
        length = min(count - done, per_image - inside)
        base = memory.load_int(p, _X) + image * memory.load_int(p, _X_IMAGE) + inside
        for element in range(elements):
            to = scratch + element * pitch + done * 8
            present = min(8, values - element * 8)
            for at in range(0, length, CHUNK):
                _interleave(base + at, offsets + element * 64, present, length - at, 1, to + at * 8)
        done += length


@numba.njit(inline="never")
def _fill_patches(p, scratch, band, image, row0, rows):
    """Larger filters: a padded copy of the source rows, and from it each pixel's patch."""
    values, elements, pitch = memory.load_int(p, _VALUES), memory.load_int(p, _ELEMENTS), memory.load_int(p, _PITCH)
    source_rows, source_cols = memory.load_int(p, _ROWS), memory.load_int(p, _COLS)
    step_h, step_w, cols = memory.load_int(p, _STEP_H), memory.load_int(p, _STEP_W), memory.load_int(p, _OUT_COLS)
    band_rows, band_pitch = memory.load_int(p, _BAND_ROWS), memory.load_int(p, _BAND_PITCH)
    first_row, pad_w = row0 * step_h - memory.load_int(p, _PAD_H), memory.load_int(p, _PAD_W)
    for at in range(0, memory.load_int(p, _BAND_BYTES), 64):
        memory.zero_piece(np.float64(0), band + at)
    count = min(source_cols, band_pitch - pad_w)
    for channel in range(memory.load_int(p, _CHANNELS)):
        plane = memory.load_int(p, _X) + image * memory.load_int(p, _X_IMAGE) + channel * source_rows * source_cols
        for row in range(max(0, -first_row), min(band_rows, source_rows - first_row)):
            to = band + (channel * band_rows + row) * band_pitch + pad_w
            _copy_bytes(to, plane + (first_row + row) * source_cols, count)
    offsets = memory.load_int(p, _OFFSETS)
    for element in range(elements):
        present = min(8, values - element * 8)
        for row in range(rows):
            base = band + row * step_h * band_pitch
            to = scratch + element * pitch + row * cols * 8
            for at in range(0, cols, CHUNK):
                left = CHUNK if step_w == 2 else cols - at
                _interleave(base + at * step_w, offsets + element * 64, present, left, step_w, to + at * 8)


@numba.njit(inline="never")
def _write(p, tile, first, count, filter0, filters):
    """A tile's pixels from `first` on to the output, image by image."""
    unit = np.float32(0)  # int32 is moved like float32
    per_image, all_filters = memory.load_int(p, _PIXELS_OUT), memory.load_int(p, _FILTERS)
    done = 0
    while done < count:
        image, inside = (first + done) // per_image, (first + done) % per_image
        length = min(count - done, per_image - inside)
        for row in range(filters):
            to = memory.load_int(p, _Y) + ((image * all_filters + filter0 + row) * per_image + inside) * 4
            at = tile + (row * PIXELS + done) * 4
            for pixel in range(length):
                memory.store(unit, to + pixel * 4, memory.load(unit, at + pixel * 4))
        done += length


@numba.njit(inline="always")
def _rows(p, run_tile):
    slot = memory.load_int(p, _SCRATCH) + memory.take_ticket(p + 8 * THREADS) * memory.load_int(p, _SLOT_BYTES)
    values, elements, filters = memory.load_int(p, _VALUES), memory.load_int(p, _ELEMENTS), memory.load_int(p, _FILTERS)
    pitch, per_image = memory.load_int(p, _PITCH), memory.load_int(p, _PIXELS_OUT)
    task_pixels, task_rows, out_rows = (
        memory.load_int(p, _TASK_PIXELS),
        memory.load_int(p, _TASK_ROWS),
        memory.load_int(p, _OUT_ROWS),
    )
    weights, weight_pitch = memory.load_int(p, _W), values
    tile, flips = slot, slot + FILTERS * PIXELS * 4
    scratch = flips + 64
    for lane in range(8):
        memory.store_int(flips, lane, _FLIP)
    rest = scratch + elements * pitch
    if not memory.load_int(p, _WHOLE):
        weight_pitch = elements * 8
        for row in range(filters):
            to = rest + row * weight_pitch
            memory.store_int(to + weight_pitch - 8, 0, 0)
            _copy_bytes(to, weights + row * values, values)
        weights = rest
        rest += (filters * weight_pitch + 63) // 64 * 64
    pixels = memory.load_int(p, _IMAGES) * per_image
    bands = (out_rows + task_rows - 1) // task_rows if task_rows else 0
    runs = memory.load_int(p, _IMAGES) * bands if task_rows else (pixels + task_pixels - 1) // task_pixels
    chunk = memory.load_int(p, _FILTER_CHUNK)
    parts = (filters + chunk - 1) // chunk
    while True:
        task = memory.take_ticket(p + 8 * TICKET)
        if task >= runs * parts:
            break
        run_index, first_filter = task // parts, (task % parts) * chunk
        if task_rows:
            image, row0 = run_index // bands, (run_index % bands) * task_rows
            rows = min(task_rows, out_rows - row0)
            first, count = (
                image * per_image + row0 * memory.load_int(p, _OUT_COLS),
                rows * memory.load_int(p, _OUT_COLS),
            )
            _fill_patches(p, scratch, rest, image, row0, rows)
        else:
            first = run_index * task_pixels
            count = min(task_pixels, pixels - first)
            if memory.load_int(p, _POINTS):
                _fill_points(p, scratch, first, count)
            else:
                _fill_planes(p, scratch, first, count)
        end = min(filters, first_filter + chunk)
        for at in range(0, count, PIXELS):
            here = min(PIXELS, count - at)
            image, inside = (first + at) // per_image, (first + at) % per_image
            straight = here == PIXELS and inside + PIXELS <= per_image
            for row in range(first_filter, end, FILTERS):
                w = weights + row * weight_pitch
                to, to_pitch = tile, PIXELS * 4
                if straight:
                    to = memory.load_int(p, _Y) + ((image * filters + row) * per_image + inside) * 4
                    to_pitch = per_image * 4
                run_tile(scratch + at * 8, pitch, w, weight_pitch, end - row, elements, to, to_pitch, flips)
                if not straight:
                    _write(p, tile, first + at, here, row, min(FILTERS, end - row))


@numba.njit(inline="never")
def _run_native(pixels, pitch, weights, weight_pitch, filters, elements, out, out_pitch, flips):
    _native_tile(pixels, pitch, weights, weight_pitch, filters, elements, out, out_pitch, flips)


@numba.njit(inline="never")
def _run_portable(pixels, pitch, weights, weight_pitch, filters, elements, out, out_pitch, flips):
    _portable_tile(pixels, pitch, weights, weight_pitch, filters, elements, out, out_pitch, flips)


def byte_rows(p):
    """8-bit adder forward over rows of bytes."""
    _rows(p, _run_native)


def byte_rows_portable(p):
    """`byte_rows` without the machine's instruction for byte differences."""
    _rows(p, _run_portable)


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


@functools.lru_cache(maxsize=1024)
def _plan(x_shape, weight_shape, out_size, stride, padding, dilation) -> tuple[array, np.ndarray, int]:
    """Parameter words without addresses, the offsets of a patch's bytes, and |x - w| terms of the layer."""
    images, channels, height, width = x_shape
    filters, _, kernel_rows, kernel_cols = weight_shape
    out_rows, out_cols = out_size
    values = channels * kernel_rows * kernel_cols
    elements = -(-values // 8)
    pointwise = (kernel_rows, kernel_cols, stride, padding) == (1, 1, (1, 1), (0, 0))
    p = array("q", bytes(8 * _WORDS))
    p[_IMAGES], p[_FILTERS], p[_VALUES], p[_ELEMENTS] = images, filters, values, elements
    p[_X_IMAGE], p[_PIXELS_OUT], p[_WHOLE] = channels * height * width, out_rows * out_cols, int(values % 8 == 0)
    p[_CHANNELS], p[_ROWS], p[_COLS], p[_OUT_ROWS], p[_OUT_COLS] = channels, height, width, out_rows, out_cols
    (p[_STEP_H], p[_STEP_W]), (p[_PAD_H], p[_PAD_W]) = stride, padding
    pixels = images * out_rows * out_cols
    fitting = max(PIXELS, min(TASK_PIXELS, SCRATCH_ELEMENTS // elements // PIXELS * PIXELS))
    offsets = np.zeros(8 * elements, dtype=np.int64)
    if pointwise:
        p[_POINTS] = int(height == width == 1)
        p[_TASK_PIXELS] = min(fitting, _up(-(-pixels // 4), PIXELS))
        runs, task_pixels = -(-pixels // p[_TASK_PIXELS]), p[_TASK_PIXELS]
        offsets[:values] = np.arange(values) * height * width
    else:
        p[_TASK_ROWS] = max(1, min(out_rows, fitting // out_cols))
        task_pixels, runs = p[_TASK_ROWS] * out_cols, images * -(-out_rows // p[_TASK_ROWS])
        p[_BAND_ROWS] = (p[_TASK_ROWS] - 1) * stride[0] + dilation[0] * (kernel_rows - 1) + 1
        p[_BAND_PITCH] = max((out_cols - 1) * stride[1] + dilation[1] * (kernel_cols - 1) + 1, padding[1] + 1)
        p[_BAND_BYTES] = _up(channels * p[_BAND_ROWS] * p[_BAND_PITCH], 64)
        over = np.arange(channels)[:, None, None] * p[_BAND_ROWS] * p[_BAND_PITCH]
        down = np.arange(kernel_rows)[:, None] * dilation[0] * p[_BAND_PITCH]
        offsets[:values] = (over + down + np.arange(kernel_cols) * dilation[1]).reshape(-1)
    parts = max(1, min(-(-8 // runs), filters // (4 * FILTERS)))  # share the filters out where runs are few
    p[_FILTER_CHUNK] = _up(-(-filters // parts), FILTERS)
    p[_PITCH] = 8 * (_up(task_pixels, PIXELS) + CHUNK)
    packed = 0 if p[_WHOLE] else _up(filters * elements * 8, 64)
    slack = 4 * CHUNK if p[_TASK_ROWS] else 0
    p[_SLOT_BYTES] = _up(FILTERS * PIXELS * 4 + elements * p[_PITCH] + packed + p[_BAND_BYTES] + slack + 128, 64)
    p[_OFFSETS] = offsets.ctypes.data
    return p, offsets, pixels * filters * values


def serves(x: torch.Tensor, weight: torch.Tensor, stride, padding, groups: int) -> bool:
    """Whether `forward` is the way: a 1x1 filter, or too few channels to fill an element, and not grouped."""
    if groups != 1 or stride[1] > 2:
        return False
    pointwise = (*weight.shape[2:], stride, padding) == (1, 1, (1, 1), (0, 0))
    return pointwise or (x.shape[1] < 8 and weight.shape[2] * weight.shape[3] * x.shape[1] <= 512)


def forward(
    x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor, stride, padding, dilation, portable: bool = False
) -> None:
    """Fill y (N, C_out, H_out, W_out) int32 with -sum |x - w|; x (N, C, H, W) and weight int8; all contiguous."""
    words, _, terms = _plan(x.shape, weight.shape, y.shape[2:], stride, padding, dilation)
    threads = thread_count(terms // 4)
    scratch = torch.empty(words[_SLOT_BYTES] * threads, dtype=torch.uint8, device="cpu")
    p = words[:]
    p[_X], p[_W], p[_Y], p[_SCRATCH] = x.data_ptr(), weight.data_ptr(), y.data_ptr(), scratch.data_ptr()
    run(byte_rows_portable if portable else byte_rows, p, threads)
