"""The networks of AutoShiftNet's rows, at the paper's size and at one that two cores can train."""

from __future__ import annotations

from repro.errors import check_choice

CELLS = "cells"
# Row -> model, options. CIFAR forms as in the DeepShift release; ResNet18 with projections, which fits the column.
CIFAR: dict[str, tuple[str, dict]] = {
    "ResNet18": ("resnet18", {"form": "cifar"}),
    "ResNet20": ("resnet20", {}),
    "ResNet50": ("resnet50", {"form": "cifar"}),
    "ResNet56": ("resnet56", {}),
    "ResNet101": ("resnet101", {"form": "cifar"}),
    "ResNet152": ("resnet152", {"form": "cifar"}),
    "MobileNet-v2": ("mobilenet_v2", {"form": "cifar", "width": 1.0}),
    "VGG19": ("vgg19", {"form": "cifar"}),
    "ShuffleNet-v2": ("shufflenet_v2", {"form": "cifar", "width": 0.5}),
    "NASNet": (CELLS, {"genotype": "nasnet", "channels": 33}),
    "AmoebaNet": (CELLS, {"genotype": "amoebanet"}),
    "DARTS-v1": (CELLS, {"genotype": "darts_v1"}),
    "DARTS-v2": (CELLS, {"genotype": "darts_v2"}),
}
AUTOSHIFTNET = {
    10: (CELLS, {"genotype": "autoshiftnet_cifar10"}),
    100: (CELLS, {"genotype": "autoshiftnet_cifar100"}),
}
HALVED = "printed additions are about half of the accumulations that a shift network performs"


def _on_imagenet(genotype: str, channels: int) -> dict:
    return {"genotype": genotype, "form": "imagenet", "channels": channels}


IMAGENET: dict[str, tuple[str, dict, str]] = {
    "ResNet18": ("resnet18", {}, "printed additions not explained (987; half of the accumulations is 907)"),
    "ResNet50": ("resnet50", {}, HALVED),
    "VGG16": ("vgg16", {}, "printed additions not explained (8241; half of the accumulations is 7735)"),
    "GoogleNet": ("googlenet", {}, HALVED),
    "MobileNet-v2": (
        "mobilenet_v2",
        {"width": 1.0},
        "not reproduced: printed 4.7M and 206M; standard MobileNetV2 has 3.5M and 150M",
    ),
    "ShuffleNet-v2": ("shufflenet_v2", {"width": 2.0}, "2.0x; printed additions 5 % higher"),
    "SqueezeNet1.0": ("squeezenet", {}, "printed parameters (3.8M) not explained; SqueezeNet 1.0 has 1.25M"),
    "NASNet": (CELLS, _on_imagenet("nasnet", 48), "48 channels, which fit the printed parameters; additions do not"),
    "DARTS-v2": (CELLS, _on_imagenet("darts_v2", 48), HALVED),
    "GDAS": (CELLS, _on_imagenet("gdas", 50), HALVED),
    "DOTS": (
        CELLS,
        _on_imagenet("dots_imagenet", 46),
        "the ImageNet network of DOTS itself; none of its cells fits both printed columns",
    ),
    "AutoShiftNet": (
        CELLS,
        _on_imagenet("autoshiftnet_cifar10", 46),
        "CIFAR-10 cells at 46 channels, as the text says; the printed 5.1M equals the CIFAR-100 cells",
    ),
}

# Rows whose cells the paper takes from elsewhere (`repro.models.genotypes`); {} is cifar10 or cifar100.
FURTHER = {"GDAS": "gdas", "P-DARTS": "p_darts", "DARTS-": "darts_minus_{}", "DOTS": "dots_{}"}
# An eighth to a half of the channels: trained in seconds on 8 pixels and in minutes on 16.
SMALL: dict[str, tuple[str, dict]] = {
    "ResNet18": ("resnet18", {"form": "cifar", "width": 0.25}),
    "ResNet20": ("resnet20", {"width": 0.5}),
    "ResNet50": ("resnet50", {"form": "cifar", "width": 0.25}),
    "ResNet56": ("resnet56", {"width": 0.5}),
    "ResNet101": ("resnet101", {"form": "cifar", "width": 0.125}),
    "ResNet152": ("resnet152", {"form": "cifar", "width": 0.125}),
    "MobileNet-v2": ("mobilenet_v2", {"form": "cifar", "width": 0.5}),
    "VGG16": ("vgg16", {"form": "cifar", "width": 0.25}),
    "VGG19": ("vgg19", {"form": "cifar", "width": 0.25}),
    "ShuffleNet-v2": ("shufflenet_v2", {"form": "cifar", "width": 0.5}),
    "GoogleNet": ("googlenet", {"form": "cifar", "width": 0.25}),
    "SqueezeNet1.0": ("squeezenet", {"form": "cifar", "width": 0.25}),
}
SIZES = ("small", "cifar", "imagenet")
OURS = "AutoShiftNet"


def network(row: str, column: str, size: str) -> tuple[str, dict]:
    """Model and options of a row, without operator, input channels and classes; small cells without depth and width.

    Args:
        row: as the tables print it; "AutoShiftNet" has the printed cells.
        column: "cifar10" or "cifar100", for which two rows and ours have cells of their own; small ones are CIFAR-10's.
        size: "small", or the paper's on "cifar" or "imagenet".
    """
    check_choice("size", size, SIZES)
    if size == "imagenet":
        name, options, _ = IMAGENET[row]
        return name, dict(options)
    if size == "small":
        if row in SMALL:
            return SMALL[row]
        column = "cifar10"
    if row in FURTHER:
        return CELLS, {"genotype": FURTHER[row].format(column)}
    return AUTOSHIFTNET[int(column.removeprefix("cifar"))] if row == OURS else CIFAR[row]
