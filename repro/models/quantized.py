"""Which layers of a network are in the form of inference, told as plain values, and the same in a network built anew.

A recipe builds the form that is trained; a file of weights says beside it which layers were quantised since.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from repro.errors import InputError
from repro.layers import (
    AdderConv2d,
    AdderLinear,
    PackedShiftConv2d,
    PackedShiftLinear,
    QuantizedAdderConv2d,
    QuantizedAdderLinear,
    ShiftConv2d,
    ShiftLinear,
)
from repro.layers.packed import ARITHMETIC
from repro.layers.replace import replace_layers

TRAINED, INT8 = "trained", "int8"
FORMS = (INT8, *ARITHMETIC)


def quantized_layers(model: nn.Module) -> dict[str, str]:
    """Name -> "int8" (`quantize_adders`), or the arithmetic of packed codes (`quantize_shifts`)."""
    forms = {}
    for name, module in model.named_modules():
        if isinstance(module, (QuantizedAdderConv2d, QuantizedAdderLinear)):
            forms[name] = INT8
        elif isinstance(module, (PackedShiftConv2d, PackedShiftLinear)):
            forms[name] = module.arithmetic
    return forms


def quantize_layers(model: nn.Module, forms: Mapping[str, str]) -> nn.Module:
    """Bring layers into the forms that `quantized_layers` told, in place; their values are to be loaded afterwards.

    Returns: `model`, or the new layer if `model` itself is one.
    Raises: InputError, with nothing changed, for a layer that is not there or is of another operator.
    """
    layers = dict(model.named_modules())
    new = {}
    for name, form in forms.items():
        layer, trained = layers.get(name), (AdderConv2d, AdderLinear) if form == INT8 else (ShiftConv2d, ShiftLinear)
        if form not in FORMS or not isinstance(layer, trained):
            found = type(layer).__name__ if layer is not None else "nothing"
            raise InputError(f"layer {name!r} cannot take the form {form!r}; the network has {found} there.")
        new[layer] = layer.quantize(input_abs_max=1.0) if form == INT8 else layer.quantize(form)  # type: ignore[call-arg, arg-type]
    return replace_layers(model, new)
