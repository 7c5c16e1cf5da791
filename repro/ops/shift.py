"""Shift operators: convolution and matrix product with power-of-two weights over fixed-point activations.

Training runs the library's convolution on rounded values: a product with 2^P is what a shift computes, so every output
equals that of the shifting hardware up to float32 summation. Bit-exact integer inference on packed weights lives with
the kernels (`repro.cpu.shift`, `repro.triton.shift`).

Gradient: the ordinary one at the rounded values, passed straight through the rounding of weight, activation and bias.
Precision: float16 and bfloat16 keep their type outside; the library sums them in float32. Under autocast the product
runs in the autocast type like `conv2d`; powers of two are exact there.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from repro.ops import dispatch
from repro.ops.quantize import FIXED_POINT, check_fixed_point, fixed_point_round, round_to_power_of_two


def _rounded(x, weight, bias, weight_bits, activation_bits, stochastic, generator, backend):
    if weight_bits is not None:
        weight = round_to_power_of_two(weight, weight_bits, stochastic=stochastic, generator=generator)
    if activation_bits is not None:
        x = fixed_point_round(x, *activation_bits, backend=backend)
        bias = None if bias is None else fixed_point_round(bias, *activation_bits, backend=backend)
    return x, weight, bias


def _same_types(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Under autocast, activations may arrive in half precision beside float32 weights: round both in float32."""
    if not isinstance(x, Tensor) or not dispatch.autocast_enabled(x.device.type):
        return x, weight, bias
    return x.to(weight.dtype), weight, bias


@dispatch.overridable
def shift_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] | str = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    weight_bits: int | None = 5,
    activation_bits: int | tuple[int, int] | None = FIXED_POINT,
    stochastic: bool = False,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> Tensor:
    """Convolution whose weights are rounded to powers of two and whose activations to fixed point (DeepShift-Q).

    Args:
        x: activations, (N, C_in, H, W), floating point.
        weight: filters, (C_out, C_in / groups, K_h, K_w), dtype and device of `x`; full precision, rounded here.
        bias: (C_out,) or None; rounded like the activations.
        stride, padding, dilation, groups: as in `torch.nn.functional.conv2d`.
        weight_bits: 2 to 8, sign included (`repro.ops.shift_exponents`), or None if `weight` is used as it is, for
            weights that are powers of two already (`compose_shift_weight`, the -PS form).
        activation_bits: (integer, fraction) bits, 16.16 by default; an int n is split into halves; None: no rounding.
        stochastic, generator: stochastic rounding of the weights' exponents, off by default.
        backend: "auto", "reference", "cpu" or "triton".
    Returns: (N, C_out, H_out, W_out) in the dtype of `x` (under autocast: in the autocast type).
    Gradient: the convolution's at the rounded values, straight through.
    Raises: InputError on unsupported shapes, dtypes or options; BackendError if a named back end cannot run
        here (where it has something to do: activations are rounded).
    Source: Elhoushi et al., DeepShift, 2021; AutoShiftNet eq. 4 and sec. 5.1.
    """
    x, weight, bias = _same_types(x, weight, bias)
    dispatch.check_backend(backend)
    activation_bits = check_fixed_point(activation_bits)
    x, stride, padding, dilation = dispatch.check_conv2d(x, weight, bias, stride, padding, dilation, groups)
    x, weight, bias = _rounded(x, weight, bias, weight_bits, activation_bits, stochastic, generator, backend)
    return functional.conv2d(x, weight, bias, stride, padding, dilation, groups)


@dispatch.overridable
def shift_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    weight_bits: int | None = 5,
    activation_bits: int | tuple[int, int] | None = FIXED_POINT,
    stochastic: bool = False,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> Tensor:
    """Linear map with power-of-two weights; x (..., C_in), weight (C_out, C_in). Options as in `shift_conv2d`."""
    x, weight, bias = _same_types(x, weight, bias)
    dispatch.check_backend(backend)
    activation_bits = check_fixed_point(activation_bits)
    dispatch.check_linear(x, weight, bias)
    x, weight, bias = _rounded(x, weight, bias, weight_bits, activation_bits, stochastic, generator, backend)
    return functional.linear(x, weight, bias)
