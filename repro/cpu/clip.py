"""Tiles of the dense adder input gradient: sums of g * HardTanh(w - x) over the taps.

A tap here is one filter's value at one place: it pairs a pixel of the output's gradient with a weight. Weights are
read where the layer keeps them: `pitch` bytes from one input channel's to the next, `weight_offsets` for the taps.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from repro.cpu.l1 import filter_values, is_wide, load_pieces, store_pieces
from repro.cpu.simd import _I64, ROWS, _element, _fma, _hardtanh, _hardtanh_range, _pointer, _Tile


def _emit(tile: _Tile, rows: int, keep_nan: bool, args) -> None:
    builder = tile.builder
    offsets, weights, pitch, weight_offsets, taps, xs, x_pitch, outs, out_pitch = args
    x_rows = [load_pieces(tile, xs, builder.mul(x_pitch, ir.Constant(_I64, row))) for row in range(rows)]
    clip = _hardtanh if keep_nan or not tile.paired else _hardtanh_range

    def step(sums, pixels, tap):
        where = builder.add(weight_offsets, builder.mul(tap, ir.Constant(_I64, 8)))
        start = builder.add(weights, builder.load(_pointer(builder, where), typ=_I64, align=8))
        updated = []
        for row, x_row, w in zip(sums, x_rows, filter_values(tile, start, pitch, rows), strict=True):
            # HardTanh is odd, so x - w with w read straight from memory serves: sum -= g * HardTanh(x - w).
            clipped = [clip(builder, builder.fsub(x, w)) for x in x_row]
            updated.append([_fma(builder, builder.fneg(g), c, s) for g, c, s in zip(pixels, clipped, row, strict=True)])
        return updated

    for row, vectors in enumerate(tile.sums(rows, taps, offsets, step)):
        if not keep_nan:  # the one-instruction clip loses a NaN in x; put it back
            vectors = [
                builder.select(builder.fcmp_unordered("uno", x, x), x, v)
                for v, x in zip(vectors, x_rows[row], strict=True)
            ]
        store_pieces(tile, vectors, outs, builder.mul(out_pitch, ir.Constant(_I64, row)))


def _clipped_tile(rows: int):
    @intrinsic
    def clipped_tile(
        typingctx, unit, b0, b1, b2, b3, offsets, weights, pitch, weight_offsets, taps,
        x0, x1, x2, x3, x_pitch, o0, o1, o2, o3, out_pitch, keep_nan,
    ):  # fmt: skip
        """sum g * HardTanh(w - x) of `rows` input channels over four pieces.

        b0 to b3: gradient pieces, and offsets: bytes from each to its pixels at every tap; x0 to x3, o0 to o3:
        activations and results of the first channel, with pitches in bytes to the next. keep_nan: weights may hold
        NaN; otherwise AVX-512 clips in one instruction, which would lose it.
        """

        def codegen(context, builder, signature, args):
            element = _element(signature.args[0])
            bases, keep_nan = args[1:5], args[20]
            rest = (*args[5:10], args[10:14], args[14], args[15:19], args[19])

            def emit(wide: bool, keep: bool) -> None:
                _emit(_Tile(context, builder, element, bases, wide), rows, keep, rest)

            neighbours = builder.and_(is_wide(builder, element, *bases), is_wide(builder, element, *args[15:19]))
            if not _Tile(context, builder, element, bases, True).paired:  # both clips are the same there
                emit(False, True)
                return context.get_dummy_value()
            with builder.if_else(cgutils.is_not_null(builder, keep_nan)) as (keeping, losing):
                with keeping:
                    emit(False, True)
                with losing, builder.if_else(neighbours) as (together, apart):
                    with together:
                        emit(True, False)
                    with apart:
                        emit(False, False)
            return context.get_dummy_value()

        return types.none(unit, *(types.int64,) * 20), codegen

    return clipped_tile


clipped_tile_some, clipped_tile_one = _clipped_tile(ROWS), _clipped_tile(1)
