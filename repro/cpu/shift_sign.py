"""Exponents P and signs S to weights, and the gradient of P, each in one pass over memory (AutoShiftNet eq. 2 and 6).

Plain PyTorch makes eight passes forward and twelve backward, over weights that are larger than the caches in all but
the smallest networks: there the passes take longer than the convolutions of small images. The numbers equal those of
`repro.ops.quantize` exactly: a power of two is its exponent's bits, and products are taken in the same order.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from torch.nn import functional

from repro.cpu import memory
from repro.cpu.runner import launch, thread_count

LANES = 16
CHUNK = 16384  # elements per task
WORK = 4  # as in `repro.cpu.fixed_point`
COUNT, SETTINGS, SOURCES = 2, 3, 5  # words of the parameter array; 0 and 1 are the runner's
_FLOAT, _I32, _I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_VECTOR, _INTEGERS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_I32, LANES)
_BIAS, _MANTISSA_BITS = 127, 23
LOW, HIGH, LN2, EXACT = range(4)  # settings


class _Lanes:
    """LANES neighbouring floats at a time."""

    def __init__(self, builder, settings):
        self.builder, self._settings = builder, settings

    def _pointer(self, address, kind):
        return self.builder.inttoptr(address, kind.as_pointer())

    def load(self, address):
        """The floats at an address."""
        return self.builder.load(self._pointer(address, _VECTOR), align=4)

    def store(self, value, address):
        """Write them."""
        self.builder.store(value, self._pointer(address, _VECTOR), align=4)

    def setting(self, index):
        """A setting in every lane."""
        address = self.builder.add(self._settings, ir.Constant(_I64, 4 * index))
        scalar = self.builder.load(self._pointer(address, _FLOAT), align=4)
        none = ir.Constant(_VECTOR, ir.Undefined)
        single = self.builder.insert_element(none, scalar, ir.Constant(_I32, 0))
        return self.builder.shuffle_vector(single, none, ir.Constant(_INTEGERS, [0] * LANES))

    def number(self, value):
        """A constant in every lane."""
        return ir.Constant(_VECTOR, [value] * LANES)

    def power(self, exponent):
        """2^round(P), P clamped to its range; NaN where P is."""
        builder = self.builder
        clamped = exponent
        for index, comparison in ((LOW, "<"), (HIGH, ">")):
            bound = self.setting(index)
            clamped = builder.select(builder.fcmp_ordered(comparison, clamped, bound), bound, clamped)
        signature = ir.FunctionType(_VECTOR, [_VECTOR])
        rint = cgutils.get_or_insert_function(builder.module, signature, f"llvm.rint.v{LANES}f32")
        bits = builder.fptosi(builder.call(rint, [clamped]), _INTEGERS)
        bits = builder.shl(
            builder.add(bits, ir.Constant(_INTEGERS, [_BIAS] * LANES)),
            ir.Constant(_INTEGERS, [_MANTISSA_BITS] * LANES),
        )
        missing = builder.fcmp_unordered("uno", exponent, exponent)
        return builder.select(missing, exponent, builder.bitcast(bits, _VECTOR))


@intrinsic
def _compose_lanes(typingctx, shift, sign, target, settings):
    """Weights of LANES exponents and signs."""

    def codegen(context, builder, signature, args):
        lanes = _Lanes(builder, args[3])
        power, sign = lanes.power(lanes.load(args[0])), lanes.load(args[1])
        zero = builder.fadd(builder.fsub(power, power), builder.fmul(sign, lanes.number(0.0)))  # NaN where either is
        down = builder.select(builder.fcmp_ordered("<=", sign, lanes.number(-0.5)), builder.fneg(power), zero)
        lanes.store(builder.select(builder.fcmp_ordered(">=", sign, lanes.number(0.5)), power, down), args[2])
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64, types.int64), codegen


@intrinsic
def _gradient_lanes(typingctx, grad, shift, weight, target, settings):
    """Gradients of LANES exponents."""

    def codegen(context, builder, signature, args):
        lanes = _Lanes(builder, args[4])
        shift = lanes.load(args[1])
        scale = builder.fmul(lanes.load(args[2]), lanes.setting(LN2))
        exact = builder.fcmp_ordered("!=", lanes.setting(EXACT), lanes.number(0.0))
        scale = builder.select(exact, scale, builder.fmul(scale, lanes.power(shift)))
        gradient = builder.fmul(lanes.load(args[0]), scale)
        below = builder.fcmp_ordered("<", shift, lanes.setting(LOW))
        above = builder.fcmp_ordered(">", shift, lanes.setting(HIGH))
        rises, falls = (builder.fcmp_ordered(way, gradient, lanes.number(0.0)) for way in "><")
        outward = builder.or_(builder.and_(below, rises), builder.and_(above, falls))
        lanes.store(builder.select(outward, lanes.number(0.0), gradient), args[3])
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64, types.int64, types.int64), codegen


def _compose_tasks(p):
    count, shift = memory.load_int(p, COUNT), memory.load_int(p, SOURCES)
    sign, target = memory.load_int(p, SOURCES + 1), memory.load_int(p, SOURCES + 2)
    while True:
        first = memory.take_ticket(p) * CHUNK
        if first >= count:
            break
        for place in range(first, min(first + CHUNK, count), LANES):
            i = 4 * min(place, count - LANES)  # the last few are computed twice
            _compose_lanes(shift + i, sign + i, target + i, p + 8 * SETTINGS)


def _gradient_tasks(p):
    count, grad, shift = memory.load_int(p, COUNT), memory.load_int(p, SOURCES), memory.load_int(p, SOURCES + 1)
    weight, target = memory.load_int(p, SOURCES + 2), memory.load_int(p, SOURCES + 3)
    while True:
        first = memory.take_ticket(p) * CHUNK
        if first >= count:
            break
        for place in range(first, min(first + CHUNK, count), LANES):
            i = 4 * min(place, count - LANES)
            _gradient_lanes(grad + i, shift + i, weight + i, target + i, p + 8 * SETTINGS)


def compose(shift: torch.Tensor, sign: torch.Tensor, p_min: int, p_max: int) -> torch.Tensor:
    """The weights of exponents and signs, float32 tensors on the CPU that lie alike in memory, without holes."""
    return _passed(_compose_tasks, (shift, sign), (p_min, p_max, 0.0, 0.0))


def exponent_gradient(
    grad: torch.Tensor, shift: torch.Tensor, weight: torch.Tensor, p_min: int, p_max: int, exact: bool
) -> torch.Tensor:
    """The gradient of exponents from that of the weights, tensors as for `compose`.

    Args: exact: by the chain rule, not by equation 6.
    """
    return _passed(_gradient_tasks, (grad, shift, weight), (p_min, p_max, math.log(2), float(exact)))


def _passed(tasks, sources, settings) -> torch.Tensor:
    sources = [x.detach() for x in sources]
    like = sources[0]
    target = torch.empty(like.shape, dtype=like.dtype, device="cpu") if like.is_contiguous() else torch.empty_like(like)
    few = like.numel() < LANES
    if few:
        sources = [functional.pad(x.as_strided((x.numel(),), (1,)), (0, LANES - x.numel())) for x in sources]
    passed = torch.empty(LANES, dtype=like.dtype, device="cpu") if few else target
    count = passed.numel()
    p = np.zeros(SOURCES + len(sources) + 1, np.int64)
    p[COUNT], p[SETTINGS:SOURCES] = count, np.array(settings, np.float32).view(np.int64)
    p[SOURCES:] = [x.data_ptr() for x in (*sources, passed)]
    launch(tasks, p, thread_count(count * WORK))
    return passed.as_strided(target.shape, target.stride()) if few else target
