"""The five tiny networks of ShiftAddAug at the size that the paper trains, and small enough for two cores.

A small network keeps what sets its family apart: kernels, expansion, SE, activation, head and hidden layer. It takes
images of 16 pixels and has 4,150 to 9,490 weights (10 classes, three colours).
"""

from __future__ import annotations

import dataclasses

from torch import nn

from repro.errors import check_choice
from repro.models.mobile import KEEP, BlockSpec, MobileSpec
from repro.models.registry import create
from repro.papers.shiftaddaug.counts import MODELS

SIZES = ("small", "paper")


def _blocks(stem: int, *rows: tuple, act: str = "relu6") -> tuple[BlockSpec, ...]:
    """Inverted residual blocks of rows (stage, kernel, expansion, out, stride[, settings]) behind a stem."""
    blocks, channels = [], stem
    for stage, kernel, expansion, out, stride, *settings in rows:
        mid = channels * expansion
        block = {"act": act, "expand": expansion > 1, "residual": stride == 1 and channels == out and stage > 0}
        blocks.append(BlockSpec(stage, kernel, channels, mid, out, stride, **(block | dict(*settings))))
        channels = out
    return tuple(blocks)


_V2 = _blocks(8, (0, 3, 1, 8, 1), (1, 3, 3, 8, 2), (1, 3, 3, 8, 1), (2, 3, 3, 12, 2), (2, 3, 3, 12, 1))
_SE = {"act": "hswish", "se": 16}

SMALL = {
    "MobileNetV2-w0.35": MobileSpec(8, 2, _V2, head=32),
    "MobileNetV3-w0.35": MobileSpec(
        8,
        2,
        _blocks(
            8,
            (0, 3, 1, 8, 1),
            (1, 3, 3, 8, 2),
            (1, 3, 3, 8, 1),
            (2, 5, 3, 12, 2, _SE),
            (2, 5, 3, 12, 1, _SE),
            act="relu",
        ),
        head=24,
        hidden=32,
        act="hswish",
    ),
    "MCUNet-in3": MobileSpec(
        8,
        2,
        _blocks(8, (0, 3, 1, 8, 1), (1, 7, 3, 8, 2), (1, 3, 5, 8, 1), (2, 5, 5, 12, 2), (2, 7, 4, 12, 1)),
        head=0,
    ),
    "ProxylessNAS-w0.35": MobileSpec(
        8,
        2,
        _blocks(
            8, (0, 3, 1, 8, 1), (1, 5, 3, 8, 2), (1, 3, 3, 8, 1), (2, 7, 3, 12, 2), (2, 5, 3, 12, 1), (3, 7, 3, 12, 1)
        ),
        head=32,
    ),
    "MobileNetV2-Tiny": MobileSpec(8, 2, _V2, head=12),
}
"""Model -> its small network. "Tiny" differs from MobileNetV2 in its head alone, as 448 of 1,280 channels do."""


def tiny(model: str, size: str, op: str = "conv", *, in_channels: int, num_classes: int) -> nn.Module:
    """One of the five networks; augmentation takes the one with convolutions apart.

    Args:
        model: as the tables print it.
        size: "small", or "paper" for the printed width.
        op: its operator; what stays multiplicative is the paper's.
    Raises: InputError for another model or size.
    """
    name, options = MODELS[check_choice("model", model, MODELS)]
    small = check_choice("size", size, SIZES) == "small"
    options = {"spec": SMALL[model]} if small else options
    return create(name, op=op, in_channels=in_channels, num_classes=num_classes, **options)


SEGMENTERS = ("MobileNetV2-w0.35", "ProxylessNAS-w0.35")
"""Models of table 5."""


def segmenter(model: str, size: str, op: str = "conv", *, in_channels: int, num_classes: int) -> nn.Module:
    """A network of table 5 with convolutions: one of the backbones below the head of `repro.models.segmentation`.

    Args:
        model, size: as `tiny`; the small one takes images of 48 pixels, which its stem leaves as large as they are.
        op: what augmentation will put into their place; it decides which layers the network says stay multiplicative.
            Under adders the head's gate does, too: no adder's output is positive, so a gate of adders would be shut.
    """
    name, options = MODELS[check_choice("model", model, SEGMENTERS)]
    if check_choice("size", size, SIZES) == "small":
        options = {"spec": dataclasses.replace(SMALL[model], stem_stride=1), "channels": 16}
    keep = (*KEEP["adder"], "se") if op == "adder" else None
    return create(f"{name}_seg", keep=keep, in_channels=in_channels, num_classes=num_classes, **options)
