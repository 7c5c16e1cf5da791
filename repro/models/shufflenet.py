"""ShuffleNetV2 (Ma et al. 2018) in ImageNet and CIFAR forms; `width` is one of the published sizes or any factor."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from repro.errors import check_choice
from repro.models.build import Builder, check_width, round_channels
from repro.models.registry import register

KEEP = ("stem", "classifier")
PUBLISHED = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
COUNTS = (4, 8, 4)
STEM = 24


def stage_channels(width: float) -> tuple[int, ...]:
    """Channels of the three stages and the head: published where `width` is a published size, else scaled from 1.0."""
    if width in PUBLISHED:
        return PUBLISHED[width]
    return tuple(round_channels(channels * check_width(width), 4) for channels in PUBLISHED[1.0])


def shuffle(x: Tensor) -> Tensor:
    """Interleave the two halves of the channels."""
    n, c, h, w = x.shape
    return x.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class ShuffleBlock(nn.Module):
    """Half of the channels pass (stride 1) or get a depthwise and a 1x1 (stride 2); the rest 1x1, depthwise, 1x1."""

    def __init__(self, build: Builder, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        half = out_channels // 2
        self.split = stride == 1
        source = in_channels // 2 if self.split else in_channels
        self.left = nn.Identity()
        if not self.split:
            left = build.at("left")
            self.left = nn.Sequential(
                left.conv_norm("0", "depthwise", in_channels, in_channels, 3, stride=stride, groups=in_channels),
                left.conv_norm("1", "pointwise", in_channels, half, 1, act="relu"),
            )
        right = build.at("right")
        self.right = nn.Sequential(
            right.conv_norm("0", "pointwise", source, half, 1, act="relu"),
            right.conv_norm("1", "depthwise", half, half, 3, stride=stride, groups=half),
            right.conv_norm("2", "pointwise", half, half, 1, act="relu"),
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1) if self.split else (x, x)
        return shuffle(torch.cat([self.left(left), self.right(right)], dim=1))


class ShuffleNetV2(nn.Module):
    """Stem of 24 channels, three stages, 1x1 head, average pooling, classifier."""

    def __init__(
        self, build: Builder, *, num_classes: int, width: float = 1.0, form: str = "imagenet", in_channels: int = 3
    ):
        super().__init__()
        cifar = check_choice("form", form, ("imagenet", "cifar")) == "cifar"
        *planes, head = stage_channels(width)
        self.stem = build.conv_norm("stem", "stem", in_channels, STEM, 3, stride=1 if cifar else 2, act="relu")
        self.pool = nn.Identity() if cifar else nn.MaxPool2d(3, 2, 1)
        blocks: list[nn.Module]
        blocks, channels = [], STEM
        for plane, count in zip(planes, COUNTS):
            for position in range(count):
                here = build.at("blocks", len(blocks))
                blocks.append(ShuffleBlock(here, channels, plane, 2 if position == 0 else 1))
                channels = plane
        self.blocks = nn.Sequential(*blocks)
        self.head = build.conv_norm("head", "head", channels, head, 1, act="relu")
        self.classifier = build.linear("classifier", "classifier", head, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.head(self.blocks(self.pool(self.stem(x)))).mean((2, 3)))


@register("shufflenet_v2", keep={"adder": KEEP, "shift": KEEP, "shiftadd": KEEP}, paper="AutoShiftNet tables 1, 2")
def shufflenet_v2(
    build: Builder, *, num_classes: int = 1000, width: float = 1.0, form: str = "imagenet", in_channels: int = 3
) -> ShuffleNetV2:
    """ShuffleNetV2; 7.39M parameters and 583.3M MACs at 224 pixels, width 2 and 1000 classes."""
    return ShuffleNetV2(build, num_classes=num_classes, width=width, form=form, in_channels=in_channels)
