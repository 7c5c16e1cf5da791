"""Shift layers on packed codes, for inference: 4 or 5 bits a weight, decoded where they are multiplied.

Layout of the codes: `repro.codes`. Two ways to compute, both on the codes as they are stored:

product: codes are decoded in front of the product; x is rounded to `activation_bits` first, as in training.
fixed: x becomes an integer q = round(x * 2^f), and y = sum of +-(q << (P - p_min)) by shifts and additions in 64 bits:
    what the shifting hardware would hold, exactly. One conversion to float32 at the end; the bias is added as an
    integer in the same scale.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from repro import codes
from repro.errors import InputError, check_choice
from repro.layers.geometry import Conv2dGeometry, LinearGeometry, conv_arguments
from repro.layers.shift import ShiftConv2d, ShiftLinear
from repro.ops import dispatch, fixed_point_round, shift_exponents

ARITHMETIC = ("product", "fixed")
FIXED_BITS = 32  # the integer path holds activations in int32


class _PackedShift(nn.Module):
    """Buffer `packed` (C_out, words) int32, and `bias` (C_out,) float32 without gradient, or None."""

    def _fill(self, source: nn.Module, arithmetic: str) -> None:
        self.arithmetic = check_choice("arithmetic", arithmetic, ARITHMETIC)
        self.weight_bits, self.activation_bits = source.weight_bits, source.activation_bits
        self.backend = source.backend
        codes.check_shift_format(self.weight_bits, None)
        if arithmetic == "fixed" and (self.activation_bits is None or sum(self.activation_bits) > FIXED_BITS):
            raise InputError(
                f"activation_bits={self.activation_bits!r} is not allowed with arithmetic='fixed'; "
                f"it must be (integer, fraction) bits, {FIXED_BITS} in all at most."
            )
        self.register_buffer("packed", codes.pack_shift_weight(source._evaluated_weight().detach(), self.weight_bits))
        bias = source.quantized_bias()
        self.bias = None if bias is None else nn.Parameter(bias.detach().float(), requires_grad=False)
        self.eval()

    def unpacked_weight(self) -> Tensor:
        """The weight of `weight_shape` that the codes stand for, float32, every value 0 or ±2^P."""
        return codes.unpack_shift_weight(self.packed, self.weight_shape, self.weight_bits)

    def _kernel(self, name: str, x: Tensor):
        """The kernel of the chosen back end, or None for plain PyTorch (the reference, and all float64 products)."""
        if x.dtype is torch.float64 and self.arithmetic == "product":
            return None
        backend = dispatch.choose(self.backend, x, f"{name}_packed", "shift")
        suffix = "packed" if self.arithmetic == "product" else "fixed"
        return None if backend == "reference" else getattr(dispatch.kernels(backend, "shift"), f"{name}_{suffix}")

    def _integers(self, x: Tensor) -> Tensor:
        """x as int32 in units of 2^-f, rounded and saturated."""
        integer, fraction = self.activation_bits
        top = 2 ** (integer + fraction - 1)
        return (x.double() * 2.0**fraction).round_().clamp_(-top, top - 1).to(torch.int32)

    def _floats(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        """Sums of the integer path, bias added in their scale, as numbers of `dtype`."""
        scale = 2.0 ** (shift_exponents(self.weight_bits)[0] - self.activation_bits[1])
        if self.bias is not None:
            bias = (self.bias.double() / scale).to(torch.int64)  # exact: the bias was rounded to 2^-f
            y = y + (bias.view(-1, 1, 1) if y.ndim == 4 else bias)
        return (y.double() * scale).to(dtype)

    def _rounded(self, x: Tensor) -> Tensor:
        if self.activation_bits is None:
            return x
        return fixed_point_round(x, *self.activation_bits, backend=self.backend)

    def _exact_sums(self, product, integers: Tensor) -> Tensor:
        """The integer path in plain PyTorch: upper and lower 16 bits apart, so that float64 drops no bit of a sum."""
        weight = self.unpacked_weight().double() * 2.0 ** -shift_exponents(self.weight_bits)[0]
        upper, lower = integers >> 16, integers & 0xFFFF
        high, low = (product(half.double(), weight).to(torch.int64) for half in (upper, lower))
        return (high << 16) + low

    def extra_repr(self) -> str:
        text = f"{super().extra_repr()}, weight_bits={self.weight_bits}"
        return text + ("" if self.arithmetic == "product" else f", arithmetic={self.arithmetic!r}")


class PackedShiftConv2d(_PackedShift, Conv2dGeometry):
    """`ShiftConv2d` on packed codes, inference only: (N, C_in, H, W) to (N, C_out, H_out, W_out), dtype of x.

    Made by `ShiftConv2d.quantize()` or `from_float`. State dict: `packed` (C_out, words) int32 and `bias`.
    """

    def __init__(self, source: nn.Module, arithmetic: str = "product"):
        super().__init__(*conv_arguments(source)[:-1], False, {})
        self._fill(source, arithmetic)

    @classmethod
    def from_float(cls, conv: nn.Conv2d, *, arithmetic: str = "product", **options) -> PackedShiftConv2d:
        """Round an ordinary convolution to powers of two and pack it; `options` as in `ShiftConv2d`."""
        return ShiftConv2d.from_float(conv, **options).quantize(arithmetic)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise InputError(f"x has shape {tuple(x.shape)}; it must be (N, {self.in_channels}, H, W).")
        dispatch.check_floating("x", x)
        held = self._rounded(x) if self.arithmetic == "product" else self._integers(x)
        held, padding = dispatch.resolve_padding(held, self.kernel_size, self.stride, self.padding, self.dilation)
        options = dict(stride=self.stride, padding=padding, dilation=self.dilation, groups=self.groups)
        kernel = self._kernel("shift_conv2d", x)
        if self.arithmetic == "product":
            if kernel is None:
                bias = None if self.bias is None else self.bias.to(x.dtype)
                return torch.nn.functional.conv2d(held, self.unpacked_weight().to(x.dtype), bias, **options)
            return kernel(held, self.packed, self.weight_shape, self.bias, weight_bits=self.weight_bits, **options)
        if kernel is None:
            y = self._exact_sums(functools.partial(torch.nn.functional.conv2d, **options), held)
        else:
            y = kernel(held, self.packed, self.weight_shape, weight_bits=self.weight_bits, **options)
        return self._floats(y, x.dtype)


class PackedShiftLinear(_PackedShift, LinearGeometry):
    """`ShiftLinear` on packed codes, inference only: (..., C_in) to (..., C_out), dtype of x.

    Made by `ShiftLinear.quantize()` or `from_float`. State dict: `packed` (C_out, words) int32 and `bias`.
    """

    def __init__(self, source: nn.Module, arithmetic: str = "product"):
        super().__init__(source.in_features, source.out_features, False, {})
        self._fill(source, arithmetic)

    @classmethod
    def from_float(cls, linear: nn.Linear, *, arithmetic: str = "product", **options) -> PackedShiftLinear:
        """Round an ordinary linear layer to powers of two and pack it; `options` as in `ShiftLinear`."""
        return ShiftLinear.from_float(linear, **options).quantize(arithmetic)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        if x.ndim < 1 or x.shape[-1] != self.in_features:
            raise InputError(f"x has shape {tuple(x.shape)}; its last axis must have {self.in_features} entries.")
        dispatch.check_floating("x", x)
        rows = x.reshape(-1, self.in_features)
        kernel = self._kernel("shift_linear", x)
        if self.arithmetic == "product":
            y = self._product(self._rounded(rows), kernel)
        else:
            y = self._floats(self._sums(self._integers(rows), kernel), x.dtype)
        return y.reshape(*x.shape[:-1], self.out_features)

    def _product(self, rows: Tensor, kernel) -> Tensor:
        if kernel is None:
            bias = None if self.bias is None else self.bias.to(rows.dtype)
            return torch.nn.functional.linear(rows, self.unpacked_weight().to(rows.dtype), bias)
        return kernel(rows, self.packed, self.bias, weight_bits=self.weight_bits)

    def _sums(self, rows: Tensor, kernel) -> Tensor:
        if kernel is None:
            return self._exact_sums(torch.nn.functional.linear, rows)
        return kernel(rows, self.packed, weight_bits=self.weight_bits)


ShiftConv2d.packed_form = PackedShiftConv2d
ShiftLinear.packed_form = PackedShiftLinear
