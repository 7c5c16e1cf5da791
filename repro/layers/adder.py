"""Adder layers: -sum |x - w| in place of a product (AdderNet; ACGhostNet sec. 3.1).

An adder layer wants a batch normalisation behind it: its outputs are never positive and grow with the fan-in.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from repro.errors import check_flag
from repro.layers.geometry import Conv2dGeometry, Device, LinearGeometry, conv_arguments, like, reset_bias, take_over
from repro.layers.quantized import quantize_adder
from repro.ops import adder_conv2d, adder_linear
from repro.ops.dispatch import check_backend


class _Adder(nn.Module):
    """Parameters, initialisation and quantisation of both adder layers."""

    def _make(self, backend: str, factory: dict) -> None:
        check_backend(backend)
        self.backend = backend
        self.weight = nn.Parameter(torch.empty(self.weight_shape, **factory))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights from the standard normal distribution, as AdderNet starts; the bias as in `torch.nn`."""
        nn.init.normal_(self.weight)
        reset_bias(self.bias, self.weight_shape)

    def quantize(self, input_abs_max: float | None = None, *, sample: Tensor | None = None) -> nn.Module:
        """The 8-bit integer layer for inference (`repro.layers.quantized`), symmetric, one scale for x and w.

        Args:
            input_abs_max: largest |x| to represent; larger inputs saturate. Or
            sample: typical inputs to take it from.
        Raises: InputError unless exactly one of the two is given.
        """
        return quantize_adder(self, input_abs_max, sample)


class AdderConv2d(_Adder, Conv2dGeometry):
    """`torch.nn.Conv2d` with adder filters: (N, C_in, H, W) to (N, C_out, H_out, W_out).

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, device, dtype: as in
            `torch.nn.Conv2d`. Padding is with zeros, and a padded pixel contributes |0 - w|.
        backend: "auto", "reference", "cpu" or "triton" (`repro.ops.adder_conv2d`).
    State dict: `weight` (C_out, C_in / groups, K_h, K_w), `bias` (C_out,).
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
    ):
        factory = {"device": device, "dtype": dtype}
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, factory)
        self._make(backend, factory)

    def forward(self, x: Tensor) -> Tensor:
        return adder_conv2d(x, self.weight, self.bias, backend=self.backend, **self.geometry())

    @classmethod
    def from_float(cls, conv: nn.Conv2d, *, copy_weight: bool = True, backend: str = "auto") -> AdderConv2d:
        """An adder layer of the same geometry; its weight copied from `conv`, or freshly drawn."""
        layer = cls(*conv_arguments(conv), backend=backend, **like(conv.weight))
        return _copy(conv, layer, copy_weight)


class AdderLinear(_Adder, LinearGeometry):
    """`torch.nn.Linear` with adder rows: (..., C_in) to (..., C_out).

    Args: in_features, out_features, bias, device, dtype as in `torch.nn.Linear`; backend as in `AdderConv2d`.
    State dict: `weight` (C_out, C_in), `bias` (C_out,).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        backend: str = "auto",
        device: Device = None,
        dtype: torch.dtype | None = None,
    ):
        factory = {"device": device, "dtype": dtype}
        super().__init__(in_features, out_features, bias, factory)
        self._make(backend, factory)

    def forward(self, x: Tensor) -> Tensor:
        return adder_linear(x, self.weight, self.bias, backend=self.backend)

    @classmethod
    def from_float(cls, linear: nn.Linear, *, copy_weight: bool = True, backend: str = "auto") -> AdderLinear:
        """An adder layer of the same size; its weight copied from `linear`, or freshly drawn."""
        bias = linear.bias is not None
        layer = cls(linear.in_features, linear.out_features, bias, backend=backend, **like(linear.weight))
        return _copy(linear, layer, copy_weight)


@torch.no_grad()
def _copy(source: nn.Module, layer: nn.Module, copy_weight: bool) -> nn.Module:
    if check_flag("copy_weight", copy_weight):
        take_over(layer.weight, source.weight)
        take_over(layer.bias, source.bias)
    return layer.train(source.training)
