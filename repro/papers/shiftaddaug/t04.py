"""ShiftAddAug table 4 (Sec. 4.2): Shift and AugShift of two models on more data sets.

Each data set is a record of its own, at `paper` those of the columns. Glyphs are read in the column of CIFAR-10, which
has ten classes too.
"""

from __future__ import annotations

from repro.papers.shiftaddaug.comparing import comparison
from repro.papers.shiftaddaug.methods import AUGSHIFT, SHIFT
from repro.papers.shiftaddaug.recipes import STANDS_FOR

METHODS = {"Shift": SHIFT, "AugShift": AUGSHIFT}
MODELS = ("MobileNetV2-w0.35", "MCUNet-in3")
DATASETS = ("cifar10", "imagenet", "food101", "flowers102", "stanford-cars", "pets")

TABLE = comparison("Shift and AugShift on more data sets", METHODS, MODELS, stands_for=STANDS_FOR, paper=DATASETS)
