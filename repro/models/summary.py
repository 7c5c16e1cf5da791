"""What a model consists of, layer by layer, found by running it once without data (the meta device)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

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
from repro.models.build import MatMul

ADDERS = (AdderConv2d, AdderLinear, QuantizedAdderConv2d, QuantizedAdderLinear)
SHIFTS = (ShiftConv2d, ShiftLinear, PackedShiftConv2d, PackedShiftLinear)
CONVS = (nn.Conv2d, *ADDERS[::2], *SHIFTS[::2])
LINEARS = (nn.Linear, *ADDERS[1::2], *SHIFTS[1::2])
NORMS = (nn.BatchNorm2d, nn.LayerNorm)
COLUMNS = ("layer", "role", "op", "kind", "kernel", "stride", "groups", "in_shape", "out_shape", "params", "macs")


def operator_of(layer: nn.Module) -> str:
    """ "adder", "shift" or "conv" of a layer module."""
    if isinstance(layer, ADDERS):
        return "adder"
    return "shift" if isinstance(layer, SHIFTS) else "conv"


def summary(model: nn.Module, input_size: int | Sequence[int] | Tensor | Sequence[Tensor]) -> pd.DataFrame:
    """One row per convolution, linear layer and matrix product, in order of execution (evaluation mode).

    Args:
        model: any model of the registry, on any device; it is not changed.
        input_size: side in pixels (three channels), (C, H, W), (N, C, H, W), or example tensor(s), whose data is not
            used; MACs and shapes include the batch.
    Returns: columns `COLUMNS`; params counts weight and bias of the layer, macs its kernel taps. `attrs` holds
        "params" (all trainable values, norms included) and "macs" (the sum).
    Raises: InputError where the sizes do not fit the model.
    """
    inputs = _inputs(input_size)
    state = {
        name: torch.empty_like(value, device="meta")
        for name, value in [*model.named_parameters(), *model.named_buffers()]
    }
    rows: list[dict] = []
    training = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with _watched(model, rows), torch.no_grad():
            functional_call(model, state, inputs)
    except RuntimeError as error:
        shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"input_size {shapes} does not fit {type(model).__name__}: {reason}.") from error
    finally:
        for module, mode in training.items():
            module.training = mode
    table = pd.DataFrame(rows, columns=COLUMNS)
    table.attrs["params"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
    table.attrs["macs"] = int(table["macs"].sum())
    return table


def _inputs(input_size) -> tuple[Tensor, ...]:
    if isinstance(input_size, Tensor):
        return (input_size.to("meta"),)
    if isinstance(input_size, list | tuple) and input_size and all(isinstance(x, Tensor) for x in input_size):
        return tuple(x.to("meta") for x in input_size)
    size = (3, input_size, input_size) if isinstance(input_size, int) else tuple(input_size)
    if len(size) not in (3, 4) or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in size):
        raise InputError(
            f"input_size={input_size!r} is not allowed; give a side in pixels, (channels, height, width), "
            "(batch, channels, height, width), or example tensors."
        )
    return (torch.empty(size if len(size) == 4 else (1, *size), device="meta"),)


@contextmanager
def _watched(model: nn.Module, rows: list[dict]) -> Iterator[None]:
    """Record every layer that runs; layers only give the right shape, norms pass on."""
    replaced, handles = [], []
    for name, module in model.named_modules():
        if isinstance(module, (*CONVS, *LINEARS)):
            replaced.append(module)
            module.forward = _shape_only(module, name, rows)
        elif isinstance(module, NORMS):
            replaced.append(module)
            module.forward = _unchanged
        elif isinstance(module, MatMul):
            handles.append(module.register_forward_hook(_record_product(name, rows)))
    try:
        yield
    finally:
        for module in replaced:
            del module.forward
        for handle in handles:
            handle.remove()


def _unchanged(*args, **options) -> Tensor:
    return _only_input(args, options)


def _only_input(args: tuple, options: dict) -> Tensor:
    """The tensor that a layer was called with, by place or by keyword (input=x)."""
    return args[0] if args else next(iter(options.values()))


def _shape_only(layer: nn.Module, name: str, rows: list[dict]):
    def forward(*args, **options) -> Tensor:
        x = _only_input(args, options)
        if isinstance(layer, LINEARS):
            weight = x.new_empty(layer.out_features, layer.in_features)
            y, taps, geometry = F.linear(x, weight), layer.in_features, ("linear", None, None, 1)
        else:
            weight = x.new_empty(layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size)
            y = F.conv2d(x, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)
            taps, geometry = weight[0].numel(), ("conv", layer.kernel_size, layer.stride, layer.groups)
        params = sum(p.numel() for p in layer.parameters(recurse=False))
        rows.append(_row(name, layer, geometry, x, y, params, y.numel() * taps))
        return y

    return forward


def _record_product(name: str, rows: list[dict]):
    def hook(module: nn.Module, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        a = inputs[0]
        rows.append(_row(name, module, ("matmul", None, None, 1), a, output, 0, output.numel() * a.shape[-1]))

    return hook


def _row(name: str, module: nn.Module, geometry: tuple, x: Tensor, y: Tensor, params: int, macs: int) -> dict:
    role = getattr(module, "cost_role", "")
    values = (name, role, operator_of(module), *geometry, tuple(x.shape), tuple(y.shape), params, macs)
    return dict(zip(COLUMNS, values))
