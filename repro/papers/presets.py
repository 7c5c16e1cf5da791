"""What the scaled-down presets of all papers share: the CIFAR-10 subset and the short schedule."""

from __future__ import annotations

from repro.papers.data import DataRecipe

SHORT = {"batch_size": 64, "lr": 0.05, "weight_decay": 3e-4, "eta": 0.5}
"""Settings of trainings of a few hundred to 2,000 steps; small sets need a smaller batch and a larger rate.

The adaptive rate's eta of 1/15 (ACGhostNet Sec. 4.1) belongs to 117,000 steps: adder weights, which begin far from
where they end, move lr * eta at each. In a short training that leaves a network of adders at a third of the digits;
with 0.5 it learns over nine in ten. Convolutions that take the adaptive rate too lose by it: GhostNet up to 8 points on
the CIFAR-10 subset.
"""

CALIBRATION_IMAGES = 2048
"""Training images that re-estimate batch norm before the test of a scaled-down network; see `repro.papers.jobs.Job`."""


def cifar_subset(train_images: int = 4000, *, held_out: float = 0.0, tested_on: str = "test") -> DataRecipe:
    """The part of CIFAR-10 that two cores can train on: all 10,000 test images, everything at 16x16 pixels."""
    return DataRecipe("cifar10", train_images=train_images, size=16, held_out=held_out, tested_on=tested_on)
