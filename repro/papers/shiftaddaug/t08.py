"""ShiftAddAug table 8 (Sec. 4.6): ways to fit the weights of one operator to another.

"Linear remap" trains its map with the network, "Linear + skip connect + freeze" fits W + Linear(W) to a network trained
by itself and freezes it; r of equation 5 follows there too."""

from __future__ import annotations

import dataclasses

from repro.papers.shiftaddaug.comparing import method_rows, train_all
from repro.papers.shiftaddaug.methods import AUGSHIFT
from repro.papers.shiftaddaug.recipes import SCALE, SEEDS, THREE_MODELS, presets
from repro.papers.table import Table

METHODS = {
    row: dataclasses.replace(AUGSHIFT, remap=remap)
    for row, remap in {
        "ShiftAddNAS": "kernel",
        "Linear remap": "linear",
        "KL-loss only": "kl_only",
        "Linear + skip connect + freeze": "linear_skip_freeze",
        "Ours": "laplace",
    }.items()
}


def trained(recipe, seeds, run):
    """Five remappings on each model; "Ours" is AugShift of table 3."""

    def key(model, row):
        return {"method": row, "model": model, "dataset": recipe.data.dataset}

    return method_rows(recipe, train_all(recipe, seeds, run, METHODS), key, statuses=True)


TABLE = Table(
    title="Ways of remapping weights between operators",
    trained=trained,
    recipes=presets(THREE_MODELS),
    seeds=SEEDS,
    scale=SCALE,
    keeps=("examples", "losses"),
)
