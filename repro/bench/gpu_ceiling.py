"""The float32 bound of a GPU: computed from its multiprocessors and clock, and measured by a register-only loop."""

from __future__ import annotations

import subprocess

import torch
import triton
import triton.language as tl

from repro.bench.ceiling import COPY_MIB, Ceiling

LANES = 128  # float32 lanes of a multiprocessor since compute capability 8.6, and of 9.0
BLOCK = 1024


@triton.jit
def _ceiling_kernel(out, turns, KIND: tl.constexpr, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = index.to(tl.float32) * 1e-6
    w = x * 0.5
    a, b, c, d = x, x + 1, x + 2, x + 3
    for _ in range(turns):
        w += 1e-3  # one more instruction for four terms: keeps the terms from being moved out of the loop
        if KIND == 0:
            a, b, c, d = a + x * w, b + x * w, c + x * w, d + x * w
        else:
            a += tl.maximum(x, w)
            b += tl.maximum(a, w)
            c += tl.maximum(b, w)
            d += tl.maximum(c, w)
    tl.store(out + index, a + b + c + d)


def measured_terms_per_s(kind: int, programs: int, turns: int) -> float:
    """Terms a second of the loop: kind 0 multiplies, kind 1 takes max and adds."""
    out = torch.empty(programs * BLOCK, device="cuda")
    ms = triton.testing.do_bench(lambda: _ceiling_kernel[(programs,)](out, turns, KIND=kind, BLOCK=BLOCK, num_warps=4))
    return 4 * turns * programs * BLOCK / ms * 1e3


def max_clock_hz() -> float:
    """The highest clock of the multiprocessors, from the driver's tool."""
    command = ["nvidia-smi", "--query-gpu=clocks.max.sm", "--format=csv,noheader,nounits", "--id=0"]
    return 1e6 * float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout)


def computed_terms_per_s(instructions: int) -> float:
    """Multiprocessors x lanes x clock / instructions a term."""
    return torch.cuda.get_device_properties(0).multi_processor_count * LANES * max_clock_hz() / instructions


def _copy_rates() -> dict[float, float]:
    rates = {}
    for mib in (*COPY_MIB, 1024):
        source = torch.ones(mib * 2**20 // 8, device="cuda")
        target = torch.empty_like(source)
        rates[float(mib)] = mib * 2**20 / triton.testing.do_bench(lambda t=target, s=source: t.copy_(s)) * 1e3
    return rates


def gpu_ceiling() -> Ceiling:
    """Computed rates (one, two and three instructions a term), and the measured ones in words beside them."""
    programs = 64 * torch.cuda.get_device_properties(0).multi_processor_count
    measured = measured_terms_per_s(1, programs, 2000)
    return Ceiling(
        multiply=computed_terms_per_s(1),
        l1=computed_terms_per_s(2),
        clip=computed_terms_per_s(3),
        copy=_copy_rates(),
        how=f"computed from clock and lanes; measured max-and-add: {measured / 1e12:.2f} T terms/s",
    )
