"""Multiply-accumulates of the networks around a target, from their widths alone."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from repro.augment.network import AugmentedNetwork, Sample, _target_name
from repro.errors import check_int

DRAWS = 64


def macs(network: AugmentedNetwork, pixels: Mapping[str, int], sample: Sample) -> int:
    """Multiply-accumulates (or shifts, or |x - w| terms) of a sample for one image, its extra blocks among them.

    Args:
        pixels: output positions of every layer of the target by name (1 for linear layers).
    """
    sizes, total = network.sizes(sample), 0
    for name, layer in network.wide_layers():
        read, made = network._joins[name]
        features = layer.target[0] // network.groups[read].base  # of each channel that a linear layer reads
        inputs = 1 if layer.depthwise else features * sizes[read]
        total += pixels[_target_name(name)] * math.prod(layer.weight.shape[2:]) * inputs * sizes[made]
    return total


def mean_macs(network: AugmentedNetwork, pixels: Mapping[str, int], *, draws: int = DRAWS) -> float:
    """Mean of `macs` over `draws` samples, always the same ones: what the augmented pass of a step costs."""
    check_int("draws", draws, minimum=1)
    generator = torch.Generator().manual_seed(0)
    return sum(macs(network, pixels, network.sample(generator)) for _ in range(draws)) / draws
