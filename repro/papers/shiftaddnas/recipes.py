"""Presets of the supernets and paths of vision: table 6, figures 3, 4, 6 and 7, the own space of table 7, costs.

Paths are ranked by held-out images that trained nothing. The peak rate of each kind of supernet, and of a path by
itself, is chosen on such images too, by the plain networks' accuracy; see `TUNED`.
"""

from __future__ import annotations

import dataclasses

from repro.papers.data import DataRecipe
from repro.papers.presets import cifar_subset
from repro.papers.shiftaddnas.path_search import Search
from repro.papers.shiftaddnas.sharing import PAPER_SPACE, PLAIN, SharingRecipe
from repro.search.hybrid_space import HybridSpace, Level
from repro.train import TrainRecipe

ALONE = "alone"
"""Kind of a path's network by itself, beside those of `PLAIN`."""
TUNED_SETTINGS = {f"adamw {rate:g}": {"lr": rate} for rate in (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08)}
"""What `repro tune shiftaddnas` compares on held-out images: peak rates of AdamW."""
_DIGITS_CHOSE = {
    "own weights": "adamw 0.02",
    "He's scale": "adamw 0.02",
    "unit scale": "adamw 0.02",
    "alone": "adamw 0.04",
}
TUNED = {"digits": _DIGITS_CHOSE, "cifar10": _DIGITS_CHOSE}
"""Data set -> kind of network -> the rate with which its plain network does best by itself.

CIFAR-10 has no record of `repro tune` yet: its networks take what digits chose.
"""


def tuned_rates(dataset: str) -> dict[str, float]:
    """Kind of network -> its peak rate on a data set."""
    return {kind: TUNED_SETTINGS[name]["lr"] for kind, name in TUNED[dataset].items()}


ADAMW = {"optimizer": "adam", "adaptive": "none", "weight_decay": 0.05, "label_smoothing": 0.1}
DEIT = TrainRecipe(epochs=300, batch_size=1024, lr=1e-3, warmup_epochs=5, flip=True, **ADAMW)
"""Of the public logs: 300 epochs of AdamW at 1e-3 for 1024 images a step."""
_LIMITS = {"macs_m": 1.0, "energy_uj": 0.7}
"""No more operations than convolutions alone take, and 70 % of their energy."""
CONTRASTS = ("w/o WS", "w/ Naive WS", "naive, N(0, 1)", "one factor", "T fitted", "HWS w/o KL", "w/ HWS")
"""Ways of sharing that are compared with one another, of which each is tried with other shortcuts, too."""
_QUICK = ("w/o WS", "w/ Naive WS", "naive, N(0, 1)", "one factor", "T fitted", "w/ HWS")


def _small(dataset: str, data: DataRecipe, space: HybridSpace, *, batch: int, epochs: tuple[int, int, int], **changes):
    """A small preset at the rates tuned on a data set; `epochs` of a supernet, of a path by itself, of a found one."""
    rates = tuned_rates(dataset)
    supernet, alone, found = (TrainRecipe(epochs=each, batch_size=batch, lr=rates[ALONE], **ADAMW) for each in epochs)
    return SharingRecipe(data, space, supernet, alone, found, rates={kind: rates[kind] for kind in PLAIN}, **changes)


_DIGITS = _small(
    "digits",
    DataRecipe("digits", held_out=0.5),
    HybridSpace((Level(8, 3, 3, stride=1), Level(16, 3, 3)), layers=6),
    batch=32,
    epochs=(32, 20, 20),  # in 6 epochs paths with adders by themselves stall, and the truth is no truth
    search=Search(_LIMITS, population=16, rounds=4),
    conv_shortcuts=CONTRASTS,
)
RECIPES = {
    ("smoke", "digits"): _small(
        "digits",
        DataRecipe("digits", train_images=128, test_images=64, held_out=0.5),
        HybridSpace((Level(4, 1, 2, "CS+", stride=1), Level(4, 1, 2)), layers=3),
        batch=32,
        epochs=(1, 1, 2),
        search=Search(_LIMITS, population=3, rounds=1),
        paths=3,
        conv_shortcuts=("w/o WS", "w/ HWS"),
        modes=("w/o WS", "w/ Naive WS", "T from 1", "HWS w/o KL", "w/ HWS", "T and KL as released"),
    ),
    ("quick", "digits"): dataclasses.replace(_DIGITS, modes=_QUICK, conv_shortcuts=(), paths=16),
    ("study", "cifar10"): _small(
        "cifar10",
        cifar_subset(10_000, held_out=0.2),
        HybridSpace((Level(8, 1, 3, "CS+", 1), Level(16, 2, 4), Level(32, 2, 4)), layers=7),
        batch=64,
        epochs=(40, 15, 30),
        search=Search(_LIMITS, population=24, rounds=10),
        modes=CONTRASTS,
    ),
    ("study", "digits"): _DIGITS,
    # The public logs' supernets: CIFAR-100 enlarged to 224 pixels.
    ("paper", "cifar100"): SharingRecipe(
        DataRecipe("cifar100", size=224, held_out=0.1),
        PAPER_SPACE,
        **dict.fromkeys(("supernet", "alone", "found"), DEIT),
        rates=dict.fromkeys(PLAIN, DEIT.lr),
        search=Search(_LIMITS),
        paths=40,
    ),
}
SEEDS = {"smoke": (0,), "quick": (0, 1), "study": (0, 1, 2), "paper": (0, 1, 2)}
SEARCH_SEEDS = SEEDS | {"quick": (0,)}
"""Of tables and figures whose runs are more searches or trainings than those of table 6."""
_SCALED = (
    "Supernets of six or seven layers at two or three resolutions on small images, random paths, truth by training "
    "each path alone, ranked by loss (the paper: 1000 paths against another supernet, by accuracy)."
)
SCALE = {
    "smoke": "Three paths of three layers, one epoch on 64 images: checks that everything runs, says nothing.",
    "quick": f"{_SCALED} 16 paths, six of fifteen ways of sharing; two seeds of table 6, one search elsewhere.",
    "study": f"{_SCALED} 24 paths; on CIFAR-10 (10,000 images at 16x16 pixels) seven of fifteen ways of sharing.",
    "paper": "Sixteen layers at four resolutions as in table 2, CIFAR-100 at 224 pixels as in the public logs; "
    "RandAugment, mixup, cutmix, random erasing, repeated augmentation, drop path and the rate's floor of 1e-5 are "
    "left out.",
}
