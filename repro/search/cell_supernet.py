"""A supernet of cells that holds every candidate operation of every edge, in the shift domain or with real weights.

Cells are those of `repro.models.cells`, but norms inside them have no gain and bias, and pools are followed by one (Liu
et al., DARTS, 2019). Two things make it fast without changing a number:

- All edges that leave one state read the same input. An operation of all of them is one grouped convolution over joint
  channels, edge by edge; what is the same for each of them (pools, identities) is computed once.
- All weights lie in one flat tensor (all P and all S in one each), rounded once per pass; layers read views.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repro.errors import InputError, check_choice, check_int
from repro.ops import compose_shift_weight, fixed_point_round
from repro.ops.quantize import FIXED_POINT
from repro.train.shift import check_shift_range

TOPOLOGY = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect")
CONVOLUTIONS = ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")
OPERATIONS = TOPOLOGY + CONVOLUTIONS
"""The candidates: what shapes the topology, and what has weights (AutoShiftNet sec. 4.1)."""
SPACES = ("shift", "real")
KINDS = ("normal", "reduce")

Candidates = Mapping[str, Sequence[Sequence[str]]]
"""Kind of cell -> for every edge, in the order of `edges_of`, its candidate operations (equally many)."""


def edges_of(nodes: int) -> tuple[tuple[int, int], ...]:
    """(node, input) of every edge of a cell, node by node; node k may read the k + 2 outputs before it."""
    return tuple((node, source) for node in range(nodes) for source in range(node + 2))


def all_operations(nodes: int) -> dict[str, list[tuple[str, ...]]]:
    """Every operation on every edge of both kinds of cell."""
    return {kind: [OPERATIONS] * len(edges_of(nodes)) for kind in KINDS}


class FlatWeights(nn.Module):
    """All weights of a network in one tensor, or in one of exponents (`shift`) and one of signs (`sign`).

    Layers `add` their shape and are given a number; `close` makes the parameters; `forward` gives every layer's weight
    by its number, every value 0 or ±2^P in the shift domain.
    """

    def __init__(self, space: str, weight_bits: int, shift_range: tuple[int, int] | None, gradient: str):
        super().__init__()
        self.space = check_choice("space", space, SPACES)
        self.weight_bits, self.gradient = weight_bits, check_choice("gradient", gradient, ("paper", "chain"))
        self.shift_range = check_shift_range(weight_bits, shift_range)
        self.shapes: list[tuple[int, ...]] = []
        self.deviations: list[float] = []

    def add(self, *shape: int, groups: int = 1) -> int:
        """Number of a weight of this shape; `groups` as in a convolution."""
        self.shapes.append(shape)
        fan_out = math.prod(shape[2:]) * shape[0] / groups if len(shape) == 4 else 0
        self.deviations.append(math.sqrt(2 / fan_out) if fan_out else 0.01)
        return len(self.shapes) - 1

    def close(self, generator: torch.Generator) -> None:
        """Make the parameters: P uniform in [-10, -1] and S in [-1, 1] as DeepShift's convolutions, or He normal.

        A bound of P outside `shift_range` becomes the nearest end of it.
        """
        self.sizes = [math.prod(shape) for shape in self.shapes]
        total = sum(self.sizes)
        if self.space == "real":
            values = torch.randn(total, generator=generator)
            scales = torch.tensor(self.deviations).repeat_interleave(torch.tensor(self.sizes))
            self.weight = nn.Parameter(values * scales)
            return
        lowest, highest = self.shift_range
        low, high = (min(max(bound, lowest), highest) for bound in (-10, -1))
        self.shift = nn.Parameter(torch.empty(total).uniform_(low, high, generator=generator))
        self.sign = nn.Parameter(torch.empty(total).uniform_(-1, 1, generator=generator))

    def forward(self) -> list[Tensor]:
        if self.space == "real":
            flat = self.weight
        else:
            flat = compose_shift_weight(self.shift, self.sign, self.weight_bits, gradient=self.gradient)
        return [part.view(shape) for part, shape in zip(flat.split(self.sizes), self.shapes)]


class _Rounded:
    """Inputs of layers with weights: rounded to fixed point in the shift domain, unchanged otherwise."""

    def __init__(self, flat: FlatWeights, activation_bits: tuple[int, int] | None):
        self.flat = flat
        self.bits = activation_bits if flat.space == "shift" else None

    def __call__(self, x: Tensor) -> Tensor:
        return x if self.bits is None else fixed_point_round(x, *self.bits)


def depthwise(x: Tensor, weight: Tensor, *, stride: int = 1, dilation: int = 1) -> Tensor:
    """`conv2d` with one k x k filter a channel and "same" padding, stride and dilation 1 or 2; the same sums.

    Two things that the library computes slowly are avoided: taps that reach nothing but padding are left out, and a
    dilation of 2 becomes an undilated convolution of every second pixel (with stride 2), or of each of the four sets of
    every second pixel, stacked as examples.
    """
    n, channels, height, width = x.shape
    if dilation == 2 and stride == 2:
        return depthwise(x[:, :, ::2, ::2], weight)
    if dilation == 2:
        tall, wide = (height + 1) // 2, (width + 1) // 2
        pixels = F.pad(x, (0, 2 * wide - width, 0, 2 * tall - height)).permute(0, 2, 3, 1)
        sets = pixels.reshape(n, tall, 2, wide, 2, channels).permute(2, 4, 0, 1, 3, 5)
        y = depthwise(sets.reshape(4 * n, tall, wide, channels).permute(0, 3, 1, 2), weight).permute(0, 2, 3, 1)
        y = y.reshape(2, 2, n, tall, wide, channels).permute(2, 3, 0, 4, 1, 5)
        return y.reshape(n, 2 * tall, 2 * wide, channels).permute(0, 3, 1, 2)[:, :, :height, :width]
    radius = weight.shape[2] // 2
    reach = min(radius, max(height, width) - 1)
    if reach < radius:
        inner = slice(radius - reach, radius + reach + 1)
        weight = weight[:, :, inner, inner]
    return F.conv2d(x, weight, stride=stride, padding=reach, groups=channels)


def pointwise(x: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
    """`conv2d` of (N, groups C, H, W) with 1x1 filters (groups C_out, C, 1, 1), as one batched matrix product."""
    n, channels, height, width = x.shape
    pixels = x.permute(0, 2, 3, 1).reshape(n * height * width, groups, channels // groups)
    y = torch.bmm(pixels.transpose(0, 1), weight.view(groups, -1, channels // groups).transpose(1, 2))
    return y.transpose(0, 1).reshape(n, height, width, -1).permute(0, 3, 1, 2)


def _norm(channels: int, affine: bool = False) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, affine=affine)


class _Reduce(nn.Module):
    """Factorised reduction of one input for `copies` edges: two strided 1x1, the second one pixel further; norm."""

    def __init__(self, make: _Rounded, in_channels: int, channels: int, copies: int = 1):
        super().__init__()
        self.parts = (channels // 2, channels - channels // 2)
        self.copies = copies
        # `groups` tells the fan-out of one edge; the convolution itself has one group, all edges read all channels
        self.even, self.odd = (make.flat.add(copies * part, in_channels, 1, 1, groups=copies) for part in self.parts)
        self.norm = _norm(copies * channels)

    def forward(self, rounded: Tensor, weights: list[Tensor]) -> Tensor:
        odd_side = rounded.shape[2] % 2, rounded.shape[3] % 2
        shifted = F.pad(rounded[:, :, 1::2, 1::2], (0, odd_side[1], 0, odd_side[0]))
        even = pointwise(rounded[:, :, ::2, ::2], weights[self.even])
        odd = pointwise(shifted, weights[self.odd])
        parts = [part.unflatten(1, (self.copies, -1)) for part in (even, odd)]
        return self.norm(torch.cat(parts, dim=2).flatten(1, 2))


class _Pointwise(nn.Module):
    """1x1 and norm of an input that has passed its ReLU."""

    def __init__(self, make: _Rounded, in_channels: int, channels: int):
        super().__init__()
        self.weight = make.flat.add(channels, in_channels, 1, 1)
        self.norm = _norm(channels)

    def forward(self, rounded: Tensor, weights: list[Tensor]) -> Tensor:
        return self.norm(pointwise(rounded, weights[self.weight]))


class _Separable(nn.Module):
    """Depthwise, 1x1 and norm for `copies` edges: channels are joint, edge by edge; (N, copies C, H, W)."""

    def __init__(self, make: _Rounded, channels: int, kernel: int, stride: int, dilation: int, copies: int):
        super().__init__()
        joint = copies * channels
        self.make, self.copies = make, copies
        self.geometry = {"stride": stride, "dilation": dilation}
        self.depthwise = make.flat.add(joint, 1, kernel, kernel, groups=joint)
        self.pointwise = make.flat.add(joint, channels, 1, 1, groups=copies)
        self.norm = _norm(joint)

    def forward(self, rounded: Tensor, weights: list[Tensor]) -> Tensor:
        deep = depthwise(rounded, weights[self.depthwise], **self.geometry)
        return self.norm(pointwise(self.make(deep), weights[self.pointwise], self.copies))


class EdgeGroup(nn.Module):
    """One operation on all edges that leave one state and have it as a candidate.

    `forward(state, rounded, weights)` takes the state (N, C, H, W), its rounded ReLU and all weights, and returns
    (N, E, C, H', W') with E edges, or 1 where the result is the same on all of them.
    """

    def __init__(self, make: _Rounded, operation: str, channels: int, stride: int, edges: Sequence[tuple[int, int]]):
        super().__init__()
        self.operation, self.stride, self.make, self.channels = operation, stride, make, channels
        self.nodes = tuple(node for node, _ in edges)
        copies = len(edges)
        if operation.endswith("pool_3x3"):
            self.norm = _norm(channels)
        elif operation == "skip_connect":
            self.reduce = _Reduce(make, channels, channels, copies) if stride == 2 else None
        else:
            kernel, dilation = int(operation[-1]), 2 if operation.startswith("dil") else 1
            self.first = _Separable(make, channels, kernel, stride, dilation, copies)
            twice = operation.startswith("sep")
            self.second = _Separable(make, channels, kernel, 1, 1, copies) if twice else None

    @property
    def edges(self) -> int:
        """How many edges the operation serves."""
        return len(self.nodes)

    def forward(self, state: Tensor, rounded: Tensor, weights: list[Tensor]) -> Tensor:
        if self.operation == "max_pool_3x3":
            return self.norm(F.max_pool2d(state, 3, self.stride, 1)).unsqueeze(1)
        if self.operation == "avg_pool_3x3":
            return self.norm(F.avg_pool2d(state, 3, self.stride, 1, count_include_pad=False)).unsqueeze(1)
        if self.operation == "skip_connect":
            return state.unsqueeze(1) if self.reduce is None else self._per_edge(self.reduce(rounded, weights))
        x = self.first(torch.cat([rounded] * self.edges, dim=1), weights)
        if self.second is not None:
            x = self.second(self.make(F.relu(x)), weights)
        return self._per_edge(x)

    def _per_edge(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.edges, self.channels))


class SupernetCell(nn.Module):
    """One cell with all candidates; forward needs the coefficient of every candidate of every edge."""

    def __init__(
        self,
        make: _Rounded,
        candidates: Sequence[Sequence[str]],
        channels_before: tuple[int, int],
        channels: int,
        nodes: int,
        *,
        reduction: bool,
        reduction_before: bool,
    ):
        super().__init__()
        self.make, self.nodes = make, nodes
        first, second = channels_before
        self.input0 = (_Reduce if reduction_before else _Pointwise)(make, first, channels)
        self.input1 = _Pointwise(make, second, channels)
        self.groups = nn.ModuleList()
        self.states: list[list[EdgeGroup]] = []  # the groups that read each state
        places, edges = [], edges_of(nodes)
        for state in range(nodes + 1):
            mine = [index for index, (_, source) in enumerate(edges) if source == state]
            stride = 2 if reduction and state < 2 else 1
            self.states.append([])
            for operation in dict.fromkeys(name for index in mine for name in candidates[index] if name != "none"):
                rows = [index for index in mine if operation in candidates[index]]
                places += [row * len(candidates[0]) + list(candidates[row]).index(operation) for row in rows]
                self.groups.append(EdgeGroup(make, operation, channels, stride, [edges[row] for row in rows]))
                self.states[state].append(self.groups[-1])
        self.register_buffer("places", torch.tensor(places), persistent=False)  # of each group's edges in coefficients
        reached = {node for group in self.groups for node in group.nodes}
        if len(reached) < nodes:
            node = min(set(range(nodes)) - reached) + 1
            raise InputError(f"node {node} has no candidate but 'none' on its edges; it needs another on one of them.")
        self.out_channels = nodes * channels

    def forward(self, x0: Tensor, x1: Tensor, coefficients: Tensor, weights: list[Tensor]) -> Tensor:
        states = [module(self.make(F.relu(x)), weights) for module, x in ((self.input0, x0), (self.input1, x1))]
        sums: list[list[Tensor]] = [[] for _ in range(self.nodes)]
        parts = coefficients.flatten()[self.places].split([group.edges for group in self.groups])
        factor_of = {group: part.view(1, -1, 1, 1, 1) for group, part in zip(self.groups, parts)}
        for state, groups in enumerate(self.states):
            rounded = self.make(F.relu(states[state]))
            mixed: dict[tuple[int, ...], Tensor] = {}
            for group in groups:
                factors = factor_of[group]
                value = group(states[state], rounded, weights)
                before = mixed.get(group.nodes)
                mixed[group.nodes] = value * factors if before is None else torch.addcmul(before, value, factors)
            for nodes, value in mixed.items():
                for node, part in zip(nodes, value.unbind(1)):
                    sums[node].append(part)
            if state > 0:  # node state - 1 has all its inputs
                first, *others = sums[state - 1]
                states.append(sum(others, first))
        return torch.cat(states[2:], dim=1)


class CellSupernet(nn.Module):
    """Stem, cells with all candidates, norm and ReLU, pooling, classifier: (N, C, H, W) to (N, classes).

    Args:
        candidates: `all_operations(nodes)`, or what was kept of them.
        architecture: module whose `coefficients(kind)` are (edges, candidates), one factor for every candidate.
        layers, channels, nodes: cells (at least 3), channels of the first of them, and nodes in each; reductions stand
            at one and two thirds and double the channels.
        space: "shift" (P and S, every layer with stem and classifier) or "real".
        weight_bits, shift_range: which P weights take (`repro.train.shift.check_shift_range`).
        activation_bits: fixed point of the inputs of every layer with weights, None for no rounding.
        gradient: of P, "paper" or "chain" (`repro.ops.compose_shift_weight`).
        generator: of the weights.
    """

    def __init__(
        self,
        candidates: Candidates,
        architecture: nn.Module,
        *,
        generator: torch.Generator,
        in_channels: int = 3,
        num_classes: int = 10,
        layers: int = 8,
        channels: int = 16,
        nodes: int = 4,
        space: str = "shift",
        weight_bits: int = 5,
        shift_range: tuple[int, int] | None = None,
        activation_bits: tuple[int, int] | None = FIXED_POINT,
        gradient: str = "paper",
    ):
        super().__init__()
        check_int("layers", layers, minimum=3)
        check_int("channels", channels, minimum=2)
        check_int("nodes", nodes, minimum=1)
        self.flat = FlatWeights(space, weight_bits, shift_range, gradient)
        make = _Rounded(self.flat, activation_bits)
        self.make, self.architecture = make, architecture
        self.stem = self.flat.add(3 * channels, in_channels, 3, 3)
        self.stem_norm = _norm(3 * channels, affine=True)
        self.kinds = []
        self.cells = nn.ModuleList()
        before, reduction_before = (3 * channels, 3 * channels), False
        for index in range(layers):
            reduction = index in (layers // 3, 2 * layers // 3)
            channels *= 2 if reduction else 1
            self.kinds.append("reduce" if reduction else "normal")
            options = {"reduction": reduction, "reduction_before": reduction_before}
            cell = SupernetCell(make, candidates[self.kinds[-1]], before, channels, nodes, **options)
            self.cells.append(cell)
            reduction_before, before = reduction, (before[1], cell.out_channels)
        self.last_norm = _norm(before[1], affine=True)
        self.classifier = self.flat.add(num_classes, before[1])
        self.classifier_bias = nn.Parameter(torch.zeros(num_classes))
        self.flat.close(generator)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.flat()
        coefficients = {kind: self.architecture.coefficients(kind) for kind in set(self.kinds)}
        x = self.make(x.contiguous(memory_format=torch.channels_last))
        x0 = x1 = self.stem_norm(F.conv2d(x, weights[self.stem], padding=1))
        for kind, cell in zip(self.kinds, self.cells):
            x0, x1 = x1, cell(x0, x1, coefficients[kind], weights)
        pooled = F.relu(self.last_norm(x1)).mean((2, 3))
        return F.linear(self.make(pooled), weights[self.classifier], self.classifier_bias)
