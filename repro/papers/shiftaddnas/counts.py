"""Operation counts of the ImageNet networks (tables 4, 7 and 11 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from repro.cost import CONVENTIONS, count
from repro.cost.skeleton import skeleton
from repro.papers.analytic import BILLION, MILLION, analytic_frame
from repro.report.published import published


@dataclass(frozen=True)
class VisionTransformer:
    """Dimensions of a plain vision transformer (ViT, DeiT) with patches of 16 pixels and an MLP of four widths."""

    depth: int
    embed: int
    tokens_extra: int = 1  # the class token

    def macs(self, resolution: int, classes: int = 1000) -> int:
        """Patch embedding, attention with both products, MLPs and classifier of one image."""
        patches, width = (resolution // 16) ** 2, self.embed
        tokens = patches + self.tokens_extra
        block = 12 * tokens * width**2 + 2 * tokens**2 * width
        return patches * 768 * width + self.depth * block + width * classes

    def params(self, resolution: int, classes: int = 1000) -> int:
        """Weights, biases, norms, class token and position embedding."""
        patches, width = (resolution // 16) ** 2, self.embed
        block = 12 * width**2 + 13 * width
        positions = (patches + 2 * self.tokens_extra) * width
        return 769 * width + positions + self.depth * block + 2 * width + (width + 1) * classes


TRANSFORMERS = {
    "DeiT-T": VisionTransformer(12, 192),
    "DeiT-S": VisionTransformer(12, 384),
    "ViT-B/16": VisionTransformer(12, 768),
    "ViT-L/16": VisionTransformer(24, 1024),
}
AT_224 = "the printed count is for 224 pixels although the row says 384"
SEARCHED = {
    "ShiftAddNAS-T0": ("shiftaddnas_t0", 224),
    "ShiftAddNAS-T0↑": ("shiftaddnas_t0", 256),
    "ShiftAddNAS-T1": ("shiftaddnas_t1", 224),
    "ShiftAddNAS-T1↑": ("shiftaddnas_t1", 256),
    "ShiftAddNAS-T1↑^1": ("shiftaddnas_t1", 256),
    "ShiftAddNAS-T1↑^2": ("shiftaddnas_t1_rank2", 256),
    "BossNAS-T0": ("bossnas_t0", 224),
    "BossNAS-T1": ("bossnas_t1", 224),
}
V1 = "stride in the first 1x1 of a block (v1); v1.5 has 6 % more MACs"
RESNETS = {
    "ResNet-50": ("resnet50", "conv", {}, V1),
    "ResNet-101": ("resnet101", "conv", {}, V1),
    "AdderNet": ("resnet50", "adder", {}, "stem and classifier multiply"),
    "AdderNet-PKKD": ("resnet50", "adder", {}, "stem and classifier multiply"),
    "DeepShift-Q": ("resnet50", "shift", {}, "stem and classifier multiply"),
    "DeepShift-PS": (
        "resnet50",
        "shift",
        {"op_options": {"shift": {"mode": "ps"}}},
        "a shift and a sign per weight; the printed 52M is twice 26M, stem, classifier and norms included",
    ),
    "ShiftAddNet": ("resnet50", "shiftadd", {}, "each layer is a shift layer and an adder layer behind it"),
    "BNN": ("resnet50", "shift", {}, "sign flips counted as shifts; stem and classifier multiply"),
}


def vision_counts(name: str, resolution: int, note: str = "", **options) -> dict[str, object]:
    result = count(skeleton(name, num_classes=1000, **options), resolution, "shiftaddnas")
    counts = {f"{key}_g": getattr(result, f"{key}s") / BILLION for key in ("mult", "add", "shift")}
    return {"params_m": result.params / MILLION, "macs_g": result.macs / BILLION, **counts, "note": note}


def imagenet(table_id: str) -> pd.DataFrame:
    wanted = set(published(table_id)["model"])
    values = {}
    for model, (name, resolution) in SEARCHED.items():
        if model in wanted:
            values[model] = vision_counts(name, resolution)
    for model, (name, op, options, note) in RESNETS.items():
        if model in wanted:
            values[model] = vision_counts(name, 224, note, op=op, version="v1", **options)
    for model, transformer in TRANSFORMERS.items():
        if model in wanted:
            macs = transformer.macs(224) / BILLION
            values[model] = {
                "params_m": transformer.params(224) / MILLION,
                "macs_g": macs,
                "mult_g": macs,
                "add_g": macs,
                "shift_g": 0.0,
                "note": AT_224 if model.startswith("ViT") else "closed form",
            }
    return analytic_frame(
        table_id,
        values,
        convention=f"{CONVENTIONS['shiftaddnas'].text}; two classifiers of the searched networks both count",
        unknown="not built here",
    )


MODELS = (
    "resnet50", "resnet101", "shiftaddnas_t0", "shiftaddnas_t1", "shiftaddnas_t1_rank2", "bossnas_t0", "bossnas_t1"
)  # fmt: skip
IMAGENET_COLUMNS = ("params_m", "macs_g", "mult_g", "add_g", "shift_g", "top1_pct")
