"""AutoShiftNet's settings: the search as the paper states it, and searches that two cores can do."""

from __future__ import annotations

import dataclasses

from repro.papers.data import DataRecipe
from repro.papers.presets import cifar_subset
from repro.search.gradient import CellSearchRecipe


@dataclasses.dataclass(frozen=True)
class CellRun:
    """One search; `data.held_out` is the share of the training images that judges the supernet and trains nothing."""

    data: DataRecipe
    search: CellSearchRecipe


PAPER = CellSearchRecipe()
# A weight in the shift domain moves by at most the rate per step and has units to go, so the rates of a short search
# are higher than the paper's 0.01, and the architecture's are such that rate times steps stays near the paper's 0.9.
# The rate ends at a tenth of its peak: a mixture that hardens at a rate of 0 collapses.
_SHORT = {"layers": 5, "channels": 4, "batch_size": 32, "lr": 0.3, "lr_min": 0.03, "architecture_lr": 0.003}
SMOKE = CellSearchRecipe(
    **{**_SHORT, "layers": 3, "channels": 2, "batch_size": 40},
    operation_epochs=(0, 1),
    topology_epochs=(0, 1),
    crop_padding=1,
    flip=False,
)
QUICK = CellSearchRecipe(**_SHORT, operation_epochs=(6, 4), topology_epochs=(8, 6), crop_padding=1, flip=False)
STUDY = CellSearchRecipe(
    **{**_SHORT, "batch_size": 64, "lr": 0.2, "lr_min": 0.02, "architecture_lr": 0.002},
    operation_epochs=(6, 6),
    topology_epochs=(8, 8),
    crop_padding=2,
)

SEARCHES: dict[tuple[str, str], CellRun] = {
    ("smoke", "digits"): CellRun(DataRecipe("digits", train_images=120, test_images=60, held_out=1 / 3), SMOKE),
    ("quick", "digits"): CellRun(DataRecipe("digits", held_out=0.2), QUICK),
    ("study", "cifar10"): CellRun(cifar_subset(6000, held_out=1 / 6), STUDY),
    ("study", "cifar100"): CellRun(DataRecipe("cifar100", train_images=6000, size=16, held_out=1 / 6), STUDY),
    ("paper", "cifar10"): CellRun(DataRecipe("cifar10", held_out=0.1), PAPER),
    ("paper", "cifar100"): CellRun(DataRecipe("cifar100", held_out=0.1), PAPER),
}
"""Searches by preset and data set; the first data set of a preset is its default.

The paper measures the accuracy of its search on the official test set; here a part of the training images is kept.
"""
SEEDS = {"smoke": (0,), "quick": (0,), "study": (0, 1, 2), "paper": (0, 1, 2, 3)}
"""Searches of a preset; the paper's four are those of table 1's average."""
_SMALL = "Supernets of 5 cells and 4 channels for 8 and 16, rates raised for short searches"
SCALE = {
    "smoke": "Two epochs of a supernet of 3 cells: checks that everything runs, says nothing about the claims.",
    "quick": f"{_SMALL}: 24 epochs on the digits for the paper's 70 on CIFAR; one search.",
    "study": f"{_SMALL}: 28 epochs on 5,000 images at 16x16 pixels for the paper's 70 on all; three searches.",
    "paper": "The paper's settings; what it leaves open as in DOTS, and a tenth of the training images kept aside.",
}
