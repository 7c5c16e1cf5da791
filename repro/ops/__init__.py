"""Adder and shift operators: shape checks, back-end choice, autograd.

    from repro.ops import adder_conv2d, shift_conv2d

Each operator has a slow definition in `repro.ops.reference` that follows its paper, and compiled kernels behind
`backend="auto"`; Numba and Triton load at the first call that needs them. All operators work under autocast,
torch.compile, torch.export, jit.trace, fx and the reverse-mode transforms of torch.func, and on the meta device;
forward-mode derivatives raise an error, and so does double backward through the adders. Layers on 8-bit and packed
weights: `repro.ops.inference`.
"""

from repro.ops.adder import adder_conv2d, adder_linear
from repro.ops.quantize import (
    compose_shift_weight,
    fixed_point_round,
    round_to_power_of_two,
    shift_exponents,
    shift_values,
)
from repro.ops.shift import shift_conv2d, shift_linear

__all__ = [
    "adder_conv2d",
    "adder_linear",
    "compose_shift_weight",
    "fixed_point_round",
    "round_to_power_of_two",
    "shift_conv2d",
    "shift_exponents",
    "shift_linear",
    "shift_values",
]
