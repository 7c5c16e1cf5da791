"""ShiftAddAug table 12 (Sec. 4.2): Shift and AugShift of three further models on more data sets.

Below `paper` one data set stands for a column; glyphs are read in the column of CIFAR-10, which has ten classes too."""

from __future__ import annotations

from repro.papers.shiftaddaug.comparing import method_rows, train_all
from repro.papers.shiftaddaug.methods import AUGSHIFT, SHIFT
from repro.papers.shiftaddaug.recipes import SCALE, SEEDS, STANDS_FOR, presets
from repro.papers.table import Table

METHODS = {"Shift": SHIFT, "AugShift": AUGSHIFT}
MODELS = ("MobileNetV3-w0.35", "ProxylessNAS-w0.35", "MobileNetV2-Tiny")


def trained(recipe, seeds, run):
    """Two methods on each model, all of them runs of table 3."""

    def key(model, row):
        return {"model": model, "method": row, "dataset": recipe.data.dataset}

    frame = method_rows(recipe, train_all(recipe, seeds, run, METHODS), key)
    frame.attrs["stands_for"] = STANDS_FOR
    return frame


TABLE = Table(
    title="Direct and augmented shift networks on more data sets",
    trained=trained,
    recipes=presets(MODELS),
    seeds=SEEDS,
    scale=SCALE,
    keeps=("examples", "losses"),
)
