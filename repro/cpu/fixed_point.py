"""Rounding to fixed point in one pass over memory: y = clamp(rint(x * 2^f) * 2^-f, low, high), NaN kept.

Plain PyTorch makes four passes (scale, round, scale back, clamp); activations are larger than the caches, so the passes
are what the rounding costs. Ties go to even. The numbers equal those of `repro.ops.quantize.fixed_point` exactly.
"""

from __future__ import annotations

import numpy as np
import torch
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from repro.codes import fixed_point_bounds
from repro.cpu import memory
from repro.cpu.runner import launch, thread_count

LANES = 16
CHUNK = 16384  # elements per task
WORK = 4  # an element's cost in the runner's terms: it is bound by memory, so threads pay off early
SOURCE, TARGET, COUNT, SETTINGS = range(2, 6)  # words of the parameter array; 0 and 1 are the runner's
_FLOAT, _I64 = ir.FloatType(), ir.IntType(64)


@intrinsic
def _round_lanes(typingctx, source, target, settings):
    """Round LANES floats from address `source` to `target`; `settings` points at (scale, 1 / scale, low, high)."""

    def codegen(context, builder, signature, args):
        vector = ir.VectorType(_FLOAT, LANES)

        def pointer(value, kind):
            return builder.inttoptr(value, kind.as_pointer())

        def setting(index):
            address = builder.add(args[2], ir.Constant(_I64, 4 * index))
            scalar = builder.load(pointer(address, _FLOAT), align=4)
            single = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
            mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
            return builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), mask)

        signature = ir.FunctionType(vector, [vector])
        rint = cgutils.get_or_insert_function(builder.module, signature, f"llvm.rint.v{LANES}f32")
        value = builder.load(pointer(args[0], vector), align=4)
        value = builder.fmul(builder.call(rint, [builder.fmul(value, setting(0))]), setting(1))
        for index, comparison in ((2, "<"), (3, ">")):
            bound = setting(index)
            value = builder.select(builder.fcmp_ordered(comparison, value, bound), bound, value)
        builder.store(value, pointer(args[1], vector), align=4)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64), codegen


def _round_tasks(p):
    source, target = memory.load_int(p, SOURCE), memory.load_int(p, TARGET)
    count = memory.load_int(p, COUNT)
    while True:
        first = memory.take_ticket(p) * CHUNK
        if first >= count:
            break
        for i in range(first, min(first + CHUNK, count), LANES):
            _round_lanes(source + 4 * i, target + 4 * i, p + 8 * SETTINGS)


def fixed_point_round(x: torch.Tensor, integer_bits: int, fraction_bits: int) -> torch.Tensor:
    """The nearest multiple of 2^-fraction_bits, saturated to a signed number of integer_bits + fraction_bits bits.

    Args:
        x: any shape and strides, float32 on the CPU (other types are computed in float32, float64 in torch).
    Returns: same shape, dtype and, if `x` is dense, strides.
    """
    low, high = fixed_point_bounds(x.dtype, integer_bits, fraction_bits)
    scale, step = 2.0**fraction_bits, 2.0**-fraction_bits
    if x.dtype is torch.float64:
        return (x * scale).round_().mul_(step).clamp_(low, high)
    return _rounded(x.float(), (scale, step, low, high)).to(x.dtype)


def _rounded(x: torch.Tensor, settings: tuple[float, float, float, float]) -> torch.Tensor:
    """float32 tensor rounded with (scale, 1 / scale, low, high)."""
    x = x.detach()
    y = torch.empty_like(x)
    if x.stride() != y.stride():  # overlapping or with holes
        x = x.clone()
    whole = x.numel() // LANES * LANES
    if x.stride() != y.stride() or whole == 0:
        return y.copy_((x * settings[0]).round_().mul_(settings[1]).clamp_(*settings[2:]))
    p = np.zeros(SETTINGS + 2, np.int64)
    p[SOURCE], p[TARGET], p[COUNT] = x.data_ptr(), y.data_ptr(), whole
    p[SETTINGS:] = np.array(settings, np.float32).view(np.int64)
    launch(_round_tasks, p, thread_count(whole * WORK))
    if whole < x.numel():
        rest = x.as_strided((x.numel() - whole,), (1,), x.storage_offset() + whole)
        rounded = (rest * settings[0]).round_().mul_(settings[1]).clamp_(*settings[2:])
        y.as_strided(rest.shape, (1,), whole).copy_(rounded)
    return y
