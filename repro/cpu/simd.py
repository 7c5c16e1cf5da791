"""Vector building blocks for the CPU kernels: LLVM vectors written by hand, compiled by Numba on the user's machine.

A *piece* is 8 neighbouring pixels of one image row; a *tile* is four pieces for `ROWS` filters, whose sums stay in
registers while the taps go by. Pieces are given by address, so one tile may span rows and images of any width. On
AVX-512 two pieces share a register; elsewhere LLVM splits the vectors to what the machine has (AVX2, NEON, SSE).

Every function below works on plain addresses (int64) and takes `unit`, a float32 or float64 value whose only use is
to choose the element type. Sums run over blocks of `BLOCK` taps that are added up in turn, which keeps the rounding
error of long sums near that of a pairwise summation.
"""

from __future__ import annotations

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

PIECE = 8  # pixels of one piece
PIECES = 4  # pieces of one tile
PIXELS = PIECE * PIECES
BLOCK = 16  # taps summed before they join the running total

_FEATURES = llvm.get_host_cpu_features()
HAS_AVX512 = bool(_FEATURES.get("avx512f") and _FEATURES.get("avx512dq"))
HAS_AVX512BW = bool(HAS_AVX512 and _FEATURES.get("avx512bw"))
HAS_AVX2 = bool(_FEATURES.get("avx2"))
ROWS = 4 if HAS_AVX512 else 2  # filters of one tile; sums of a tile must fit the register file

# An |x - w| sum counts as well conditioned while it is at least this share of sum |x| + sum |w|.
CONDITION = 0.25

_I64 = ir.IntType(64)
_I32 = ir.IntType(32)


def isa_name() -> str:
    """The vector instruction set the kernels are compiled for, in words."""
    if HAS_AVX512:
        return "AVX-512"
    if HAS_AVX2:
        return "AVX2"
    return "NEON" if _FEATURES.get("neon") else "portable vectors"


def _element(unit):
    return ir.FloatType() if unit == types.float32 else ir.DoubleType()


def _bytes(element) -> int:
    return 4 if isinstance(element, ir.FloatType) else 8


def _pointer(builder, address, offset=None):
    if offset is not None:
        address = builder.add(address, offset)
    return builder.inttoptr(address, ir.PointerType())


def _at(builder, address, bytes_: int):
    return _pointer(builder, address, ir.Constant(_I64, bytes_))


def _splat(builder, scalar, vector):
    start = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(_I32, 0))
    mask = ir.Constant(ir.VectorType(_I32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(start, ir.Constant(vector, ir.Undefined), mask)


def _constant(vector, value: float):
    return ir.Constant(vector, [value] * vector.count)


def _call(builder, name: str, result, args):
    module = builder.module
    function = cgutils.get_or_insert_function(module, ir.FunctionType(result, [a.type for a in args]), name)
    return builder.call(function, args)


def _suffix(vector) -> str:
    return f"v{vector.count}f{8 * _bytes(vector.element)}"


def _fabs(builder, value):
    return _call(builder, f"llvm.fabs.{_suffix(value.type)}", value.type, [value])


def _fma(builder, a, b, c):
    return _call(builder, f"llvm.fma.{_suffix(a.type)}", a.type, [a, b, c])


def _below(builder, bound, value):
    """min(bound, value) that hands a NaN in `value` on: the compare is false, so the second operand is taken."""
    return builder.select(builder.fcmp_ordered("<", bound, value), bound, value)


def _above(builder, bound, value):
    """max(bound, value) that hands a NaN in `value` on."""
    return builder.select(builder.fcmp_ordered(">", bound, value), bound, value)


def _hardtanh(builder, difference):
    """Clip to [-1, 1], NaN kept, in two instructions."""
    vector = difference.type
    return _above(builder, _constant(vector, -1.0), _below(builder, _constant(vector, 1.0), difference))


def _hardtanh_range(builder, difference):
    """Clip to [-1, 1] in one instruction (AVX-512DQ): smaller magnitude, sign of the difference. Drops NaN."""
    vector = difference.type
    args = [
        difference,
        _constant(vector, 1.0),
        ir.Constant(_I32, 2),
        ir.Constant(vector, ir.Undefined),
        ir.Constant(ir.IntType(16), -1),
        ir.Constant(_I32, 4),
    ]
    return _call(builder, "llvm.x86.avx512.mask.range.ps.512", vector, args)


class _Tile:
    """Emits one tile's loop over the taps. `wide`: pieces 0+1 and 2+3 are neighbours, so whole registers load."""

    def __init__(self, context, builder, element, bases, wide: bool):
        self.context, self.builder, self.element, self.wide = context, builder, element, wide
        self.bases = bases
        self.paired = HAS_AVX512 and isinstance(element, ir.FloatType)
        self.lanes = 2 * PIECE if self.paired else PIECE
        self.count = PIXELS // self.lanes
        self.vector = ir.VectorType(element, self.lanes)

    def load(self, address, offset=None):
        return self.builder.load(_pointer(self.builder, address, offset), align=_bytes(self.element), typ=self.vector)

    def load_pixels(self, offset):
        """The tile's pixels at one tap, as `count` vectors."""
        if not self.paired or self.wide:
            step = 2 if self.paired else 1
            return [self.load(base, offset) for base in self.bases[::step]]
        half = ir.VectorType(self.element, PIECE)
        join = ir.Constant(ir.VectorType(_I32, 2 * PIECE), list(range(2 * PIECE)))
        pieces = [
            self.builder.load(_pointer(self.builder, base, offset), align=_bytes(self.element), typ=half)
            for base in self.bases
        ]
        return [self.builder.shuffle_vector(pieces[2 * i], pieces[2 * i + 1], join) for i in range(len(pieces) // 2)]

    def load_row(self, address, row: int):
        size = self.lanes * _bytes(self.element)
        return [
            self.builder.load(
                _at(self.builder, address, (row * self.count + i) * size), align=_bytes(self.element), typ=self.vector
            )
            for i in range(self.count)
        ]

    def store_row(self, address, row: int, vectors):
        size = self.lanes * _bytes(self.element)
        for i, vector in enumerate(vectors):
            self.builder.store(
                vector, _at(self.builder, address, (row * self.count + i) * size), align=_bytes(self.element)
            )

    def sums(self, rows: int, taps, offsets, step):
        """Run `step(sums, pixels, tap)` over all taps in blocks; returns `rows` lists of vectors of sums."""
        builder = self.builder
        zero = _constant(self.vector, 0.0)
        slots = [[cgutils.alloca_once(builder, self.vector) for _ in range(self.count)] for _ in range(rows)]
        totals = [[cgutils.alloca_once(builder, self.vector) for _ in range(self.count)] for _ in range(rows)]
        for slot in (s for row in totals for s in row):
            builder.store(zero, slot)
        block = ir.Constant(_I64, BLOCK)
        blocks = builder.sdiv(builder.add(taps, ir.Constant(_I64, BLOCK - 1)), block)
        with cgutils.for_range(builder, blocks) as outer:
            start = builder.mul(outer.index, block)
            left = builder.sub(taps, start)
            size = builder.select(builder.icmp_signed("<", left, block), left, block)
            for slot in (s for row in slots for s in row):
                builder.store(zero, slot)
            with cgutils.for_range(builder, size) as inner:
                tap = builder.add(start, inner.index)
                where = builder.add(offsets, builder.mul(tap, ir.Constant(_I64, 8)))
                offset = builder.load(_pointer(builder, where), typ=_I64, align=8)
                pixels = self.load_pixels(offset)
                current = [[builder.load(s, typ=self.vector) for s in row] for row in slots]
                for row, vectors in zip(slots, step(current, pixels, tap), strict=True):
                    for slot, vector in zip(row, vectors, strict=True):
                        builder.store(vector, slot)
            for row, total_row in zip(slots, totals, strict=True):
                for slot, total in zip(row, total_row, strict=True):
                    joined = builder.fadd(builder.load(total, typ=self.vector), builder.load(slot, typ=self.vector))
                    builder.store(joined, total)
        return [[builder.load(t, typ=self.vector) for t in row] for row in totals]

    def weights(self, address, tap, rows=ROWS):
        """The filters' values at one tap, each spread over a vector (weights lie as (tap, rows))."""
        size = _bytes(self.element)
        start = self.builder.add(address, self.builder.mul(tap, ir.Constant(_I64, rows * size)))
        for row in range(rows):
            scalar = self.builder.load(_at(self.builder, start, row * size), align=size, typ=self.element)
            yield _splat(self.builder, scalar, self.vector)


_TILE_ARGS = (types.int64,) * 7  # four piece bases, tap offsets, weights, number of taps


def _l1(wide: bool, rows: int = ROWS):
    def codegen(context, builder, signature, args):
        element = _element(signature.args[0])
        tile = _Tile(context, builder, element, args[1:5], wide)
        offsets, weights, taps, out = args[5:9]

        def step(sums, pixels, tap):
            return [
                [builder.fsub(s, _fabs(builder, builder.fsub(x, w))) for s, x in zip(row, pixels, strict=True)]
                for row, w in zip(sums, tile.weights(weights, tap, rows), strict=True)
            ]

        for row, vectors in enumerate(tile.sums(rows, taps, offsets, step)):
            tile.store_row(out, row, vectors)
        return context.get_dummy_value()

    return codegen


@intrinsic
def l1_tile(typingctx, unit, b0, b1, b2, b3, offsets, weights, taps, out):
    """out[ROWS][PIXELS] = -sum |x - w|, each difference taken before its magnitude: right for any data."""
    return types.none(unit, *_TILE_ARGS, types.int64), _l1(wide=False)


@intrinsic
def l1_tile_wide(typingctx, unit, b0, b1, b2, b3, offsets, weights, taps, out):
    """`l1_tile` where pieces 0, 1 and pieces 2, 3 are neighbours."""
    return types.none(unit, *_TILE_ARGS, types.int64), _l1(wide=True)


def _pixel_sums(wide: bool):
    def codegen(context, builder, signature, args):
        tile = _Tile(context, builder, _element(signature.args[0]), args[1:5], wide)
        offsets, taps, out = args[5:8]

        def step(sums, pixels, tap):
            plain = [builder.fadd(s, x) for s, x in zip(sums[0], pixels, strict=True)]
            magnitude = [builder.fadd(s, _fabs(builder, x)) for s, x in zip(sums[1], pixels, strict=True)]
            return [plain, magnitude]

        for row, vectors in enumerate(tile.sums(2, taps, offsets, step)):
            tile.store_row(out, row, vectors)
        return context.get_dummy_value()

    return codegen


@intrinsic
def pixel_sums(typingctx, unit, b0, b1, b2, b3, offsets, taps, out):
    """out[0] = sum x and out[1] = sum |x| over the taps, for each pixel of the tile."""
    return types.none(unit, *_TILE_ARGS[:-1], types.int64), _pixel_sums(wide=False)


@intrinsic
def pixel_sums_wide(typingctx, unit, b0, b1, b2, b3, offsets, taps, out):
    """`pixel_sums` where pieces 0, 1 and pieces 2, 3 are neighbours."""
    return types.none(unit, *_TILE_ARGS[:-1], types.int64), _pixel_sums(wide=True)


def _l1_max(wide: bool):
    def codegen(context, builder, signature, args):
        element = _element(signature.args[0])
        tile = _Tile(context, builder, element, args[1:5], wide)
        offsets, weights, taps, pixel_sums_at, weight_sums_at, out = args[5:11]

        def step(sums, pixels, tap):
            # max(w, x) takes x when either is NaN; a NaN in w still reaches the result through the sum of w.
            return [
                [builder.fadd(s, _above(builder, w, x)) for s, x in zip(row, pixels, strict=True)]
                for row, w in zip(sums, tile.weights(weights, tap), strict=True)
            ]

        largest = tile.sums(ROWS, taps, offsets, step)
        plain, magnitude = (tile.load_row(pixel_sums_at, row) for row in range(2))
        limit = _constant(tile.vector, CONDITION)
        good = None
        for row, vectors in enumerate(largest):
            size = _bytes(element)
            both = [
                _splat(
                    builder,
                    builder.load(_at(builder, weight_sums_at, (2 * row + i) * size), align=size, typ=element),
                    tile.vector,
                )
                for i in range(2)
            ]
            result = []
            for vector, x_sum, x_magnitude in zip(vectors, plain, magnitude, strict=True):
                twice = builder.fadd(vector, vector)
                value = builder.fadd(builder.fsub(x_sum, twice), both[0])
                bound = builder.fmul(limit, builder.fadd(x_magnitude, both[1]))
                fits = builder.fcmp_ordered(">=", builder.fneg(value), bound)
                good = fits if good is None else builder.and_(good, fits)
                result.append(value)
            tile.store_row(out, row, result)
        mask = builder.bitcast(good, ir.IntType(tile.lanes))
        every = builder.icmp_unsigned("==", mask, ir.Constant(ir.IntType(tile.lanes), -1))
        return builder.zext(every, _I64)

    return codegen


@intrinsic
def l1_max_tile(typingctx, unit, b0, b1, b2, b3, offsets, weights, taps, pixel_sums_at, weight_sums_at, out):
    """`l1_tile` by |x - w| = 2 max(x, w) - x - w, two instructions a term instead of three.

    The sums of x and w lie at `pixel_sums_at` (2, PIXELS) and `weight_sums_at` (ROWS, 2), each plain and by magnitude.
    Returns 1 if every sum is well conditioned, else 0: then the differences cancel too much (or are not finite) for
    this form, and the caller takes `l1_tile`.
    """
    return types.int64(unit, *_TILE_ARGS, *(types.int64,) * 3), _l1_max(wide=False)


@intrinsic
def l1_max_tile_wide(typingctx, unit, b0, b1, b2, b3, offsets, weights, taps, pixel_sums_at, weight_sums_at, out):
    """`l1_max_tile` where pieces 0, 1 and pieces 2, 3 are neighbours."""
    return types.int64(unit, *_TILE_ARGS, *(types.int64,) * 3), _l1_max(wide=True)


def _clipped(wide: bool, keep_nan: bool, rows: int = ROWS):
    def codegen(context, builder, signature, args):
        tile = _Tile(context, builder, _element(signature.args[0]), args[1:5], wide)
        offsets, weights, taps, x_at, out = args[5:10]
        x_rows = [tile.load_row(x_at, row) for row in range(rows)]
        clip = _hardtanh if keep_nan or not tile.paired else _hardtanh_range

        def step(sums, pixels, tap):
            updated = []
            for row, x_row, w in zip(sums, x_rows, tile.weights(weights, tap, rows), strict=True):
                # HardTanh is odd, so x - w with w read straight from memory serves: sum -= g * HardTanh(x - w).
                clipped = [clip(builder, builder.fsub(x, w)) for x in x_row]
                updated.append(
                    [_fma(builder, builder.fneg(g), c, s) for g, c, s in zip(pixels, clipped, row, strict=True)]
                )
            return updated

        for row, vectors in enumerate(tile.sums(rows, taps, offsets, step)):
            if not keep_nan:  # the one-instruction clip loses a NaN in x; put it back
                vectors = [
                    builder.select(builder.fcmp_unordered("uno", x, x), x, v)
                    for v, x in zip(vectors, x_rows[row], strict=True)
                ]
            tile.store_row(out, row, vectors)
        return context.get_dummy_value()

    return codegen


@intrinsic
def clipped_tile(typingctx, unit, b0, b1, b2, b3, offsets, weights, taps, x_at, out):
    """out[ROWS][PIXELS] = sum g * HardTanh(w - x); x (ROWS, PIXELS) stays in registers. NaN goes through."""
    return types.none(unit, *_TILE_ARGS, types.int64, types.int64), _clipped(wide=False, keep_nan=True)


@intrinsic
def clipped_tile_finite(typingctx, unit, b0, b1, b2, b3, offsets, weights, taps, x_at, out):
    """`clipped_tile` for weights that hold no NaN: clips in one instruction where the machine can."""
    return types.none(unit, *_TILE_ARGS, types.int64, types.int64), _clipped(wide=False, keep_nan=False)


@intrinsic
def clipped_tile_finite_wide(typingctx, unit, b0, b1, b2, b3, offsets, weights, taps, x_at, out):
    """`clipped_tile_finite` where pieces 0, 1 and pieces 2, 3 are neighbours."""
    return types.none(unit, *_TILE_ARGS, types.int64, types.int64), _clipped(wide=True, keep_nan=False)


@intrinsic
def depthwise_l1_tile(typingctx, unit, b0, b1, b2, b3, offsets, weights, taps, out):
    """out[PIXELS] = -sum |x - w| for one channel and its one filter, weights lying as (tap,)."""
    return types.none(unit, *_TILE_ARGS, types.int64), _l1(wide=False, rows=1)


@intrinsic
def depthwise_clipped_tile(typingctx, unit, b0, b1, b2, b3, offsets, weights, taps, x_at, out):
    """out[PIXELS] = sum g * HardTanh(w - x) for one channel; NaN goes through."""
    return types.none(unit, *_TILE_ARGS, types.int64, types.int64), _clipped(wide=False, keep_nan=True, rows=1)
