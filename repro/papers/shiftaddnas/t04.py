"""ShiftAddNAS table 4 (Sec. 4.3): ImageNet, short comparison.

`computed`: parameters and operations at the paper's size. `trained`: accuracies of the rows whose network is known,
small; see `repro.papers.shiftaddnas.networks`.
"""

from __future__ import annotations

from repro.papers.shiftaddnas import networks
from repro.papers.shiftaddnas.counts import IMAGENET_COLUMNS, MODELS, imagenet
from repro.papers.table import Table


def computed():
    """Parameters and operations of every network whose architecture is known."""
    return imagenet("shiftaddnas_t04")


TABLE = Table(
    "ImageNet, the short comparison",
    trained=networks.accuracies,
    computed=computed,
    recipes=networks.recipes_of("shiftaddnas_t04"),
    seeds=networks.SEEDS,
    scale=networks.SCALE,
    fills=f"model in {networks.ALL}",
    layout="wide",
    shown=IMAGENET_COLUMNS,
    keeps=("examples",),
    models=MODELS,
)
