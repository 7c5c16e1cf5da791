"""Tiles of the dense adder forward: sums of |x - w| over the taps, straight from the filters to the output.

Filters lie as they do in a layer, (filters, taps), and are read in place. A tile takes four pieces of pixels (see
`repro.cpu.simd`) and 8, 4 or 1 neighbouring filters. Two instructions a term: |x - w| = 2 max(x, w) - x - w, where the
sums of x come along with the first filters of a tile and those of w are made once a thread. That form cancels where
|x - w| is small beside |x| and |w|; `max_tile` says so, and the caller takes `plain_tile`.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from repro.cpu.simd import (
    _I64,
    CONDITION,
    HAS_AVX512,
    PIECE,
    PIXELS,
    _above,
    _at,
    _bytes,
    _call,
    _constant,
    _element,
    _fabs,
    _fma,
    _minus,
    _plus,
    _pointer,
    _splat,
    _Tile,
)

MANY, SOME = (8, 4) if HAS_AVX512 else (2, 1)  # filters of a tile; their sums must fit the register file

# |x| <= |x - w| + |w|, so a sum of at least this share of sum |w| is well conditioned whatever the sum of |x| is.
_SHARE = 2 * CONDITION / (1 - CONDITION)

_I32 = ir.IntType(32)
_HALVES = [ir.Constant(ir.VectorType(_I32, PIECE), list(range(start, start + PIECE))) for start in (0, PIECE)]


def filter_values(tile: _Tile, address, pitch, rows: int):
    """One value of each of `rows` filters, `pitch` bytes apart, spread over a vector."""
    builder, size = tile.builder, _bytes(tile.element)
    for row in range(rows):
        at = builder.add(address, builder.mul(pitch, ir.Constant(_I64, row))) if row else address
        yield _splat(builder, builder.load(_pointer(builder, at), align=size, typ=tile.element), tile.vector)


def store_pieces(tile: _Tile, vectors, outs, offset) -> None:
    """One filter's sums to the four pieces' addresses plus `offset`, which need not be neighbours."""
    builder = tile.builder
    pieces = vectors
    if tile.paired:
        pieces = [builder.shuffle_vector(vector, vector, half) for vector in vectors for half in _HALVES]
    for piece, out in zip(pieces, outs, strict=True):
        builder.store(piece, _pointer(builder, out, offset), align=_bytes(tile.element))


def load_pieces(tile: _Tile, addresses, offset):
    """The tile's vectors from four pieces' addresses plus `offset`."""
    builder = tile.builder
    moved = [builder.add(address, offset) for address in addresses]
    return _Tile(tile.context, builder, tile.element, moved, wide=False).load_pixels(ir.Constant(_I64, 0))


def is_wide(builder, element, b0, b1, b2, b3):
    """Whether pieces 0, 1 and pieces 2, 3 are neighbours, so that whole registers load."""
    step = ir.Constant(_I64, PIECE * _bytes(element))
    first = builder.icmp_signed("==", builder.add(b0, step), b1)
    return builder.and_(first, builder.icmp_signed("==", builder.add(b2, step), b3))


def _prefetch(builder, address, offset, write: int = 0) -> None:
    """Ask for the cache line at `address` plus `offset`, to read or `write`; a hint, which no address can make fail."""
    flags = [ir.Constant(_I32, value) for value in (write, 3, 1)]  # read or write, keep, data
    _call(builder, "llvm.prefetch.p0", ir.VoidType(), [_pointer(builder, address, offset), *flags])


def _emit_max(tile: _Tile, rows: int, first: bool, args):
    """The loop over the taps and the sums' way out; 1 if every sum is well conditioned."""
    builder, size = tile.builder, _bytes(tile.element)
    offsets, weights, pitch, taps, pixel_sums, weight_sums, outs, out_pitch, ahead = args

    def step(sums, pixels, tap):
        # max(w, x) takes x when either is NaN; a NaN in w still reaches the result through the sum of w.
        if first:
            offset = builder.load(_pointer(builder, offsets, builder.mul(tap, ir.Constant(_I64, 8))), typ=_I64, align=8)
            for byte in (0, 64, PIXELS * size - 1):
                _prefetch(builder, builder.add(ahead, ir.Constant(_I64, byte)), offset)
        values = filter_values(tile, builder.add(weights, builder.mul(tap, ir.Constant(_I64, size))), pitch, rows)
        updated = [
            [_plus(builder, s, _above(builder, w, x)) for s, x in zip(row, pixels, strict=True)]
            for row, w in zip(sums, values)
        ]
        if first:
            updated.append([_plus(builder, s, x) for s, x in zip(sums[rows], pixels, strict=True)])
        return updated

    # The sums leave in one burst at the end; lines asked for now are there by then.
    for row in range(rows):
        shift = builder.mul(out_pitch, ir.Constant(_I64, row))
        for out in outs:
            _prefetch(builder, out, shift, write=1)
    totals = tile.sums(rows + first, taps, offsets, step)
    if first:
        tile.store_row(pixel_sums, 0, totals[rows])
    plain = totals[rows] if first else tile.load_row(pixel_sums, 0)
    share, minus_two, good = _constant(tile.vector, _SHARE), _constant(tile.vector, -2.0), None
    for row, vectors in enumerate(totals[:rows]):
        of_w, of_abs_w = (
            _splat(
                builder,
                builder.load(_at(builder, weight_sums, (2 * row + i) * size), align=size, typ=tile.element),
                tile.vector,
            )
            for i in range(2)
        )
        limit = builder.fneg(builder.fmul(share, of_abs_w))
        results = []
        for vector, x_sum in zip(vectors, plain, strict=True):
            value = _fma(builder, vector, minus_two, builder.fadd(x_sum, of_w))
            fits = builder.fcmp_ordered("<=", value, limit)
            good = fits if good is None else builder.and_(good, fits)
            results.append(value)
        store_pieces(tile, results, outs, builder.mul(out_pitch, ir.Constant(_I64, row)))
    return _every(builder, good, tile.lanes)


def _every(builder, lanes, count: int):
    mask = builder.bitcast(lanes, ir.IntType(count))
    return builder.zext(builder.icmp_unsigned("==", mask, ir.Constant(ir.IntType(count), -1)), _I64)


def _max_tile(rows: int):
    @intrinsic
    def max_tile(
        typingctx, unit, b0, b1, b2, b3, offsets, weights, pitch, taps,
        pixel_sums, weight_sums, first, o0, o1, o2, o3, out_pitch, ahead,
    ):  # fmt: skip
        """-sum |x - w| of `rows` filters over four pieces at b0 to b3, written to o0 to o3.

        offsets: bytes from a piece to its pixels at each tap; weights, pitch: first filter, and bytes to the next;
        pixel_sums: (PIXELS,) sums of x, written if `first`, else read; weight_sums: (rows, 2) sums of w and |w|;
        out_pitch: bytes from one filter's output to the next; ahead: the next tile's pixels, which the first filters
        ask the memory for. Returns 1 if every sum is well conditioned, else 0.
        """

        def codegen(context, builder, signature, args):
            element = _element(signature.args[0])
            bases, first, outs = args[1:5], args[11], args[12:16]
            rest = (*args[5:11], outs, args[16], args[17])
            good = cgutils.alloca_once(builder, _I64)

            def emit(wide: bool, with_sums: bool) -> None:
                tile = _Tile(context, builder, element, bases, wide)
                builder.store(_emit_max(tile, rows, with_sums, rest), good)

            neighbours = is_wide(builder, element, *bases)
            with builder.if_else(neighbours) as (together, apart):
                for branch, wide in ((together, True), (apart, False)):
                    with branch, builder.if_else(cgutils.is_not_null(builder, first)) as (begin, go_on):
                        with begin:
                            emit(wide, True)
                        with go_on:
                            emit(wide, False)
            return builder.load(good)

        return types.int64(unit, *(types.int64,) * 17), codegen

    return max_tile


def _plain_tile(rows: int):
    @intrinsic
    def plain_tile(typingctx, unit, b0, b1, b2, b3, offsets, weights, pitch, taps, o0, o1, o2, o3, out_pitch):
        """`max_tile` with each difference taken before its magnitude: right for any data, three instructions a term."""

        def codegen(context, builder, signature, args):
            tile = _Tile(context, builder, _element(signature.args[0]), args[1:5], wide=False)
            offsets, weights, pitch, taps = args[5:9]
            outs, out_pitch = args[9:13], args[13]

            def step(sums, pixels, tap):
                start = builder.add(weights, builder.mul(tap, ir.Constant(_I64, _bytes(tile.element))))
                return [
                    [_minus(builder, s, _fabs(builder, builder.fsub(x, w))) for s, x in zip(row, pixels, strict=True)]
                    for row, w in zip(sums, filter_values(tile, start, pitch, rows), strict=True)
                ]

            for row, vectors in enumerate(tile.sums(rows, taps, offsets, step)):
                store_pieces(tile, vectors, outs, builder.mul(out_pitch, ir.Constant(_I64, row)))
            return context.get_dummy_value()

        return types.none(unit, *(types.int64,) * 13), codegen

    return plain_tile


max_tile_many, max_tile_some, max_tile_one = _max_tile(MANY), _max_tile(SOME), _max_tile(1)
plain_tile_many, plain_tile_some, plain_tile_one = _plain_tile(MANY), _plain_tile(SOME), _plain_tile(1)


@intrinsic
def pixel_magnitudes(typingctx, unit, b0, b1, b2, b3, offsets, taps, out):
    """out (PIXELS,) = sum |x| over the taps, for each pixel of the tile."""

    def codegen(context, builder, signature, args):
        tile = _Tile(context, builder, _element(signature.args[0]), args[1:5], wide=False)

        def step(sums, pixels, tap):
            return [[_plus(builder, s, _fabs(builder, x)) for s, x in zip(sums[0], pixels, strict=True)]]

        tile.store_row(args[7], 0, tile.sums(1, args[6], args[5], step)[0])
        return context.get_dummy_value()

    return types.none(unit, *(types.int64,) * 7), codegen


@intrinsic
def is_conditioned(typingctx, unit, o0, o1, o2, o3, magnitudes, magnitude_of_w):
    """1 if one filter's sums at o0 to o3 are each at least CONDITION of sum |x| (PIXELS,) plus sum |w|, else 0."""

    def codegen(context, builder, signature, args):
        element = _element(signature.args[0])
        tile = _Tile(context, builder, element, args[1:5], wide=False)
        scalar = builder.load(_pointer(builder, args[6]), align=_bytes(element), typ=element)
        of_w, share = _splat(builder, scalar, tile.vector), _constant(tile.vector, CONDITION)
        good = None
        for value, of_x in zip(tile.load_pixels(ir.Constant(_I64, 0)), tile.load_row(args[5], 0), strict=True):
            bound = builder.fmul(share, builder.fadd(of_x, of_w))
            fits = builder.fcmp_ordered(">=", builder.fneg(value), bound)
            good = fits if good is None else builder.and_(good, fits)
        return _every(builder, good, tile.lanes)

    return types.int64(unit, *(types.int64,) * 6), codegen


@intrinsic
def row_sums(typingctx, unit, address, count, out):
    """out[0] = sum w and out[1] = sum |w| of `count` neighbouring elements, lane by lane and then across."""

    def codegen(context, builder, signature, args):
        element = _element(signature.args[0])
        address, count, out = args[1:]
        size, lanes = _bytes(element), 2 * PIECE
        vector = ir.VectorType(element, lanes)
        slots = [cgutils.alloca_once_value(builder, _constant(vector, 0.0)) for _ in range(2)]
        step = ir.Constant(_I64, lanes)
        whole = builder.sdiv(count, step)
        with cgutils.for_range(builder, whole) as loop:
            at = builder.add(address, builder.mul(loop.index, ir.Constant(_I64, lanes * size)))
            value = builder.load(_pointer(builder, at), align=size, typ=vector)
            for slot, term in zip(slots, (value, _fabs(builder, value)), strict=True):
                builder.store(builder.fadd(builder.load(slot, typ=vector), term), slot)
        done = builder.mul(whole, step)
        scalars = []
        for slot in slots:
            level = builder.load(slot, typ=vector)
            while level.type.count > 1:
                half = level.type.count // 2
                low, high = (
                    builder.shuffle_vector(
                        level, level, ir.Constant(ir.VectorType(_I32, half), list(range(start, start + half)))
                    )
                    for start in (0, half)
                )
                level = builder.fadd(low, high)
            scalars.append(cgutils.alloca_once_value(builder, builder.extract_element(level, ir.Constant(_I32, 0))))
        with cgutils.for_range(builder, builder.sub(count, done)) as loop:
            at = builder.add(address, builder.mul(builder.add(done, loop.index), ir.Constant(_I64, size)))
            value = builder.load(_pointer(builder, at), align=size, typ=element)
            negative = builder.fcmp_ordered("<", value, ir.Constant(element, 0.0))
            magnitude = builder.select(negative, builder.fneg(value), value)
            for slot, term in zip(scalars, (value, magnitude), strict=True):
                builder.store(builder.fadd(builder.load(slot, typ=element), term), slot)
        for index, slot in enumerate(scalars):
            builder.store(builder.load(slot, typ=element), _at(builder, out, index * size), align=size)
        return context.get_dummy_value()

    return types.none(unit, *(types.int64,) * 3), codegen
