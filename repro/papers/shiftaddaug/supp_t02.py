"""ShiftAddAug supplement table 2: adders, augmented and not, beside direct shift networks."""

from __future__ import annotations

from repro.papers.shiftaddaug.comparing import method_rows, train_all
from repro.papers.shiftaddaug.methods import ADD, AUGADD, SHIFT
from repro.papers.shiftaddaug.recipes import SCALE, SEEDS, STANDS_FOR, presets
from repro.papers.table import Table

METHODS = {"Shift": SHIFT, "Add": ADD, "AugAdd": AUGADD}


def trained(recipe, seeds, run):
    """Three methods on each model, all of them runs of table 3."""

    def key(model, row):
        return {"model": model, "method": row, "dataset": recipe.data.dataset}

    frame = method_rows(recipe, train_all(recipe, seeds, run, METHODS), key)
    frame.attrs["stands_for"] = STANDS_FOR
    return frame


TABLE = Table(
    title="Adders, augmented and not, beside shift networks",
    trained=trained,
    recipes=presets(("MobileNetV2-w0.35", "MCUNet-in3")),
    seeds=SEEDS,
    scale=SCALE,
    keeps=("examples", "losses"),
)
