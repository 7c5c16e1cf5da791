"""ShiftAddNAS's vision networks (You et al. 2022) and BossNAS's, from strings of blocks per stage.

A block is one letter: A attention, C convolution, S shift, + adder. Every block starts with a 1x1 and a depthwise 3x3
that carries the stride and encodes position; there is no other positional encoding and, unlike the paper's text, no
MLP behind attention. `stages=("CC", "CSCC", "SCASS", "AACAA")` is ShiftAddNAS-T0; T1 drops the last stride.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from repro.errors import InputError, check_choice
from repro.models.build import Builder, MatMul, SqueezeExcite, check_width, round_channels
from repro.models.registry import register

BLOCKS = {"A": "attention", "C": "conv", "S": "shift", "+": "adder"}
HEADS = (1, 2, 4, 8)  # attention heads by stage, 64 channels each at width 1

RANK1 = ("CC", "CSCC", "SCASS", "AACAA")
RANK2 = ("CC", "CCCC", "SCA++", "AACAA")
BOSSNAS = ("C", "C", "CCCAC", "AAACAAAAA")
T0_STRIDES, T1_STRIDES = (1, 2, 2, 2), (1, 2, 2, 1)

# With one operator for the whole network, image, class, gate and attention layers go on multiplying.
KEEP = ("stem", "classifier", "se", "attention")
_KEPT = {"adder": KEEP, "shift": KEEP, "shiftadd": KEEP}

# Supernet (table 2): sixteen layers, so many at each resolution (of 224 pixels).
COUNTS = {56: (1, 4), 28: (1, 4), 14: (3, 7), 7: (4, 9)}


class Shortcut(nn.Module):
    """Identity, or (2x2 average pool and) a normalised 1x1 where a block changes shape."""

    def __init__(self, build: Builder, in_channels: int, out_channels: int, stride: int, op: str | None):
        super().__init__()
        self.stride = stride
        self.project = None
        if stride > 1 or in_channels != out_channels:
            self.project = build.conv_norm("project", "shortcut", in_channels, out_channels, 1, op=op)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = F.avg_pool2d(x, self.stride, ceil_mode=True, count_include_pad=False)
        return x if self.project is None else self.project(x)


class Entrance(nn.Module):
    """1x1 to the block's planes, depthwise 3x3 with bias and the stride (the position encoding), norm, SiLU."""

    def __init__(self, build: Builder, in_channels: int, planes: int, stride: int, role: str, op: str | None):
        super().__init__()
        self.reduce = build.conv("reduce", role, in_channels, planes, 1, op=op)
        self.position = build.conv(
            "position",
            "position",
            planes,
            planes,
            3,
            stride=stride,
            groups=planes,
            bias=op != "adder",  # the public adder block has none
            norm=True,
            op=op,
        )
        self.norm = nn.BatchNorm2d(planes)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.norm(self.position(self.reduce(x))))


class ConvBlock(nn.Module):
    """Residual bottleneck with SE; `op` forces one operator on all but SE, None leaves the builder's choice."""

    def __init__(self, build: Builder, in_channels: int, planes: int, stride: int, op: str | None = None):
        super().__init__()
        out = 4 * planes
        self.enter = Entrance(build.at("enter"), in_channels, planes, stride, "pointwise", op)
        self.conv = build.conv_norm("conv", "conv", planes, planes, 3, act="silu", op=op)
        self.leave = build.conv_norm("leave", "pointwise", planes, out, 1, op=op)
        self.se = SqueezeExcite(build.at("se"), out, max(out // 16, 1), gate="sigmoid")
        self.shortcut = Shortcut(build.at("shortcut"), in_channels, out, stride, op)

    def forward(self, x: Tensor) -> Tensor:
        y = self.se(self.leave(self.conv(self.enter(x))))
        return F.silu(y + self.shortcut(x))


class AttentionBlock(nn.Module):
    """Residual bottleneck around softmax(q k^T / sqrt(d)) v over all pixels of the map."""

    def __init__(self, build: Builder, in_channels: int, planes: int, stride: int, heads: int):
        super().__init__()
        if planes % heads:
            raise InputError(
                f"heads={heads} is not allowed; it must divide the {planes} channels of layer {build.path}."
            )
        self.heads = heads
        self.enter = Entrance(build.at("enter"), in_channels, planes, stride, "attention", None)
        self.qkv = build.conv("qkv", "attention", planes, 3 * planes, 1)
        self.scores, self.values = MatMul(), MatMul()
        self.norm = nn.BatchNorm2d(planes)
        self.leave = build.conv_norm("leave", "attention", planes, 4 * planes, 1)
        self.shortcut = Shortcut(build.at("shortcut"), in_channels, 4 * planes, stride, None)

    def attend(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        n, c, h, w = x.shape
        q, k, v = self.qkv(x).reshape(n, 3, self.heads, c // self.heads, h * w).unbind(1)  # each (N, heads, d, HW)
        scores = self.scores(q.transpose(2, 3), k) / math.sqrt(c // self.heads)
        mixed = self.values(v, scores.softmax(dim=-1).transpose(2, 3))  # (N, heads, d, HW)
        return mixed.reshape(n, c, h, w)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.norm(self.attend(self.enter(x))))
        return F.silu(self.leave(y) + self.shortcut(x))


def zero_last_gammas(network: nn.Module) -> nn.Module:
    """Let every block begin as its shortcut alone, in place: gamma 0 in its last norm (Goyal et al. 2017).

    As in the public supernet.
    """
    for module in network.modules():
        if isinstance(module, ConvBlock | AttentionBlock):
            nn.init.zeros_(module.leave.norm.weight)
    return network


def make_block(build: Builder, letter: str, in_channels: int, planes: int, stride: int, heads: int = 1) -> nn.Module:
    """The block of a letter: (N, in, H, W) -> (N, 4 planes, H/stride, W/stride)."""
    kind = BLOCKS[check_choice("block", letter, BLOCKS)]
    if kind == "attention":
        return AttentionBlock(build, in_channels, planes, stride, heads)
    return ConvBlock(build, in_channels, planes, stride, None if kind == "conv" else kind)


class ShiftAddNet(nn.Module):
    """Stem, up to four stages of blocks, average pooling, classifier.

    With `distillation` there is a second classifier (to be trained on a teacher); scores are the mean of the two.
    """

    def __init__(
        self,
        build: Builder,
        *,
        stages: Sequence[str],
        strides: Sequence[int] = T0_STRIDES,
        num_classes: int = 1000,
        width: float = 1.0,
        form: str = "imagenet",
        distillation: bool = True,
        in_channels: int = 3,
    ):
        super().__init__()
        check_choice("form", form, ("imagenet", "cifar"))
        if len(stages) != len(strides) or not 1 <= len(stages) <= len(HEADS) or not all(stages):
            raise InputError(
                f"stages={tuple(stages)!r} with strides={tuple(strides)!r} is not allowed; give one to {len(HEADS)} "
                "non-empty strings of blocks and as many strides."
            )
        channels = round_channels(64 * check_width(width))
        kernel, stride = (7, 2) if form == "imagenet" else (3, 1)
        self.stem = build.conv_norm("stem", "stem", in_channels, channels, kernel, stride=stride, act="silu")
        self.pool = nn.MaxPool2d(3, 2, 1) if form == "imagenet" else nn.Identity()
        blocks: list[nn.Module] = []
        for index, (letters, stride) in enumerate(zip(stages, strides)):
            planes = round_channels(64 * 2**index * width)
            for position, letter in enumerate(letters):
                here = build.at("blocks", len(blocks))
                blocks.append(make_block(here, letter, channels, planes, stride if position == 0 else 1, HEADS[index]))
                channels = 4 * planes
        self.blocks = nn.Sequential(*blocks)
        self.classifier = build.linear("classifier", "classifier", channels, num_classes)
        self.distilled = None
        if distillation:
            self.distilled = build.linear("distilled", "classifier", channels, num_classes)

    def scores(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Scores of the class head and of the distillation head (None without one), (N, num_classes) each."""
        x = self.blocks(self.pool(self.stem(x))).mean((2, 3))
        return self.classifier(x), None if self.distilled is None else self.distilled(x)

    def forward(self, x: Tensor) -> Tensor:
        scores, distilled = self.scores(x)
        return scores if distilled is None else (scores + distilled) / 2


def _register_network(name: str, default: tuple[str, ...], default_strides: tuple[int, ...]) -> None:
    @register(name, keep=_KEPT, paper="ShiftAddNAS table 11")
    def network(
        build: Builder,
        *,
        stages: Sequence[str] = default,
        strides: Sequence[int] = default_strides,
        num_classes: int = 1000,
        width: float = 1.0,
        form: str = "imagenet",
        distillation: bool = default is not BOSSNAS,
        in_channels: int = 3,
    ) -> ShiftAddNet:
        return ShiftAddNet(
            build,
            stages=stages,
            strides=strides,
            num_classes=num_classes,
            width=width,
            form=form,
            distillation=distillation,
            in_channels=in_channels,
        )


for _name, _stages in (("shiftaddnas", RANK1), ("shiftaddnas_rank2", RANK2), ("bossnas", BOSSNAS)):
    _prefix, _, _rank = _name.partition("_")
    for _size, _strides in (("t0", T0_STRIDES), ("t1", T1_STRIDES)):
        _register_network("_".join(filter(None, (_prefix, _size, _rank))), _stages, _strides)
