"""Whole models in the form of inference: adder layers on 8-bit integers, shift layers on packed codes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from repro.errors import InputError
from repro.layers.adder import AdderConv2d, AdderLinear
from repro.layers.quantized import abs_max, quantize_adder
from repro.layers.replace import replace_layers
from repro.layers.shift import ShiftConv2d, ShiftLinear


def _check_module(model: object) -> None:
    if not isinstance(model, nn.Module):
        what = model.__name__ if isinstance(model, type) else type(model).__name__
        raise InputError(f"model={what} is not allowed; it must be a torch.nn.Module, built.")


@torch.no_grad()
def quantize_adders(model: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """Replace every adder layer of `model` by its 8-bit form, inputs' ranges taken from `batches`; in place.

    Args:
        model: in evaluation mode while it is calibrated.
        batches: typical inputs, one forward each; of (input, label) pairs the input is taken.
    Returns: `model`, or the new layer if `model` itself is one.
    Raises: InputError, with nothing replaced, if there are no batches, a layer was never reached by them, or its input
        holds NaN or infinity.
    """
    _check_module(model)
    if isinstance(batches, Tensor) or not isinstance(batches, Iterable):
        raise InputError(f"batches is a {type(batches).__name__}; it must be an iterable of batches, such as a list.")
    layers = {m: name for name, m in model.named_modules() if isinstance(m, (AdderConv2d, AdderLinear))}
    largest: dict[nn.Module, float] = {}

    def watch(module: nn.Module, args: tuple, options: dict) -> None:
        x = args[0] if args else next(iter(options.values()))
        if x.numel():
            what = f"the input of layer {layers[module]!r}"
            largest[module] = max(largest.get(module, 0.0), abs_max(what, x))

    handles = [layer.register_forward_pre_hook(watch, with_kwargs=True) for layer in layers]
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        for batch in batches:
            inputs = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
            if not isinstance(inputs, Tensor):
                kind = type(inputs).__name__
                raise InputError(
                    f"batches holds a {kind}; each batch must be a tensor, or begin with one as (x, label)."
                )
            model(inputs)
    finally:
        for module, training in modes.items():
            module.training = training
        for handle in handles:
            handle.remove()
    for layer, name in layers.items():
        if layer not in largest:
            raise InputError(f"layer {name!r} saw no input from batches; give batches that reach it.")
    return replace_layers(model, {layer: quantize_adder(layer, largest[layer]) for layer in layers})


def quantize_shifts(model: nn.Module, arithmetic: str = "product") -> nn.Module:
    """Replace every shift layer of `model` by its packed form, in place; returns the model (or the new layer)."""
    _check_module(model)
    shifts = [module for module in model.modules() if isinstance(module, (ShiftConv2d, ShiftLinear))]
    return replace_layers(model, {layer: layer.quantize(arithmetic) for layer in shifts})
