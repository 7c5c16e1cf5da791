"""The shapes that are timed: every distinct convolution of three networks, found by running them without data."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from repro.errors import InputError
from repro.geometry import output_size, output_sizes


@dataclass(frozen=True)
class Network:
    """A model whose layers are timed, with the batch and image size of the timings."""

    model: str
    batch: int
    size: int
    options: tuple[tuple[str, object], ...] = ()


# Batch 32 is that of the supplement's training table; one batch for both ImageNet-sized networks.
NETWORKS = (
    Network("resnet20", 128, 32, (("num_classes", 10),)),
    Network("ghostnet", 32, 224, (("width", 1.0),)),
    Network("mobilenet_v2", 32, 160, (("width", 0.35), ("num_classes", 100))),
)


@dataclass(frozen=True)
class ConvShape:
    """Sizes of one convolution: x (batch, in_channels, height, width), square stride and padding, no dilation."""

    network: str
    batch: int
    in_channels: int
    out_channels: int
    height: int
    width: int
    kernel: tuple[int, int]
    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    groups: int = 1

    @property
    def kind(self) -> str:
        """ "dense", "depthwise" (one input channel a group) or "grouped"."""
        if self.groups == 1:
            return "dense"
        return "depthwise" if self.groups == self.in_channels else "grouped"

    @property
    def out_size(self) -> tuple[int, int]:
        """Rows and columns of the output."""
        return output_sizes((self.height, self.width), self.kernel, (self.stride,) * 2, self.padding, (1, 1))

    @property
    def x_elements(self) -> int:
        return self.batch * self.in_channels * self.height * self.width

    @property
    def y_elements(self) -> int:
        return self.batch * self.out_channels * self.out_size[0] * self.out_size[1]

    @property
    def weight_elements(self) -> int:
        return self.out_channels * self.taps

    @property
    def taps(self) -> int:
        """|x - w| terms of one output."""
        return self.in_channels // self.groups * self.kernel[0] * self.kernel[1]

    @property
    def terms(self) -> int:
        """|x - w| terms (or multiply-accumulates) of one forward, padded positions included."""
        return self.y_elements * self.taps

    @property
    def options(self) -> dict:
        """Keyword arguments of `torch.nn.functional.conv2d` and of our operators."""
        return {"stride": self.stride, "padding": self.padding, "groups": self.groups}

    def __str__(self) -> str:
        text = f"{self.batch}x{self.in_channels}x{self.height}x{self.width}"
        text += f" {self.kernel[0]}x{self.kernel[1]} to {self.out_channels}"
        if self.stride > 1:
            text += f" /{self.stride}"
        return text + (f" g{self.groups}" if self.groups > 1 else "")


def _padding(layer, axis: int) -> int:
    """The trace keeps no padding; networks here pad by half the filter or not at all, and the output tells which."""
    size, out = ((layer.height, layer.out_height), (layer.width, layer.out_width))[axis]
    kernel = layer.kernel[axis]
    for padding in (kernel // 2, 0):
        if output_size(size, kernel, layer.stride, padding, 1) == out:
            return padding
    raise InputError(f"layer {layer.name} turns {size} pixels into {out}, which no usual padding does.")


@functools.cache
def network_shapes(network: Network) -> tuple[ConvShape, ...]:
    """Every distinct convolution of one network, largest first."""
    import torch

    from repro.models.registry import create
    from repro.models.trace import trace

    with torch.random.fork_rng(devices=[]):
        model = create(network.model, **dict(network.options))
    found = {}
    for layer in trace(model, (network.batch, 3, network.size, network.size)):
        if layer.kind != "conv":
            continue
        shape = ConvShape(
            network.model,
            network.batch,
            layer.in_channels,
            layer.out_channels,
            layer.height,
            layer.width,
            layer.kernel,
            layer.stride,
            (_padding(layer, 0), _padding(layer, 1)),
            layer.groups,
        )
        found.setdefault(shape, None)
    return tuple(sorted(found, key=lambda shape: -shape.terms))


def all_shapes() -> tuple[ConvShape, ...]:
    """The shapes of all networks; a shape that two networks share is listed once, under the first."""
    found = {}
    for network in NETWORKS:
        for shape in network_shapes(network):
            found.setdefault(replace(shape, network=""), shape)
    return tuple(found.values())


def quick_shapes(kind: str, count: int) -> tuple[ConvShape, ...]:
    """A few shapes of one kind, spread evenly over all of them in order of size."""
    ordered = sorted((shape for shape in all_shapes() if shape.kind == kind), key=lambda shape: -shape.terms)
    step = max(1, len(ordered) // count)
    return tuple(ordered[step // 2 :: step][:count])
