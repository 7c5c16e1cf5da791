"""ResNets (He et al. 2016) in the forms of AutoShiftNet's tables 1 and 2 and ShiftAddNAS's tables 4 and 11.

CIFAR forms: `resnet20` and `resnet56` have three stages of 16, 32, 64 channels; `resnet18` and deeper keep the four
ImageNet stages behind a 3x3 stem without pooling. Shortcuts that change shape are 1x1 projections, or free of
parameters (subsampled, new channels zero). ImageNet forms put a bottleneck's stride on the first 1x1 (v1) or on the
3x3 (v1.5).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from repro.errors import check_choice
from repro.models.build import Builder, check_width, round_channels
from repro.models.registry import register

KEEP = ("stem", "classifier")  # AdderNet and DeepShift leave the first and last layer multiplicative
_KEPT = {"adder": KEEP, "shift": KEEP, "shiftadd": KEEP}

# depth: (bottleneck?, blocks per stage)
DEPTHS = {
    18: (False, (2, 2, 2, 2)),
    20: (False, (3, 3, 3)),
    32: (False, (5, 5, 5)),
    50: (True, (3, 4, 6, 3)),
    56: (False, (9, 9, 9)),
    101: (True, (3, 4, 23, 3)),
    152: (True, (3, 8, 36, 3)),
}


class PadShortcut(nn.Module):
    """Parameter-free shortcut: every `stride`-th pixel, missing channels zero (half before, half after)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        missing = out_channels - in_channels
        self.pad = (missing // 2, missing - missing // 2)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *self.pad))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, build: Builder, in_channels: int, channels: int, stride: int, shortcut: nn.Module):
        super().__init__()
        self.conv1 = build.conv_norm("conv1", "conv", in_channels, channels, 3, stride=stride, act="relu")
        self.conv2 = build.conv_norm("conv2", "conv", channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(self.conv1(x)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 to four times the channels, and a shortcut; `early_stride` puts the stride on the first 1x1."""

    def __init__(
        self, build: Builder, in_channels: int, channels: int, stride: int, shortcut: nn.Module, early_stride: bool
    ):
        super().__init__()
        first, second = (stride, 1) if early_stride else (1, stride)
        self.conv1 = build.conv_norm("conv1", "pointwise", in_channels, channels, 1, stride=first, act="relu")
        self.conv2 = build.conv_norm("conv2", "conv", channels, channels, 3, stride=second, act="relu")
        self.conv3 = build.conv_norm("conv3", "pointwise", channels, 4 * channels, 1)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv3(self.conv2(self.conv1(x))) + self.shortcut(x))


class ResNet(nn.Module):
    """Stem, residual stages, average pooling, classifier.

    Args:
        depth: one of `DEPTHS`.
        form: "imagenet" (7x7 stem, pooling) or "cifar" (3x3 stem).
        shortcut: "projection" or "pad" where a block changes shape.
        version: "v1" or "v1.5", where a bottleneck has its stride.
    """

    def __init__(
        self,
        build: Builder,
        *,
        depth: int,
        num_classes: int,
        width: float = 1.0,
        form: str,
        shortcut: str,
        version: str = "v1.5",
        in_channels: int = 3,
    ):
        super().__init__()
        check_choice("form", form, ("imagenet", "cifar"))
        check_choice("shortcut", shortcut, ("projection", "pad"))
        check_choice("version", version, ("v1", "v1.5"))
        bottleneck, counts = DEPTHS[depth]
        base = 16 if len(counts) == 3 else 64
        planes = [round_channels(base * 2**stage * check_width(width), 4) for stage in range(len(counts))]
        channels = planes[0]
        kernel, stride = (7, 2) if form == "imagenet" else (3, 1)
        self.stem = build.conv_norm("stem", "stem", in_channels, channels, kernel, stride=stride, act="relu")
        self.pool = nn.MaxPool2d(3, 2, 1) if form == "imagenet" else nn.Identity()
        stages = []
        for stage, (plane, count) in enumerate(zip(planes, counts)):
            blocks = []
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                here, out = build.at("stages", stage, index), plane * (4 if bottleneck else 1)
                link = self._shortcut(here, channels, out, stride, shortcut)
                if bottleneck:
                    blocks.append(Bottleneck(here, channels, plane, stride, link, version == "v1"))
                else:
                    blocks.append(BasicBlock(here, channels, plane, stride, link))
                channels = out
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.classifier = build.linear("classifier", "classifier", channels, num_classes)

    @staticmethod
    def _shortcut(build: Builder, in_channels: int, out_channels: int, stride: int, kind: str) -> nn.Module:
        if stride == 1 and in_channels == out_channels:
            return nn.Identity()
        if kind == "pad":
            return PadShortcut(in_channels, out_channels, stride)
        return build.conv_norm("shortcut", "shortcut", in_channels, out_channels, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.pool(self.stem(x)))
        return self.classifier(x.mean((2, 3)))


def _register_small(depth: int) -> None:
    """CIFAR ResNets of 16-32-64 channels."""

    @register(f"resnet{depth}", keep=_KEPT, paper="AutoShiftNet table 1")
    def small(
        build: Builder,
        *,
        num_classes: int = 10,
        width: float = 1.0,
        form: str = "cifar",
        shortcut: str = "pad",
        in_channels: int = 3,
    ) -> ResNet:
        return ResNet(
            build,
            depth=depth,
            num_classes=num_classes,
            width=width,
            form=form,
            shortcut=shortcut,
            in_channels=in_channels,
        )


def _register_large(depth: int) -> None:
    """ResNets of 64-128-256-512 channels, ImageNet form unless form="cifar"."""

    @register(f"resnet{depth}", keep=_KEPT, paper="AutoShiftNet tables 1, 2; ShiftAddNAS tables 4, 11")
    def large(
        build: Builder,
        *,
        num_classes: int = 1000,
        width: float = 1.0,
        form: str = "imagenet",
        shortcut: str = "projection",
        version: str = "v1.5",
        in_channels: int = 3,
    ) -> ResNet:
        return ResNet(
            build,
            depth=depth,
            num_classes=num_classes,
            width=width,
            form=form,
            shortcut=shortcut,
            version=version,
            in_channels=in_channels,
        )


for _depth in (20, 32, 56):
    _register_small(_depth)
for _depth in (18, 50, 101, 152):
    _register_large(_depth)
