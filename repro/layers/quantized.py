"""Adder layers on 8-bit integers, for inference.

|x - w| needs one scale for both: s = max(|x|_max, |w|_max) / 127, x_q = round(x / s), w_q = round(w / s),
both clamped to [-127, 127], zero point 0 (so zero padding is exact). y = s * y_q + bias with y_q = -sum |x_q - w_q| in
32 bits, exact: the only error is the rounding of x and w, at most s per term. y is computed in float32 and returned in
the dtype of x, as packed shift layers do.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from repro.errors import InputError, check_number
from repro.layers.geometry import Conv2dGeometry, LinearGeometry, as_evaluated, conv_arguments
from repro.ops.inference import LEVELS, adder_conv2d_int8, adder_linear_int8, to_int8


class _QuantizedAdder(nn.Module):
    """Buffer `weight` (int8), buffer `scale` (one number, units of x per step), and `bias` (float32), or None.

    `scale` stays float32 when the model is cast, since the codes of `weight` were rounded by it.
    """

    def _fill(self, source: nn.Module, scale: float) -> None:
        self.scale: Tensor
        self.bias: nn.Parameter | None
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32, device=source.weight.device))
        self.register_buffer("weight", to_int8(source.weight.detach().float(), self.scale))
        self.bias = None if source.bias is None else nn.Parameter(source.bias.detach().float(), requires_grad=False)
        self.eval()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        scale = self.scale
        super()._apply(fn, recurse)
        if self.scale.dtype is not scale.dtype:
            self.scale = scale.to(self.scale.device)
        return self

    def _finished(self, y: Tensor, x: Tensor, bias_shape: tuple[int, ...]) -> Tensor:
        """y (float32) with the bias, in the dtype of x."""
        return (y if self.bias is None else y + self.bias.view(bias_shape)).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, int8, scale={self.scale.item():.4g}"


class QuantizedAdderConv2d(_QuantizedAdder, Conv2dGeometry):
    """`AdderConv2d` on 8-bit integers, inference only: (N, C_in, H, W) to (N, C_out, H_out, W_out), dtype of x.

    x may be float16, bfloat16, float32 or float64. Made by `AdderConv2d.quantize()`.
    """

    def __init__(self, source: nn.Module, scale: float):
        super().__init__(*conv_arguments(source), {"device": source.weight.device})  # type: ignore[call-arg]
        self._fill(source, scale)

    def forward(self, x: Tensor) -> Tensor:
        y = adder_conv2d_int8(x, self.weight, self.scale, **self.geometry())
        return self._finished(y, x, (-1, 1, 1))


class QuantizedAdderLinear(_QuantizedAdder, LinearGeometry):
    """`AdderLinear` on 8-bit integers, inference only: (..., C_in) to (..., C_out), dtype of x.

    x may be float16, bfloat16, float32 or float64. Made by `AdderLinear.quantize()`.
    """

    def __init__(self, source: nn.Module, scale: float):
        super().__init__(source.in_features, source.out_features, source.bias is not None, {})
        self._fill(source, scale)

    def forward(self, x: Tensor) -> Tensor:
        return self._finished(adder_linear_int8(x, self.weight, self.scale), x, (-1,))


def abs_max(name: str, tensor: Tensor) -> float:
    """Largest magnitude of a tensor; InputError unless it holds at least one number and only finite ones."""
    if not isinstance(tensor, Tensor) or not tensor.numel():
        got = f"of shape {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else f"a {type(tensor).__name__}"
        raise InputError(f"{name} is {got}; it must be a tensor with at least one number.")
    largest = float(tensor.detach().abs().max())
    if not math.isfinite(largest):
        raise InputError(f"{name} holds {largest}; the range of 8-bit integers can be taken from finite numbers only.")
    return largest


def quantize_adder(layer: nn.Module, input_abs_max: float | None = None, sample: Tensor | None = None) -> nn.Module:
    """The 8-bit layer of an `AdderConv2d` or `AdderLinear`; see `AdderConv2d.quantize`."""
    if (input_abs_max is None) == (sample is None):
        raise InputError("give quantize() exactly one of input_abs_max and sample.")
    if sample is None:
        number = input_abs_max.item() if isinstance(input_abs_max, Tensor) else input_abs_max
        largest = check_number("input_abs_max", number, minimum=0)
    else:
        largest = abs_max("sample", sample)
    with as_evaluated(layer):
        scale = max(largest, abs_max("weight", layer.weight)) / LEVELS
        quantized = QuantizedAdderConv2d if isinstance(layer, Conv2dGeometry) else QuantizedAdderLinear
        return quantized(layer, scale or 1.0)
