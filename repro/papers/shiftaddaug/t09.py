"""ShiftAddAug table 9 (Sec. 4.6): what weight sharing adds, in an augmentation of Shift with Shift.

Sec. 3.3 calls the reordering of important channels into the target "weight sharing"; without it the two parts keep
their channels. Separate weights for the two parts would leave no path between them: that is direct training."""

from __future__ import annotations

import dataclasses

from repro.papers.shiftaddaug.comparing import method_rows, train_all
from repro.papers.shiftaddaug.methods import SHIFT, SHIFT_AROUND_SHIFT
from repro.papers.shiftaddaug.recipes import SCALE, SEEDS, THREE_MODELS, presets
from repro.papers.table import Table

METHODS = {
    "Direct trained": SHIFT,
    "w/o. weight sharing": dataclasses.replace(SHIFT_AROUND_SHIFT, reorder=False),
    "w/. weight sharing": SHIFT_AROUND_SHIFT,
}


def trained(recipe, seeds, run):
    """Three methods on each model; all but the second are runs of tables 3 and 7."""

    def key(model, row):
        return {"method": row, "model": model, "dataset": recipe.data.dataset}

    return method_rows(recipe, train_all(recipe, seeds, run, METHODS), key)


TABLE = Table(
    title="Augmentation with and without weight sharing",
    trained=trained,
    recipes=presets(THREE_MODELS),
    seeds=SEEDS,
    scale=SCALE,
    keeps=("examples", "losses"),
)
