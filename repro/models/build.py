"""How every model gets its layers: one `Builder` decides which operator a layer uses and makes it.

A model never names an operator. It asks its builder for a layer with a *name* (the module path, "blocks.3.expand.conv")
and a *role*, and the builder answers with a convolution, shift or adder layer. `op` may be

    a name       "adder": every layer except those whose role is in `keep`;
    a mapping    {"depthwise": "shift", "blocks.3.*": "adder", "*": "conv"}: keys are roles or layer-name patterns,
                 the first that matches decides, a layer that none matches stays a convolution;
    a callable   (name, role) -> operator.

`keep` lists the roles (or name patterns) that stay multiplicative when `op` is a name; by default it is what the paper
of the model family does. `keep=()` replaces everything.

Layers carry three attributes for the cost counters: `cost_role` (below), `cost_norm` (a normalisation that follows and
cannot be folded into an adder layer) and `layer_name`.
"""

from __future__ import annotations

import fnmatch
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from repro import layers
from repro.errors import InputError, check_choice, check_int, nearest

OPERATORS = ("conv", "shift", "adder", "shiftadd")
"""Operators that a network may be built with, by name."""

ROLES = {
    "stem": "convolutions that read the image",
    "conv": "ordinary k x k convolutions",
    "pointwise": "1x1 convolutions",
    "depthwise": "depthwise convolutions",
    "primary": "the 1x1 operation of a ghost module",
    "cheap": "the grouped operation of a ghost module",
    "shortcut": "projections on the residual path",
    "se": "squeeze-and-excitation",
    "attention": "projections in and out of an attention layer",
    "feedforward": "position-wise layers of a transformer",
    "position": "depthwise convolutions that encode position",
    "head": "wide layers between the last block and the classifier",
    "classifier": "the layer that gives the class scores",
    "auxiliary": "the second classifier used in training only",
}
"""Role of a layer in a network -> what it means; `keep` and `op` of `create` take them."""

Operator = str | Mapping[str, str] | Callable[[str, str], str]


def round_channels(channels: float, divisor: int = 8, minimum: int | None = None) -> int:
    """Nearest multiple of `divisor`, one step up where rounding would lose more than 10 % (MobileNet's rule)."""
    rounded = max(minimum or divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def check_width(width: object) -> float:
    """Return `width` as a float if it is a usable width multiplier."""
    if isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width <= 16:
        raise InputError(f"width={width!r} is not allowed; it must be a number above 0 and at most 16.")
    return float(width)


class Builder:
    """Makes layers and chooses their operators; `at` descends one module path.

    Args:
        op: a name, mapping or callable, see the module's text.
        keep: roles or name patterns that stay convolutions when `op` is a name.
        op_options: options of `repro.layers.make_conv2d` per operator, e.g. {"shift": {"weight_bits": 4}}.
    Raises: InputError on an unknown operator, role or impossible channel and group counts.
    """

    def __init__(
        self,
        op: Operator = "conv",
        *,
        keep: Iterable[str] | None = None,
        op_options: Mapping[str, Mapping] | None = None,
    ):
        if isinstance(op, str):
            check_choice("op", op, OPERATORS)
        elif isinstance(op, Mapping):
            for key, operator in op.items():
                check_choice(f"op[{key!r}]", operator, OPERATORS)
        elif not callable(op):
            raise InputError(
                f"op={op!r} is not allowed; it must be one of {', '.join(OPERATORS)}, a mapping from role or "
                "layer name to one of them, or a function of (name, role)."
            )
        if keep is not None and not isinstance(op, str):
            raise InputError(
                "keep is only allowed when op is one operator name; a mapping or function decides every layer."
            )
        if isinstance(keep, str):
            keep = (keep,)
        keep = tuple(keep) if isinstance(keep, Iterable) else keep
        if keep is not None and not (isinstance(keep, tuple) and all(isinstance(name, str) for name in keep)):
            raise InputError(f"keep={keep!r} is not allowed; it must be names of roles or patterns of layer names.")
        given = {} if op_options is None else op_options
        if not isinstance(given, Mapping) or not all(isinstance(options, Mapping) for options in given.values()):
            raise InputError(
                f"op_options={op_options!r} is not allowed; it must be options by operator, such as "
                "{'shift': {'weight_bits': 4}}."
            )
        for operator in given:
            check_choice("op_options key", operator, OPERATORS)
        self.op = op
        self.keep = tuple(keep or ())
        self.op_options = dict(given)
        self.path = ""
        self.used: set[str] = set()

    def at(self, *names: object) -> Builder:
        """The builder of the submodule `names` below this one."""
        child = object.__new__(Builder)
        child.__dict__.update(self.__dict__)
        child.path = ".".join(filter(None, [self.path, *map(str, names)]))
        return child

    def operator(self, name: str, role: str) -> str:
        """The operator of the layer `name` (relative to this builder) with `role`."""
        full = f"{self.path}.{name}" if self.path else name
        if isinstance(self.op, str):
            if self.op == "conv":
                self.used.update(self.keep)
                return "conv"
            key = self._first_match(self.keep, full, role)
            return self.op if key is None else "conv"
        if isinstance(self.op, Mapping):
            key = self._first_match(self.op, full, role)
            return "conv" if key is None else self.op[key]
        return check_choice(f"op({full!r}, {role!r})", self.op(full, role), OPERATORS)

    def _first_match(self, keys: Iterable[str], name: str, role: str) -> str | None:
        for key in keys:
            if key == role or fnmatch.fnmatchcase(name, key):
                self.used.add(key)
                return key
        return None

    def check_all_used(self) -> None:
        """Refuse entries of `op` and `keep` that named no layer of the finished model: they are usually misspelt."""
        for option, keys in (("op", self.op if isinstance(self.op, Mapping) else ()), ("keep", self.keep)):
            for key in keys:
                if key not in self.used and key not in ROLES and key != "*":
                    raise InputError(
                        f"{option} has the entry {key!r}, which is neither a role nor matches a layer of this model."
                        f"{nearest(key, ROLES)}"
                    )

    def conv(
        self,
        name: str,
        role: str,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | None = None,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        norm: bool = False,
        op: str | None = None,
    ) -> nn.Module:
        """A 2-d layer.

        Args:
            padding: "same" for a square kernel where left out.
            norm: a normalisation follows and takes the output.
            op: the operator, whatever the builder would choose.
        Raises: InputError on impossible channels or groups.
        """
        full = f"{self.path}.{name}".lstrip(".")
        check_int(f"in_channels of layer {full}", in_channels, minimum=1)
        check_int(f"out_channels of layer {full}", out_channels, minimum=1)
        check_int(f"groups of layer {full}", groups, minimum=1)
        if in_channels % groups or out_channels % groups:
            raise InputError(
                f"groups={groups} of layer {full} is not allowed; it must divide both {in_channels} input "
                f"and {out_channels} output channels."
            )
        operator = op or self.operator(name, role)
        layer = layers.make_conv2d(
            operator,
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=dilation * (kernel_size // 2) if padding is None else padding,  # type: ignore[operator]
            dilation=dilation,
            groups=groups,
            bias=bias,
            **self.op_options.get(operator, {}),
        )
        return self._tag(layer, full, role, norm)

    def linear(
        self,
        name: str,
        role: str,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        norm: bool = False,
        op: str | None = None,
    ) -> nn.Module:
        """A fully connected layer; `norm` and `op` as in `conv`."""
        full = f"{self.path}.{name}".lstrip(".")
        check_int(f"in_features of layer {full}", in_features, minimum=1)
        check_int(f"out_features of layer {full}", out_features, minimum=1)
        operator = op or self.operator(name, role)
        layer = layers.make_linear(operator, in_features, out_features, bias=bias, **self.op_options.get(operator, {}))
        return self._tag(layer, full, role, norm)

    def conv_norm(
        self,
        name: str,
        role: str,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        act: str | None = None,
        norm: bool = True,
        **conv_options: Any,
    ) -> nn.Sequential:
        """Convolution, batch normalisation unless `norm` is False, and `act` if given: children conv, norm, act."""
        inside = self.at(name)
        conv = inside.conv("conv", role, in_channels, out_channels, kernel_size, norm=norm, **conv_options)
        parts = OrderedDict(conv=conv)
        if norm:
            parts["norm"] = nn.BatchNorm2d(out_channels)
        if act is not None:
            parts["act"] = activation(act)
        return nn.Sequential(parts)

    @staticmethod
    def _tag(layer: nn.Module, name: str, role: str, norm: bool) -> nn.Module:
        check_choice("role", role, ROLES)
        for part in layer.modules():  # a shiftadd layer has two
            part.cost_role = role
        layer.cost_norm = norm
        layer.layer_name = name
        return layer


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "relu6": lambda: nn.ReLU6(inplace=True),
    "hswish": lambda: nn.Hardswish(inplace=True),
    "silu": lambda: nn.SiLU(inplace=True),
}


def activation(name: str) -> nn.Module:
    """A fresh activation module by name."""
    return ACTIVATIONS[check_choice("act", name, ACTIVATIONS)]()


class SqueezeExcite(nn.Module):
    """Channel attention: pool, 1x1 to `hidden`, ReLU, 1x1 back, gate (Hu et al. 2018); both 1x1 have a bias."""

    def __init__(self, build: Builder, channels: int, hidden: int, gate: str = "hard"):
        super().__init__()
        self.reduce = build.conv("reduce", "se", channels, hidden, 1, bias=True)
        self.expand = build.conv("expand", "se", hidden, channels, 1, bias=True)
        self.gate = nn.Hardsigmoid() if check_choice("gate", gate, ("hard", "sigmoid")) == "hard" else nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        squeezed = x.mean((2, 3), keepdim=True)
        return x * self.gate(self.expand(torch.relu(self.reduce(squeezed))))


class MatMul(nn.Module):
    """a @ b as a module, so that counters see the products inside attention; batch dimensions lead."""

    cost_role = "matmul"

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a @ b


def init_weights(model: nn.Module) -> nn.Module:
    """Initialise in place: He normal for convolutions, N(0, 0.01^2) for linear layers, gamma 1 and beta 0 for norms.

    Adder and shift layers keep what their own constructors set (adder: N(0, 1), Chen et al. 2020).
    """
    for module in model.modules():
        if type(module) is nn.Conv2d:
            fan_out = math.prod(module.kernel_size) * module.out_channels / module.groups
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif type(module) is nn.Linear:
            nn.init.normal_(module.weight, 0.0, 0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    return model
