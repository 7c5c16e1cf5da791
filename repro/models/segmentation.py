"""Semantic segmentation on MobileNetV2 and ProxylessNAS-Mobile backbones (ShiftAddAug table 5).

The paper does not describe its segmentation head. Ours is the light one of MobileNetV3 (Howard et al. 2019, LR-ASPP):
the deep map through a 1x1 and gated by its pooled self, upsampled and joined by class with a shallower map. Stem and
blocks have the classifier's names, so weights of a trained `create("mobilenet_v2")` load into `stem` and `blocks`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repro.errors import InputError
from repro.models.build import Builder, check_width, round_channels
from repro.models.mobile import KEEP, InvertedResidual, MobileSpec, mobile_spec
from repro.models.registry import register

LOW_STRIDE = 8  # of the map that adds detail


def dilated(spec: MobileSpec, output_stride: int) -> list[tuple[int, int]]:
    """(stride, dilation) of every block such that the last map is input / `output_stride`."""
    if output_stride not in (8, 16, 32):
        raise InputError(f"output_stride={output_stride!r} is not allowed; it must be 8, 16 or 32.")
    total, dilation, geometry = spec.stem_stride, 1, []
    for block in spec.blocks:
        if total * block.stride > output_stride:
            geometry.append((1, dilation))  # the block that would have strided still sees the denser map
            dilation *= block.stride
        else:
            total *= block.stride
            geometry.append((block.stride, dilation))
    return geometry


class SegmentationNet(nn.Module):
    """(N, C, H, W) images -> (N, classes, H, W) scores, upsampled bilinearly from input / 8.

    `unwidened`: layers whose outputs network augmentation leaves as they are: it widens the backbone.
    """

    unwidened = ("branch.conv", "gate")

    def __init__(
        self, build: Builder, spec: MobileSpec, *, num_classes: int, output_stride: int, channels: int, in_channels: int
    ):
        super().__init__()
        self.spec = spec
        self.stem = build.conv_norm("stem", "stem", in_channels, spec.stem, 3, stride=spec.stem_stride, act=spec.act)
        blocks, total = [], spec.stem_stride
        self.low_index, low = 0, spec.blocks[0].out
        for index, (block, (stride, dilation)) in enumerate(zip(spec.blocks, dilated(spec, output_stride))):
            blocks.append(InvertedResidual(build.at("blocks", index), replace(block, stride=stride), dilation))
            total *= stride
            if total <= LOW_STRIDE and index < len(spec.blocks) - 1:
                self.low_index, low = index, block.out
        self.blocks = nn.Sequential(*blocks)
        deep = spec.blocks[-1].out
        self.branch = build.conv_norm("branch", "head", deep, channels, 1, act="relu")
        self.gate = build.conv("gate", "se", deep, channels, 1)
        self.deep_classifier = build.conv("deep_classifier", "classifier", channels, num_classes, 1, bias=True)
        self.low_classifier = build.conv("low_classifier", "classifier", low, num_classes, 1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        x = self.stem(x)
        low = x
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index == self.low_index:
                low = x
        gated = self.branch(x) * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        gated = F.interpolate(gated, size=low.shape[2:], mode="bilinear", align_corners=False)
        scores = self.deep_classifier(gated) + self.low_classifier(low)
        return F.interpolate(scores, size=size, mode="bilinear", align_corners=False)


def _register_backbone(family: str) -> None:
    @register(f"{family}_seg", keep=KEEP, paper="ShiftAddAug table 5 (head ours)")
    def segmentation(
        build: Builder,
        *,
        num_classes: int = 21,
        width: float = 0.35,
        output_stride: int = 16,
        channels: int = 128,
        in_channels: int = 3,
        spec: MobileSpec | None = None,
    ) -> SegmentationNet:
        spec = mobile_spec(family, check_width(width)) if spec is None else MobileSpec.of(spec)
        return SegmentationNet(
            build,
            spec,
            num_classes=num_classes,
            output_stride=output_stride,
            channels=round_channels(channels),
            in_channels=in_channels,
        )


for _family in ("mobilenet_v2", "proxylessnas_mobile"):
    _register_backbone(_family)
