"""What every two-dimensional layer shares: the geometry of `torch.nn.Conv2d`, checked once, and its printed form."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.utils import fusion
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from repro.errors import InputError, check_flag, check_int
from repro.ops import dispatch

Device = torch.device | str | int | None

REMAKES = (BasePruningMethod, SpectralNorm, WeightNorm)
"""Hooks of torch that set a layer's weight anew before every forward."""


class WeightedLayer(nn.Module):
    """A layer whose weight takes no factor: a product folded into it changes what it computes."""

    def __setattr__(self, name: str, value: object) -> None:
        """As `nn.Module`; InputError where `torch.nn.utils.fusion` would multiply the weight."""
        if name == "weight" and sys._getframe(1).f_globals.get("__name__") == fusion.__name__:
            raise InputError(
                f"a batch normalisation cannot be fused into a {type(self).__name__}, whose weight is not multiplied; "
                "keep it behind the layer."
            )
        super().__setattr__(name, value)


class Conv2dGeometry(WeightedLayer):
    """Argument order, attributes and printed form of `torch.nn.Conv2d`; no parameters of its own but the bias.

    Attributes: in_channels, out_channels, groups (int); kernel_size, stride, dilation (int, int); padding (int, int),
    "same" or "valid"; bias (a parameter or None).
    Raises: InputError for values that do not fit, such as "same" with a stride, as `torch.nn.Conv2d` does.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, factory):
        super().__init__()
        self.groups = check_int("groups", groups, minimum=1)
        self.in_channels = _multiple("in_channels", in_channels, self.groups)
        self.out_channels = _multiple("out_channels", out_channels, self.groups)
        self.kernel_size = dispatch.pair("kernel_size", kernel_size, 1)
        self.stride = dispatch.pair("stride", stride, 1)
        self.dilation = dispatch.pair("dilation", dilation, 1)
        if isinstance(padding, str):
            self.padding = dispatch.check_padding_name(padding, self.stride)
        else:
            self.padding = dispatch.pair("padding", padding, 0)  # type: ignore[assignment]
        if check_flag("bias", bias):
            self.bias = nn.Parameter(torch.empty(self.out_channels, **factory))
        else:
            self.register_parameter("bias", None)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(C_out, C_in / groups, K_h, K_w)."""
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    def geometry(self) -> dict:
        """stride, padding, dilation and groups as the operators take them."""
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, default in (("padding", (0, 0)), ("dilation", (1, 1)), ("groups", 1)):
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        return text + ("" if self.bias is not None else ", bias=False")


class LinearGeometry(WeightedLayer):
    """Argument order, attributes and printed form of `torch.nn.Linear`; no parameters of its own but the bias."""

    def __init__(self, in_features, out_features, bias, factory):
        super().__init__()
        self.in_features = check_int("in_features", in_features, minimum=1)
        self.out_features = check_int("out_features", out_features, minimum=1)
        if check_flag("bias", bias):
            self.bias = nn.Parameter(torch.empty(self.out_features, **factory))
        else:
            self.register_parameter("bias", None)

    @property
    def weight_shape(self) -> tuple[int, int]:
        """(C_out, C_in)."""
        return self.out_features, self.in_features

    def geometry(self) -> dict:
        """A linear operator has no settings."""
        return {}

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def take_over(target: nn.Parameter | None, source: Any) -> None:
    """Values and `requires_grad` of `source`; nothing where there is no such parameter."""
    if target is not None:
        target.copy_(source)
        target.requires_grad_(source.requires_grad)


@contextmanager
def as_evaluated(layer: nn.Module) -> Iterator[None]:
    """Inside, `layer.weight` is what evaluation uses, also where pruning or a norm makes it before every forward."""
    training, layer.training = layer.training, False
    try:
        for hook in layer._forward_pre_hooks.values():
            if isinstance(hook, REMAKES):
                hook(layer, ())
        yield
    finally:
        layer.training = training


def reset_bias(bias: torch.Tensor | None, weight_shape: tuple[int, ...]) -> None:
    """Uniform within ±1 / sqrt(fan-in), as `torch.nn.Conv2d` and `torch.nn.Linear` do."""
    if bias is not None:
        bound = 1 / math.sqrt(math.prod(weight_shape[1:]))
        nn.init.uniform_(bias, -bound, bound)


def conv_arguments(conv: nn.Conv2d) -> Any:
    """The positional arguments, kernel size to bias, that make a layer of the same geometry as `conv`."""
    return (
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
        conv.bias is not None,
    )


def like(tensor: torch.Tensor) -> dict:
    """device and dtype of `tensor`, as keyword arguments."""
    return {"device": tensor.device, "dtype": tensor.dtype}


def _multiple(name: str, value: int, groups: int) -> int:
    value = check_int(name, value, minimum=1)
    if value % groups:
        raise InputError(f"{name}={value} is not allowed with groups={groups}; it must be a multiple of groups.")
    return value
