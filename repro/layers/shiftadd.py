"""ShiftAdd layers: a shift layer, then an adder layer of the same extent behind it (ShiftAddNet, You et al. 2020)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from repro.layers.adder import AdderConv2d, AdderLinear
from repro.layers.geometry import Device, conv_arguments, like, take_over
from repro.layers.shift import ShiftConv2d, ShiftLinear


class ShiftAddConv2d(nn.Module):
    """Shift convolution C_in -> C_out, then adder convolution C_out -> C_out of equal kernel size, "same" padding.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, device, dtype: as in
            `torch.nn.Conv2d`. Stride and padding are the shift part's; the adder part has stride 1, keeps height and
            width, and has the same dilation and groups (so a depthwise pair stays depthwise). The bias is the adder's.
        mode, weight_bits, activation_bits, stochastic, gradient: as in `ShiftConv2d`.
        backend: of both parts.
    State dict: those of the parts under `shift.` and `add.`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        backend: str = "auto",
        device: Device = None,
        dtype: torch.dtype | None = None,
        **shift_options: Any,
    ):
        super().__init__()
        common = {"backend": backend, "device": device, "dtype": dtype}
        self.shift = ShiftConv2d(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, False, **common, **shift_options
        )
        extents = [d * (k - 1) for d, k in zip(self.shift.dilation, self.shift.kernel_size)]
        same: Any = "same" if any(extent % 2 for extent in extents) else tuple(extent // 2 for extent in extents)
        self.add = AdderConv2d(out_channels, out_channels, kernel_size, 1, same, dilation, groups, bias, **common)

    def forward(self, x: Tensor) -> Tensor:
        return self.add(self.shift(x))

    @classmethod
    def from_float(cls, conv: nn.Conv2d, **options: Any) -> ShiftAddConv2d:
        """The shift part takes the weights of `conv`; the adder part is new, but takes the bias."""
        layer = cls(*conv_arguments(conv), **like(conv.weight), **options)  # type: ignore[misc]
        return _start(layer, conv)


class ShiftAddLinear(nn.Module):
    """Shift layer C_in -> C_out, then adder layer C_out -> C_out; arguments as in `ShiftLinear`."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        backend: str = "auto",
        device: Device = None,
        dtype: torch.dtype | None = None,
        **shift_options: Any,
    ):
        super().__init__()
        common = {"backend": backend, "device": device, "dtype": dtype}
        self.shift = ShiftLinear(in_features, out_features, False, **common, **shift_options)
        self.add = AdderLinear(out_features, out_features, bias, **common)

    def forward(self, x: Tensor) -> Tensor:
        return self.add(self.shift(x))

    @classmethod
    def from_float(cls, linear: nn.Linear, **options: Any) -> ShiftAddLinear:
        """The shift part takes the weights of `linear`; the adder part is new, but takes the bias."""
        bias = linear.bias is not None
        layer = cls(linear.in_features, linear.out_features, bias, **like(linear.weight), **options)
        return _start(layer, linear)


@torch.no_grad()
def _start(layer: nn.Module, source: nn.Module) -> nn.Module:
    layer.shift._copy_from(source)
    take_over(layer.add.bias, source.bias)
    return layer.train(source.training)
