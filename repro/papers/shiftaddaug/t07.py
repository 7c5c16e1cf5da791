"""ShiftAddAug table 7 (Sec. 4.6): what the augmented part computes, and heterogeneous weight sharing."""

from __future__ import annotations

from repro.papers.shiftaddaug.comparing import method_rows, train_all
from repro.papers.shiftaddaug.methods import AUGSHIFT, BASE, HYBRID, SHIFT, SHIFT_AROUND_SHIFT
from repro.papers.shiftaddaug.recipes import SCALE, SEEDS, THREE_MODELS, presets
from repro.papers.table import Table

METHODS = {
    "Mult. baseline": BASE,
    "To shift op": SHIFT,
    "Aug. with Shift": SHIFT_AROUND_SHIFT,
    "Aug. with Hybrid Computation": HYBRID,
    "Aug. with HWS": AUGSHIFT,
}


def trained(recipe, seeds, run):
    """Five methods on each model; the first two and the last are runs of table 3."""

    def key(model, row):
        return {"method": row, "model": model, "dataset": recipe.data.dataset}

    return method_rows(recipe, train_all(recipe, seeds, run, METHODS), key)


TABLE = Table(
    title="Operator of the augmented part, with and without weight remapping",
    trained=trained,
    recipes=presets(THREE_MODELS),
    seeds=SEEDS,
    scale=SCALE,
    keeps=("examples", "losses"),
)
