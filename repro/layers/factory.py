"""One function per shape that makes a layer of the operator asked for by name."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from repro.errors import InputError, check_choice, nearest
from repro.layers.adder import AdderConv2d, AdderLinear
from repro.layers.shift import ShiftConv2d, ShiftLinear
from repro.layers.shiftadd import ShiftAddConv2d, ShiftAddLinear

OPERATORS = ("conv", "shift", "adder", "shiftadd")
"""Operators by name: `make_conv2d` and `make_linear` take them."""
CONV2D = {"conv": nn.Conv2d, "shift": ShiftConv2d, "adder": AdderConv2d, "shiftadd": ShiftAddConv2d}
LINEAR = {"conv": nn.Linear, "shift": ShiftLinear, "adder": AdderLinear, "shiftadd": ShiftAddLinear}

_GEOMETRY = {
    *("self", "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias"),
    *("in_features", "out_features"),
}


def check_op_options(op: str, layers: dict, options: dict) -> None:
    """Raise InputError, naming the nearest allowed option, if the layer class of `op` does not know one."""
    allowed = _options(layers[op])
    if op == "shiftadd":
        allowed |= _options(layers["shift"])
    for name in options:
        if name not in allowed:
            raise InputError(
                f"option {name!r} is not known to op={op!r}; allowed are: {', '.join(sorted(allowed))}."
                f"{nearest(name, allowed)}"
            )


def _options(layer: type) -> set[str]:
    return set(inspect.signature(layer.__init__).parameters) - _GEOMETRY - {"shift_options"}  # type: ignore[misc]


def make_conv2d(
    op: str,
    in_channels: int,
    out_channels: int,
    kernel_size: int | tuple[int, int],
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] | str = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    bias: bool = False,
    **op_options: Any,
) -> nn.Module:
    """A two-dimensional layer: `torch.nn.Conv2d`, `ShiftConv2d`, `AdderConv2d` or `ShiftAddConv2d`.

    Args:
        op: one of OPERATORS.
        op_options: keyword options of that class, e.g. weight_bits=4 for "shift".
    Raises: InputError for an unknown op or option, with the nearest name.
    """
    check_choice("op", op, OPERATORS)
    check_op_options(op, CONV2D, op_options)
    return CONV2D[op](in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, **op_options)


def make_linear(op: str, in_features: int, out_features: int, *, bias: bool = True, **op_options: Any) -> nn.Module:
    """A linear layer: `torch.nn.Linear`, `ShiftLinear`, `AdderLinear` or `ShiftAddLinear`; as `make_conv2d`."""
    check_choice("op", op, OPERATORS)
    check_op_options(op, LINEAR, op_options)
    return LINEAR[op](in_features, out_features, bias, **op_options)
