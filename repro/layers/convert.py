"""Ordinary models to adder, shift or shiftadd layers, and shift models back, with a report of what was done.

model = convert(torchvision_model, to="shift", skip=("conv1", "fc"), weight_bits=4)
print(model.conversion_report)
"""

from __future__ import annotations

import copy
import fnmatch
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils import parametrize

from repro.errors import InputError, check_choice, check_flag, nearest
from repro.layers.adder import AdderConv2d, AdderLinear
from repro.layers.factory import CONV2D, LINEAR, OPERATORS, check_op_options
from repro.layers.geometry import REMAKES
from repro.layers.norms import without_norm
from repro.layers.replace import keep_ties, lost_hooks, replace_layers
from repro.layers.shift import ShiftConv2d, ShiftLinear
from repro.layers.shiftadd import ShiftAddConv2d, ShiftAddLinear

_ADDERS = (AdderConv2d, AdderLinear, ShiftAddConv2d, ShiftAddLinear)
Skip = str | type | Callable[[str, nn.Module], bool]


@dataclass(frozen=True)
class ConversionRow:
    """One layer with weights: its name, its class before, its class after (None if kept), why kept or what was lost."""

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
            done = f"{row.source} -> {row.target}" if row.target else f"{row.source} kept"
            done += f": {row.reason}" if row.reason else ""
            lines.append(f"  {row.name:<{width}}  {done}")
        return "\n".join(lines)


def convert(
    model: nn.Module, to: str, *, skip: Skip | Iterable[Skip] = (), inplace: bool = False, **op_options: Any
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
        over (rounding happens in the forward) with their `requires_grad`; a layer used in several places stays one
        layer, and a parameter shared by several layers stays shared. Hooks and training modes go over too. Layers whose
        weight is remade before every forward (pruning, weight norm, spectral norm, other parametrisations) are kept.
        What could not be carried over is in the report.
    Warns: of adder layers that lead to something else before a normalisation (`repro.layers.norms`).
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
    rules: list[Any] = list(skip) if isinstance(skip, (list, tuple, set, frozenset)) else [skip]
    _check_skip(model, rules)
    if not check_flag("inplace", inplace):
        model = copy.deepcopy(model, _computed_tensors(model))
    found, replaced = [], {}
    for name, module in list(model.named_modules()):
        if not _has_weights(module):
            continue
        new, reason = (None, "skipped") if _skipped(name, module, rules) else _convert_one(module, to, op_options)
        found.append((name, module, reason))
        if new is not None:
            replaced[module] = new
    ties = keep_ties(model, replaced)
    rows = []
    for name, module, reason in found:
        new = replaced.get(module)
        lost = [part for part in (ties.get(module), new is not None and lost_hooks(module)) if part]
        reason = reason or "; ".join(lost)
        rows.append(ConversionRow(name or "(model)", type(module).__name__, new and type(new).__name__, reason))
    model = replace_layers(model, replaced)
    model.conversion_report = ConversionReport(to, tuple(rows))
    _warn_without_norms(model, set(replaced.values()))
    return model


def _computed_tensors(model: nn.Module) -> dict:
    """Copies of weights that hooks compute before every forward, which torch's deep copy refuses to make."""
    values = [value for module in model.modules() for value in vars(module).values()]
    return {id(value): value.detach().clone() for value in values if isinstance(value, Tensor) and not value.is_leaf}


def _warn_without_norms(model: nn.Module, new: set[nn.Module]) -> None:
    if model in new:  # a bare layer: what stands behind it is the caller's
        return
    adders = {layer for layer in new if isinstance(layer, _ADDERS)}
    bare = without_norm(model, adders) if adders else []
    if bare:
        shown = ", ".join(bare[:4]) + (f" and {len(bare) - 4} more" if len(bare) > 4 else "")
        warnings.warn(
            f"adder layers without a normalisation behind them: {shown}; their outputs are never positive before the "
            "bias and grow with the fan-in, so put a batch or layer normalisation behind each, or skip them.",
            stacklevel=3,
        )


def to_conv(model: nn.Module, *, skip: Skip | Iterable[Skip] = (), inplace: bool = False) -> nn.Module:
    """Shift layers become ordinary layers with the rounded weights and bias; others stay. Report as in `convert`.

    Outputs agree up to the rounding of activations (2^-17 per activation at 16.16), which ordinary layers do not do.
    """
    return convert(model, "conv", skip=skip, inplace=inplace)


def _has_weights(module: nn.Module) -> bool:
    """Layers with a filter or matrix of their own; not normalisations, and not containers of such layers."""
    if isinstance(module, parametrize.ParametrizationList):
        return False
    if _is_lazy(module):
        return True
    own = module.parameters(recurse=False)
    return parametrize.is_parametrized(module, "weight") or any(parameter.ndim >= 2 for parameter in own)


def _is_lazy(module: nn.Module) -> bool:
    return isinstance(module, LazyModuleMixin) and module.has_uninitialized_params()


def _remade_by(module: nn.Module) -> list[str]:
    """Names of what makes the layer's weight anew before every forward."""
    names = [type(hook).__name__ for hook in module._forward_pre_hooks.values() if isinstance(hook, REMAKES)]
    for name in getattr(module, "parametrizations", {}):
        names += [type(step).__name__.lstrip("_") for step in module.parametrizations[name]]
    return names


def _convert_one(module: nn.Module, to: str, options: dict) -> tuple[nn.Module | None, str]:
    if _is_lazy(module):
        return None, "its sizes are not known before a forward; run the model once, then convert"
    if remade := _remade_by(module):
        return None, f"its weight is remade before every forward ({', '.join(remade)}); remove that, then convert"
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
