"""Operators of layers in the form of inference: adders on 8-bit integers, shifts on packed codes.

Each is one registered operator from the float activations to the outputs, so that tracers and exporters see one node,
and so that integers which cannot hold a NaN never meet one unseen: an output that a NaN reaches is NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from repro import codes
from repro.errors import InputError
from repro.geometry import output_sizes
from repro.ops import dispatch, reference
from repro.ops.quantize import fixed_point_round, shift_exponents
from repro.runtime import warn_once

LEVELS = 127
"""Largest 8-bit magnitude used; -128 is left out so that the range is symmetric."""

Pair = tuple[int, int]


def to_int8(tensor: Tensor, scale: Tensor) -> Tensor:
    """round(tensor / scale) as int8, saturated to ±127."""
    return (tensor / scale).round_().clamp_(-LEVELS, LEVELS).to(torch.int8)


def _run(name: str, kernel, tensors: tuple[Tensor, ...], *settings):
    """The kernel at once for plain tensors without a derivative, else the registered operator."""
    if not dispatch.eager(*tensors[:2]):
        return dispatch.traced(name)(*tensors, *settings)
    if dispatch.needs_graph(tensors[0], tensors[0]):
        return dispatch.transformed(name)(*tensors, *settings)
    with torch.no_grad():
        return kernel(*tensors, *settings)


def _reached(x: Tensor, weight_shape, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Tensor | None:
    """Which outputs a NaN of x takes part in, (N, C_out, H_out, W_out); None if x holds none."""
    if x.sum().isfinite():  # one pass over memory; the sum of finite numbers may overflow, hence the second look
        return None
    taps = torch.ones(weight_shape, dtype=torch.float32, device=x.device)
    return functional.conv2d(x.isnan().float(), taps, None, stride, padding, dilation, groups) > 0


# --- adders on 8-bit integers ----------------------------------------------------------------------------------------


def _int8_kernel(name: str, x: Tensor):
    """The compiled integer kernel for CPU tensors, else the exact (slow) reference, with a one-time warning."""
    kernel = dispatch.optional_kernel("cpu", "adder_int8", name) if x.device.type == "cpu" else None
    if kernel is None:
        warn_once(f"{name} runs on the slow reference for {x.device.type} tensors: it has no compiled kernel.")
        kernel = getattr(reference, name)
    return kernel


def _adder_conv2d_int8(x, weight, scale, stride, padding, dilation, groups):
    stride, padding, dilation = tuple(stride), tuple(padding), tuple(dilation)
    kernel = _int8_kernel("adder_conv2d_int8", x)
    y = kernel(to_int8(x.float(), scale), weight, stride, padding, dilation, groups).float().mul_(scale)
    reached = _reached(x, weight.shape, stride, padding, dilation, groups)
    return y if reached is None else y.masked_fill_(reached, torch.nan)


@dispatch.overridable
def adder_conv2d_int8(
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    *,
    stride: Pair = (1, 1),
    padding: Pair | str = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Tensor:
    """-scale * sum |x_q - w|, x_q = round(x / scale) in 8 bits, summed exactly in 32 bits. No gradient.

    Args:
        x: (N, C_in, H, W), floating point; beyond ±127 * scale it saturates.
        weight: (C_out, C_in / groups, K_h, K_w) int8, in steps of `scale`.
        scale: one float32 number.
    Returns: (N, C_out, H_out, W_out) float32; NaN where a NaN of x takes part.
    Raises: InputError on shapes that do not fit.
    """
    dispatch.check_images(x, weight.shape[1] * groups)
    dispatch.check_floating("x", x)
    x, padding = dispatch.resolve_padding(x, weight.shape[2:], stride, padding, dilation)
    settings = stride, padding, dilation, groups
    return _run("adder_conv2d_int8", _adder_conv2d_int8, (x, weight, scale), *settings)


def _adder_linear_int8(x, weight, scale):
    y = _int8_kernel("adder_linear_int8", x)(to_int8(x.float(), scale), weight).float().mul_(scale)
    return y.masked_fill_(x.isnan().any(1, keepdim=True), torch.nan)


@dispatch.overridable
def adder_linear_int8(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """As `adder_conv2d_int8`, for x (..., C_in) and weight (C_out, C_in) int8; returns (..., C_out) float32."""
    if x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise InputError(f"x has shape {tuple(x.shape)}; its last axis must have {weight.shape[1]} entries.")
    dispatch.check_floating("x", x)
    y = _run("adder_linear_int8", _adder_linear_int8, (x.reshape(-1, x.shape[-1]), weight, scale))
    return y.reshape(*x.shape[:-1], weight.shape[0])


# --- shifts on packed codes ------------------------------------------------------------------------------------------


def _shift_kernel(name: str, arithmetic: str, x: Tensor, backend: str):
    """The kernel of the chosen back end, or None for plain PyTorch (the reference, and all float64 products)."""
    if x.dtype is torch.float64 and arithmetic == "product":
        return None
    backend = dispatch.choose(backend, x, f"{name}_packed", "shift")
    suffix = "packed" if arithmetic == "product" else "fixed"
    return None if backend == "reference" else getattr(dispatch.kernels(backend, "shift"), f"{name}_{suffix}")


def _integers(x: Tensor, format: Pair) -> Tensor:
    """x as int32 in units of 2^-f, rounded and saturated."""
    top = 2 ** (sum(format) - 1)
    return (x.double() * 2.0 ** format[1]).round_().clamp_(-top, top - 1).to(torch.int32)


def _exact_sums(product, integers: Tensor, packed: Tensor, shape, weight_bits: int) -> Tensor:
    """The integer path in plain PyTorch: upper and lower 16 bits apart, so that float64 drops no bit of a sum."""
    weight = codes.unpack_shift_weight(packed, shape, weight_bits).double() * 2.0 ** -shift_exponents(weight_bits)[0]
    upper, lower = integers >> 16, integers & 0xFFFF
    high, low = (product(half.double(), weight).to(torch.int64) for half in (upper, lower))
    return (high << 16) + low


def _floats(y: Tensor, bias: Tensor | None, weight_bits: int, fraction_bits: int, dtype: torch.dtype) -> Tensor:
    """Sums of the integer path, bias added in their scale, as numbers of `dtype`; channels are y's second axis."""
    scale = 2.0 ** (shift_exponents(weight_bits)[0] - fraction_bits)
    if bias is None:
        return (y.double() * scale).to(dtype)
    axes = (-1, *(1,) * (y.ndim - 2))
    held = (bias.double() / scale).nan_to_num(0.0).to(torch.int64)  # exact: the bias was rounded to 2^-f
    y = ((y + held.view(axes)).double() * scale).to(dtype)
    return y.masked_fill_(bias.isnan().view(axes), torch.nan)


def _shift_conv2d(x, packed, bias, shape, stride, padding, dilation, groups, weight_bits, format, arithmetic, backend):
    format, shape = tuple(format), tuple(shape)
    geometry = {"stride": tuple(stride), "padding": tuple(padding), "dilation": tuple(dilation), "groups": groups}
    layout = dispatch.memory_format(x)
    kernel = _shift_kernel("shift_conv2d", arithmetic, x, backend)
    if arithmetic == "product":
        held = fixed_point_round(x, *format, backend=backend) if format else x
        if kernel is not None:
            y = kernel(held, packed, shape, bias, weight_bits=weight_bits, **geometry)
            return y.contiguous(memory_format=layout)
        weight = codes.unpack_shift_weight(packed, shape, weight_bits, dtype=x.dtype)
        y = functional.conv2d(held, weight, None if bias is None else bias.to(x.dtype), **geometry)
        return y.contiguous(memory_format=layout)
    held = _integers(x, format)
    if kernel is None:
        y = _exact_sums(lambda a, b: functional.conv2d(a, b, **geometry), held, packed, shape, weight_bits)
    else:
        y = kernel(held, packed, shape, weight_bits=weight_bits, **geometry)
    y = _floats(y, bias, weight_bits, format[1], x.dtype)
    reached = _reached(x, shape, *geometry.values())
    return (y if reached is None else y.masked_fill_(reached, torch.nan)).contiguous(memory_format=layout)


@dispatch.overridable
def packed_shift_conv2d(
    x: Tensor,
    packed: Tensor,
    bias: Tensor | None,
    weight_shape: tuple[int, int, int, int],
    *,
    stride: Pair = (1, 1),
    padding: Pair | str = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    weight_bits: int = 5,
    activation_bits: Pair | None,
    arithmetic: str = "product",
    backend: str = "auto",
) -> Tensor:
    """`repro.ops.shift_conv2d` on packed codes (`repro.codes`), without gradient.

    Args:
        x: (N, C_in, H, W), floating point.
        packed: (C_out, words) int32, the codes of a weight of `weight_shape`, (C_out, C_in / groups, K_h, K_w).
        bias: (C_out,), rounded to `activation_bits`, or None.
        arithmetic: "product" (codes decoded in front of a product) or "fixed" (integer shifts and additions).
    Returns: (N, C_out, H_out, W_out), dtype of x; NaN where a NaN of x takes part.
    Raises: InputError on shapes that do not fit.
    """
    dispatch.check_images(x, weight_shape[1] * groups)
    dispatch.check_floating("x", x)
    x, padding = dispatch.resolve_padding(x, weight_shape[2:], stride, padding, dilation)
    settings = stride, padding, dilation, groups, weight_bits, activation_bits or (), arithmetic, backend
    return _run("packed_shift_conv2d", _shift_conv2d, (x, packed, bias), weight_shape, *settings)


def _shift_linear(x, packed, bias, weight_bits, format, arithmetic, backend):
    format, shape = tuple(format), (packed.shape[0], x.shape[1])
    kernel = _shift_kernel("shift_linear", arithmetic, x, backend)
    if arithmetic == "product":
        held = fixed_point_round(x, *format, backend=backend) if format else x
        if kernel is not None:
            return kernel(held, packed, bias, weight_bits=weight_bits).contiguous()
        weight = codes.unpack_shift_weight(packed, shape, weight_bits, dtype=x.dtype)
        return functional.linear(held, weight, None if bias is None else bias.to(x.dtype))
    held = _integers(x, format)
    if kernel is None:
        y = _exact_sums(functional.linear, held, packed, shape, weight_bits)
    else:
        y = kernel(held, packed, weight_bits=weight_bits)
    y = _floats(y, bias, weight_bits, format[1], x.dtype)
    return y.masked_fill_(x.isnan().any(1, keepdim=True), torch.nan)


@dispatch.overridable
def packed_shift_linear(
    x: Tensor,
    packed: Tensor,
    bias: Tensor | None,
    in_features: int,
    *,
    weight_bits: int = 5,
    activation_bits: Pair | None,
    arithmetic: str = "product",
    backend: str = "auto",
) -> Tensor:
    """As `packed_shift_conv2d`, for x (..., C_in); returns (..., C_out) in the dtype of x."""
    if x.ndim < 1 or x.shape[-1] != in_features:
        raise InputError(f"x has shape {tuple(x.shape)}; its last axis must have {in_features} entries.")
    dispatch.check_floating("x", x)
    settings = weight_bits, activation_bits or (), arithmetic, backend
    y = _run("packed_shift_linear", _shift_linear, (x.reshape(-1, in_features), packed, bias), *settings)
    return y.reshape(*x.shape[:-1], packed.shape[0])


# --- registration ----------------------------------------------------------------------------------------------------


def _no_gradient(ctx, *_grads):
    raise RuntimeError(
        "layers on 8-bit or packed weights are for inference and have no gradient; call them under torch.no_grad(), or "
        "detach their input."
    )


def _maps(x, shape, stride, padding, dilation, dtype, layout=torch.contiguous_format):
    size = output_sizes(x.shape[2:], shape[2:], stride, padding, dilation)
    return torch.empty((x.shape[0], shape[0], *size), dtype=dtype, device=x.device, memory_format=layout)


def _fake_adder_conv2d(x, weight, scale, stride, padding, dilation, groups):
    return _maps(x, weight.shape, stride, padding, dilation, torch.float32)


def _fake_shift_conv2d(x, packed, bias, shape, stride, padding, dilation, *_settings):
    return _maps(x, shape, stride, padding, dilation, x.dtype, dispatch.memory_format(x))


_WINDOW = "int[2] stride, int[2] padding, int[2] dilation, int groups"
_FORMAT = "int weight_bits, int[] format, str arithmetic, str backend"
for _schema, _kernel, _fake in (
    (f"adder_conv2d_int8(Tensor x, Tensor weight, Tensor scale, {_WINDOW})", _adder_conv2d_int8, _fake_adder_conv2d),
    (
        "adder_linear_int8(Tensor x, Tensor weight, Tensor scale)",
        _adder_linear_int8,
        lambda x, weight, scale: x.new_empty((x.shape[0], weight.shape[0]), dtype=torch.float32),
    ),
    (
        f"packed_shift_conv2d(Tensor x, Tensor packed, Tensor? bias, int[] shape, {_WINDOW}, {_FORMAT})",
        _shift_conv2d,
        _fake_shift_conv2d,
    ),
    (
        f"packed_shift_linear(Tensor x, Tensor packed, Tensor? bias, {_FORMAT})",
        _shift_linear,
        lambda x, packed, *_settings: x.new_empty((x.shape[0], packed.shape[0])),
    ),
):
    dispatch.register(f"{_schema} -> Tensor", _kernel, fake=_fake, backward=_no_gradient, rows=1)
