"""VGG-16 and VGG-19 (Simonyan and Zisserman 2015): ImageNet form with biases, CIFAR form with batch normalisation."""

from __future__ import annotations

from torch import Tensor, nn

from repro.errors import check_choice
from repro.models.build import Builder, check_width, round_channels
from repro.models.registry import register

KEEP = ("stem", "classifier")
COUNTS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
CHANNELS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """Five stages of 3x3 convolutions, each ending in a 2x2 maximum.

    ImageNet: pooled to 7x7, then linear layers of 4096, 4096 and the classes. CIFAR: average and one linear layer.
    The first layer is the stem; the two hidden linear layers have the role head.
    """

    def __init__(
        self,
        build: Builder,
        *,
        depth: int,
        num_classes: int,
        width: float = 1.0,
        form: str,
        batch_norm: bool | None = None,
        dropout: float = 0.5,
        in_channels: int = 3,
    ):
        super().__init__()
        cifar = check_choice("form", form, ("imagenet", "cifar")) == "cifar"
        batch_norm = cifar if batch_norm is None else batch_norm
        layers: list[nn.Module]
        layers, channels = [], in_channels
        for plane, count in zip(CHANNELS, COUNTS[depth]):
            out = round_channels(plane * check_width(width))
            for _ in range(count):
                role = "conv" if layers else "stem"
                here = build.at("features")
                layers.append(
                    here.conv_norm(
                        len(layers),  # type: ignore[arg-type]
                        role,
                        channels,
                        out,
                        3,
                        bias=not batch_norm,
                        norm=batch_norm,
                        act="relu",
                    )
                )
                channels = out
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1 if cifar else 7)
        self.hidden = nn.Identity()
        if not cifar:
            wide = round_channels(4096 * width)
            inside = build.at("hidden")
            self.hidden = nn.Sequential(
                inside.linear("0", "head", channels * 49, wide),
                nn.ReLU(inplace=True),
                nn.Dropout(dropout),
                inside.linear("3", "head", wide, wide),
                nn.ReLU(inplace=True),
                nn.Dropout(dropout),
            )
            channels = wide
        self.classifier = build.linear("classifier", "classifier", channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.hidden(self.pool(self.features(x)).flatten(1)))


def _register_depth(depth: int) -> None:
    @register(f"vgg{depth}", keep={"adder": KEEP, "shift": KEEP, "shiftadd": KEEP}, paper="AutoShiftNet tables 1, 2")
    def vgg(
        build: Builder,
        *,
        num_classes: int = 1000,
        width: float = 1.0,
        form: str = "imagenet",
        batch_norm: bool | None = None,
        dropout: float = 0.5,
        in_channels: int = 3,
    ) -> VGG:
        return VGG(
            build,
            depth=depth,
            num_classes=num_classes,
            width=width,
            form=form,
            batch_norm=batch_norm,
            dropout=dropout,
            in_channels=in_channels,
        )


for _depth in COUNTS:
    _register_depth(_depth)
