"""SqueezeNet 1.0 (Iandola et al. 2016): biased convolutions, or batch normalisation where asked for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from repro.errors import check_choice
from repro.models.build import Builder, check_width, round_channels
from repro.models.registry import register

KEEP = ("stem", "classifier")
# squeeze, expand channels (each of 1x1 and 3x3) of the fire modules; None is a 3x3 s2 maximum
FIRES = (None, (16, 64), (16, 64), (32, 128), None, (32, 128), (48, 192), (48, 192), (64, 256), None, (64, 256))


class Fire(nn.Module):
    """1x1 squeeze, then 1x1 and 3x3 expansions side by side."""

    def __init__(self, build: Builder, in_channels: int, squeeze: int, expand: int, norm: bool):
        super().__init__()
        options: dict[str, Any] = {"bias": not norm, "norm": norm, "act": "relu"}
        self.squeeze = build.conv_norm("squeeze", "pointwise", in_channels, squeeze, 1, **options)
        self.one = build.conv_norm("one", "pointwise", squeeze, expand, 1, **options)
        self.three = build.conv_norm("three", "conv", squeeze, expand, 3, **options)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x)
        return torch.cat([self.one(x), self.three(x)], dim=1)


class SqueezeNet(nn.Module):
    """7x7 stem, eight fire modules, a 1x1 classifier on the last map, average pooling."""

    def __init__(
        self,
        build: Builder,
        *,
        num_classes: int,
        width: float = 1.0,
        form: str = "imagenet",
        batch_norm: bool = False,
        dropout: float = 0.5,
        in_channels: int = 3,
    ):
        super().__init__()
        cifar = check_choice("form", form, ("imagenet", "cifar")) == "cifar"
        channels = round_channels(96 * check_width(width))
        kernel, stride, padding = (3, 1, 1) if cifar else (7, 2, 0)
        self.stem = build.conv_norm(
            "stem",
            "stem",
            in_channels,
            channels,
            kernel,
            stride=stride,
            padding=padding,
            bias=not batch_norm,
            norm=batch_norm,
            act="relu",
        )
        blocks = []
        for index, setting in enumerate(FIRES):
            if setting is None:
                blocks.append(nn.MaxPool2d(3, 2, ceil_mode=True))
                continue
            squeeze, expand = (round_channels(value * width) for value in setting)
            blocks.append(Fire(build.at("blocks", index), channels, squeeze, expand, batch_norm))
            channels = 2 * expand
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.classifier = build.conv("classifier", "classifier", channels, num_classes, 1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.classifier(self.dropout(self.blocks(self.stem(x))))).mean((2, 3))


@register("squeezenet", keep={"adder": KEEP, "shift": KEEP, "shiftadd": KEEP}, paper="AutoShiftNet table 2")
def squeezenet(
    build: Builder,
    *,
    num_classes: int = 1000,
    width: float = 1.0,
    form: str = "imagenet",
    batch_norm: bool = False,
    dropout: float = 0.5,
    in_channels: int = 3,
) -> SqueezeNet:
    """SqueezeNet 1.0; 1.25M parameters and 818.9M MACs at 224 pixels and 1000 classes."""
    return SqueezeNet(
        build,
        num_classes=num_classes,
        width=width,
        form=form,
        batch_norm=batch_norm,
        dropout=dropout,
        in_channels=in_channels,
    )
