"""What is tried for AutoShiftNet: the peak rate of each domain and kind of network, by its quality by itself."""

from __future__ import annotations

import dataclasses

from repro.papers.autoshiftnet.networks import OURS
from repro.papers.autoshiftnet.recipes import NETWORKS, SGD_RATES, TUNED_SETTINGS
from repro.papers.autoshiftnet.training import REAL, SHIFT, spec
from repro.papers.tuning import Tuning

ROWS = {"CNN": ("ResNet20", "ResNet50", "VGG19"), "cells": (OURS,)}
"""Kind -> the networks that choose for it. A rate that suits a shallow network may be beyond a deep or a plain one."""
_SGD = tuple(SGD_RATES)
TRIED = {
    "digits": {
        SHIFT: tuple(f"radam {rate:g}" for rate in (0.1, 0.2, 0.4, 0.8, 1.6)),
        REAL: (*(f"radam {rate:g}" for rate in (0.01, 0.03, 0.1, 0.2, 0.4, 0.8)), *_SGD),
    },
    "cifar10": {
        SHIFT: tuple(f"radam {rate:g}" for rate in (0.03, 0.1, 0.2, 0.4)),
        REAL: (*(f"radam {rate:g}" for rate in (0.01, 0.03, 0.1, 0.2)), *_SGD),
    },
}
"""Data set -> domain -> settings.

When all were tried on the digits, those left out there were worse for every network: P and S stall below 0.1. A
training on CIFAR-10 has four times their steps, so its rates are lower.
"""
PRESETS = {"digits": "quick", "cifar10": "study"}
"""Data set -> the preset whose trainings take what is chosen."""


def tuning(dataset: str) -> Tuning:
    """Three CNNs and the printed cells in both domains, tested on a fifth of the training images."""
    recipe = NETWORKS[PRESETS[dataset], dataset]
    data = dataclasses.replace(recipe.data["cifar10"], held_out=0.2, tested_on="held out")
    recipe = dataclasses.replace(recipe, data={"cifar10": data})
    jobs = {
        f"{domain} {kind}: {row}": recipe.job(row, "cifar10", domain)
        for domain in (SHIFT, REAL)
        for kind, rows in ROWS.items()
        for row in rows
    }
    skips = {(name, rate) for name in jobs for rate in TUNED_SETTINGS if rate not in TRIED[dataset][name.split()[0]]}
    return Tuning(jobs=jobs, settings=TUNED_SETTINGS, skips=frozenset(skips), spec=spec, preset=PRESETS[dataset])
