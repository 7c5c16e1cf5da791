"""Vector building blocks for the CPU kernels: LLVM vectors written by hand, compiled by Numba on the user's machine.

A *piece* is 8 neighbouring pixels of one image row; a *tile* is four pieces for some filters, whose sums stay in
registers while the taps go by. Pieces are given by address, so one tile may span rows and images of any width. On
AVX-512 two pieces share a register; elsewhere LLVM splits the vectors to what the machine has (AVX2, NEON, SSE).

The tiles (`repro.cpu.l1`, `repro.cpu.clip`) work on plain addresses (int64) and take `unit`, a float32 or float64
value whose only use is to choose the element type. Sums run over blocks of `BLOCK` taps that are added up in turn,
which keeps the rounding error of long sums near that of a pairwise summation.

Sums of |x - w| are written with `_plus` and `_minus`, an addition or a multiply-add by one, whichever runs faster on
this processor (`SUM`). Both round once and give the same bits.
"""

from __future__ import annotations

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils, types

PIECE = 8  # pixels of one piece
PIECES = 4  # pieces of one tile
PIXELS = PIECE * PIECES
BLOCK = 16  # taps summed before they join the running total

_FEATURES = llvm.get_host_cpu_features()
HAS_AVX512 = bool(_FEATURES.get("avx512f") and _FEATURES.get("avx512dq"))
HAS_AVX512BW = bool(HAS_AVX512 and _FEATURES.get("avx512bw"))
HAS_AVX2 = bool(_FEATURES.get("avx2"))
ROWS = 4 if HAS_AVX512 else 2  # filters of one tile; sums of a tile must fit the register file

# AMD's Zen cores add and compare on the same two pipes and have two more for multiply-adds, so that a term's max or
# difference and a sum by multiply-add run side by side. Intel's and ARM's vector pipes do all of it alike.
SUM = "fma" if llvm.get_host_cpu_name().startswith("znver") else "add"

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


def _opaque(builder, vector, value: float):
    """A constant that LLVM takes for a variable: it would turn a multiply-add by one back into an addition."""
    return _call(builder, f"llvm.arithmetic.fence.{_suffix(vector)}", vector, [_constant(vector, value)])


def _plus(builder, total, term):
    """total + term, in the form that this processor adds up fastest."""
    if SUM == "fma":
        return _fma(builder, term, _opaque(builder, term.type, 1.0), total)
    return builder.fadd(total, term)


def _minus(builder, total, term):
    """total - term, as `_plus`."""
    if SUM == "fma":
        return _fma(builder, term, _opaque(builder, term.type, -1.0), total)
    return builder.fsub(total, term)


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
