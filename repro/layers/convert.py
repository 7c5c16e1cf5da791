"""Ordinary models to adder, shift or shiftadd layers, and shift models back, with a report of what was done.

model = convert(torchvision_model, to="shift", skip=("conv1", "fc"), weight_bits=4)
print(model.conversion_report)
"""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import nn

from repro.errors import InputError, check_choice, nearest
from repro.layers.adder import AdderConv2d, AdderLinear
from repro.layers.factory import CONV2D, LINEAR, OPERATORS, check_op_options
from repro.layers.shift import ShiftConv2d, ShiftLinear

Skip = str | type | Callable[[str, nn.Module], bool]


@dataclass(frozen=True)
class ConversionRow:
    """One layer with weights: its name, its class before, its class after (None if kept), and why it was kept."""

    name: str
    source: str
    target: str | None
    reason: str


@dataclass(frozen=True)
class ConversionReport:
    """What `convert` did, layer by layer; prints as a table."""

    to: str
    rows: tuple[ConversionRow, ...]

    @property
    def converted(self) -> tuple[str, ...]:
        """Names of the layers that were replaced."""
        return tuple(row.name for row in self.rows if row.target is not None)

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the layers with weights that were left as they are."""
        return tuple(row.name for row in self.rows if row.target is None)

    def __str__(self) -> str:
        lines = [f"converted {len(self.converted)} of {len(self.rows)} layers to {self.to}"]
        width = max((len(row.name) for row in self.rows), default=0)
        for row in self.rows:
            done = f"{row.source} -> {row.target}" if row.target else f"{row.source} kept: {row.reason}"
            lines.append(f"  {row.name:<{width}}  {done}")
        return "\n".join(lines)


def convert(
    model: nn.Module, to: str, *, skip: Skip | Iterable[Skip] = (), inplace: bool = False, **op_options
) -> nn.Module:
    """Replace the convolutions and linear layers of `model` by those of another operator.

    Args:
        model: any module; only exact `torch.nn.Conv2d` and `torch.nn.Linear` layers are converted (subclasses may do
            more than their name says, so they are kept and reported).
        to: "adder", "shift" or "shiftadd"; "conv" turns shift layers back (as `to_conv`).
        skip: what to keep: names or patterns ("conv1", "*.downsample.*"), classes, or functions (name, module) -> bool.
        inplace: replace inside `model`; by default a deep copy is converted and `model` stays as it is.
        op_options: options of the new layers, e.g. weight_bits=4, mode="ps", backend="reference", copy_weight=False.
    Returns: the converted model, with the `ConversionReport` as its attribute `conversion_report`. Weights are carried
        over (rounding happens in the forward); a layer used in several places stays one layer.
    Raises: InputError for an unknown operator or option, or a name in `skip` that matches no layer.
    """
    check_choice("to", to, OPERATORS)
    if not isinstance(model, nn.Module):
        raise InputError(f"model is a {type(model).__name__}; it must be a torch.nn.Module.")
    if to != "conv":
        options = {name: value for name, value in op_options.items() if not (name == "copy_weight" and to == "adder")}
        check_op_options(to, CONV2D, options)
    elif op_options:
        raise InputError(f"option {next(iter(op_options))!r} is not known to to='conv'; it takes none.")
    rules = list(skip) if isinstance(skip, (list, tuple, set, frozenset)) else [skip]
    _check_skip(model, rules)
    if not inplace:
        model = copy.deepcopy(model)
    rows, replaced = [], {}
    for name, module in list(model.named_modules()):
        if not _has_weights(module):
            continue
        new, reason = (None, "skipped") if _skipped(name, module, rules) else _convert_one(module, to, op_options)
        rows.append(ConversionRow(name or "(model)", type(module).__name__, new and type(new).__name__, reason))
        if new is not None:
            replaced[module] = new
    model = _replace(model, replaced)
    model.conversion_report = ConversionReport(to, tuple(rows))
    return model


def to_conv(model: nn.Module, *, skip: Skip | Iterable[Skip] = (), inplace: bool = False) -> nn.Module:
    """Shift layers become ordinary layers with the rounded weights and bias; others stay. Report as in `convert`.

    Outputs agree up to the rounding of activations (2^-17 per activation at 16.16), which ordinary layers do not do.
    """
    return convert(model, "conv", skip=skip, inplace=inplace)


def _has_weights(module: nn.Module) -> bool:
    """Layers with a filter or matrix of their own; not normalisations, and not containers of such layers."""
    return any(parameter.ndim >= 2 for parameter in module.parameters(recurse=False))


def _convert_one(module: nn.Module, to: str, options: dict) -> tuple[nn.Module | None, str]:
    if to == "conv":
        if isinstance(module, (ShiftConv2d, ShiftLinear)):
            return module.to_conv(), ""
        if isinstance(module, (AdderConv2d, AdderLinear)):
            return None, "an adder layer has no equivalent product"
        return None, f"{type(module).__name__} is not a shift layer"
    if type(module) is nn.Conv2d:
        if module.padding_mode != "zeros":
            return None, f"padding_mode={module.padding_mode!r} is not supported"
        return CONV2D[to].from_float(module, **options), ""
    if type(module) is nn.Linear:
        return LINEAR[to].from_float(module, **options), ""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        return None, f"{type(module).__name__} is a subclass, which may compute something else"
    return None, f"{type(module).__name__} has no {to} form here"


def _replace(model: nn.Module, replaced: dict[nn.Module, nn.Module]) -> nn.Module:
    if model in replaced:
        return replaced[model]
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child in replaced:
                setattr(parent, name, replaced[child])
    return model


def _skipped(name: str, module: nn.Module, rules: list[Skip]) -> bool:
    for rule in rules:
        if isinstance(rule, str):
            if fnmatch.fnmatchcase(name, rule):
                return True
        elif isinstance(rule, type):
            if isinstance(module, rule):
                return True
        elif rule(name, module):
            return True
    return False


def _check_skip(model: nn.Module, rules: list[Skip]) -> None:
    names = [name for name, module in model.named_modules() if _has_weights(module)]
    for rule in rules:
        if not (isinstance(rule, (str, type)) or callable(rule)):
            raise InputError(f"skip={rule!r} is not allowed; give names, classes or functions (name, module) -> bool.")
        if isinstance(rule, str) and not any(fnmatch.fnmatchcase(name, rule) for name in names):
            raise InputError(f"skip={rule!r} matches no layer with weights of this model.{nearest(rule, names)}")
