"""The network of repeated cells (DARTS, Liu et al. 2019) that AutoShiftNet evaluates, from any genotype.

CIFAR: 20 cells, 36 channels. ImageNet: 14 cells, 46 channels behind a stem that divides the side by 8. Reduction cells
stand at one and two thirds of the depth and double the channels. Convolutions follow the order ReLU, conv, norm.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repro.errors import check_choice, check_flag, check_int, check_number
from repro.models.build import Builder, check_width
from repro.models.genotypes import Edges, Genotype
from repro.models.genotypes import genotype as read_genotype
from repro.models.registry import register

KEEP = ("stem", "classifier", "auxiliary")


def relu_conv_norm(build: Builder, in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """ReLU, 1x1, normalisation."""
    conv = build.conv("conv", "pointwise", in_channels, out_channels, 1, stride=stride, norm=True)
    return nn.Sequential(OrderedDict(relu=nn.ReLU(), conv=conv, norm=nn.BatchNorm2d(out_channels)))


def separable(build: Builder, channels: int, kernel: int, stride: int, dilation: int = 1) -> nn.Sequential:
    """ReLU, depthwise, 1x1, normalisation."""
    options: dict[str, Any] = {"stride": stride, "groups": channels, "dilation": dilation}
    depthwise = build.conv("depthwise", "depthwise", channels, channels, kernel, **options)
    pointwise = build.conv("pointwise", "pointwise", channels, channels, 1, norm=True)
    norm = nn.BatchNorm2d(channels)
    return nn.Sequential(OrderedDict(relu=nn.ReLU(), depthwise=depthwise, pointwise=pointwise, norm=norm))


def asymmetric(build: Builder, channels: int, stride: int) -> nn.Sequential:
    """ReLU, 1x7, 7x1, normalisation."""
    wide = build.conv("wide", "conv", channels, channels, (1, 7), stride=(1, stride), padding=(0, 3))
    tall = build.conv("tall", "conv", channels, channels, (7, 1), stride=(stride, 1), padding=(3, 0), norm=True)
    return nn.Sequential(OrderedDict(relu=nn.ReLU(), wide=wide, tall=tall, norm=nn.BatchNorm2d(channels)))


class FactorizedReduce(nn.Module):
    """Halve the map without losing pixels: two strided 1x1, the second one pixel further, concatenated."""

    def __init__(self, build: Builder, in_channels: int, out_channels: int):
        super().__init__()
        first = out_channels // 2
        self.even = build.conv("even", "pointwise", in_channels, first, 1, stride=2, norm=True)
        self.odd = build.conv("odd", "pointwise", in_channels, out_channels - first, 1, stride=2, norm=True)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        shifted = F.pad(x[:, :, 1:, 1:], (0, 1, 0, 1))  # the padding is only read where the side is odd
        return self.norm(torch.cat([self.even(x), self.odd(shifted)], dim=1))


def make_operation(build: Builder, name: str, channels: int, stride: int) -> nn.Module:
    """One operation of a genotype at `channels`: (N, C, H, W) -> (N, C, H/stride, W/stride)."""
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(build, channels, channels)
    if name == "max_pool_3x3":
        return nn.MaxPool2d(3, stride, 1)
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    if name == "conv_7x1_1x7":
        return asymmetric(build, channels, stride)
    kernel = int(name[-1])
    if name.startswith("dil"):
        return separable(build, channels, kernel, stride, dilation=2)
    first = separable(build.at("0"), channels, kernel, stride)
    return nn.Sequential(first, separable(build.at("1"), channels, kernel, 1))


def drop_path(x: Tensor, probability: float) -> Tensor:
    """Zero whole samples of (N, ...) with `probability` and scale the others to keep the mean."""
    mask = torch.empty((x.shape[0],) + (1,) * (x.ndim - 1), dtype=x.dtype, device=x.device)
    return x * mask.bernoulli_(1 - probability) / (1 - probability)


class Cell(nn.Module):
    """One cell: two inputs to a common width, nodes of two operations each, concatenation."""

    def __init__(
        self,
        build: Builder,
        edges: Edges,
        concat: tuple[int, ...],
        channels_before: tuple[int, int],
        channels: int,
        *,
        reduction: bool,
        reduction_before: bool,
    ):
        super().__init__()
        first, second = channels_before
        if reduction_before:
            self.input0 = FactorizedReduce(build.at("input0"), first, channels)
        else:
            self.input0 = relu_conv_norm(build.at("input0"), first, channels)
        self.input1 = relu_conv_norm(build.at("input1"), second, channels)
        self.sources = [source for _, source in edges]
        self.concat = concat
        self.operations = nn.ModuleList(
            make_operation(build.at("operations", index), name, channels, 2 if reduction and source < 2 else 1)
            for index, (name, source) in enumerate(edges)
        )
        self.out_channels = len(concat) * channels

    def forward(self, x0: Tensor, x1: Tensor, drop: float = 0.0) -> Tensor:
        states = [self.input0(x0), self.input1(x1)]
        for index in range(0, len(self.sources), 2):
            node = 0
            for operation, source in zip(self.operations[index : index + 2], self.sources[index : index + 2]):
                value = operation(states[source])
                dropped = drop > 0 and self.training and not isinstance(operation, nn.Identity)
                node = node + (drop_path(value, drop) if dropped else value)
            states.append(node)
        return torch.cat([states[index] for index in self.concat], dim=1)


class AuxiliaryTower(nn.Module):
    """Second classifier on the map behind the second reduction, used in training only (role auxiliary)."""

    def __init__(self, build: Builder, channels: int, num_classes: int, stride: int):
        super().__init__()
        self.stride = stride
        self.conv1 = build.conv_norm("conv1", "auxiliary", channels, 128, 1, act="relu")
        self.conv2 = build.conv_norm("conv2", "auxiliary", 128, 768, 2, padding=0, act="relu")
        self.classifier = build.linear("classifier", "auxiliary", 768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        if min(x.shape[2:]) >= 5 + self.stride:
            x = F.avg_pool2d(x, 5, self.stride)
        else:  # smaller maps than the published 8x8 and 14x14
            x = F.adaptive_avg_pool2d(x, 2)
        return self.classifier(self.conv2(self.conv1(x)).mean((2, 3)))


class CellNetwork(nn.Module):
    """Stem, cells, average pooling, classifier.

    In training with `auxiliary`, forward returns (scores, auxiliary scores), else scores. `drop_path` is the
    probability of dropping an operation's output in training; schedules set `model.drop_path` as they go.
    """

    def __init__(
        self,
        build: Builder,
        cells: Genotype,
        *,
        num_classes: int,
        layers: int,
        channels: int,
        form: str,
        auxiliary: bool = False,
        drop_path: float = 0.0,
        in_channels: int = 3,
    ):
        super().__init__()
        check_int("layers", layers, minimum=3)
        check_flag("auxiliary", auxiliary)
        self.drop_path = check_number("drop_path", drop_path, minimum=0, below=1)
        imagenet = check_choice("form", form, ("imagenet", "cifar")) == "imagenet"
        self.stem0, self.stem1, stem = self._stem(build, channels, in_channels, imagenet)
        before = (stem, stem)
        reductions = (layers // 3, 2 * layers // 3)
        self.tower_at = reductions[1]
        self.tower = None
        self.cells = nn.ModuleList()
        reduction_before = imagenet
        for index in range(layers):
            reduction = index in reductions
            channels *= 2 if reduction else 1
            cell = Cell(
                build.at("cells", index),
                cells.reduce if reduction else cells.normal,
                cells.reduce_concat if reduction else cells.normal_concat,
                before,
                channels,
                reduction=reduction,
                reduction_before=reduction_before,
            )
            self.cells.append(cell)
            reduction_before, before = reduction, (before[1], cell.out_channels)
            if auxiliary and index == self.tower_at:
                self.tower = AuxiliaryTower(build.at("tower"), before[1], num_classes, 2 if imagenet else 3)
        self.classifier = build.linear("classifier", "classifier", before[1], num_classes)

    @staticmethod
    def _stem(
        build: Builder, channels: int, in_channels: int, imagenet: bool
    ) -> tuple[nn.Module, nn.Module | None, int]:
        """First input of the cells, what makes the second one of it (None: the same), and their channels."""
        if not imagenet:
            return build.conv_norm("stem0", "stem", in_channels, 3 * channels, 3), None, 3 * channels
        first, second = build.at("stem0"), build.at("stem1")
        stem0 = nn.Sequential(
            first.conv_norm("0", "stem", in_channels, channels // 2, 3, stride=2, act="relu"),
            first.conv_norm("1", "stem", channels // 2, channels, 3, stride=2),
        )
        stem1 = nn.Sequential(nn.ReLU(), second.conv_norm("1", "stem", channels, channels, 3, stride=2))
        return stem0, stem1, channels

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x0 = self.stem0(x)
        x1 = x0 if self.stem1 is None else self.stem1(x0)
        auxiliary = None
        for index, cell in enumerate(self.cells):
            x0, x1 = x1, cell(x0, x1, self.drop_path)
            if self.tower is not None and self.training and index == self.tower_at:
                auxiliary = self.tower(x1)
        scores = self.classifier(x1.mean((2, 3)))
        return scores if auxiliary is None else (scores, auxiliary)


FORMS = {"cifar": {"layers": 20, "channels": 36}, "imagenet": {"layers": 14, "channels": 46}}
_KEPT = {"adder": KEEP, "shift": KEEP, "shiftadd": KEEP}


@register("cells", keep=_KEPT, paper="AutoShiftNet tables 1, 2, 5, 6")
def cell_network(
    build: Builder,
    *,
    genotype: str | Genotype | dict = "autoshiftnet_cifar10",
    num_classes: int = 10,
    width: float = 1.0,
    form: str = "cifar",
    layers: int | None = None,
    channels: int | None = None,
    auxiliary: bool = False,
    drop_path: float = 0.0,
    in_channels: int = 3,
) -> CellNetwork:
    """A cell network; `genotype` is a name of `repro.models.genotypes`, a `Genotype` or its fields.

    Args:
        layers, channels: 20 and 36 for form="cifar", 14 and 46 for "imagenet" where left out.
        width: multiplies `channels`, rounded to even numbers.
    """
    defaults = FORMS[check_choice("form", form, FORMS)]
    channels = check_int("channels", defaults["channels"] if channels is None else channels, minimum=2)
    if width != 1.0:
        channels = max(2, 2 * round(channels * check_width(width) / 2))
    return CellNetwork(
        build,
        read_genotype(genotype),
        num_classes=num_classes,
        layers=defaults["layers"] if layers is None else layers,
        channels=channels,
        form=form,
        auxiliary=auxiliary,
        drop_path=drop_path,
        in_channels=in_channels,
    )
