"""Inverted-residual networks: MobileNetV2, MobileNetV3-Large, ProxylessNAS-Mobile and MCUNet-in3.

ShiftAddAug trains them at width 0.35, 160 x 160 pixels and 100 classes (table 3). A network is a `MobileSpec`, plain
numbers that `mobile_spec` computes from a table and a width, and that augmentation or search may change before
`MobileNet` is built from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from repro.errors import InputError, check_choice, check_int
from repro.models.build import Builder, SqueezeExcite, activation, check_width, round_channels
from repro.models.registry import register

# ShiftAddAug's table 3: with adders the depthwise convolutions and the classifier still multiply; shift replaces all.
KEEP = {"adder": ("depthwise", "classifier"), "shift": (), "shiftadd": ("depthwise", "classifier")}


@dataclass(frozen=True)
class BlockSpec:
    """One inverted residual block in absolute channels; `se` is the hidden width of SE, 0 for none."""

    stage: int
    kernel: int
    in_channels: int
    mid: int
    out: int
    stride: int = 1
    se: int = 0
    act: str = "relu6"
    expand: bool = True
    residual: bool = False
    projection: bool = False


@dataclass(frozen=True)
class MobileSpec:
    """A whole network: stem channels, blocks, the 1x1 after them (0: none) and the layer after pooling (0: none)."""

    stem: int
    stem_stride: int
    blocks: tuple[BlockSpec, ...]
    head: int
    hidden: int = 0
    act: str = "relu6"

    @classmethod
    def of(cls, spec: MobileSpec | Mapping[str, Any]) -> MobileSpec:
        """A spec as it is, or of the plain values that a weights file holds; InputError for anything else."""
        if isinstance(spec, cls):
            return spec
        try:
            return cls(**{**spec, "blocks": tuple(BlockSpec(**block) for block in spec["blocks"])})  # type: ignore[dict-item, index]
        except (TypeError, KeyError) as error:
            raise InputError(f"spec={spec!r} is not allowed; it must be a MobileSpec or its values by name.") from error


@dataclass(frozen=True)
class Stage:
    """Blocks of one output width: (kernel, expansion) each; expansion is a ratio, or channels where `absolute`."""

    out: int
    stride: int
    blocks: tuple[tuple[int, float], ...]
    act: str = "relu6"
    se: bool = False
    absolute: bool = False


@dataclass(frozen=True)
class Family:
    """A published network at width 1: stem, first separable block, stages, head."""

    stem: int
    first: int
    stages: tuple[Stage, ...]
    head: int
    hidden: int = 0
    act: str = "relu6"
    first_act: str = "relu6"
    first_residual: bool = False


def _uniform(out: int, stride: int, count: int) -> Stage:
    return Stage(out, stride, ((3, 6),) * count)


FAMILIES = {
    "mobilenet_v2": Family(
        stem=32,
        first=16,
        stages=(
            _uniform(24, 2, 2),
            _uniform(32, 2, 3),
            _uniform(64, 2, 4),
            _uniform(96, 1, 3),
            _uniform(160, 2, 3),
            _uniform(320, 1, 1),
        ),
        head=1280,
    ),
    "mobilenet_v3_large": Family(
        stem=16,
        first=16,
        stages=(
            Stage(24, 2, ((3, 64), (3, 72)), "relu", absolute=True),
            Stage(40, 2, ((5, 72), (5, 120), (5, 120)), "relu", se=True, absolute=True),
            Stage(80, 2, ((3, 240), (3, 200), (3, 184), (3, 184)), "hswish", absolute=True),
            Stage(112, 1, ((3, 480), (3, 672)), "hswish", se=True, absolute=True),
            Stage(160, 2, ((5, 672), (5, 960), (5, 960)), "hswish", se=True, absolute=True),
        ),
        head=960,
        hidden=1280,
        act="hswish",
        first_act="relu",
        first_residual=True,
    ),
    "proxylessnas_mobile": Family(
        stem=32,
        first=16,
        stages=(
            Stage(32, 2, ((5, 3), (3, 3))),
            Stage(40, 2, ((7, 3), (3, 3), (5, 3), (5, 3))),
            Stage(80, 2, ((7, 6), (5, 3), (5, 3), (5, 3))),
            Stage(96, 1, ((5, 6), (5, 3), (5, 3), (5, 3))),
            Stage(192, 2, ((7, 6), (7, 6), (7, 3), (7, 3))),
            Stage(320, 1, ((7, 6),)),
        ),
        head=1280,
    ),
    "mcunet_in3": Family(
        stem=16,
        first=8,
        stages=(
            Stage(16, 2, ((7, 3), (3, 5), (7, 5), (5, 4))),
            Stage(24, 2, ((5, 5), (5, 5), (5, 5))),
            Stage(40, 2, ((3, 5), (7, 6), (5, 4))),
            Stage(48, 1, ((5, 5), (7, 5), (3, 5))),
            Stage(96, 2, ((3, 6), (7, 5), (3, 4))),
            Stage(160, 1, ((7, 5),)),
        ),
        head=0,
    ),
}


def mobile_spec(
    name: str, width: float = 1.0, form: str = "imagenet", head: int | None = None, expansion: str = "scaled"
) -> MobileSpec:
    """Concrete channels of a family at `width`.

    Args:
        form: "imagenet", or "cifar": stem and first stage keep stride 1; MobileNetV2 then also has a 1x1 expansion in
            its first block and 1x1 projections around blocks that only change channels, as in DeepShift's definition.
        expansion: how MobileNetV3's expanded widths follow `width`: "scaled" multiplies the published channels, as the
            tiny w0.35 network does; "ratio" multiplies the rounded input, as the published 0.75 network does.
        head: channels of the 1x1 after the blocks; by default the family's, never scaled below it (448: "Tiny").
    """
    family = FAMILIES[check_choice("name", name, FAMILIES)]
    width = check_width(width)
    cifar = check_choice("form", form, ("imagenet", "cifar")) == "cifar"
    check_choice("expansion", expansion, ("scaled", "ratio"))
    projection = cifar and name == "mobilenet_v2"
    stem, channels = round_channels(family.stem * width), round_channels(family.first * width)
    base = family.first
    first_residual = family.first_residual and stem == channels
    blocks = [BlockSpec(0, 3, stem, stem, channels, 1, 0, family.first_act, projection, first_residual, projection)]
    for index, stage in enumerate(family.stages):
        out = round_channels(stage.out * width)
        for position, (kernel, expanded) in enumerate(stage.blocks):
            if stage.absolute and expansion == "ratio":
                mid = round_channels(expanded / base * channels)
            else:
                mid = round_channels(expanded * (width if stage.absolute else channels))
            stride = stage.stride if position == 0 and not (cifar and index == 0) else 1
            residual = position > 0 and channels == out
            se = max(16, round_channels(mid / 4)) if stage.se else 0
            blocks.append(
                BlockSpec(index + 1, kernel, channels, mid, out, stride, se, stage.act, True, residual, projection)
            )
            base, channels = stage.out, out
    return MobileSpec(stem, 1 if cifar else 2, tuple(blocks), *_head(family, width, head), family.act)


def _head(family: Family, width: float, head: int | None) -> tuple[int, int]:
    """Channels of the 1x1 on the last map and of the layer after pooling; the last of the two never shrinks."""
    if head is not None:
        check_int("head", head, minimum=0)
    if family.hidden:
        return round_channels(family.head * width), head or round_channels(family.hidden * max(1.0, width))
    if head is not None:
        return head, 0
    return round_channels(family.head * max(1.0, width)) if family.head else 0, 0


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise, SE, 1x1 projection without activation, and the shortcut that the spec asks for."""

    def __init__(self, build: Builder, spec: BlockSpec, dilation: int = 1):
        super().__init__()
        self.spec = spec
        self.expand = None
        if spec.expand:
            self.expand = build.conv_norm("expand", "pointwise", spec.in_channels, spec.mid, 1, act=spec.act)
        self.depthwise = build.conv_norm(
            "depthwise",
            "depthwise",
            spec.mid,
            spec.mid,
            spec.kernel,
            stride=spec.stride,
            groups=spec.mid,
            dilation=dilation,
            act=spec.act,
        )
        self.se = SqueezeExcite(build.at("se"), spec.mid, spec.se) if spec.se else None
        self.project = build.conv_norm("project", "pointwise", spec.mid, spec.out, 1)
        self.shortcut = None
        if spec.residual:
            self.shortcut = nn.Identity()
        elif spec.projection and spec.stride == 1 and spec.in_channels != spec.out:
            self.shortcut = build.conv_norm("shortcut", "shortcut", spec.in_channels, spec.out, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else self.expand(x)
        y = self.depthwise(y)
        if self.se is not None:
            y = self.se(y)
        y = self.project(y)
        return y if self.shortcut is None else y + self.shortcut(x)


class MobileNet(nn.Module):
    """The network of a `MobileSpec`: stem, blocks, optional 1x1 head, pooling, optional hidden layer, classifier."""

    def __init__(
        self, build: Builder, spec: MobileSpec, *, num_classes: int, dropout: float = 0.0, in_channels: int = 3
    ):
        super().__init__()
        self.spec = spec
        self.stem = build.conv_norm("stem", "stem", in_channels, spec.stem, 3, stride=spec.stem_stride, act=spec.act)
        self.blocks = nn.Sequential(
            *(InvertedResidual(build.at("blocks", index), block) for index, block in enumerate(spec.blocks))
        )
        channels = spec.blocks[-1].out
        self.head = build.conv_norm("head", "head", channels, spec.head, 1, act=spec.act) if spec.head else None
        channels = spec.head or channels
        self.hidden = build.conv("hidden", "head", channels, spec.hidden, 1, bias=True) if spec.hidden else None
        self.hidden_act = activation(spec.act)
        self.dropout = nn.Dropout(dropout)
        self.classifier = build.linear("classifier", "classifier", spec.hidden or channels, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> the map behind the last block."""
        return self.blocks(self.stem(x))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = (x if self.head is None else self.head(x)).mean((2, 3), keepdim=True)
        if self.hidden is not None:
            x = self.hidden_act(self.hidden(x))
        return self.classifier(self.dropout(torch.flatten(x, 1)))


def _register_family(family: str, name: str, default_width: float, default_head: int | None, paper: str) -> None:
    @register(name, keep=KEEP, paper=paper)
    def mobile(
        build: Builder,
        *,
        num_classes: int = 100,
        width: float = default_width,
        form: str = "imagenet",
        head: int | None = default_head,
        expansion: str = "scaled",
        dropout: float = 0.0,
        in_channels: int = 3,
        spec: MobileSpec | None = None,
    ) -> MobileNet:
        spec = mobile_spec(family, width, form, head, expansion) if spec is None else MobileSpec.of(spec)
        return MobileNet(build, spec, num_classes=num_classes, dropout=dropout, in_channels=in_channels)


_register_family("mobilenet_v2", "mobilenet_v2", 0.35, None, "ShiftAddAug table 3; AutoShiftNet tables 1, 2")
_register_family("mobilenet_v2", "mobilenet_v2_tiny", 0.35, 448, "ShiftAddAug table 3")
_register_family("mobilenet_v3_large", "mobilenet_v3_large", 0.35, None, "ShiftAddAug table 3; ACGhostNet table 5")
_register_family("proxylessnas_mobile", "proxylessnas_mobile", 0.35, None, "ShiftAddAug table 3")
_register_family("mcunet_in3", "mcunet_in3", 1.0, None, "ShiftAddAug table 3")
