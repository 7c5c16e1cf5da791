"""ShiftAddNAS table 11 (appendix C): ImageNet, full comparison. Accuracies are not trained yet."""

from __future__ import annotations

from repro.papers.shiftaddnas.counts import IMAGENET_COLUMNS, MODELS, imagenet
from repro.papers.table import Table


def computed():
    """Parameters and operations of every network whose architecture is known."""
    return imagenet("shiftaddnas_t11")


TABLE = Table("ImageNet, the full comparison", computed=computed, layout="wide", shown=IMAGENET_COLUMNS, models=MODELS)
