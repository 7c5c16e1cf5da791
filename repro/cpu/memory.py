"""Loads, stores, copies and atomic counters on plain addresses, for use inside compiled kernels."""

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from repro.cpu.simd import PIECE, _bytes, _call, _constant, _element, _pointer, _splat, _suffix

_I64 = ir.IntType(64)


@intrinsic
def load_int(typingctx, address, index):
    """The int64 number `index` after `address`."""

    def codegen(context, builder, signature, args):
        offset = builder.mul(args[1], ir.Constant(_I64, 8))
        return builder.load(_pointer(builder, args[0], offset), align=8, typ=_I64)

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def store_int(typingctx, address, index, value):
    """Write an int64."""

    def codegen(context, builder, signature, args):
        offset = builder.mul(args[1], ir.Constant(_I64, 8))
        builder.store(args[2], _pointer(builder, args[0], offset), align=8)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64), codegen


@intrinsic
def load_byte(typingctx, address):
    """The byte at `address`, 0 to 255."""

    def codegen(context, builder, signature, args):
        value = builder.load(_pointer(builder, args[0]), align=1, typ=ir.IntType(8))
        return builder.zext(value, _I64)

    return types.int64(types.int64), codegen


@intrinsic
def store_byte(typingctx, address, value):
    """Write the lowest byte of `value`."""

    def codegen(context, builder, signature, args):
        builder.store(builder.trunc(args[1], ir.IntType(8)), _pointer(builder, args[0]), align=1)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64), codegen


@intrinsic
def load_eight(typingctx, address):
    """The eight bytes at `address`, which need not be aligned, as an int64."""

    def codegen(context, builder, signature, args):
        return builder.load(_pointer(builder, args[0]), align=1, typ=_I64)

    return types.int64(types.int64), codegen


@intrinsic
def load(typingctx, unit, address):
    """The element of `unit`'s type at `address`."""

    def codegen(context, builder, signature, args):
        element = _element(signature.args[0])
        return builder.load(_pointer(builder, args[1]), align=_bytes(element), typ=element)

    return unit(unit, types.int64), codegen


@intrinsic
def store(typingctx, unit, address, value):
    """Write an element of `unit`'s type."""

    def codegen(context, builder, signature, args):
        builder.store(args[2], _pointer(builder, args[1]), align=_bytes(_element(signature.args[0])))
        return context.get_dummy_value()

    return types.none(unit, types.int64, unit), codegen


@intrinsic
def copy_piece(typingctx, unit, target, source):
    """Copy `PIECE` neighbouring elements."""

    def codegen(context, builder, signature, args):
        element = _element(signature.args[0])
        vector = ir.VectorType(element, PIECE)
        value = builder.load(_pointer(builder, args[2]), align=_bytes(element), typ=vector)
        builder.store(value, _pointer(builder, args[1]), align=_bytes(element))
        return context.get_dummy_value()

    return types.none(unit, types.int64, types.int64), codegen


@intrinsic
def zero_piece(typingctx, unit, target):
    """Write `PIECE` zeros."""

    def codegen(context, builder, signature, args):
        element = _element(signature.args[0])
        vector = ir.VectorType(element, PIECE)
        builder.store(ir.Constant(vector, [0.0] * PIECE), _pointer(builder, args[1]), align=_bytes(element))
        return context.get_dummy_value()

    return types.none(unit, types.int64), codegen


@intrinsic
def window_piece(typingctx, unit, target, source, low, high):
    """Copy elements `low` to `high` of the `PIECE` from `source` on; the others are not read and become zeros."""

    def codegen(context, builder, signature, args):
        element = _element(signature.args[0])
        vector, lanes = ir.VectorType(element, PIECE), ir.VectorType(_I64, PIECE)
        place = ir.Constant(lanes, list(range(PIECE)))
        above = builder.icmp_signed(">=", place, _splat(builder, args[3], lanes))
        mask = builder.and_(above, builder.icmp_signed("<", place, _splat(builder, args[4], lanes)))
        align = ir.Constant(ir.IntType(32), _bytes(element))
        call_args = [_pointer(builder, args[2]), align, mask, _constant(vector, 0.0)]
        value = _call(builder, f"llvm.masked.load.{_suffix(vector)}.p0", vector, call_args)
        builder.store(value, _pointer(builder, args[1]), align=_bytes(element))
        return context.get_dummy_value()

    return types.none(unit, *(types.int64,) * 4), codegen


@intrinsic
def take_ticket(typingctx, address):
    """Atomically add one to the int64 at `address` and return what it was."""

    def codegen(context, builder, signature, args):
        return builder.atomic_rmw("add", _pointer(builder, args[0]), ir.Constant(_I64, 1), "monotonic")

    return types.int64(types.int64), codegen


@intrinsic
def size_of(typingctx, unit):
    """Bytes of one element of `unit`'s type."""

    def codegen(context, builder, signature, args):
        return ir.Constant(_I64, _bytes(_element(signature.args[0])))

    return types.int64(unit), codegen


def _every_other(builder, element):
    """A vector of two pieces, the mask of its even lanes, and the alignment argument of masked accesses."""
    vector = ir.VectorType(element, 2 * PIECE)
    mask = ir.Constant(ir.VectorType(ir.IntType(1), 2 * PIECE), [1, 0] * PIECE)
    return vector, mask, ir.Constant(ir.IntType(32), _bytes(element))


@intrinsic
def spread_piece(typingctx, unit, target, source):
    """Write `PIECE` neighbouring elements to every second place from `target` on, leaving the places between alone."""

    def codegen(context, builder, signature, args):
        element = _element(signature.args[0])
        vector, mask, align = _every_other(builder, element)
        half = ir.VectorType(element, PIECE)
        value = builder.load(_pointer(builder, args[2]), align=_bytes(element), typ=half)
        order = ir.Constant(ir.VectorType(ir.IntType(32), 2 * PIECE), [i // 2 for i in range(2 * PIECE)])
        doubled = builder.shuffle_vector(value, value, order)
        name = f"llvm.masked.store.{_suffix(vector)}.p0"
        _call(builder, name, ir.VoidType(), [doubled, _pointer(builder, args[1]), align, mask])
        return context.get_dummy_value()

    return types.none(unit, types.int64, types.int64), codegen


@intrinsic
def pick_piece(typingctx, unit, target, source):
    """Copy `PIECE` elements from every second place from `source` on; the places between are not read."""

    def codegen(context, builder, signature, args):
        element = _element(signature.args[0])
        vector, mask, align = _every_other(builder, element)
        call_args = [_pointer(builder, args[2]), align, mask, _constant(vector, 0.0)]
        value = _call(builder, f"llvm.masked.load.{_suffix(vector)}.p0", vector, call_args)
        order = ir.Constant(ir.VectorType(ir.IntType(32), PIECE), list(range(0, 2 * PIECE, 2)))
        builder.store(builder.shuffle_vector(value, value, order), _pointer(builder, args[1]), align=_bytes(element))
        return context.get_dummy_value()

    return types.none(unit, types.int64, types.int64), codegen
