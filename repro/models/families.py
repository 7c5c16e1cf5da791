"""Which module registers which models, so that one can be built without importing the others."""

_NAMES = {
    "acghostnet": ("acghostnet",),
    "cells": ("cells",),
    "fbnet": ("fbnet",),
    "ghostnet": ("adder_ghostnet", "ghostnet"),
    "googlenet": ("googlenet",),
    "mobile": ("mcunet_in3", "mobilenet_v2", "mobilenet_v2_tiny", "mobilenet_v3_large", "proxylessnas_mobile"),
    "resnet": ("resnet101", "resnet152", "resnet18", "resnet20", "resnet32", "resnet50", "resnet56"),
    "segmentation": ("mobilenet_v2_seg", "proxylessnas_mobile_seg"),
    "shiftaddnas": (
        "bossnas_t0",
        "bossnas_t1",
        "shiftaddnas_t0",
        "shiftaddnas_t0_rank2",
        "shiftaddnas_t1",
        "shiftaddnas_t1_rank2",
    ),
    "shufflenet": ("shufflenet_v2",),
    "squeezenet": ("squeezenet",),
    "translation": ("translation",),
    "vgg": ("vgg16", "vgg19"),
}

FAMILIES: dict[str, str] = {name: f"repro.models.{family}" for family, names in _NAMES.items() for name in names}
"""Module by model name."""
