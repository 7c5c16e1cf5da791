"""What remapping and rounding do to the weights of a layer: samples and histograms for the weight explorer."""

from __future__ import annotations

import numpy as np
import torch

from repro.augment.remap import PIECES, TransformationKernel, gaussian_to_laplacian
from repro.errors import InputError, check_choice
from repro.ops.quantize import power_of_two, shift_exponents

COUNT = 20_000
BINS = 81
POINTS = 241
STATES = ("Gaussian sample", "trained-like mixture")


def layer_weights(std: float, kind: str = STATES[0]) -> torch.Tensor:
    """`COUNT` weights of an imagined layer, always the same.

    A Gaussian, or a mixture: one in ten from a Gaussian three times as wide. The mixture stands for real layers, whose
    weights "don't fit the distribution perfectly" (ShiftAddAug, section 3.3).
    """
    check_choice("weights", kind, STATES)
    if not 0 < std < 100:
        raise InputError(f"std={std!r} is not allowed; it must be a number above 0 and below 100.")
    generator = torch.Generator().manual_seed(0)
    weight = std * torch.randn(COUNT, generator=generator)
    if kind == STATES[1]:
        weight[::10] *= 3
    return weight


def rounded(weight: torch.Tensor, bits: int, p_min: int, p_max: int) -> torch.Tensor:
    """Nearest 0 or ±2^P in the logarithm with p_min <= P <= p_max.

    Raises: InputError when the range is empty or holds more exponents than `bits` can name beside zero and the sign.
    """
    low, high = shift_exponents(bits)
    if p_min > p_max:
        raise InputError(f"P range {p_min} to {p_max} is empty; the smallest P must not exceed the largest.")
    room = high - low + 1
    if p_max - p_min + 1 > room:
        raise InputError(
            f"P range {p_min} to {p_max} has {p_max - p_min + 1} exponents; {bits} bits name {room} beside zero and "
            "the sign. Raise the bits or narrow the range."
        )
    return power_of_two(weight, p_min, p_max)


def fitted_kernel(weight: torch.Tensor, target: torch.Tensor, pieces: int = PIECES) -> TransformationKernel:
    """The kernel whose factors take `weight` nearest to `target`, both sorted."""
    return TransformationKernel(pieces).fit_(weight, target)


def histogram(weight: torch.Tensor, limit: float, bins: int = BINS) -> tuple[np.ndarray, np.ndarray]:
    """(centres, share of the weights per bin) between -limit and limit; weights outside count into the last bins."""
    edges = np.linspace(-limit, limit, bins + 1)
    inside = np.clip(weight.detach().double().numpy(), -limit, limit)
    counts, _ = np.histogram(inside, bins=edges)
    return (edges[:-1] + edges[1:]) / 2, counts / max(1, len(inside))


def mapping(std: float, scale: float, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """(w, r(w)) of the Gaussian-to-Laplace mapping over -limit to limit."""
    grid = torch.linspace(-limit, limit, POINTS, dtype=torch.float64)
    return grid.numpy(), gaussian_to_laplacian(grid, scale, mean=0.0, std=std).numpy()


def laplace_excess(weight: torch.Tensor) -> float:
    """Excess kurtosis: 0 for a Gaussian, 3 for a Laplace distribution."""
    centred = weight.detach().double() - weight.detach().double().mean()
    return float((centred**4).mean() / (centred**2).mean() ** 2 - 3)
