"""Whole models in the form of inference: adder layers on 8-bit integers, shift layers on packed codes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from repro.errors import InputError
from repro.layers.adder import AdderConv2d, AdderLinear
from repro.layers.quantized import quantize_adder
from repro.layers.shift import ShiftConv2d, ShiftLinear


@torch.no_grad()
def quantize_adders(model: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """Replace every adder layer of `model` by its 8-bit form, inputs' ranges taken from `batches`; in place.

    Args:
        model: in evaluation mode while it is calibrated.
        batches: typical inputs, one forward each.
    Returns: `model`, or the new layer if `model` itself is one.
    Raises: InputError if there are no batches, or a layer was never reached by them.
    """
    layers = {m: name for name, m in model.named_modules() if isinstance(m, (AdderConv2d, AdderLinear))}
    largest: dict[nn.Module, float] = {}

    def watch(module: nn.Module, args: tuple) -> None:
        largest[module] = max(largest.get(module, 0.0), float(args[0].abs().max()) if args[0].numel() else 0.0)

    handles = [layer.register_forward_pre_hook(watch) for layer in layers]
    was_training = model.training
    try:
        model.eval()
        for batch in batches:
            model(batch)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    for layer, name in layers.items():
        if layer not in largest:
            raise InputError(f"layer {name!r} saw no input from batches; give batches that reach it.")
    new = {layer: quantize_adder(layer, largest[layer]) for layer in layers}
    return _replace(model, new)


def quantize_shifts(model: nn.Module, arithmetic: str = "product") -> nn.Module:
    """Replace every shift layer of `model` by its packed form, in place; returns the model (or the new layer)."""
    return _replace(
        model, {m: m.quantize(arithmetic) for m in model.modules() if isinstance(m, (ShiftConv2d, ShiftLinear))}
    )


def _replace(model: nn.Module, new: Mapping[nn.Module, nn.Module]) -> nn.Module:
    if model in new:
        return new[model]
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child in new:
                setattr(parent, name, new[child])
    return model
