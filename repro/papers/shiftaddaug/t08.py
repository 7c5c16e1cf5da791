"""ShiftAddAug table 8 (Sec. 4.6): ways to fit the weights of one operator to another.

    ShiftAddNAS                       its transformation kernel with its penalty, factors from N(0, 1) as released
    Linear remap                      Linear(W) over a filter's k x k values, trained with the network
    KL-loss only                      W, which a penalty of 10 times the divergence (nats a layer) pulls to the
                                      Gaussian of the whole layer; the paper prints no factor
    Linear + skip connect + freeze    W + Linear(W), fitted before to a network trained by itself, frozen; no r
    Ours                              r(W) of equation 5; its FC is the identity

The public code of ShiftAddNAS does otherwise in three places: its 100 pieces are of equal width, not of equal count; of
shift layers it maps the exponents, not the weights; and it has no penalty for them.

Rows beside them: the frozen map with r behind it, which is equation 5 with a fitted FC, and the kernel from factors of
1, where it changes nothing, to tell its start from its form; and the penalty over the number of weights, as
ShiftAddNAS's code averages its own, which is hundreds of times less.
"""

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
BESIDE = {
    "Linear + skip connect + freeze, then r": dataclasses.replace(AUGSHIFT, remap="linear_skip_freeze_r"),
    "ShiftAddNAS, factors from 1": dataclasses.replace(AUGSHIFT, remap="kernel_from_one"),
    "KL-loss only, over the number of weights": dataclasses.replace(AUGSHIFT, remap="kl_averaged"),
}

TABLE = comparison("Ways of remapping weights between operators", METHODS, THREE_MODELS, statuses=True, beside=BESIDE)
