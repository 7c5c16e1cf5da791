"""ShiftAddAug table 8 (Sec. 4.6): ways to fit the weights of one operator to another.

"Linear remap" trains its map with the network, "Linear + skip connect + freeze" fits W + Linear(W) to a network trained
by itself and freezes it; r of equation 5 follows there too."""

from __future__ import annotations

import dataclasses

from repro.papers.shiftaddaug.comparing import comparison
from repro.papers.shiftaddaug.methods import AUGSHIFT
from repro.papers.shiftaddaug.recipes import THREE_MODELS

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

TABLE = comparison("Ways of remapping weights between operators", METHODS, THREE_MODELS, statuses=True)
