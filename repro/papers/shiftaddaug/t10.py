"""ShiftAddAug table 10 (Sec. 4.6): heterogeneous weight sharing without augmentation."""

from __future__ import annotations

from repro.papers.shiftaddaug.comparing import method_rows, train_all
from repro.papers.shiftaddaug.methods import AUGSHIFT, SHIFT, Method
from repro.papers.shiftaddaug.recipes import SCALE, SEEDS, THREE_MODELS, presets
from repro.papers.table import Table

METHODS = {
    "w/o. aug. , w/o. HWS": SHIFT,
    "w/o. aug. , with HWS": Method("shift", remap="laplace"),
    "with aug. , with HWS": AUGSHIFT,
}


def trained(recipe, seeds, run):
    """Three methods on each model; the first and the last are runs of table 3."""

    def key(model, row):
        method = METHODS[row]
        flags = {"aug": int(method.around is not None), "hws": int(method.remap is not None)}
        return {"method": row, **flags, "model": model, "dataset": recipe.data.dataset}

    return method_rows(recipe, train_all(recipe, seeds, run, METHODS), key)


TABLE = Table(
    title="Weight remapping without augmentation",
    trained=trained,
    recipes=presets(THREE_MODELS),
    seeds=SEEDS,
    scale=SCALE,
    keeps=("examples", "losses"),
)
