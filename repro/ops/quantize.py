"""Number formats of shift networks: which powers of two a weight can take, and fixed-point activations.

The value set, once and for all
-------------------------------
A weight of b bits is 0 or ±2^P with P in [-(2^(b-1) - 2), 0]: 2^(b-1) - 1 exponents, two signs and zero, hence
2^b - 1 values. With b = 5: P in [-14, 0] and 31 values; b = 4: [-6, 0], 15 values; b = 2: {-1, 0, 1}.

AutoShiftNet (sec. 5.1) counts differently: P in [-15, 0] "only needs 4 bits" and one bit more for the sign. Its sign is
ternary (eq. 3), so that is 2 * 16 + 1 = 33 values, and five bits hold 32. We keep the five bits and give up the
smallest exponent, as DeepShift's range does: nobody can store 33 values in five bits, and 2^-15 is the exponent whose
loss is smallest. `weight_bits=6` holds the paper's [-15, 0] and more.

Layout of a code (b bits), for packed weights
---------------------------------------------
Top bit: the sign (1 = negative). Lower b - 1 bits, m: 0 means the value zero, else the exponent is P = p_min + m - 1,
so m = 2^(b-1) - 1 is P = 0. The remaining code (sign 1, m = 0, "minus zero") is never written and reads as zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from repro.codes import fixed_point_bounds
from repro.errors import InputError, check_choice, check_flag, check_int
from repro.ops import dispatch, reference

MIN_WEIGHT_BITS, MAX_WEIGHT_BITS = 2, 8
FIXED_POINT = (16, 16)
"""Integer (with sign) and fraction bits of activations and bias by default: 16.16."""


def shift_exponents(weight_bits: int) -> tuple[int, int]:
    """(p_min, p_max) = (-(2^(weight_bits - 1) - 2), 0): the exponents that `weight_bits` bits can hold beside zero.

    Args: weight_bits: 2 to 8, sign included.
    Raises: InputError for anything else.
    """
    bits = check_int("weight_bits", weight_bits, minimum=MIN_WEIGHT_BITS, maximum=MAX_WEIGHT_BITS)
    return -(2 ** (bits - 1) - 2), 0


def shift_values(weight_bits: int = 5) -> Tensor:
    """All 2^weight_bits - 1 representable weights in ascending order, float64: negative powers, zero, powers."""
    p_min, p_max = shift_exponents(weight_bits)
    powers = torch.exp2(torch.arange(p_min, p_max + 1, dtype=torch.float64))
    return torch.cat([-powers.flip(0), powers.new_zeros(1), powers])


def check_fixed_point(activation_bits: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """(integer_bits, fraction_bits) of a fixed-point format; an int n splits into halves, the integer half the larger.

    32 gives (16, 16), 16 gives (8, 8), 9 gives (5, 4); None means no rounding. The sign is one of the integer bits.
    """
    if activation_bits is None or activation_bits == FIXED_POINT:
        return activation_bits
    if isinstance(activation_bits, (tuple, list)):
        if len(activation_bits) != 2:
            raise InputError(f"activation_bits={activation_bits!r} is not allowed; give n or (integer, fraction) bits.")
        integer_bits = check_int("activation_bits[0]", activation_bits[0], minimum=1, maximum=32)
        return integer_bits, check_int("activation_bits[1]", activation_bits[1], minimum=0, maximum=32)
    bits = check_int("activation_bits", activation_bits, minimum=2, maximum=64)
    return bits - bits // 2, bits // 2


# --- weights: DeepShift-Q --------------------------------------------------------------------------------------------


def power_of_two(weight: Tensor, p_min: int, p_max: int) -> Tensor:
    """Nearest power of two in the logarithmic sense, without a logarithm: exact for every input, no gradient.

    frexp gives |w| = m * 2^e with m in [0.5, 1); log2 |w| rounds up to e where m > sqrt(1/2), else down to e - 1. No
    number of any type is sqrt(1/2), and the rounded square lies on the right side of 1/2 for its neighbours too.
    """
    if weight.dtype is torch.float32 and weight.device.type == "cpu":
        return _power_of_two_bits(weight, p_min, p_max)
    wide = weight if weight.dtype in (torch.float32, torch.float64) else weight.float()
    mantissa, exponent = torch.frexp(wide.abs())
    exponent = (exponent - (mantissa * mantissa < 0.5).to(exponent.dtype)).clamp(p_min, p_max)
    exponent = torch.where(wide.isinf(), p_max, exponent)
    rounded = torch.ldexp(wide.sign(), exponent)
    return torch.where(wide.isnan(), wide, rounded).to(weight.dtype)


# float32 as integers: adding HALF carries into the exponent exactly where the mantissa exceeds sqrt(2).
_SIGN, _EXPONENT, _HALF, _BIAS = -0x80000000, 0x7F800000, 0x800000 - 0x3504F4, 127


def _power_of_two_bits(weight: Tensor, p_min: int, p_max: int) -> Tensor:
    bits = weight.contiguous().view(torch.int32)
    magnitude = bits & 0x7FFFFFFF
    power = (magnitude + _HALF).bitwise_and_(_EXPONENT).clamp_((p_min + _BIAS) << 23, (p_max + _BIAS) << 23)
    power.masked_fill_(magnitude == 0, 0).bitwise_or_(bits & _SIGN)
    rounded = power.view(torch.float32)
    return torch.where(magnitude > _EXPONENT, weight, rounded)  # a NaN stays one


def _stochastic_power_of_two(weight: Tensor, p_min: int, p_max: int, generator: torch.Generator | None) -> Tensor:
    """As `power_of_two`, but log2 |w| is rounded up with a probability equal to its fraction."""
    wide = weight.double()
    exponent = torch.log2(wide.abs())
    noise = torch.rand(wide.shape, dtype=wide.dtype, device=wide.device, generator=generator)
    return (wide.sign() * torch.exp2((exponent + noise).floor().clamp(p_min, p_max))).to(weight.dtype)


class RoundToPowerOfTwoFunction(dispatch.BackwardOnlyFunction):
    """Rounding forward, identity backward (straight-through estimator)."""

    @staticmethod
    def forward(ctx, weight, p_min, p_max):
        return power_of_two(weight, p_min, p_max)

    @staticmethod
    def backward(ctx, grad):
        return grad, None, None


class _StochasticFunction(dispatch.BackwardOnlyFunction):
    @staticmethod
    def forward(ctx, weight, p_min, p_max, generator):
        return _stochastic_power_of_two(weight, p_min, p_max, generator)

    @staticmethod
    def backward(ctx, grad):
        return grad, None, None, None


@dispatch.overridable
def round_to_power_of_two(
    weight: Tensor, weight_bits: int = 5, *, stochastic: bool = False, generator: torch.Generator | None = None
) -> Tensor:
    """DeepShift-Q: every weight becomes 0 or ±2^P, P = round(log2 |w|) clamped to the range of `weight_bits`.

    Args:
        weight: any shape, floating point.
        weight_bits: 2 to 8, sign included; the P range follows (`shift_exponents`).
        stochastic: round log2 |w| up with probability equal to its fraction; off by default, as in the papers.
        generator: source of that randomness; the global generator of the device if None.
    Returns: same shape and dtype. Zero stays zero; a weight nearer to zero than 2^p_min becomes ±2^p_min (only an exact
        zero is zero, as in DeepShift), one beyond 2^p_max becomes ±2^p_max; NaN stays NaN.
    Gradient: straight through, also where the exponent was clamped.
    Source: Elhoushi et al., DeepShift, 2021, sec. 3; ShiftAddAug sec. 4 (5 bits).
    """
    p_min, p_max = shift_exponents(weight_bits)
    dispatch.check_floating("weight", weight)
    if generator is not None and not isinstance(generator, torch.Generator):
        raise InputError(f"generator is a {type(generator).__name__}; it must be a torch.Generator or None.")
    if check_flag("stochastic", stochastic):
        if torch._C._functorch.peek_interpreter_stack() is not None:
            raise InputError(
                "stochastic=True is not allowed inside transforms of torch.func; use stochastic=False there."
            )
        return _StochasticFunction.apply(weight, p_min, p_max, generator)
    if dispatch.eager(weight):
        return RoundToPowerOfTwoFunction.apply(weight, p_min, p_max)
    if dispatch.exporting_to_onnx():
        return reference.round_to_power_of_two(weight, p_min, p_max)
    return dispatch.traced("round_to_power_of_two")(weight, p_min, p_max)


# --- weights: DeepShift-PS -------------------------------------------------------------------------------------------


def shift_sign(shift: Tensor, sign: Tensor, p_min: int, p_max: int) -> Tensor:
    """AutoShiftNet eq. 2 without gradient, in plain PyTorch; NaN in either makes the weight NaN."""
    power = torch.exp2(shift.clamp(p_min, p_max).round())
    zero = power - power + sign * 0  # NaN where either is
    return torch.where(sign >= 0.5, power, torch.where(sign <= -0.5, -power, zero))


def _fused(name: str, backend: str, *tensors: Tensor) -> Callable | None:
    """The CPU's fused pass over P and S of this name where it serves these tensors; its numbers are the same.

    They must lie alike in memory and without holes.
    """
    first = tensors[0]
    alike = all(x.dtype is torch.float32 and x.is_cpu and _lie_alike(x, first) for x in tensors)
    if not alike or backend not in ("auto", "cpu") or not dispatch.eager(*tensors):
        return None
    whole = torch.empty_like(first).stride() == first.stride()
    return dispatch.optional_kernel("cpu", "shift_sign", name) if whole else None


def _lie_alike(one: Tensor, other: Tensor) -> bool:
    """Strides of dimensions of one entry mean nothing: two contiguous tensors lie alike whatever theirs are."""
    return one.stride() == other.stride() or (one.is_contiguous() and other.is_contiguous())


def _compose(shift: Tensor, sign: Tensor, p_min: int, p_max: int, exact: bool, backend: str) -> Tensor:
    """The weight; `exact` is the gradient's."""
    return (_fused("compose", backend, shift, sign) or shift_sign)(shift, sign, p_min, p_max)


def _save_shift(ctx, inputs, output):
    ctx.save_for_backward(inputs[0], output)
    ctx.settings = inputs[2:]


def _shift_sign_backward(ctx, grad):
    """AutoShiftNet eq. 5 and 6."""
    shift, weight = ctx.saved_tensors
    *settings, backend = ctx.settings
    fused = None
    if not torch.is_grad_enabled() and dispatch.eager(grad):  # else the gradient may be differentiated or batched
        fused = _fused("exponent_gradient", backend, shift, weight)
    if fused is None:
        grad_shift = _exponent_gradient(grad, shift, weight, *settings)
    else:
        alike = grad if _lie_alike(grad, shift) else torch.empty_like(shift).copy_(grad)
        grad_shift = fused(alike, shift, weight, *settings)
    return grad_shift, grad, None, None, None, None


def _exponent_gradient(grad: Tensor, shift: Tensor, weight: Tensor, p_min: int, p_max: int, exact: bool) -> Tensor:
    """The gradient of P, in plain PyTorch; of half types in float32, where the square of a small power has a place."""
    half = shift.dtype in (torch.float16, torch.bfloat16)
    wide = [tensor.float() for tensor in (grad, shift, weight)] if half else [grad, shift, weight]
    return _wide_exponent_gradient(*wide, p_min, p_max, exact).to(shift.dtype)  # type: ignore[call-arg]


def _wide_exponent_gradient(grad, shift, weight, p_min: int, p_max: int, exact: bool) -> Tensor:
    scale = weight * math.log(2)
    grad_shift = grad * (scale if exact else scale * torch.exp2(shift.clamp(p_min, p_max).round()))
    # P is constrained to its range: outside, only a step back inside passes (descent moves against the gradient).
    outward = ((shift < p_min) & (grad_shift > 0)) | ((shift > p_max) & (grad_shift < 0))
    return grad_shift.masked_fill(outward, 0)


class ShiftSignFunction(dispatch.BackwardOnlyFunction):
    """AutoShiftNet eq. 2 forward, eq. 5 and 6 backward."""

    @staticmethod
    def forward(ctx, *inputs):
        weight = _compose(*inputs)
        _save_shift(ctx, inputs, weight)
        return weight

    backward = staticmethod(_shift_sign_backward)


@dispatch.overridable
def compose_shift_weight(
    shift: Tensor, sign: Tensor, weight_bits: int = 5, *, gradient: str = "paper", backend: str = "auto"
) -> Tensor:
    """DeepShift-PS: w = sign(S) * 2^round(P), P clamped to the range of `weight_bits`, sign ternary at ±0.5.

    Args:
        shift, sign: the trainable P and S, same shape, floating point.
        weight_bits: 2 to 8 (`shift_exponents`).
        gradient: "paper" for AutoShiftNet eq. 6, dL/dP = dL/dw * w * 2^P * ln 2; "chain" for the chain rule that
            DeepShift's code follows, dL/dP = dL/dw * w * ln 2. Both use dL/dS = dL/dw.
        backend: "auto", "reference", "cpu" or "triton"; "auto" and "cpu" take the CPU's compiled pass where it serves
            the tensors (float32), everything else is plain PyTorch. The numbers are the same.
    Returns: the weight, same shape; values are those of `shift_values(weight_bits)`, in float16 0 below 2^-24.
    Gradient: straight through both roundings. A P outside its range only receives gradients that lead back into it.
    """
    p_min, p_max = shift_exponents(weight_bits)
    check_choice("gradient", gradient, ("paper", "chain"))
    dispatch.check_backend(backend)
    dispatch.check_floating("shift", shift)
    if shift.shape != sign.shape or shift.dtype != sign.dtype:
        raise InputError(
            f"sign has shape {tuple(sign.shape)} and {sign.dtype}; it must match shift, "
            f"{tuple(shift.shape)} and {shift.dtype}."
        )
    arguments = shift, sign, p_min, p_max, gradient == "chain", backend
    if dispatch.eager(shift, sign):
        return ShiftSignFunction.apply(*arguments)
    return shift_sign(*arguments[:4]) if dispatch.exporting_to_onnx() else dispatch.traced("shift_sign")(*arguments)


# --- activations and bias --------------------------------------------------------------------------------------------


def fixed_point(x: Tensor, integer_bits: int, fraction_bits: int) -> Tensor:
    """`fixed_point_round` without gradient, in plain PyTorch."""
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    low, high = fixed_point_bounds(x.dtype, integer_bits, fraction_bits)
    rounded = (wide * 2.0**fraction_bits).round_().mul_(2.0**-fraction_bits).clamp_(low, high)
    return rounded.to(x.dtype)


_FIXED_POINT_FAMILY = {"cpu": "fixed_point", "triton": "shift"}


def _fixed_point_kernel(x: Tensor, integer_bits: int, fraction_bits: int, backend: str) -> Tensor:
    """The back end's fused pass where it has one, else plain PyTorch; both give the same numbers."""
    if backend == "auto":
        backend = {"cpu": "cpu", "cuda": "triton"}.get(x.device.type, "reference")
    elif backend != "reference":
        dispatch.choose(backend, x, "fixed_point_round", _FIXED_POINT_FAMILY[backend])
    family = _FIXED_POINT_FAMILY.get(backend)
    fused = dispatch.optional_kernel(backend, family, "fixed_point_round") if family else None
    return fixed_point(x, integer_bits, fraction_bits) if fused is None else fused(x, integer_bits, fraction_bits)


class FixedPointRoundFunction(dispatch.BackwardOnlyFunction):
    """Rounding and saturation forward, identity backward."""

    @staticmethod
    def forward(ctx, x, integer_bits, fraction_bits, backend):
        return _fixed_point_kernel(x, integer_bits, fraction_bits, backend)

    @staticmethod
    def backward(ctx, grad):
        return grad, None, None, None


@dispatch.overridable
def fixed_point_round(x: Tensor, integer_bits: int = 16, fraction_bits: int = 16, *, backend: str = "auto") -> Tensor:
    """Round to the nearest multiple of 2^-fraction_bits and saturate, as fixed-point hardware would hold `x`.

    Args:
        x: any shape, floating point; float16 and bfloat16 are rounded in float32 first.
        integer_bits: 1 to 32, sign included. The range is [-2^(i-1), 2^(i-1) - 2^-f].
        fraction_bits: 0 to 32.
        backend: "auto", "reference", "cpu" or "triton": who makes the pass; the numbers are the same.
    Returns: same shape and dtype. Ties go to even; NaN stays NaN. Where the format has more bits than the type's
        mantissa, the upper end is the largest number of the type inside the range.
    Gradient: straight through, also where it saturates.
    Source: AutoShiftNet sec. 5.1 (16.16), ShiftAddAug sec. 4 (16 bits). DeepShift's code rounds down, we round to
        nearest: rounding down shifts every activation by half a step on average.
    """
    dispatch.check_floating("x", x)
    dispatch.check_backend(backend)
    if (integer_bits, fraction_bits) != FIXED_POINT:
        integer_bits = check_int("integer_bits", integer_bits, minimum=1, maximum=32)
        fraction_bits = check_int("fraction_bits", fraction_bits, minimum=0, maximum=32)
    if dispatch.eager(x):
        return FixedPointRoundFunction.apply(x, integer_bits, fraction_bits, backend)
    if dispatch.exporting_to_onnx():
        return fixed_point(x, integer_bits, fraction_bits)
    return dispatch.traced("fixed_point_round")(x, integer_bits, fraction_bits, backend)


# --- registration: the same functions for torch.compile and torch.export ---------------------------------------------


def _empty_like(x: Tensor, *_args) -> Tensor:
    return torch.empty_like(x)


dispatch.register(
    "round_to_power_of_two(Tensor weight, int p_min, int p_max) -> Tensor",
    lambda weight, p_min, p_max: power_of_two(weight, p_min, p_max).contiguous(),
    fake=lambda weight, p_min, p_max: torch.empty_like(weight, memory_format=torch.contiguous_format),
    backward=lambda ctx, grad: (grad, None, None),
    rows=1,
)
dispatch.register(
    "shift_sign(Tensor shift, Tensor sign, int p_min, int p_max, bool exact, str backend) -> Tensor",
    lambda *inputs: _compose(*inputs).contiguous(),
    fake=lambda shift, *_args: torch.empty_like(shift, memory_format=torch.contiguous_format),
    backward=_shift_sign_backward,
    setup=_save_shift,
    rows=2,
)
dispatch.register(
    "fixed_point_round(Tensor x, int integer_bits, int fraction_bits, str backend) -> Tensor",
    _fixed_point_kernel,
    fake=_empty_like,
    backward=lambda ctx, grad: (grad, None, None, None),
    rows=1,
)
