"""ShiftAddNAS figure 10 (appendix D): the searched network of rank 2, ShiftAddNAS-T1↑^2, block by block."""

from __future__ import annotations

from repro.papers.shiftaddnas import drawn
from repro.papers.table import Table


def computed():
    """One row per block, see `drawn.blocks`."""
    return drawn.blocks("ShiftAddNAS-T1↑^2")


TABLE = Table("The searched network of rank 2", computed=computed, draw=drawn.draw, models=("shiftaddnas_t1_rank2",))
