"""Shift layers: power-of-two weights over fixed-point activations (DeepShift; AutoShiftNet sec. 4.1 and 5.1).

mode="q" keeps a full-precision `weight` and rounds it in every forward; mode="ps" trains the exponent `shift` and the
ternary sign `sign` instead. A file written by `state_dict` holds these trained parameters; loading it into a layer of
the same options evaluates identically, since rounding happens in the forward and nowhere else.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from repro.errors import check_choice, check_flag
from repro.layers.geometry import (
    Conv2dGeometry,
    Device,
    LinearGeometry,
    as_evaluated,
    conv_arguments,
    like,
    reset_bias,
    take_over,
)
from repro.ops import (
    compose_shift_weight,
    fixed_point_round,
    round_to_power_of_two,
    shift_conv2d,
    shift_exponents,
    shift_linear,
)
from repro.ops.dispatch import check_backend
from repro.ops.quantize import FIXED_POINT, check_fixed_point

MODES = ("q", "ps")
Bits = int | tuple[int, int] | None


class _Shift(nn.Module):
    """Parameters, initialisation and options of both shift layers."""

    packed_form: type[nn.Module]
    """The layer's form for inference; `repro.layers.packed`, which builds on this module, puts it here."""

    def _make(self, mode, weight_bits, activation_bits, stochastic, gradient, backend, factory) -> None:
        check_backend(backend)
        shift_exponents(weight_bits)
        self.mode = check_choice("mode", mode, MODES)
        self.weight_bits = weight_bits
        self.activation_bits = check_fixed_point(activation_bits)
        self.stochastic = check_flag("stochastic", stochastic)
        self.gradient = check_choice("gradient", gradient, ("paper", "chain"))
        self.backend = backend
        for name in ("weight",) if mode == "q" else ("shift", "sign"):
            self.register_parameter(name, nn.Parameter(torch.empty(self.weight_shape, **factory)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """mode="q": the weights of `torch.nn.Conv2d`. mode="ps": P uniform in [-10, -1], S in [-1, 1], as DeepShift's
        convolutions; its linear layers draw P from the whole range of their bits, [-14, 0] at 5, ours do not."""
        if self.mode == "q":
            nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        else:
            low = max(-10, shift_exponents(self.weight_bits)[0])
            nn.init.uniform_(self.shift, low, max(low, -1))
            nn.init.uniform_(self.sign, -1, 1)
        reset_bias(self.bias, self.weight_shape)

    def quantized_weight(self) -> Tensor:
        """The weight that the forward uses, every value 0 or ±2^P; differentiable (straight through)."""
        if self.mode == "ps":
            options = {"gradient": self.gradient, "backend": self.backend}
            return compose_shift_weight(self.shift, self.sign, self.weight_bits, **options)
        return round_to_power_of_two(self.weight, self.weight_bits, stochastic=self.stochastic and self.training)

    def quantized_bias(self) -> Tensor | None:
        """The bias that the forward uses: rounded to the activations' fixed-point format, or None."""
        if self.bias is None or self.activation_bits is None:
            return self.bias
        return fixed_point_round(self.bias, *self.activation_bits, backend=self.backend)

    def _options(self) -> dict:
        return {"weight_bits": None, "activation_bits": self.activation_bits, "backend": self.backend}

    @torch.no_grad()
    def _copy_from(self, source: nn.Module) -> nn.Module:
        if self.mode == "q":
            take_over(self.weight, source.weight)
        else:
            p_min, p_max = shift_exponents(self.weight_bits)
            self.shift.copy_(torch.log2(source.weight.abs()).clamp(p_min, p_max))
            self.sign.copy_(source.weight.sign())
            for parameter in (self.shift, self.sign):
                parameter.requires_grad_(source.weight.requires_grad)
        take_over(self.bias, source.bias)
        return self.train(source.training)

    @torch.no_grad()
    def _copy_to(self, target: nn.Module) -> nn.Module:
        target.weight.copy_(self._evaluated_weight())
        if self.bias is not None:
            target.bias.copy_(self.quantized_bias())
            target.bias.requires_grad_(self.bias.requires_grad)
        trained = any(parameter.requires_grad for name, parameter in self.named_parameters() if name != "bias")
        target.weight.requires_grad_(trained)
        return target.train(self.training)

    def _evaluated_weight(self) -> Tensor:
        with as_evaluated(self):
            return self.quantized_weight()

    def quantize(self, arithmetic: str = "product") -> nn.Module:
        """The layer on packed 4- or 5-bit codes for inference (`repro.layers.packed`); its weights, exactly.

        Args:
            arithmetic: "product" (codes decoded in front of a product) or "fixed" (integer shifts and additions).
        Raises: InputError if weight_bits is not 4 or 5, or the activations' format does not suit the arithmetic.
        """
        return self.packed_form(self, arithmetic)

    def extra_repr(self) -> str:
        text = f"{super().extra_repr()}, mode={self.mode!r}, weight_bits={self.weight_bits}"
        if self.activation_bits != FIXED_POINT:
            text += f", activation_bits={self.activation_bits}"
        return text + (", stochastic=True" if self.stochastic else "")


class ShiftConv2d(_Shift, Conv2dGeometry):
    """`torch.nn.Conv2d` with power-of-two weights: (N, C_in, H, W) to (N, C_out, H_out, W_out).

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, device, dtype: as in
            `torch.nn.Conv2d`, zero padding.
        mode: "q" (rounded weight) or "ps" (trainable exponent P and sign S).
        weight_bits: 2 to 8, sign included (`repro.ops.shift_exponents`).
        activation_bits: fixed-point format of activations and bias: (integer, fraction), n or None; 16.16.
        stochastic: mode "q": round exponents stochastically while training (not in evaluation).
        gradient: mode "ps": "paper" (AutoShiftNet eq. 6) or "chain" (`repro.ops.compose_shift_weight`).
        backend: "auto", "reference", "cpu" or "triton" (`repro.ops.shift_conv2d`).
    State dict: mode "q": `weight` (C_out, C_in / groups, K_h, K_w), full precision, and `bias`; mode "ps": `shift` and
        `sign` of that shape, and `bias`.
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
        mode: str = "q",
        weight_bits: int = 5,
        activation_bits: Bits = FIXED_POINT,
        stochastic: bool = False,
        gradient: str = "paper",
        backend: str = "auto",
        device: Device = None,
        dtype: torch.dtype | None = None,
    ):
        factory = {"device": device, "dtype": dtype}
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, factory)
        self._make(mode, weight_bits, activation_bits, stochastic, gradient, backend, factory)

    def forward(self, x: Tensor) -> Tensor:
        return shift_conv2d(x, self.quantized_weight(), self.bias, **self.geometry(), **self._options())

    @classmethod
    def from_float(cls, conv: nn.Conv2d, **options: Any) -> ShiftConv2d:
        """A shift layer of the same geometry and weights; `options` as in the constructor (mode, weight_bits, ...)."""
        return cls(*conv_arguments(conv), **like(conv.weight), **options)._copy_from(conv)  # type: ignore[misc]

    def to_conv(self) -> nn.Conv2d:
        """An ordinary convolution with the rounded weight and bias; activations are no longer rounded."""
        return self._copy_to(nn.Conv2d(*conv_arguments(self), **like(next(self.parameters()))))


class ShiftLinear(_Shift, LinearGeometry):
    """`torch.nn.Linear` with power-of-two weights: (..., C_in) to (..., C_out).

    Args: in_features, out_features, bias, device, dtype as in `torch.nn.Linear`; the others as in `ShiftConv2d`.
    State dict: `weight` (C_out, C_in) in mode "q", `shift` and `sign` in mode "ps"; `bias` (C_out,).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        mode: str = "q",
        weight_bits: int = 5,
        activation_bits: Bits = FIXED_POINT,
        stochastic: bool = False,
        gradient: str = "paper",
        backend: str = "auto",
        device: Device = None,
        dtype: torch.dtype | None = None,
    ):
        factory = {"device": device, "dtype": dtype}
        super().__init__(in_features, out_features, bias, factory)
        self._make(mode, weight_bits, activation_bits, stochastic, gradient, backend, factory)

    def forward(self, x: Tensor) -> Tensor:
        return shift_linear(x, self.quantized_weight(), self.bias, **self._options())

    @classmethod
    def from_float(cls, linear: nn.Linear, **options: Any) -> ShiftLinear:
        """A shift layer of the same size and weights; `options` as in the constructor."""
        bias = linear.bias is not None
        layer = cls(linear.in_features, linear.out_features, bias, **like(linear.weight), **options)
        return layer._copy_from(linear)

    def to_conv(self) -> nn.Linear:
        """An ordinary linear layer with the rounded weight and bias; activations are no longer rounded."""
        bias = self.bias is not None
        return self._copy_to(nn.Linear(self.in_features, self.out_features, bias, **like(next(self.parameters()))))
