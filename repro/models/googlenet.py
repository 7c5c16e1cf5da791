"""GoogLeNet (Szegedy et al. 2015) with batch normalisation and without auxiliary classifiers.

The third branch has 3x3 convolutions where the paper has 5x5, as in the definition whose size (6.62M) the published
table shows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from repro.errors import check_choice
from repro.models.build import Builder, check_width, round_channels
from repro.models.registry import register

KEEP = ("stem", "classifier")
# Channels: 1x1 | 3x3 reduction, 3x3 | third branch's reduction, 3x3 | pooling branch; None is a 3x3 s2 maximum.
INCEPTIONS = (
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    None,
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    None,
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)


class Inception(nn.Module):
    """Four parallel branches, concatenated."""

    def __init__(self, build: Builder, in_channels: int, channels: tuple[int, ...]):
        super().__init__()
        one, reduce3, three, reduce5, five, pooled = channels
        self.one = build.conv_norm("one", "pointwise", in_channels, one, 1, act="relu")
        self.three_reduce = build.conv_norm("three_reduce", "pointwise", in_channels, reduce3, 1, act="relu")
        self.three = build.conv_norm("three", "conv", reduce3, three, 3, act="relu")
        self.five_reduce = build.conv_norm("five_reduce", "pointwise", in_channels, reduce5, 1, act="relu")
        self.five = build.conv_norm("five", "conv", reduce5, five, 3, act="relu")
        self.pool = nn.MaxPool2d(3, 1, 1)
        self.pooled = build.conv_norm("pooled", "pointwise", in_channels, pooled, 1, act="relu")
        self.out_channels = one + three + five + pooled

    def forward(self, x: Tensor) -> Tensor:
        three = self.three(self.three_reduce(x))
        five = self.five(self.five_reduce(x))
        return torch.cat([self.one(x), three, five, self.pooled(self.pool(x))], dim=1)


class GoogLeNet(nn.Module):
    """7x7, 1x1 and 3x3 stem convolutions, nine inception modules, average pooling, classifier."""

    def __init__(
        self,
        build: Builder,
        *,
        num_classes: int,
        width: float = 1.0,
        form: str = "imagenet",
        dropout: float = 0.2,
        in_channels: int = 3,
    ):
        super().__init__()
        cifar = check_choice("form", form, ("imagenet", "cifar")) == "cifar"
        stem, wide = round_channels(64 * check_width(width)), round_channels(192 * width)
        kernel, stride = (3, 1) if cifar else (7, 2)
        self.stem = build.conv_norm("stem", "stem", in_channels, stem, kernel, stride=stride, act="relu")
        self.pool1 = nn.Identity() if cifar else nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = build.conv_norm("conv2", "pointwise", stem, stem, 1, act="relu")
        self.conv3 = build.conv_norm("conv3", "conv", stem, wide, 3, act="relu")
        self.pool2 = nn.Identity() if cifar else nn.MaxPool2d(3, 2, ceil_mode=True)
        blocks, channels = [], wide
        for index, setting in enumerate(INCEPTIONS):
            if setting is None:
                blocks.append(nn.MaxPool2d(3, 2, ceil_mode=True))
                continue
            scaled = tuple(round_channels(value * width) for value in setting)
            blocks.append(Inception(build.at("blocks", index), channels, scaled))
            channels = blocks[-1].out_channels
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.classifier = build.linear("classifier", "classifier", channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool2(self.conv3(self.conv2(self.pool1(self.stem(x)))))
        return self.classifier(self.dropout(self.blocks(x).mean((2, 3))))


@register("googlenet", keep={"adder": KEEP, "shift": KEEP, "shiftadd": KEEP}, paper="AutoShiftNet table 2")
def googlenet(
    build: Builder,
    *,
    num_classes: int = 1000,
    width: float = 1.0,
    form: str = "imagenet",
    dropout: float = 0.2,
    in_channels: int = 3,
) -> GoogLeNet:
    """GoogLeNet; 6.62M parameters and 1498.4M MACs at 224 pixels and 1000 classes."""
    return GoogLeNet(build, num_classes=num_classes, width=width, form=form, dropout=dropout, in_channels=in_channels)
