"""ShiftAddAug table 11 (Sec. 4.6): depth augmentation and block mutation.

The paper's networks are not published. Ours is the same target in all four rows, so energy and latency are equal."""

from __future__ import annotations

import dataclasses

import pandas as pd

from repro.papers.shiftaddaug.comparing import method_rows, target_costs, train_all
from repro.papers.shiftaddaug.methods import AUGSHIFT, MUTATION
from repro.papers.shiftaddaug.recipes import SCALE, SEEDS, presets
from repro.papers.table import Table

METHODS = {
    "Aug. Width & Expand": AUGSHIFT,
    "Aug. Width & Expand & Depth": dataclasses.replace(AUGSHIFT, depth=1),
    "Aug. Width & Expand, Mutation": dataclasses.replace(AUGSHIFT, mutation=MUTATION),
    "All": dataclasses.replace(AUGSHIFT, depth=1, mutation=MUTATION),
}


def trained(recipe, seeds, run):
    """Four augmentations of one target; the first is AugShift of table 3."""

    def key(model, row):
        method = METHODS[row]
        flags = {"depth_aug": int(method.depth > 0), "mutation": int(method.mutation is not None)}
        return {"method": row, **flags, "dataset": recipe.data.dataset}

    done = train_all(recipe, seeds, run, METHODS)
    frame = method_rows(recipe, done, key)
    costs = [target_costs(recipe, model, "shift") for model, _, _ in done]
    extra = frame.attrs["extra"]
    frame = frame.assign(**pd.DataFrame(costs, index=frame.index)[["energy_mj", "latency_ms"]])
    frame.attrs["extra"] = extra
    return frame


TABLE = Table(
    title="Depth augmentation and block mutation",
    trained=trained,
    recipes=presets(("MobileNetV2-w0.35",)),
    seeds=SEEDS,
    scale=SCALE,
    keeps=("examples", "losses"),
)
