"""Adder layers on 8-bit integers, for inference.

|x - w| needs one scale for both: s = max(|x|_max, |w|_max) / 127, x_q = round(x / s), w_q = round(w / s),
both clamped to [-127, 127], zero point 0 (so zero padding is exact). y = s * y_q + bias with y_q = -sum |x_q - w_q| in
32 bits, exact: the only error is the rounding of x and w, at most s per term.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from repro.errors import InputError
from repro.layers.geometry import Conv2dGeometry, LinearGeometry, conv_arguments
from repro.ops import dispatch, reference
from repro.runtime import warn_once

LEVELS = 127
"""Largest 8-bit magnitude used; -128 is left out so that the range is symmetric."""


def _int8_kernel(name: str, x: Tensor):
    """The compiled integer kernel for CPU tensors, else the exact (slow) reference, with a one-time warning."""
    kernel = dispatch.optional_kernel("cpu", "adder_int8", name) if x.device.type == "cpu" else None
    if kernel is None:
        warn_once(f"{name} runs on the slow reference for {x.device.type} tensors: it has no compiled kernel.")
        kernel = getattr(reference, name)
    return kernel


class _QuantizedAdder(nn.Module):
    """Buffers `weight` (int8), `scale` (one float32 number, units of x per step) and `bias` (float32 or None)."""

    def _fill(self, source: nn.Module, scale: float) -> None:
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32, device=source.weight.device))
        self.register_buffer("weight", self._to_int8(source.weight.detach().float()))
        self.bias = None if source.bias is None else nn.Parameter(source.bias.detach().float(), requires_grad=False)
        self.eval()

    def _to_int8(self, tensor: Tensor) -> Tensor:
        return (tensor / self.scale).round_().clamp_(-LEVELS, LEVELS).to(torch.int8)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, int8, scale={self.scale.item():.4g}"


class QuantizedAdderConv2d(_QuantizedAdder, Conv2dGeometry):
    """`AdderConv2d` on 8-bit integers, inference only: (N, C_in, H, W) float in, float32 out. Made by `quantize()`."""

    def __init__(self, source: nn.Module, scale: float):
        super().__init__(*conv_arguments(source), {"device": source.weight.device})
        self._fill(source, scale)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise InputError(f"x has shape {tuple(x.shape)}; it must be (N, {self.in_channels}, H, W).")
        codes = self._to_int8(x.float())
        codes, padding = dispatch.resolve_padding(codes, self.kernel_size, self.stride, self.padding, self.dilation)
        kernel = _int8_kernel("adder_conv2d_int8", codes)
        y = kernel(codes, self.weight, self.stride, padding, self.dilation, self.groups)
        y = y.float().mul_(self.scale)
        return y if self.bias is None else y.add_(self.bias.view(-1, 1, 1))


class QuantizedAdderLinear(_QuantizedAdder, LinearGeometry):
    """`AdderLinear` on 8-bit integers, inference only: (..., C_in) float in, (..., C_out) float32 out."""

    def __init__(self, source: nn.Module, scale: float):
        super().__init__(source.in_features, source.out_features, source.bias is not None, {})
        self._fill(source, scale)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.in_features:
            raise InputError(f"x has shape {tuple(x.shape)}; its last axis must have {self.in_features} entries.")
        codes = self._to_int8(x.float()).reshape(-1, self.in_features)
        y = _int8_kernel("adder_linear_int8", codes)(codes, self.weight).float().mul_(self.scale)
        y = y.reshape(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y.add_(self.bias)


def quantize_adder(layer: nn.Module, input_abs_max: float | None = None, sample: Tensor | None = None) -> nn.Module:
    """The 8-bit layer of an `AdderConv2d` or `AdderLinear`; see `AdderConv2d.quantize`."""
    if (input_abs_max is None) == (sample is None):
        raise InputError("give quantize() exactly one of input_abs_max and sample.")
    largest = float(sample.detach().abs().max()) if sample is not None else float(input_abs_max)
    if not 0 <= largest < float("inf"):
        raise InputError(f"input_abs_max={largest!r} is not allowed; it must be a finite number, at least 0.")
    scale = max(largest, float(layer.weight.detach().abs().max())) / LEVELS
    quantized = QuantizedAdderConv2d if isinstance(layer, Conv2dGeometry) else QuantizedAdderLinear
    return quantized(layer, scale or 1.0)
