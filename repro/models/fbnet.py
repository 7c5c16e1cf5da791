"""The FBNet space (Wu et al. 2019) with an operator per block, as ShiftAddNAS uses for CIFAR (tables 5 and 7).

Those tables print operation totals only; neither the paper nor its repository lists the blocks. So this is the space,
22 blocks of freely chosen kind and operator, and no network here claims to be a row of those tables.

A block is written "k5_e3" (kernel, expansion), "k3_e1_g2" (1x1 convolutions in two shuffled groups) or "skip", with an
optional operator: "k5_e3:shift".
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from repro.errors import InputError, check_choice
from repro.models.build import OPERATORS, Builder, check_width, round_channels
from repro.models.registry import register

KEEP = ("stem", "classifier")
STEM = 16
KINDS = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")
# (channels, blocks, stride of the first block on ImageNet, on CIFAR)
STAGES = ((16, 1, 1, 1), (24, 4, 2, 1), (32, 4, 2, 2), (64, 4, 2, 2), (112, 4, 1, 1), (184, 4, 2, 2), (352, 1, 1, 1))
Stage = tuple[int, int, int]
"""(channels, blocks, stride of the first block)."""


def stages_of(form: str) -> tuple[Stage, ...]:
    """FBNet's stages on ImageNet ("imagenet"), or with fewer strides on CIFAR ("cifar")."""
    cifar = check_choice("form", form, ("imagenet", "cifar")) == "cifar"
    return tuple((plane, count, strides[cifar]) for plane, count, *strides in STAGES)


def shapes_of(stages: Sequence[Stage], channels: int) -> list[tuple[int, int, int]]:
    """(channels in, channels out, stride) of every block behind a stem of `channels`."""
    found = []
    for out, count, stride in stages:
        for position in range(count):
            found.append((channels, out, stride if position == 0 else 1))
            channels = out
    return found


def parse_block(text: str) -> tuple[str, str | None]:
    """(kind, operator or None) of "kind" or "kind:operator"."""
    kind, _, operator = str(text).partition(":")
    check_choice("block", kind, KINDS)
    return kind, check_choice("block operator", operator, OPERATORS) if operator else None


class GroupShuffle(nn.Module):
    """Interleave the channels of two groups."""

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)


class FBBlock(nn.Module):
    """1x1 expansion, depthwise, 1x1 without activation; identity shortcut where shape allows."""

    def __init__(self, build: Builder, kind: str, in_channels: int, out_channels: int, stride: int, op: str | None):
        super().__init__()
        kernel, expansion, groups = int(kind[1]), int(kind[4]), 2 if kind.endswith("g2") else 1
        mid = expansion * in_channels
        self.residual = stride == 1 and in_channels == out_channels
        self.expand = build.conv_norm("expand", "pointwise", in_channels, mid, 1, groups=groups, act="relu", op=op)
        self.shuffle = GroupShuffle() if groups == 2 else nn.Identity()
        self.depthwise = build.conv_norm(
            "depthwise", "depthwise", mid, mid, kernel, stride=stride, groups=mid, act="relu", op=op
        )
        self.project = build.conv_norm("project", "pointwise", mid, out_channels, 1, groups=groups, op=op)

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.shuffle(self.expand(x))))
        return x + y if self.residual else y


def make_block(build: Builder, text: str, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The block of a choice; "skip" is the identity, or a strided 1x1 where the shape changes."""
    kind, op = parse_block(text)
    if kind != "skip":
        return FBBlock(build, kind, in_channels, out_channels, stride, op)
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(build.conv_norm("0", "shortcut", in_channels, out_channels, 1, stride=stride, op=op))


class FBNet(nn.Module):
    """Stem, chosen blocks, 1x1 head, average pooling, classifier."""

    def __init__(
        self,
        build: Builder,
        choices: Sequence[str] | str,
        stages: Sequence[Stage],
        *,
        num_classes: int,
        width: float,
        form: str,
        head: int,
        dropout: float,
        in_channels: int,
    ):
        super().__init__()
        wanted = sum(count for _, count, _ in stages)
        choices = [choices] * wanted if isinstance(choices, str) else list(choices)
        if len(choices) != wanted:
            raise InputError(f"choices has {len(choices)} entries; the space has {wanted} blocks and needs one each.")
        stem, first = round_channels(STEM * check_width(width)), 1 if form == "cifar" else 2
        self.stem = build.conv_norm("stem", "stem", in_channels, stem, 3, stride=first, act="relu")
        wide = [(round_channels(plane * width), count, stride) for plane, count, stride in stages]
        shapes = shapes_of(wide, stem)
        places = enumerate(zip(choices, shapes))
        blocks = [make_block(build.at("blocks", place), text, *shape) for place, (text, shape) in places]
        self.blocks = nn.Sequential(*blocks)
        self.head = build.conv_norm("head", "head", wide[-1][0], head, 1, act="relu")
        self.dropout = nn.Dropout(dropout)
        self.classifier = build.linear("classifier", "classifier", head, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.dropout(self.head(self.blocks(self.stem(x))).mean((2, 3))))


@register("fbnet", keep={"adder": KEEP, "shift": KEEP, "shiftadd": KEEP}, paper="ShiftAddNAS tables 5, 7 (space only)")
def fbnet(
    build: Builder,
    *,
    choices: Sequence[str] | str = "k3_e3",
    stages: Sequence[Stage] | None = None,
    num_classes: int = 10,
    width: float = 1.0,
    form: str = "cifar",
    head: int = 1504,
    dropout: float = 0.0,
    in_channels: int = 3,
) -> FBNet:
    """A network of the FBNet space, in FBNet's stages or others; `choices` is one block for each place, or for all."""
    return FBNet(
        build,
        choices,
        stages_of(form) if stages is None else stages,
        num_classes=num_classes,
        width=width,
        form=form,
        head=head,
        dropout=dropout,
        in_channels=in_channels,
    )
