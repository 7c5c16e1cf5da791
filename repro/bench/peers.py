"""What an adder layer would be made of without our kernels, written anew as baselines.

`cdist`: patches by `unfold`, distances by `torch.cdist(p=1)`. Its gradient is the sign, not AdderNet's surrogate, so
it stands for the cost of that route, not for its training. `broadcast`: the formulation of the first AdderNet release,
every patch against every filter in one tensor of (C_out, taps, positions), with AdderNet's gradients.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from repro.geometry import output_sizes


def _columns(x: Tensor, weight: Tensor, stride: int, padding: tuple[int, int]) -> Tensor:
    return functional.unfold(x, weight.shape[2:], 1, padding, stride)


def _map(y: Tensor, x: Tensor, weight: Tensor, stride: int, padding: tuple[int, int]) -> Tensor:
    rows, cols = output_sizes(x.shape[2:], weight.shape[2:], (stride, stride), padding, (1, 1))
    return y.reshape(x.shape[0], weight.shape[0], rows, cols)


def cdist_adder_conv2d(
    x: Tensor, weight: Tensor, *, stride: int = 1, padding: tuple[int, int] = (0, 0), groups: int = 1
) -> Tensor:
    """Adder convolution by `unfold` and `torch.cdist(p=1)`; groups are a batch dimension of the distance."""
    columns = _columns(x, weight, stride, padding)
    if groups == 1:
        y = -torch.cdist(weight.flatten(1), columns.transpose(1, 2), p=1)
    else:
        patches = columns.reshape(x.shape[0], groups, weight[0].numel(), -1).transpose(2, 3)
        y = -torch.cdist(weight.reshape(groups, -1, weight[0].numel()), patches, p=1)
    return _map(y, x, weight, stride, padding)


def composed_shift_weight(shift: Tensor, sign: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of 5-bit exponents and signs, the weight on the way, operator by operator (AutoShiftNet eq. 2, 5, 6).

    Args: grad: that of the weight.
    """
    power = torch.exp2(shift.clamp(-14, 0).round())
    weight = torch.where(sign >= 0.5, power, torch.where(sign <= -0.5, -power, 0.0))
    return grad * weight * math.log(2) * power, grad


class BroadcastFunction(torch.autograd.Function):
    """columns (taps, positions), filters (C_out, taps) to (C_out, positions)."""

    @staticmethod
    def forward(ctx, columns: Tensor, filters: Tensor) -> Tensor:
        ctx.save_for_backward(columns, filters)
        return -(filters[:, :, None] - columns[None]).abs().sum(1)

    @staticmethod
    def backward(ctx, grad: Tensor):
        columns, filters = ctx.saved_tensors
        grad_filters = ((columns[None] - filters[:, :, None]) * grad[:, None]).sum(2)
        grad_columns = ((filters[:, :, None] - columns[None]).clamp(-1, 1) * grad[:, None]).sum(0)
        return grad_columns, grad_filters


def broadcast_adder_conv2d(
    x: Tensor, weight: Tensor, *, stride: int = 1, padding: tuple[int, int] = (0, 0), groups: int = 1
) -> Tensor:
    """Adder convolution in one broadcast subtraction, dense layers only (groups must be 1)."""
    assert groups == 1
    columns = _columns(x, weight, stride, padding).transpose(0, 1).flatten(1)
    y = BroadcastFunction.apply(columns, weight.flatten(1))
    return _map(y.reshape(weight.shape[0], x.shape[0], -1).transpose(0, 1), x, weight, stride, padding)
