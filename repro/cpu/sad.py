"""Sums of absolute byte differences on vectors, and the byte transposition that feeds them.

An 8-byte element holds 8 channels of one pixel. `vpsadbw` turns 64 bytes of such elements and a filter's 8 bytes,
repeated, into eight sums of |x - w|, 64 terms an instruction; SSE2 and AVX2 have narrower forms, and elsewhere LLVM
gets the same sums spelt out. The instruction is unsigned; |a - b| does not change when 128 is added to both.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from repro.cpu.simd import HAS_AVX2, HAS_AVX512BW, PIECE, PIECES, ROWS, _at, _call, _constant, _pointer, _splat

_I8, _I64 = ir.IntType(8), ir.IntType(64)
_LANES = ir.VectorType(_I64, PIECE)  # one piece: 8 pixels of 8 bytes
_BYTES = ir.VectorType(_I8, 8 * PIECE)
_NATIVE = (
    (64, "llvm.x86.avx512.psad.bw.512") if HAS_AVX512BW else (32, "llvm.x86.avx2.psad.bw") if HAS_AVX2 else (0, "")
)


def _part(builder, value, start: int, count: int):
    mask = ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(start, start + count)))
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), mask)


def _native_sad(builder, x, w):
    width, name = _NATIVE
    result = ir.VectorType(_I64, width // 8)
    parts = [
        _call(builder, name, result, [_part(builder, x, at, width), _part(builder, w, at, width)])
        for at in range(0, 64, width)
    ]
    if len(parts) == 1:
        return parts[0]
    join = ir.Constant(ir.VectorType(ir.IntType(32), 8), list(range(8)))
    return builder.shuffle_vector(parts[0], parts[1], join)


def _portable_sad(builder, x, w):
    larger = builder.select(builder.icmp_unsigned(">", x, w), x, w)
    smaller = builder.select(builder.icmp_unsigned(">", x, w), w, x)
    value = builder.bitcast(builder.sub(larger, smaller), _LANES)
    for bits, mask in ((8, 0x00FF00FF00FF00FF), (16, 0x0000FFFF0000FFFF), (32, 0x00000000FFFFFFFF)):
        kept = _constant(_LANES, mask)
        shifted = builder.lshr(value, _constant(_LANES, bits))
        value = builder.add(builder.and_(value, kept), builder.and_(shifted, kept))
    return value


def native_or_portable(portable: bool):
    """The code for the 8 sums of 8 byte differences of a vector: the machine's, or spelt out."""
    return _portable_sad if portable or not _NATIVE[0] else _native_sad


def _tile(portable: bool):
    sad = native_or_portable(portable)

    def codegen(context, builder, signature, args):
        bases, (offsets, weights, taps, out) = args[:4], args[4:8]
        flip = _constant(_LANES, -0x7F7F7F7F7F7F7F80)  # 0x80 in every byte
        slots = [[cgutils.alloca_once(builder, _LANES) for _ in range(PIECES)] for _ in range(ROWS)]
        for slot in (s for row in slots for s in row):
            builder.store(_constant(_LANES, 0), slot)
        with cgutils.for_range(builder, taps) as loop:
            where = builder.mul(loop.index, ir.Constant(_I64, 8))
            offset = builder.load(_pointer(builder, offsets, where), typ=_I64, align=8)
            pixels = []
            for base in bases:
                raw = builder.load(_pointer(builder, base, offset), typ=_LANES, align=1)
                pixels.append(builder.bitcast(builder.xor(raw, flip), _BYTES))
            start = builder.add(weights, builder.mul(loop.index, ir.Constant(_I64, 8 * ROWS)))
            for row in range(ROWS):
                scalar = builder.load(_at(builder, start, 8 * row), typ=_I64, align=1)
                filter_bytes = builder.bitcast(_splat(builder, scalar, _LANES), _BYTES)
                for slot, pixel in zip(slots[row], pixels, strict=True):
                    total = builder.add(builder.load(slot, typ=_LANES), sad(builder, pixel, filter_bytes))
                    builder.store(total, slot)
        narrow = ir.VectorType(ir.IntType(32), PIECE)
        for row in range(ROWS):
            for i, slot in enumerate(slots[row]):
                value = builder.trunc(builder.neg(builder.load(slot, typ=_LANES)), narrow)
                builder.store(value, _at(builder, out, (row * PIECES + i) * 4 * PIECE), align=4)
        return context.get_dummy_value()

    return codegen


@intrinsic
def sad_tile(typingctx, b0, b1, b2, b3, offsets, weights, taps, out):
    """out[ROWS][PIXELS] (int32) = -sum |x - w| over 8-byte elements; pixels signed, weights already plus 128."""
    return types.none(*(types.int64,) * 8), _tile(portable=False)


@intrinsic
def sad_tile_portable(typingctx, b0, b1, b2, b3, offsets, weights, taps, out):
    """`sad_tile` without the machine's instruction."""
    return types.none(*(types.int64,) * 8), _tile(portable=True)


@intrinsic
def interleave_16(typingctx, source, stride, target):
    """16 pixels of 8 planes (`stride` bytes apart) become 16 elements of 8 bytes at `target`."""

    def codegen(context, builder, signature, args):
        def weave(a, b):
            n = a.type.count
            order = [i // 2 + (n if i % 2 else 0) for i in range(2 * n)]
            return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), 2 * n), order))

        vector = ir.VectorType(_I8, 16)
        rows = []
        for plane in range(8):
            offset = builder.mul(args[1], ir.Constant(_I64, plane))
            rows.append(builder.load(_pointer(builder, args[0], offset), typ=vector, align=1))
        even = weave(weave(rows[0], rows[4]), weave(rows[2], rows[6]))
        odd = weave(weave(rows[1], rows[5]), weave(rows[3], rows[7]))
        builder.store(weave(even, odd), _pointer(builder, args[2]), align=1)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64), codegen
