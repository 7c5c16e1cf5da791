"""Training with few-bit numbers in the forward and the backward pass.

Before each layer its input, and in it its weight, are rounded to an affine grid of 2^bits values; the gradient at its
output is rounded too, up or down at random so that its mean is right. Rounding passes gradients straight through. The
weights that are trained stay full-precision. (Banner et al. 2018; ranges and what is left out as in ShiftAddNAS's code:
attention products, softmax, norms, embeddings and the output matrix stay as they are.)
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from repro.errors import InputError, check_int
from repro.layers.adder import AdderConv2d, AdderLinear
from repro.layers.shift import ShiftConv2d, ShiftLinear
from repro.ops import dispatch

NEWEST = 0.9
"""Weight of the newest batch in the running range of a layer's inputs."""
_SHIFTS = (ShiftConv2d, ShiftLinear)
_LAYERS = (nn.Linear, nn.Conv2d, AdderConv2d, AdderLinear, *_SHIFTS)


def to_grid(x: Tensor, low: Tensor, high: Tensor, bits: int, *, stochastic: bool = False) -> Tensor:
    """The nearest of 2^bits equally spaced values from `low` to `high` (broadcast to `x`); no gradient.

    stochastic: up or down at random (torch's global generator) so that the mean is x inside the range.
    """
    levels = 2**bits - 1
    step = (high - low).clamp_min(torch.finfo(x.dtype).tiny) / levels
    place = (x - low) / step
    place = (place + torch.rand_like(place)).floor() if stochastic else place.round()
    return place.clamp(0, levels) * step + low


class _StraightThrough(dispatch.BackwardOnlyFunction):
    @staticmethod
    def forward(ctx, x, low, high, bits):
        return to_grid(x, low, high, bits)

    @staticmethod
    def backward(ctx, grad):
        return grad, None, None, None


class _RoundedGradient(dispatch.BackwardOnlyFunction):
    @staticmethod
    def forward(ctx, y, bits):
        ctx.bits = bits
        return y.view_as(y)

    @staticmethod
    def backward(ctx, grad):
        if not grad.numel():
            return grad, None
        return to_grid(grad, grad.amin(), grad.amax(), ctx.bits, stochastic=True), None


class RowGrid(nn.Module):
    """Parametrisation of a weight (out, ...): each output's part rounded to a grid from its least to its largest."""

    def __init__(self, bits: int):
        super().__init__()
        self.bits = bits

    def forward(self, weight: Tensor) -> Tensor:
        with torch.no_grad():
            rows = weight.flatten(1)
            shape = (-1, *[1] * (weight.ndim - 1))
            low, high = rows.amin(1).view(shape), rows.amax(1).view(shape)
        return _StraightThrough.apply(weight, low, high, self.bits)


def low_bit(
    model: nn.Module, *, bits: int = 8, gradient_bits: int = 8, skip: Iterable[str] = ("classifier",)
) -> nn.Module:
    """Let the layers of a network compute with few-bit numbers from now on, in place; returns the network.

    Args:
        bits: of inputs and weights, 2 to 16. Shift weights keep their powers of two.
        gradient_bits: of the gradient at each layer's output, 2 to 16.
        skip: names of layers that stay full-precision.
    A layer's input range is that of the batch in training; `input_range` (low, high), a buffer, follows it by
    0.9 x new + 0.1 x old and is what evaluation uses.
    Raises: InputError for a number out of range, a name that is no layer, or a network that is few-bit already; by the
        network inside transforms of torch.func.
    """
    check_int("bits", bits, minimum=2, maximum=16)
    check_int("gradient_bits", gradient_bits, minimum=2, maximum=16)
    layers = {name: module for name, module in model.named_modules() if isinstance(module, _LAYERS)}
    for name in (skip := set(skip)):
        if name not in layers:
            raise InputError(
                f"skip names {name!r}, which is no layer of this network; layers are: {', '.join(layers)}."
            )
    if any(hasattr(layer, "input_range") for layer in layers.values()):
        raise InputError("this network computes with few-bit numbers already.")
    for name, layer in layers.items():
        if name in skip:
            continue
        layer.register_buffer("input_range", next(layer.parameters()).detach().new_full((2,), torch.nan))
        layer.register_forward_pre_hook(partial(_round_first_input, bits=bits), with_kwargs=True)
        layer.register_forward_hook(partial(_round_gradient, bits=gradient_bits))
        if not isinstance(layer, _SHIFTS):
            parametrize.register_parametrization(layer, "weight", RowGrid(bits))
    return model


def _round_first_input(layer: nn.Module, inputs: tuple, named: dict, *, bits: int) -> tuple[tuple, dict]:
    """The inputs of a call whose first one, given by its place or by its name, is rounded."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise InputError(
            "low_bit layers are not allowed inside transforms of torch.func: they keep the range of their inputs and "
            "round gradients at random; use backward or torch.autograd.grad there."
        )
    if inputs:
        return (_rounded_input(layer, inputs[0], bits), *inputs[1:]), named
    (name, first), *rest = named.items()
    return inputs, {name: _rounded_input(layer, first, bits), **dict(rest)}


def _round_gradient(layer: nn.Module, inputs: tuple, output: Tensor, *, bits: int) -> Tensor:
    return _RoundedGradient.apply(output, bits)


def _rounded_input(layer: nn.Module, x: Tensor, bits: int) -> Tensor:
    if not x.numel():  # no range
        return x
    with torch.no_grad():
        known = layer.input_range
        if layer.training or known.isnan().any():
            seen = torch.stack(x.aminmax()).to(known)
        if layer.training:
            known.copy_(seen if known.isnan().any() else NEWEST * seen + (1 - NEWEST) * known)
            low, high = seen
        else:
            low, high = seen if known.isnan().any() else known
    return _StraightThrough.apply(x, low, high, bits)
