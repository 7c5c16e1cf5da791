"""ShiftAddNAS figure 9 (appendix D): the searched network of rank 1, ShiftAddNAS-T1↑^1, block by block."""

from __future__ import annotations

from repro.papers.shiftaddnas import drawn
from repro.papers.table import Table


def computed():
    """One row per block, see `drawn.blocks`."""
    return drawn.blocks("ShiftAddNAS-T1↑^1")


TABLE = Table("The searched network of rank 1", computed=computed, draw=drawn.draw, models=("shiftaddnas_t1",))
