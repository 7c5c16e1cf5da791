"""What this machine could do at best: measured ceilings that no kernel of ours takes part in.

CPU: loops of independent vector sums held in registers, weights read from the first-level cache, on as many threads as
the operators get. Three inner loops, each the cheapest known for its sum:

    multiply   s = fma(x, w, s)                     one instruction a term
    l1         the fastest of `FORMS`               two or three; where max is used, |x - w| = 2 max(x, w) - x - w, and
                                                    x and w are summed once
    clip       s = fma(g, clip(w - x, -1, 1), s)    three with AVX-512's range instruction, four without

and the rate at which memory is copied at several sizes. A case's bound is the larger of its arithmetic at these rates
and its compulsory bytes at the copy rate.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

COPY_MIB = (1, 8, 64)
# The known loops of a sum of |x - w|: s = s + max(x, w), s = fma(max(x, w), one, s) and s = fma(|x - w|, one, s), with
# a one that the compiler cannot see. Which is fastest depends on the processor (`repro.cpu.simd.SUM`).
FORMS = ("max+add", "max+fma", "sub+and+fma")


@dataclass(frozen=True)
class Ceiling:
    """Terms a second of the three inner loops, and bytes a second of a copy by working set in MiB.

    forms: terms a second of every loop of `FORMS` (a GPU's ceiling has none); `l1` is the best of them.
    """

    multiply: float
    l1: float
    clip: float
    copy: dict[float, float] = field(default_factory=dict)
    how: str = "measured"
    forms: dict[str, float] = field(default_factory=dict)

    def bytes_per_s(self, size_bytes: float) -> float:
        """The copy rate at the measured size nearest to `size_bytes` of traffic."""
        nearest = min(self.copy, key=lambda mib: abs(mib * 2**20 - size_bytes))
        return self.copy[nearest]

    def bound_ms(self, *, multiply: float = 0, l1: float = 0, clip: float = 0, traffic_bytes: float = 0) -> float:
        """Least time for these numbers of terms and bytes."""
        arithmetic = multiply / self.multiply + l1 / self.l1 + clip / self.clip
        return 1e3 * max(arithmetic, traffic_bytes / self.bytes_per_s(traffic_bytes))


ROWS, VECTORS, WEIGHTS = 4, 3, 64  # twelve sums hide the latency and fit sixteen registers


def _loop(kind: str):
    """LLVM for `turns` passes over WEIGHTS taps; the sums stay in registers, their total keeps them alive."""
    from llvmlite import ir
    from numba.core import cgutils

    from repro.cpu import simd

    lanes = 16 if simd.HAS_AVX512 else 8
    vector = ir.VectorType(ir.FloatType(), lanes)

    def one(builder):
        return simd._opaque(builder, vector, 1.0)

    def term(builder, s, x, w):
        if kind == "multiply":
            return simd._fma(builder, x, w, s)
        if kind in FORMS:
            value = simd._above(builder, w, x) if "max" in kind else simd._fabs(builder, builder.fsub(x, w))
            return builder.fadd(s, value) if "add" in kind else simd._fma(builder, value, one(builder), s)
        clip = simd._hardtanh_range if simd.HAS_AVX512 else simd._hardtanh
        return simd._fma(builder, x, clip(builder, builder.fsub(w, x)), s)

    def codegen(context, builder, signature, args):
        turns, weights_at, x_at = args
        size = 4 * lanes
        pixels = [builder.load(simd._at(builder, x_at, v * size), align=4, typ=vector) for v in range(VECTORS)]
        slots = [cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * lanes)) for _ in range(ROWS * VECTORS)]
        with cgutils.for_range(builder, turns), cgutils.for_range(builder, turns.type(WEIGHTS)) as taps:
            start = builder.add(weights_at, builder.mul(taps.index, turns.type(4 * ROWS)))
            for row in range(ROWS):
                scalar = builder.load(simd._at(builder, start, 4 * row), align=4, typ=vector.element)
                w = simd._splat(builder, scalar, vector)
                for v, x in enumerate(pixels):
                    slot = slots[row * VECTORS + v]
                    builder.store(term(builder, builder.load(slot, typ=vector), x, w), slot)
        total = builder.load(slots[0], typ=vector)
        for slot in slots[1:]:
            total = builder.fadd(total, builder.load(slot, typ=vector))
        return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

    return codegen, ROWS * VECTORS * WEIGHTS * lanes


def _compiled(kind: str):
    """(function of turns and two addresses that releases the interpreter lock, terms of one turn)."""
    import numba
    from numba.core import types
    from numba.extending import intrinsic

    codegen, terms = _loop(kind)

    @intrinsic
    def run(typingctx, turns, weights_at, x_at):
        return types.float32(types.int64, types.int64, types.int64), codegen

    @numba.njit(["float32(int64, int64, int64)"], nogil=True)
    def loop(turns, weights_at, x_at):
        return run(turns, weights_at, x_at)

    return loop, terms


def _rate(kind: str, threads: int, pool: ThreadPoolExecutor, repeats: int, seconds: float) -> float:
    """The best of several samples, in terms a second over all threads: a ceiling, so nothing may slow it."""
    import numpy as np

    loop, terms = _compiled(kind)
    weights, x = np.full(ROWS * WEIGHTS, 0.5, np.float32), np.linspace(0, 1, 64, dtype=np.float32)

    def sample(turns: int) -> float:
        begin = time.perf_counter()
        list(pool.map(lambda _: loop(turns, weights.ctypes.data, x.ctypes.data), range(threads)))
        return time.perf_counter() - begin

    turns = 1000
    while (spent := sample(turns)) < seconds / 4:
        turns *= 2
    turns = max(1, int(turns * seconds / spent))
    return threads * terms * turns / min(sample(turns) for _ in range(repeats))


def _copy_rates(repeats: int) -> dict[float, float]:
    """Bytes read and written a second by torch's copy, by traffic in MiB."""
    import torch

    rates = {}
    for mib in COPY_MIB:
        source = torch.ones(mib * 2**20 // 8)
        target = torch.empty_like(source)
        inner = max(1, 64 // mib)
        best = float("inf")
        for _ in range(repeats):
            begin = time.perf_counter()
            for _ in range(inner):
                target.copy_(source)
            best = min(best, (time.perf_counter() - begin) / inner)
        rates[float(mib)] = mib * 2**20 / best
    return rates


def cpu_ceiling(threads: int, repeats: int = 7, seconds: float = 0.03) -> Ceiling:
    """Measure this processor on `threads` threads (torch's thread count should be the same)."""
    with ThreadPoolExecutor(threads) as pool:
        multiply, clip, *rates = (_rate(kind, threads, pool, repeats, seconds) for kind in ("multiply", "clip", *FORMS))
    how = f"measured on {threads} threads"
    return Ceiling(multiply, max(rates), clip, _copy_rates(repeats), how, dict(zip(FORMS, rates, strict=True)))
