"""Models without memory for their weights: enough to count and price, built in milliseconds at any size."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from repro.models.registry import create
from repro.models.trace import Layer, trace


class _NoInitialisation(TorchFunctionMode):
    """Skips torch.nn.init, whose functions on the meta device take longer than everything else."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def skeleton(name: str, **options: Any) -> nn.Module:
    """`repro.models.create(name, **options)` on the meta device: sizes and structure, no values.

    Raises: InputError as `create`.
    """
    with torch.device("meta"), _NoInitialisation():
        return create(name, **options)


@functools.lru_cache(maxsize=256)
def _traced(name: str, pixels: int, options: tuple) -> tuple[nn.Module, tuple[Layer, ...]]:
    model = skeleton(name, **dict(options))
    return model, tuple(trace(model, pixels))


def traced(name: str, pixels: int, **options: Any) -> tuple[nn.Module, tuple[Layer, ...]]:
    """(skeleton, its layers for a square image), kept: conventions and accountings only price the layers differently.

    Lists among the options become tuples. Do not change the model. Raises: InputError as `create` and `trace`.
    """
    made = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    return _traced(name, pixels, tuple(sorted(made.items())))
