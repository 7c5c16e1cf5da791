"""Adder operators in few of PyTorch's own operators, for exporters that know no other (`torch.onnx.export`).

`repro.ops.reference` handles one filter at a time, so that a network of thousands of filters becomes a graph of tens of
thousands of nodes. Here as many filters as fit into a piece are subtracted at once.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from repro.geometry import output_sizes
from repro.ops.reference import wide

PIECE = 1 << 20  # differences held at once per image: 4 MiB of float32
OPEN = 256  # stands for a size that the exporter leaves open


def adder_conv2d(x: Tensor, weight: Tensor, stride, padding, dilation, groups: int) -> Tensor:
    """As `repro.ops.reference.adder_conv2d_fwd`; sums may be rounded in another order."""
    columns = functional.unfold(wide(x), weight.shape[2:], dilation, padding, stride)
    patches = columns.reshape(x.shape[0], groups, 1, weight[0].numel(), columns.shape[-1])
    filters = wide(weight).reshape(groups, -1, weight[0].numel(), 1)
    some = _pieces(filters.shape[1], patches.shape[1:])
    y = torch.cat([-(patches - filters[:, piece]).abs().sum(3) for piece in some], 2)
    height, width = output_sizes(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    return y.reshape(x.shape[0], weight.shape[0], height, width).to(x.dtype)


def adder_linear(x: Tensor, weight: Tensor) -> Tensor:
    """As `repro.ops.reference.adder_linear_fwd`; sums may be rounded in another order."""
    rows, columns = wide(x)[:, None], wide(weight)
    some = _pieces(len(columns), rows.shape[1:])
    return torch.cat([-(rows - columns[piece]).abs().sum(2) for piece in some], 1).to(x.dtype)


def _pieces(filters: int, sizes: torch.Size) -> list[slice]:
    """Filters in pieces whose differences from one image's patches, of these sizes, keep within `PIECE`."""
    known = [size if isinstance(size, int) else OPEN for size in sizes]
    step = max(1, PIECE // math.prod(known))
    return [slice(start, start + step) for start in range(0, filters, step)]
