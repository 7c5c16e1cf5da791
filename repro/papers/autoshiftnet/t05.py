"""AutoShiftNet table 5 (appendix B): the best cell on CIFAR-10, transcribed; no search of ours is in it yet."""

from __future__ import annotations

from repro.papers.autoshiftnet.cells import cell_table
from repro.papers.table import Table


def computed():
    """One row per node and input of both cells."""
    return cell_table("autoshiftnet_t05", "autoshiftnet_cifar10")


TABLE = Table("The best cell on CIFAR-10, as printed", computed=computed, layout="wide")
