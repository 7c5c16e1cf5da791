"""An independent float64 adder convolution by unfolding, and the shapes that the CPU kernels are tested on."""

from __future__ import annotations

import torch
from torch.nn import functional

from repro.geometry import output_size

# n, c_in, height, width, c_out, kernel, stride, padding, dilation, groups
CASES = [
    (2, 3, 8, 8, 5, 3, 1, 1, 1, 1),
    (2, 16, 32, 32, 16, 3, 1, 1, 1, 1),
    (1, 4, 7, 9, 6, 3, 2, 1, 1, 2),
    (3, 8, 10, 10, 12, 1, 1, 0, 1, 1),
    (3, 8, 10, 10, 12, 1, 2, 0, 1, 1),
    (2, 4, 2, 3, 8, 1, 1, 0, 1, 1),
    (2, 4, 13, 12, 4, 3, 1, 2, 2, 1),
    (2, 4, 13, 12, 4, 3, 3, 2, 2, 4),
    (70, 5, 1, 1, 7, 1, 1, 0, 1, 1),
    (1, 70, 6, 6, 9, 3, 1, 1, 1, 1),
    (2, 3, 40, 300, 5, 7, 2, 3, 1, 1),
    (1, 2, 5, 900, 3, 1, 1, 0, 1, 1),
    (9, 6, 5, 5, 6, 3, 1, 1, 1, 6),
    (2, 6, 11, 5, 6, 5, 2, 2, 1, 6),
    (2, 5, 21, 37, 5, 3, 2, 1, 1, 5),
    (2, 5, 20, 33, 5, 3, 1, 1, 1, 5),
    (1, 3, 9, 70, 3, 5, 1, 4, 2, 3),
    (1, 4, 6, 6, 8, 3, 1, 1, 1, 4),
    (1, 4, 5, 7, 4, 1, 2, 0, 1, 4),
]


def settings(case):
    """(stride, padding, dilation, groups) as the kernels take them."""
    stride, padding, dilation, groups = case[6:]
    return (stride, stride), (padding, padding), (dilation, dilation), groups


def inputs(case, dtype=torch.float32, seed=0, scale=1.0):
    """x and weight, x partly zero as after a ReLU."""
    n, channels, height, width, filters, kernel, *_, groups = case
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((n, channels, height, width), generator=generator)
    x = torch.where(x < -0.5, 0.0, x) * scale
    weight = torch.randn((filters, channels // groups, kernel, kernel), generator=generator) * scale
    return x.to(dtype), weight.to(dtype)


def exact(x, weight, grad_out, stride, padding, dilation, groups):
    """(y, grad_x, grad_weight) in float64 from the definitions."""
    x, weight, grad_out = x.double(), weight.double(), grad_out.double()
    (n, channels, height, width), filters = x.shape, weight.shape[0]
    results = [], [], []
    for group in range(groups):
        part = x[:, group * channels // groups : (group + 1) * channels // groups]
        w = weight[group * filters // groups : (group + 1) * filters // groups]
        g = grad_out[:, group * filters // groups : (group + 1) * filters // groups]
        patches = functional.unfold(part, w.shape[2:], dilation, padding, stride)
        difference = patches[:, None] - w.reshape(1, len(w), -1, 1)
        flat = g.reshape(n, len(w), 1, -1)
        results[0].append(-difference.abs().sum(2).reshape(g.shape))
        clipped = (flat * (-difference).clamp(-1, 1)).sum(1)
        results[1].append(functional.fold(clipped, (height, width), w.shape[2:], dilation, padding, stride))
        results[2].append((flat * difference).sum((0, 3)).reshape(w.shape))
    return torch.cat(results[0], 1), torch.cat(results[1], 1), torch.cat(results[2])


def output_shape(case):
    """Shape of the layer's output."""
    n, _, height, width, filters, kernel, stride, padding, dilation, _ = case
    return n, filters, *(output_size(size, kernel, stride, padding, dilation) for size in (height, width))
