"""Parameters and kernel taps of a model, counted independently of `repro`: forward hooks and weight sizes only."""

from __future__ import annotations

from collections import Counter

import torch
from torch import nn


def build_on_meta(create, name: str, **options) -> nn.Module:
    """The model without storage."""
    with torch.device("meta"):
        return create(name, **options)


def parameters(model: nn.Module) -> int:
    """All values of all parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def taps(model: nn.Module, *inputs: torch.Tensor) -> Counter:
    """Kernel taps by operator ("conv", "shift", "adder", from the class name) and of products of activations."""
    total: Counter = Counter()
    handles = []

    def hook(module, args, output):
        kind = type(module).__name__
        weight = getattr(module, "weight", None)
        if kind == "MatMul":
            total["conv"] += output.numel() * args[0].shape[-1]
        elif weight is not None and weight.dim() in (2, 4) and "Embedding" not in kind:
            operator = "adder" if kind.startswith("Adder") else "shift" if kind.startswith("Shift") else "conv"
            total[operator] += output.numel() * weight[0].numel()

    for module in model.modules():
        handles.append(module.register_forward_hook(hook))
    model.eval()
    with torch.no_grad():
        model(*inputs)
    for handle in handles:
        handle.remove()
    return total


def image(side: int, channels: int = 3) -> torch.Tensor:
    """One image without data."""
    return torch.empty(1, channels, side, side, device="meta")
