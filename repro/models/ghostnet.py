"""GhostNet (Han et al. 2020) in the ImageNet and CIFAR forms, and its adder version.

A ghost module makes half of its channels with a 1x1 operation (primary) and derives the other half from them with a
cheap grouped 3x3 operation. `GhostBlock` is what ACGhostNet searches over: both of its modules take the operators and
the number of groups from one `ModuleType`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from repro.errors import InputError, check_choice, check_int
from repro.models.build import Builder, SqueezeExcite, check_width, round_channels
from repro.models.registry import register


@dataclass(frozen=True)
class GhostSetting:
    """One block at width 1: kernel of the stride convolution, expanded and output channels, SE, stride."""

    kernel: int
    expand: int
    out: int
    se: bool
    stride: int


# Stages [1, 2, 2, 4, 2, 5]; zero-based stages 1, 2, 3 and 5 halve the map in their first block.
STAGES: tuple[tuple[GhostSetting, ...], ...] = tuple(
    tuple(GhostSetting(k, expand, out, bool(se), stride) for k, expand, out, se, stride in stage)
    for stage in (
        [(3, 16, 16, 0, 1)],
        [(3, 48, 24, 0, 2), (3, 72, 24, 0, 1)],
        [(5, 72, 40, 1, 2), (5, 120, 40, 1, 1)],
        [(3, 240, 80, 0, 2), (3, 200, 80, 0, 1), (3, 184, 80, 0, 1), (3, 184, 80, 0, 1)],
        [(3, 480, 112, 1, 1), (3, 672, 112, 1, 1)],
        [(5, 672, 160, 1, 2), (5, 960, 160, 0, 1), (5, 960, 160, 1, 1), (5, 960, 160, 0, 1), (5, 960, 160, 1, 1)],
    )
)

FORMS = ("imagenet", "cifar")
KEEP = ("stem", "head", "classifier")  # what Adder-GhostNet leaves multiplicative: its printed counts follow only so


@dataclass(frozen=True)
class ModuleType:
    """Operators of both ghost modules of a block; None leaves the choice to the builder (role primary or cheap).

    `divide` is 1 for groups = N (depthwise) and 2 for groups = N/2, N being the channels of the primary operation.
    """

    primary: str | None = None
    cheap: str | None = None
    divide: int = 1


class GhostModule(nn.Module):
    """(N, in, H, W) -> (N, out, H, W): primary 1x1 to ceil(out/2), cheap 3x3 on those, concatenated and cut to out."""

    def __init__(
        self, build: Builder, in_channels: int, out_channels: int, *, act: str | None, kind: ModuleType = ModuleType()
    ):
        super().__init__()
        inner = (out_channels + 1) // 2
        if inner % kind.divide:
            raise InputError(
                f"groups = N/{kind.divide} of layer {build.path}.cheap is not allowed with N = {inner} channels; "
                "choose a width at which N is even."
            )
        self.out_channels = out_channels
        self.primary = build.conv_norm("primary", "primary", in_channels, inner, 1, act=act, op=kind.primary)
        groups = inner // kind.divide
        self.cheap = build.conv_norm("cheap", "cheap", inner, inner, 3, groups=groups, act=act, op=kind.cheap)

    def forward(self, x: Tensor) -> Tensor:
        primary = self.primary(x)
        return torch.cat([primary, self.cheap(primary)], dim=1)[:, : self.out_channels]


class GhostBlock(nn.Module):
    """Bottleneck of two ghost modules around an optional stride convolution and SE, with a shortcut; no act after."""

    def __init__(
        self,
        build: Builder,
        in_channels: int,
        expand: int,
        out_channels: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        se: bool = False,
        kind: ModuleType = ModuleType(),
    ):
        super().__init__()
        self.ghost1 = GhostModule(build.at("ghost1"), in_channels, expand, act="relu", kind=kind)
        self.down = None
        if stride > 1:
            self.down = build.conv_norm("down", "depthwise", expand, expand, kernel, stride=stride, groups=expand)
        self.se = SqueezeExcite(build.at("se"), expand, round_channels(expand / 4, 4)) if se else None
        self.ghost2 = GhostModule(build.at("ghost2"), expand, out_channels, act=None, kind=kind)
        self.shortcut = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            inside = build.at("shortcut")
            self.shortcut = nn.Sequential(
                inside.conv_norm("0", "depthwise", in_channels, in_channels, kernel, stride=stride, groups=in_channels),
                inside.conv_norm("1", "shortcut", in_channels, out_channels, 1),
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.ghost1(x)
        if self.down is not None:
            y = self.down(y)
        if self.se is not None:
            y = self.se(y)
        return self.ghost2(y) + self.shortcut(x)


def block_settings(
    width: float = 1.0, form: str = "imagenet", blocks: tuple[int, ...] | None = None
) -> list[tuple[int, GhostSetting]]:
    """(input channels, setting) of every block at `width`, channels already rounded to multiples of 4.

    Args:
        form: "imagenet", or "cifar" where stem and the first 24-channel block keep stride 1.
        blocks: how many blocks each of the six stages keeps; None for all of [1, 2, 2, 4, 2, 5].
    """
    width = check_width(width)
    check_choice("form", form, FORMS)
    counts = [len(stage) for stage in STAGES] if blocks is None else list(blocks)
    if len(counts) != len(STAGES):
        raise InputError(f"blocks={tuple(counts)!r} is not allowed; it must hold {len(STAGES)} counts, one per stage.")
    settings = []
    in_channels = round_channels(16 * width, 4)
    for index, (stage, count) in enumerate(zip(STAGES, counts)):
        check_int(f"blocks[{index}]", count, minimum=1, maximum=len(stage))
        for position, block in enumerate(stage[:count]):
            stride = 1 if form == "cifar" and (index, position) == (1, 0) else block.stride
            expand, out = round_channels(block.expand * width, 4), round_channels(block.out * width, 4)
            settings.append((in_channels, GhostSetting(block.kernel, expand, out, block.se, stride)))
            in_channels = out
    return settings


class GhostNet(nn.Module):
    """Stem, ghost blocks, 1x1 to the last expanded width, pooling, 1x1 to `head` with bias, classifier.

    Args:
        kinds: one `ModuleType` per block, or None to leave every operator to the builder.
        blocks: blocks per stage, see `block_settings`.
        head: channels before the classifier (1280, not scaled by width).
    """

    def __init__(
        self,
        build: Builder,
        *,
        num_classes: int = 1000,
        width: float = 1.0,
        form: str = "imagenet",
        blocks: tuple[int, ...] | None = None,
        head: int = 1280,
        dropout: float = 0.2,
        in_channels: int = 3,
        kinds: list[ModuleType] | None = None,
    ):
        super().__init__()
        settings = block_settings(width, form, blocks)
        kinds = [ModuleType()] * len(settings) if kinds is None else kinds
        stem = settings[0][0]
        self.stem = build.conv_norm(
            "stem", "stem", in_channels, stem, 3, stride=2 if form == "imagenet" else 1, act="relu"
        )
        self.blocks = nn.Sequential(
            *(
                GhostBlock(
                    build.at("blocks", index),
                    channels,
                    block.expand,
                    block.out,
                    kernel=block.kernel,
                    stride=block.stride,
                    se=block.se,
                    kind=kind,
                )
                for index, ((channels, block), kind) in enumerate(zip(settings, kinds))
            )
        )
        last, wide = settings[-1][1].out, round_channels(STAGES[-1][-1].expand * check_width(width), 4)
        self.last = build.conv_norm("last", "head", last, wide, 1, act="relu")
        self.head = build.conv("head", "head", wide, head, 1, bias=True)
        self.dropout = nn.Dropout(dropout)
        self.classifier = build.linear("classifier", "classifier", head, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> the last map, (N, C, h, w)."""
        return self.last(self.blocks(self.stem(x)))

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.features(x).mean((2, 3), keepdim=True)
        return self.classifier(self.dropout(torch.relu(self.head(pooled)).flatten(1)))


@register("ghostnet", keep={"adder": KEEP, "shift": KEEP, "shiftadd": KEEP}, paper="ACGhostNet tables 1, 4, 5")
def ghostnet(
    build: Builder,
    *,
    num_classes: int = 1000,
    width: float = 1.0,
    form: str = "imagenet",
    blocks: tuple[int, ...] | None = None,
    head: int = 1280,
    dropout: float = 0.2,
    in_channels: int = 3,
) -> GhostNet:
    """GhostNet; 5.18M parameters and 141.15M MACs at 224 pixels, width 1 and 1000 classes."""
    return GhostNet(
        build,
        num_classes=num_classes,
        width=width,
        form=form,
        blocks=blocks,
        head=head,
        dropout=dropout,
        in_channels=in_channels,
    )


register(
    "adder_ghostnet", op="adder", keep={"adder": KEEP, "shift": KEEP, "shiftadd": KEEP}, paper="ACGhostNet tables 4, 5"
)(ghostnet)
