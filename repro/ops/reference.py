"""Every operator as its paper writes it: plain PyTorch, slow and obvious, in any floating-point type.

Forward and surrogate backward are separate functions with the signatures of the fast kernels (`repro.cpu`,
`repro.triton`), so that a fast kernel and this one can be exchanged. Patches of one image are the columns of
`torch.nn.functional.unfold`; one filter is handled at a time, which keeps memory at one copy of the patches.
float16 and bfloat16 inputs are summed in float32 and rounded once at the end; other types are kept throughout.

Symbols: x activations (N, C_in, H, W); weight filters (C_out, C_in / groups, K_h, K_w); y, grad_out
(N, C_out, H_out, W_out). stride, padding, dilation are (int, int).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from repro.geometry import output_size as output_size
from repro.geometry import output_sizes

Pair = tuple[int, int]


def wide(tensor: Tensor) -> Tensor:
    """float16 and bfloat16 as float32, in which they are summed; other types as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _patches(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Tensor:
    """(N, groups, C_in / groups * K_h * K_w, H_out * W_out): what each filter position sees, zeros where padded."""
    columns = functional.unfold(x, weight.shape[2:], dilation, padding, stride)
    return columns.reshape(x.shape[0], groups, weight[0].numel(), columns.shape[-1])


# --- adder: y = -sum |x - w|  (ACGhostNet sec. 3.1; AdderNet, Chen et al. 2020) ---------------------------------------


def adder_conv2d_fwd(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Tensor:
    """Y(m, n, t) = -sum_ijk |X(m + i, n + j, k) - F(i, j, k, t)|; a padded position contributes |0 - F|."""
    patches = _patches(wide(x), weight, stride, padding, dilation, groups)
    filters = wide(weight).flatten(1)
    per_group = weight.shape[0] // groups
    y = [-(patches[:, t // per_group] - filters[t][:, None]).abs().sum(1) for t in range(weight.shape[0])]
    height, width = output_sizes(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    return torch.stack(y, 1).reshape(x.shape[0], weight.shape[0], height, width).to(x.dtype)


def adder_conv2d_bwd_input(
    grad_out: Tensor, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    """dL/dX = sum over filters and positions of g * HardTanh(F - X): the surrogate of ACGhostNet sec. 3.1."""
    patches = _patches(wide(x), weight, stride, padding, dilation, groups)
    filters, g = wide(weight).flatten(1), wide(grad_out).flatten(2)
    per_group = weight.shape[0] // groups
    grad = torch.zeros_like(patches)
    for t in range(weight.shape[0]):
        difference = filters[t][:, None] - patches[:, t // per_group]
        grad[:, t // per_group] += g[:, t, None] * difference.clamp(-1, 1)
    columns = grad.flatten(1, 2)
    return functional.fold(columns, x.shape[2:], weight.shape[2:], dilation, padding, stride).to(x.dtype)


def adder_conv2d_bwd_weight(
    grad_out: Tensor, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    """dL/dF = sum over images and positions of g * (X - F): full precision, not the sign, not rescaled."""
    patches = _patches(wide(x), weight, stride, padding, dilation, groups)
    filters, g = wide(weight).flatten(1), wide(grad_out).flatten(2)
    per_group = weight.shape[0] // groups
    rows = [
        (g[:, t, None] * (patches[:, t // per_group] - filters[t][:, None])).sum((0, 2)) for t in range(weight.shape[0])
    ]
    return torch.stack(rows).reshape(weight.shape).to(weight.dtype)


def adder_linear_fwd(x: Tensor, weight: Tensor) -> Tensor:
    """y[n, t] = -sum_k |x[n, k] - w[t, k]|; x (N, C_in), weight (C_out, C_in)."""
    return torch.stack([-(wide(x) - row).abs().sum(1) for row in wide(weight)], 1).to(x.dtype)


def adder_linear_bwd_input(grad_out: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """dL/dx = sum_t g * HardTanh(w - x)."""
    grad = torch.zeros_like(wide(x))
    for g, row in zip(wide(grad_out).T, wide(weight)):
        grad += g[:, None] * (row - wide(x)).clamp(-1, 1)
    return grad.to(x.dtype)


def adder_linear_bwd_weight(grad_out: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """dL/dw = sum_n g * (x - w)."""
    rows = [(g[:, None] * (wide(x) - row)).sum(0) for g, row in zip(wide(grad_out).T, wide(weight))]
    return torch.stack(rows).to(weight.dtype)


def adder_conv2d_int8(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Tensor:
    """The same distance between 8-bit integers of one common scale, summed in 32 bits: exact."""
    y = adder_conv2d_fwd(x.double(), weight.double(), stride, padding, dilation, groups)
    return y.to(torch.int32)


def adder_linear_int8(x: Tensor, weight: Tensor) -> Tensor:
    """As `adder_conv2d_int8`, for x (N, C_in) and weight (C_out, C_in)."""
    return adder_linear_fwd(x.double(), weight.double()).to(torch.int32)


# --- shift: weights are powers of two, activations fixed-point numbers  (DeepShift; AutoShiftNet eq. 2 to 6) ----------


def round_to_power_of_two(weight: Tensor, p_min: int, p_max: int) -> Tensor:
    """DeepShift-Q: sign(w) * 2^P with P = round(log2 |w|) clamped to [p_min, p_max]; zero stays zero.

    |w| = m * 2^e with m in [0.5, 1), and log2 m rounds to -1 where m < sqrt(1/2), else to 0: told by m^2 for every
    number of every type, where a rounded logarithm errs at the middle in float64.
    """
    wide = weight.double()
    exponent = torch.log2(wide.abs()).floor() + 1
    mantissa = wide.abs() * torch.exp2(-exponent)
    exponent = (exponent - (mantissa * mantissa < 0.5).to(wide.dtype)).clamp(p_min, p_max)
    return (wide.sign() * torch.exp2(exponent)).to(weight.dtype)


def ternary_sign(sign: Tensor) -> Tensor:
    """AutoShiftNet eq. 3: -1 if s <= -0.5, 0 if -0.5 < s < 0.5, +1 if s >= 0.5."""
    return (sign >= 0.5).to(sign.dtype) - (sign <= -0.5).to(sign.dtype)


def shift_sign_fwd(shift: Tensor, sign: Tensor, p_min: int, p_max: int) -> Tensor:
    """AutoShiftNet eq. 2: w = flip(2^round(P), sign(S)), with P clamped to [p_min, p_max]."""
    return ternary_sign(sign) * torch.exp2(shift.clamp(p_min, p_max).round())


def shift_sign_bwd(grad_weight: Tensor, shift: Tensor, sign: Tensor, p_min: int, p_max: int) -> tuple[Tensor, Tensor]:
    """AutoShiftNet eq. 5 and 6: dL/dP = dL/dw * w * 2^P * ln 2 and dL/dS = dL/dw, both straight through rounding.

    For P in its range; what the operator does with a P outside (`compose_shift_weight`) is not in the paper.
    """
    weight = shift_sign_fwd(shift, sign, p_min, p_max)
    power = torch.exp2(shift.clamp(p_min, p_max).round())
    return grad_weight * weight * power * math.log(2), grad_weight


def fixed_point_round(x: Tensor, integer_bits: int, fraction_bits: int) -> Tensor:
    """Nearest multiple of 2^-fraction_bits (ties to even), saturating at the ends of a signed fixed-point number.

    The range is [-2^(integer_bits - 1), 2^(integer_bits - 1) - 2^-fraction_bits], the sign being an integer bit.
    Computed in float64. Where the number has more bits than the mantissa of the type of `x`, the upper end is the
    largest number of that type below 2^(integer_bits - 1); no end is beyond the finite numbers of that type.
    """
    step = 2.0**-fraction_bits
    bound = 2.0 ** (integer_bits - 1)
    largest = torch.finfo(x.dtype).max
    top = min(bound - max(step, bound / 2 * torch.finfo(x.dtype).eps), largest)
    return ((x.double() / step).round() * step).clamp(max(-bound, -largest), top).to(x.dtype)


def shift_conv2d_fwd(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    exponents: Pair,
    fixed_point: Pair,
) -> Tensor:
    """Y = flip(2^P, S) * X + b (AutoShiftNet sec. 4.1): rounded filters over rounded activations, rounded bias.

    Its gradient is the ordinary convolution's at the rounded values, passed straight through the rounding.
    """
    x = wide(fixed_point_round(x, *fixed_point))
    bias = None if bias is None else wide(fixed_point_round(bias, *fixed_point))
    weight = wide(round_to_power_of_two(weight, *exponents))
    return functional.conv2d(x, weight, bias, stride, padding, dilation, groups)
