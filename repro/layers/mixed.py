"""Multiplication-free and ordinary filters side by side over one input (ShiftAddAug sec. 3.2, eq. 4).

Layers of fixed parts, for networks that are built of them. The paper's trainings take slices of one wide weight
(`repro.augment.layers`), which `repro.augment.augment` puts into any network.

Channels split into a target part t (first) and an augmented part a; MFConv is a shift or adder layer, MConv a
convolution:

    dense      Y_t = MFConv(X_t) + MConv(X_a)     Y_a = MConv(X)       Y = cat(Y_t, Y_a)
    depthwise  Y_t = MFConv(X_t)                  Y_a = MConv(X_a)     Y = cat(Y_t, Y_a)
    classifier Y   = ShiftLinear(X_t) + Linear(X_a)

What is shared. A shift layer computes a convolution with rounded weights, so the four blocks of a dense pair are one
filter bank over X and run as one convolution: one im2col, one output, no addition and no concatenation pass. Y_a then
sees X_t rounded to the fixed-point grid, as Y_t does (a difference of 2^-17 per activation at 16.16 in the part that is
thrown away after training). An adder layer computes no product, so its pair runs the adder kernel beside the
convolutions, which write into one output.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from repro.errors import InputError, check_choice, check_int
from repro.layers.factory import OPERATORS, make_conv2d, make_linear
from repro.layers.geometry import reset_bias
from repro.layers.shift import ShiftConv2d
from repro.ops import fixed_point_round
from repro.ops.dispatch import check_images, pair


class MixedConv2d(nn.Module):
    """A target layer of operator `op` widened by ordinary filters, in training; `target` alone is deployed.

    Args:
        op: operator of the target part: "shift", "adder", "shiftadd" or "conv".
        in_channels, out_channels: (target, augmented) channels; augmented may be 0.
        kernel_size, stride, padding, dilation: as in `torch.nn.Conv2d`; padding as numbers.
        depthwise: one filter per channel, in and out channels equal part by part.
        bias: of the target part only ("preferentially bounded to multiplication-free operators").
        op_options: keyword options of the target layer.
    State dict: `target.*` as in the target layer; `cross` (C_t_out, C_a_in, K_h, K_w), from augmented inputs to target
        outputs (dense only); `augmented` (C_a_out, C_in or 1, K_h, K_w).
    """

    def __init__(
        self,
        op: str,
        in_channels: tuple[int, int],
        out_channels: tuple[int, int],
        kernel_size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        depthwise: bool = False,
        bias: bool = False,
        **op_options: Any,
    ):
        super().__init__()
        check_choice("op", op, OPERATORS)
        self.in_channels, self.out_channels = _parts("in_channels", in_channels), _parts("out_channels", out_channels)
        if depthwise and self.in_channels != self.out_channels:
            raise InputError(f"out_channels={out_channels} must equal in_channels={in_channels} in a depthwise layer.")
        self.depthwise = depthwise
        self.stride, self.dilation = pair("stride", stride, 1), pair("dilation", dilation, 1)
        self.padding, kernel_size = pair("padding", padding, 0), pair("kernel_size", kernel_size, 1)
        (in_t, in_a), (out_t, out_a) = self.in_channels, self.out_channels
        geometry = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        groups = in_t if depthwise else 1
        self.target = make_conv2d(op, in_t, out_t, kernel_size, groups=groups, bias=bias, **geometry, **op_options)
        like = next(self.target.parameters())
        self.cross = _filters(like, out_t, 0 if depthwise else in_a, kernel_size)
        self.augmented = _filters(like, out_a, 1 if depthwise else in_t + in_a, kernel_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The ordinary filters start as those of `torch.nn.Conv2d` over all inputs; the target keeps its own start."""
        for weight in (self.cross, self.augmented):
            if weight is not None:
                fan_in = (1 if self.depthwise else sum(self.in_channels)) * weight[0, 0].numel()
                nn.init.uniform_(weight, -(fan_in**-0.5), fan_in**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_t_in + C_a_in, H, W) to (N, C_t_out + C_a_out, H_out, W_out), target channels first."""
        check_images(x, sum(self.in_channels))
        if self.cross is None and self.augmented is None:
            return self.target(x[:, : self.in_channels[0]])
        fused = type(self.target) in (ShiftConv2d, nn.Conv2d)
        return self._one_convolution(x) if fused else self._side_by_side(x)

    def _settings(self, groups: int) -> tuple:
        return self.stride, self.padding, self.dilation, groups

    def _one_convolution(self, x: Tensor) -> Tensor:
        target, (in_t, in_a) = self.target, self.in_channels
        if isinstance(target, ShiftConv2d):
            weight, bias = target.quantized_weight(), target.quantized_bias()
            if target.activation_bits is not None:
                rounded = fixed_point_round(x[:, :in_t], *target.activation_bits, backend=target.backend)
                x = torch.cat([rounded, x[:, in_t:]], 1) if in_a else rounded
        else:
            weight, bias = target.weight, target.bias
        if self.cross is not None:
            weight = torch.cat([weight, self.cross], 1)
        if self.augmented is not None:
            weight = torch.cat([weight, self.augmented], 0)
            bias = None if bias is None else functional.pad(bias, (0, self.out_channels[1]))
        return functional.conv2d(x, weight, bias, *self._settings(x.shape[1] if self.depthwise else 1))

    def _side_by_side(self, x: Tensor) -> Tensor:
        in_t, in_a = self.in_channels
        y = self.target(x[:, :in_t])
        if self.cross is not None:
            y = y + functional.conv2d(x[:, in_t:], self.cross, None, *self._settings(1))
        if self.augmented is None:
            return y
        source, groups = (x[:, in_t:], in_a) if self.depthwise else (x, 1)
        return torch.cat([y, functional.conv2d(source, self.augmented, None, *self._settings(groups))], 1)

    def extra_repr(self) -> str:
        return f"in_channels={self.in_channels}, out_channels={self.out_channels}, depthwise={self.depthwise}"


class MixedLinear(nn.Module):
    """The classifier of an augmented network: Y = target(X_t) + Linear(X_a); nothing is added to the output.

    Args:
        op: operator of the target part.
        in_features: (target, augmented); augmented may be 0.
        out_features: outputs.
        bias: of the target part.
    State dict: `target.*`, and `cross` (out_features, augmented in_features).
    """

    def __init__(
        self, op: str, in_features: tuple[int, int], out_features: int, *, bias: bool = True, **op_options: Any
    ):
        super().__init__()
        self.in_features = _parts("in_features", in_features)
        self.target = make_linear(op, self.in_features[0], out_features, bias=bias, **op_options)
        self.cross = _filters(next(self.target.parameters()), out_features, self.in_features[1], ())
        if self.cross is not None:
            reset_bias(self.cross, (out_features, sum(self.in_features)))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C_t + C_a) to (..., out_features)."""
        y = self.target(x[..., : self.in_features[0]])
        return y if self.cross is None else y + functional.linear(x[..., self.in_features[0] :], self.cross)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}"


def _parts(name: str, value: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise InputError(f"{name}={value!r} is not allowed; it must be (target, augmented).")
    return check_int(f"{name}[0]", value[0], minimum=1), check_int(f"{name}[1]", value[1], minimum=0)


def _filters(like: Tensor, outputs: int, inputs: int, kernel_size: tuple[int, ...]) -> nn.Parameter | None:
    if outputs == 0 or inputs == 0:
        return None
    return nn.Parameter(torch.empty((outputs, inputs, *kernel_size), device=like.device, dtype=like.dtype))
