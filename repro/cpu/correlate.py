"""The loop nest behind the dense adder kernels: tiles of pixels slid over the taps of a filter.

Forward and input gradient are the same walk. Forward: output pixel (i, j) reads input pixel (i*s + kh*d - p, ...).
Input gradient: an input pixel of phase r (its index modulo the stride) reads output pixels at fixed distances, one
for each tap that reaches that phase. Both are written as

    target pixel (i, j) reads source pixel (i*source_step + offset_h, j*source_step + offset_w)

for every source channel and every (offset_h, offset_w) of a list. A task takes some images, one group and a band of
target rows or columns; it copies the band's sources with their zero padding into a scratch of bounded size (columns
sorted by their index modulo the source step, so that neighbouring targets read neighbouring addresses), lists the
pieces, and runs tiles. Sources that need no padding, 1x1 filters on NCHW tensors, are read where they are.

Images of one piece a row lie in pairs: for each filter column a row of one image and the same row of the next, side by
side, so that whole registers load (`PAIR_TAPS`). Otherwise each register is put together from two images' rows.
"""

from __future__ import annotations

import numba
import numpy as np

from repro.cpu import clip, l1, memory, simd
from repro.cpu.l1 import MANY, SOME
from repro.cpu.runner import THREADS, TICKET

PIECE, PIECES, PIXELS, ROWS = simd.PIECE, simd.PIECES, simd.PIXELS, simd.ROWS
TILE_ROWS = max(MANY, ROWS) + 1  # of each of a thread's two small tiles

# Words of the parameter array. Strides are in bytes; n, c, h, w order. WEIGHT_PITCH: bytes from one target channel's
# weights to the next; WEIGHT_GROUP: to the next group's; WEIGHT_OFFSETS: to each tap (input gradient);
# CHECKED_WEIGHTS: how many to look through for infinities and NaN, whose presence becomes KEEP_NAN. PAIR_TAPS: filter
# columns where images lie in pairs, else 0; PAIR_FIRST, PAIR_STEP: source column of the first, and to the next.
(
    SOURCE, SOURCE_N, SOURCE_C, SOURCE_H, SOURCE_W,
    TARGET, TARGET_N, TARGET_C, TARGET_H, TARGET_W,
    AUX, AUX_N, AUX_C, AUX_H, AUX_W,
    WEIGHT, WEIGHT_PITCH, WEIGHT_GROUP, WEIGHT_OFFSETS, SUMMED_FILTERS, OFFSETS, SCRATCH, SCRATCH_BYTES,
    IMAGES, GROUPS, SOURCE_CHANNELS, TARGET_CHANNELS, SOURCE_ROWS, SOURCE_COLS, ROWS_OUT, COLS_OUT,
    STEP_H, STEP_W, MIN_H, MIN_W, SPAN_H, SPAN_W, TAPS,
    TASK_IMAGES, TASK_ROWS, TASK_COLS, COL_PITCH, ROW_PITCH, PLANE, IMAGE_ELEMENTS, MAX_PIECES, DIRECT, KEEP_NAN,
    CHECKED_WEIGHTS, PAIR_TAPS, PAIR_FIRST, PAIR_STEP,
) = range(2, 54)  # fmt: skip
WORDS = 54


@numba.njit(inline="never")
def _fill_row(unit, source, stride, cols, target, first, step, pitch):
    """One source row into the scratch: zeros outside [0, cols), columns sorted by their index modulo `step`."""
    size = memory.size_of(unit)
    if step == 1 and stride == size and pitch >= PIECE:
        position = 0
        while position < pitch:
            place = min(position, pitch - PIECE)  # the last piece overlaps the one before
            start = first + place
            memory.window_piece(unit, target + place * size, source + start * size, -start, cols - start)
            position += PIECE
        return
    zero = unit * 0
    for phase in range(step):
        row = target + phase * pitch * size
        start = first + phase
        # positions [begin, end) have 0 <= start + position * step < cols
        begin = 0 if start >= 0 else (-start + step - 1) // step
        end = 0 if start >= cols else (cols - start + step - 1) // step
        begin = min(begin, pitch)
        end = max(begin, min(end, pitch))
        for position in range(begin):
            memory.store(unit, row + position * size, zero)
        for position in range(end, pitch):
            memory.store(unit, row + position * size, zero)
        at = source + (start + begin * step) * stride
        count = end - begin
        if stride * step == size:
            to = row + begin * size
            if count >= PIECE:
                position = 0
                while position < count - PIECE:
                    memory.copy_piece(unit, to + position * size, at + position * size)
                    position += PIECE
                memory.copy_piece(unit, to + (count - PIECE) * size, at + (count - PIECE) * size)
            else:
                for position in range(count):
                    memory.store(unit, to + position * size, memory.load(unit, at + position * size))
        else:
            position = begin
            if stride * step == 2 * size:
                while position + PIECE <= end:
                    memory.pick_piece(unit, row + position * size, at)
                    position += PIECE
                    at += 2 * PIECE * size
            while position < end:
                memory.store(unit, row + position * size, memory.load(unit, at))
                at += stride * step
                position += 1


@numba.njit(inline="always")
def _image_at(unit, p, scratch, image):
    """Where the scratch holds an image of the band."""
    size = memory.size_of(unit)
    if memory.load_int(p, PAIR_TAPS):
        return scratch + (image // 2 * memory.load_int(p, IMAGE_ELEMENTS) + image % 2 * PIECE) * size
    return scratch + image * memory.load_int(p, IMAGE_ELEMENTS) * size


@numba.njit(inline="never")
def _fill_pairs(unit, p, scratch, image0, images, group, row0, rows):
    """Copy the band's sources, zero-padded, into the scratch as (pair, channel, row, filter column, image, column)."""
    size = memory.size_of(unit)
    channels, taps = memory.load_int(p, SOURCE_CHANNELS), memory.load_int(p, PAIR_TAPS)
    first, step = memory.load_int(p, PAIR_FIRST), memory.load_int(p, PAIR_STEP)
    source_rows, source_cols = memory.load_int(p, SOURCE_ROWS), memory.load_int(p, SOURCE_COLS)
    stride_c, stride_h = memory.load_int(p, SOURCE_C), memory.load_int(p, SOURCE_H)
    row_pitch, plane = memory.load_int(p, ROW_PITCH), memory.load_int(p, PLANE)
    for image in range(images):
        base = (
            memory.load_int(p, SOURCE) + (image0 + image) * memory.load_int(p, SOURCE_N) + group * channels * stride_c
        )
        to_image = _image_at(unit, p, scratch, image)
        for channel in range(channels):
            for row in range(rows):
                target = to_image + (channel * plane + row * row_pitch) * size
                at = base + channel * stride_c + (row0 + row) * stride_h
                inside = row0 + row >= 0 and row0 + row < source_rows
                for tap in range(taps):
                    start = first + tap * step
                    end = source_cols - start if inside else 0
                    memory.window_piece(unit, target + tap * 2 * PIECE * size, at + start * size, -start, end)


@numba.njit(inline="never")
def _fill(unit, p, scratch, image0, images, group, row0, rows, col0):
    """Copy the band's sources, zero-padded, into the scratch as (image, channel, row, column phase, column)."""
    if memory.load_int(p, PAIR_TAPS):
        _fill_pairs(unit, p, scratch, image0, images, group, row0, rows)
        return
    size = memory.size_of(unit)
    channels = memory.load_int(p, SOURCE_CHANNELS)
    source_rows, source_cols = memory.load_int(p, SOURCE_ROWS), memory.load_int(p, SOURCE_COLS)
    stride_c, stride_h, stride_w = (
        memory.load_int(p, SOURCE_C),
        memory.load_int(p, SOURCE_H),
        memory.load_int(p, SOURCE_W),
    )
    step_w, pitch, row_pitch = memory.load_int(p, STEP_W), memory.load_int(p, COL_PITCH), memory.load_int(p, ROW_PITCH)
    plane = memory.load_int(p, PLANE)
    for image in range(images):
        base = (
            memory.load_int(p, SOURCE) + (image0 + image) * memory.load_int(p, SOURCE_N) + group * channels * stride_c
        )
        to_image = scratch + image * memory.load_int(p, IMAGE_ELEMENTS) * size
        for row in range(plane // row_pitch):
            source_row = row0 + row
            inside = row < rows and source_row >= 0 and source_row < source_rows
            for channel in range(channels):
                target = to_image + (channel * plane + row * row_pitch) * size
                if inside:
                    at = base + channel * stride_c + source_row * stride_h
                    _fill_row(unit, at, stride_w, source_cols, target, col0, step_w, pitch)
                else:
                    for position in range(row_pitch):
                        memory.store(unit, target + position * size, unit * 0)


@numba.njit(inline="never")
def _list_paired_pieces(unit, p, scratch, image0, images, row0, rows, pieces):
    """`_list_pieces` where images lie in pairs: the two pieces of a pair's row follow each other."""
    step = memory.load_int(p, STEP_H) * memory.load_int(p, ROW_PITCH) * memory.size_of(unit)
    count = 0
    for pair in range(0, images, 2):
        for row in range(rows):
            for image in range(pair, min(pair + 2, images)):
                to = pieces + count * 40
                memory.store_int(to, 0, _image_at(unit, p, scratch, image) + row * step)
                memory.store_int(to, 1, image0 + image)
                memory.store_int(to, 2, row0 + row)
                memory.store_int(to, 3, 0)
                memory.store_int(to, 4, PIECE)
                count += 1
    return count


@numba.njit(inline="never")
def _list_pieces(unit, p, scratch, image0, images, row0, rows, col0, cols, pieces):
    """Write (source address, image, row, column, length) of every piece; the last of a row overlaps when it can."""
    if memory.load_int(p, PAIR_TAPS):
        return _list_paired_pieces(unit, p, scratch, image0, images, row0, rows, pieces)
    size = memory.size_of(unit)
    direct = memory.load_int(p, DIRECT)
    step_pitch = memory.load_int(p, STEP_H) * memory.load_int(p, ROW_PITCH)
    count = 0
    for image in range(images):
        if direct:
            base = memory.load_int(p, SOURCE) + (image0 + image) * memory.load_int(p, SOURCE_N) + col0 * size
        else:
            base = scratch + image * memory.load_int(p, IMAGE_ELEMENTS) * size
        for row in range(rows):
            start = base + row * step_pitch * size
            col = 0
            while col < cols:
                length = PIECE
                at = col
                if cols - col < PIECE:
                    if cols >= PIECE:
                        at = cols - PIECE
                    else:
                        length = cols - col
                to = pieces + count * 40
                memory.store_int(to, 0, start + at * size)
                memory.store_int(to, 1, image0 + image)
                memory.store_int(to, 2, row0 + row)
                memory.store_int(to, 3, col0 + at)
                memory.store_int(to, 4, length)
                count += 1
                col += PIECE
    return count


@numba.njit(inline="never")
def _write_tile(unit, p, pieces, present, channel, rows, tile):
    """Copy rows of the tile to the target tensor."""
    size = memory.size_of(unit)
    stride_w, stride_c = memory.load_int(p, TARGET_W), memory.load_int(p, TARGET_C)
    for index in range(present):
        piece = pieces + index * 40
        to = memory.load_int(p, TARGET) + memory.load_int(piece, 1) * memory.load_int(p, TARGET_N) + channel * stride_c
        to += memory.load_int(piece, 2) * memory.load_int(p, TARGET_H) + memory.load_int(piece, 3) * stride_w
        length = memory.load_int(piece, 4)
        for row in range(rows):
            at = tile + (row * PIXELS + index * PIECE) * size
            if stride_w == size and length == PIECE:
                memory.copy_piece(unit, to + row * stride_c, at)
            elif stride_w == 2 * size and length == PIECE:
                memory.spread_piece(unit, to + row * stride_c, at)
            else:
                for pixel in range(length):
                    memory.store(unit, to + row * stride_c + pixel * stride_w, memory.load(unit, at + pixel * size))


@numba.njit(inline="never")
def _read_tile(unit, p, pieces, present, channel, rows, tile):
    """Copy the activations under a tile (the `AUX` tensor, laid over the target) to rows of the tile."""
    size = memory.size_of(unit)
    stride_w, stride_c = memory.load_int(p, AUX_W), memory.load_int(p, AUX_C)
    for index in range(present):
        piece = pieces + index * 40
        at = memory.load_int(p, AUX) + memory.load_int(piece, 1) * memory.load_int(p, AUX_N) + channel * stride_c
        at += memory.load_int(piece, 2) * memory.load_int(p, AUX_H) + memory.load_int(piece, 3) * stride_w
        length = memory.load_int(piece, 4)
        for row in range(rows):
            to = tile + (row * PIXELS + index * PIECE) * size
            if stride_w == size and length == PIECE:
                memory.copy_piece(unit, to, at + row * stride_c)
            elif stride_w == 2 * size and length == PIECE:
                memory.pick_piece(unit, to, at + row * stride_c)
            else:
                for pixel in range(length):
                    memory.store(unit, to + pixel * size, memory.load(unit, at + row * stride_c + pixel * stride_w))


@numba.njit(inline="never")
def _place(p, first_word, piece):
    """Address of a piece in the first channel of the tensor whose words start at `first_word`."""
    at = memory.load_int(p, first_word) + memory.load_int(piece, 1) * memory.load_int(p, first_word + 1)
    at += memory.load_int(piece, 2) * memory.load_int(p, first_word + 3)
    return at + memory.load_int(piece, 3) * memory.load_int(p, first_word + 4)


@numba.njit(inline="never")
def _four_places(unit, p, first_word, pieces, present, buffer):
    """Where a tile's pieces lie: (four addresses, bytes to the next channel, whether that is the tensor itself).

    A tensor whose rows are not neighbouring elements, or pieces that are not whole, take `buffer` (channels, PIXELS).
    """
    size = memory.size_of(unit)
    straight = memory.load_int(p, first_word + 4) == size and memory.load_int(pieces, 4) == PIECE
    pitch = memory.load_int(p, first_word + 2) if straight else PIXELS * size
    a0 = _place(p, first_word, pieces) if straight else buffer
    a1, a2, a3 = a0, a0, a0  # a piece that is not there repeats one that is, as its source does
    if present > 1:
        a1 = _place(p, first_word, pieces + 40) if straight else buffer + PIECE * size
        a3 = a1
    if present > 2:
        a2 = _place(p, first_word, pieces + 80) if straight else buffer + 2 * PIECE * size
    if present > 3:
        a3 = _place(p, first_word, pieces + 120) if straight else buffer + 3 * PIECE * size
    return a0, a1, a2, a3, pitch, straight


@numba.njit(inline="never")
def _next_block(done, filters, many, some):
    """(first filter, count) of the block after `done` filters; the last one overlaps the one before when it can."""
    left = filters - done
    if filters >= many and left > some:
        return min(done, filters - many), many
    if filters >= some:
        return min(done, filters - some), some
    return done, 1


def _forward_block(max_tile, plain_tile, rows):
    @numba.njit(inline="never")
    def block(unit, p, b0, b1, b2, b3, weights, weight_sums, first, o0, o1, o2, o3, out_pitch, extra, ahead):
        size = memory.size_of(unit)
        taps, offsets, pitch = memory.load_int(p, TAPS), memory.load_int(p, OFFSETS), memory.load_int(p, WEIGHT_PITCH)
        magnitudes = extra + PIXELS * size
        known = magnitudes + PIXELS * size  # whether the magnitudes of this tile's pixels are there
        if first:
            memory.store_int(known, 0, 0)
        good = max_tile(
            unit,
            b0,
            b1,
            b2,
            b3,
            offsets,
            weights,
            pitch,
            taps,
            extra,
            weight_sums,
            first,
            o0,
            o1,
            o2,
            o3,
            out_pitch,
            ahead,
        )
        if good:
            return
        if memory.load_int(known, 0) == 0:
            l1.pixel_magnitudes(unit, b0, b1, b2, b3, offsets, taps, magnitudes)
            memory.store_int(known, 0, 1)
        good = 1
        for row in range(rows):
            at, of_w = row * out_pitch, weight_sums + (2 * row + 1) * size
            good &= l1.is_conditioned(unit, o0 + at, o1 + at, o2 + at, o3 + at, magnitudes, of_w)
        if not good:
            plain_tile(unit, b0, b1, b2, b3, offsets, weights, pitch, taps, o0, o1, o2, o3, out_pitch)

    return block


_forward_many = _forward_block(l1.max_tile_many, l1.plain_tile_many, MANY)
_forward_some = _forward_block(l1.max_tile_some, l1.plain_tile_some, SOME)
_forward_one = _forward_block(l1.max_tile_one, l1.plain_tile_one, 1)


@numba.njit(inline="never")
def _forward_tile(unit, p, pieces, present, group, b0, b1, b2, b3, ahead, weight_sums, extra, tile):
    """All filters of one group over one tile of pixels."""
    size, filters = memory.size_of(unit), memory.load_int(p, TARGET_CHANNELS)
    o0, o1, o2, o3, out_pitch, straight = _four_places(unit, p, TARGET, pieces, present, tile)
    weights = memory.load_int(p, WEIGHT) + group * memory.load_int(p, WEIGHT_GROUP)
    done = 0
    while done < filters:
        at, rows = _next_block(done, filters, MANY, SOME)
        w, ws = weights + at * memory.load_int(p, WEIGHT_PITCH), weight_sums + (group * filters + at) * 2 * size
        to = (group * filters + at) * out_pitch if straight else 0
        first = 1 if done == 0 else 0
        t0, t1, t2, t3 = o0 + to, o1 + to, o2 + to, o3 + to
        if rows == MANY:
            _forward_many(unit, p, b0, b1, b2, b3, w, ws, first, t0, t1, t2, t3, out_pitch, extra, ahead)
        elif rows == SOME:
            _forward_some(unit, p, b0, b1, b2, b3, w, ws, first, t0, t1, t2, t3, out_pitch, extra, ahead)
        else:
            _forward_one(unit, p, b0, b1, b2, b3, w, ws, first, t0, t1, t2, t3, out_pitch, extra, ahead)
        if not straight:
            _write_tile(unit, p, pieces, present, group * filters + at, rows, tile)
        done = at + rows


@numba.njit(inline="never")
def _plain_tile(unit, p, pieces, present, group, b0, b1, b2, b3, ahead, weight_sums, extra, tile):
    """`_forward_tile` without the shorter formula: for float64, and for the one filter of a depthwise layer."""
    filters, taps, offsets = (
        memory.load_int(p, TARGET_CHANNELS),
        memory.load_int(p, TAPS),
        memory.load_int(p, OFFSETS),
    )
    o0, o1, o2, o3, out_pitch, straight = _four_places(unit, p, TARGET, pieces, present, tile)
    pitch = memory.load_int(p, WEIGHT_PITCH)
    done = 0
    while done < filters:
        at, rows = _next_block(done, filters, SOME, SOME)
        w = memory.load_int(p, WEIGHT) + group * memory.load_int(p, WEIGHT_GROUP) + at * pitch
        to = (group * filters + at) * out_pitch if straight else 0
        t0, t1, t2, t3 = o0 + to, o1 + to, o2 + to, o3 + to
        if rows == SOME:
            l1.plain_tile_some(unit, b0, b1, b2, b3, offsets, w, pitch, taps, t0, t1, t2, t3, out_pitch)
        else:
            l1.plain_tile_one(unit, b0, b1, b2, b3, offsets, w, pitch, taps, t0, t1, t2, t3, out_pitch)
        if not straight:
            _write_tile(unit, p, pieces, present, group * filters + at, rows, tile)
        done = at + rows


@numba.njit(inline="never")
def _clipped_tile(unit, p, pieces, present, group, b0, b1, b2, b3, ahead, weight_sums, extra, tile):
    """The input gradient of all channels of one group over one tile of pixels."""
    channels, taps = memory.load_int(p, TARGET_CHANNELS), memory.load_int(p, TAPS)
    offsets, weight_offsets = memory.load_int(p, OFFSETS), memory.load_int(p, WEIGHT_OFFSETS)
    keep_nan, pitch = memory.load_int(p, KEEP_NAN), memory.load_int(p, WEIGHT_PITCH)
    o0, o1, o2, o3, out_pitch, straight = _four_places(unit, p, TARGET, pieces, present, tile)
    x0, x1, x2, x3, x_pitch, x_straight = _four_places(unit, p, AUX, pieces, present, extra)
    done = 0
    while done < channels:
        at, rows = _next_block(done, channels, ROWS, ROWS)
        w = memory.load_int(p, WEIGHT) + group * memory.load_int(p, WEIGHT_GROUP) + at * pitch
        channel = group * channels + at
        to = channel * out_pitch if straight else 0
        x = channel * x_pitch if x_straight else 0
        if not x_straight:
            _read_tile(unit, p, pieces, present, channel, rows, extra)
        if rows == ROWS:
            clip.clipped_tile_some(
                unit, b0, b1, b2, b3, offsets, w, pitch, weight_offsets, taps,
                x0 + x, x1 + x, x2 + x, x3 + x, x_pitch, o0 + to, o1 + to, o2 + to, o3 + to, out_pitch, keep_nan,
            )  # fmt: skip
        else:
            clip.clipped_tile_one(
                unit, b0, b1, b2, b3, offsets, w, pitch, weight_offsets, taps,
                x0 + x, x1 + x, x2 + x, x3 + x, x_pitch, o0 + to, o1 + to, o2 + to, o3 + to, out_pitch, keep_nan,
            )  # fmt: skip
        if not straight:
            _write_tile(unit, p, pieces, present, channel, rows, tile)
        done = at + rows


@numba.njit(inline="always")
def _walk(unit, p, run_tile):
    """Take tasks until none is left; two small tiles, filter sums, piece list and scratch lie in the thread's slot."""
    size = memory.size_of(unit)
    slot = memory.take_ticket(p + 8 * THREADS)
    tile = memory.load_int(p, SCRATCH) + slot * memory.load_int(p, SCRATCH_BYTES)
    extra = tile + TILE_ROWS * PIXELS * size
    for position in range(0, 2 * TILE_ROWS * PIXELS, PIECE):
        memory.zero_piece(unit, tile + position * size)
    weight_sums = extra + TILE_ROWS * PIXELS * size
    summed = memory.load_int(p, SUMMED_FILTERS)
    for row in range(summed):
        w = memory.load_int(p, WEIGHT) + row * memory.load_int(p, WEIGHT_PITCH)
        l1.row_sums(unit, w, memory.load_int(p, TAPS), weight_sums + row * 2 * size)
    pieces = weight_sums + summed * 2 * size
    checked = memory.load_int(p, CHECKED_WEIGHTS)
    if checked:  # every thread finds and writes the same
        l1.row_sums(unit, memory.load_int(p, WEIGHT), checked, extra)
        magnitude = memory.load(unit, extra + size)
        memory.store_int(p, KEEP_NAN, 0 if magnitude - magnitude == 0 else 1)
    scratch = pieces + memory.load_int(p, MAX_PIECES) * 40
    images, groups = memory.load_int(p, IMAGES), memory.load_int(p, GROUPS)
    rows_out, cols_out = memory.load_int(p, ROWS_OUT), memory.load_int(p, COLS_OUT)
    task_images, task_rows = memory.load_int(p, TASK_IMAGES), memory.load_int(p, TASK_ROWS)
    task_cols = memory.load_int(p, TASK_COLS)
    direct = memory.load_int(p, DIRECT)
    bands = (rows_out + task_rows - 1) // task_rows
    strips = max(1, cols_out // task_cols)  # the last strip takes the remainder, so none is narrower than a piece
    step_h, step_w = memory.load_int(p, STEP_H), memory.load_int(p, STEP_W)
    per_batch = bands * strips * groups
    tasks = ((images + task_images - 1) // task_images) * per_batch
    while True:
        task = memory.take_ticket(p + 8 * TICKET)
        if task >= tasks:
            break
        image0 = (task // per_batch) * task_images
        group = (task // (bands * strips)) % groups
        row0 = ((task // strips) % bands) * task_rows
        strip = task % strips
        col0 = strip * task_cols
        count_images = min(task_images, images - image0)
        rows = min(task_rows, rows_out - row0)
        cols = cols_out - col0 if strip == strips - 1 else task_cols
        if direct:
            shift = group * memory.load_int(p, SOURCE_CHANNELS) * memory.load_int(p, SOURCE_C)
        else:
            shift = 0
            first_row = row0 * step_h + memory.load_int(p, MIN_H)
            source_rows = (rows - 1) * step_h + memory.load_int(p, SPAN_H)
            first_col = col0 * step_w + memory.load_int(p, MIN_W)
            _fill(unit, p, scratch, image0, count_images, group, first_row, source_rows, first_col)
            # A piece narrower than PIECE reads past its row. What lies there does not count, but it takes part in the
            # choice of the formula for its tile, so it must not depend on what the thread did before.
            memory.zero_piece(unit, _image_at(unit, p, scratch, count_images))
        count = _list_pieces(unit, p, scratch, image0, count_images, row0, rows, col0, cols, pieces)
        for first in range(0, count, PIECES):
            present = min(PIECES, count - first)
            here = pieces + first * 40
            b0 = memory.load_int(here, 0) + shift
            b1, b2, b3 = b0, b0, b0
            if present > 1:
                b1 = memory.load_int(here, 5) + shift
                b3 = b1
            if present > 2:
                b2 = memory.load_int(here, 10) + shift
            if present > 3:
                b3 = memory.load_int(here, 15) + shift
            ahead = memory.load_int(here, 20) + shift if first + PIECES < count else b0
            run_tile(unit, p, here, present, group, b0, b1, b2, b3, ahead, weight_sums, extra, tile)


def forward_f32(p):
    """Dense adder forward, float32."""
    _walk(np.float32(0), p, _forward_tile)


def forward_f64(p):
    """Dense adder forward, float64."""
    _walk(np.float64(0), p, _plain_tile)


def clipped_f32(p):
    """Dense adder input gradient, float32."""
    _walk(np.float32(0), p, _clipped_tile)


def clipped_f64(p):
    """Dense adder input gradient, float64."""
    _walk(np.float64(0), p, _clipped_tile)


def depthwise_forward_f32(p):
    """Depthwise adder forward, float32."""
    _walk(np.float32(0), p, _plain_tile)
