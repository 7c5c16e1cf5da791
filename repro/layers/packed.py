"""Shift layers on packed codes, for inference: 4 or 5 bits a weight, decoded where they are multiplied.

Layout of the codes: `repro.codes`. Two ways to compute, both on the codes as they are stored:

product: codes are decoded in front of the product; x is rounded to `activation_bits` first, as in training.
fixed: x becomes an integer q = round(x * 2^f), and y = sum of +-(q << (P - p_min)) by shifts and additions in 64 bits:
    what the shifting hardware would hold, exactly. One conversion to float32 at the end; the bias is added as an
    integer in the same scale.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from repro import codes
from repro.errors import InputError, check_choice
from repro.layers.geometry import Conv2dGeometry, LinearGeometry, conv_arguments
from repro.layers.shift import ShiftConv2d, ShiftLinear
from repro.ops.inference import packed_shift_conv2d, packed_shift_linear

ARITHMETIC = ("product", "fixed")
FIXED_BITS = 32  # the integer path holds activations in int32


class _PackedShift(nn.Module):
    """Buffer `packed` (C_out, words) int32, and `bias` (C_out,) float32 (float64 of a float64 layer), or None."""

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
        if bias is not None:  # 16.16 numbers need more than the 24 bits of float32; float64 layers keep theirs
            bias = bias.detach() if bias.dtype is torch.float64 else bias.detach().float()
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.eval()

    def unpacked_weight(self) -> Tensor:
        """The weight of `weight_shape` that the codes stand for, float32, every value 0 or ±2^P."""
        return codes.unpack_shift_weight(self.packed, self.weight_shape, self.weight_bits)

    def _settings(self) -> dict:
        return {
            "weight_bits": self.weight_bits,
            "activation_bits": self.activation_bits,
            "arithmetic": self.arithmetic,
            "backend": self.backend,
        }

    def extra_repr(self) -> str:
        text = f"{super().extra_repr()}, weight_bits={self.weight_bits}"
        return text + ("" if self.arithmetic == "product" else f", arithmetic={self.arithmetic!r}")


class PackedShiftConv2d(_PackedShift, Conv2dGeometry):
    """`ShiftConv2d` on packed codes, inference only: (N, C_in, H, W) to (N, C_out, H_out, W_out), dtype of x.

    Made by `ShiftConv2d.quantize()` or `from_float`. State dict: `packed` (C_out, words) int32 and `bias`.
    """

    def __init__(self, source: nn.Module, arithmetic: str = "product"):
        super().__init__(*conv_arguments(source)[:-1], False, {})  # type: ignore[call-arg]
        self._fill(source, arithmetic)

    @classmethod
    def from_float(cls, conv: nn.Conv2d, *, arithmetic: str = "product", **options: Any) -> PackedShiftConv2d:
        """Round an ordinary convolution to powers of two and pack it; `options` as in `ShiftConv2d`."""
        return ShiftConv2d.from_float(conv, **options).quantize(arithmetic)

    def forward(self, x: Tensor) -> Tensor:
        return packed_shift_conv2d(x, self.packed, self.bias, self.weight_shape, **self.geometry(), **self._settings())


class PackedShiftLinear(_PackedShift, LinearGeometry):
    """`ShiftLinear` on packed codes, inference only: (..., C_in) to (..., C_out), dtype of x.

    Made by `ShiftLinear.quantize()` or `from_float`. State dict: `packed` (C_out, words) int32 and `bias`.
    """

    def __init__(self, source: nn.Module, arithmetic: str = "product"):
        super().__init__(source.in_features, source.out_features, False, {})
        self._fill(source, arithmetic)

    @classmethod
    def from_float(cls, linear: nn.Linear, *, arithmetic: str = "product", **options: Any) -> PackedShiftLinear:
        """Round an ordinary linear layer to powers of two and pack it; `options` as in `ShiftLinear`."""
        return ShiftLinear.from_float(linear, **options).quantize(arithmetic)

    def forward(self, x: Tensor) -> Tensor:
        return packed_shift_linear(x, self.packed, self.bias, self.in_features, **self._settings())


ShiftConv2d.packed_form = PackedShiftConv2d
ShiftLinear.packed_form = PackedShiftLinear
