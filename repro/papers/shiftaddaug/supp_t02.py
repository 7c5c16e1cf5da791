"""ShiftAddAug supplement table 2: adders, augmented and not, beside direct shift networks."""

from __future__ import annotations

from repro.papers.shiftaddaug.comparing import comparison
from repro.papers.shiftaddaug.methods import ADD, AUGADD, SHIFT
from repro.papers.shiftaddaug.recipes import STANDS_FOR

METHODS = {"Shift": SHIFT, "Add": ADD, "AugAdd": AUGADD}
MODELS = ("MobileNetV2-w0.35", "MCUNet-in3")
DATASETS = ("cifar100", "cifar10", "food101", "flowers102")

TABLE = comparison(
    "Adders, augmented and not, beside shift networks", METHODS, MODELS, stands_for=STANDS_FOR, paper=DATASETS
)
