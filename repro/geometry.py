"""The size of what a convolution puts out: one formula for kernels, layers, cost models and benchmarks."""

from __future__ import annotations

from collections.abc import Sequence


def output_size(size: int, kernel_size: int, stride: int, padding: int, dilation: int) -> int:
    """Number of filter positions along one axis, as in `torch.nn.Conv2d`; below 1 where the filter does not fit."""
    return (size + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1


def output_sizes(
    sizes: Sequence[int],
    kernel_sizes: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> tuple[int, ...]:
    """`output_size` along every axis: rows and columns of an output."""
    return tuple(map(output_size, sizes, kernel_sizes, stride, padding, dilation))
