"""ShiftAddNAS figure 10 (appendix D): the searched network of rank 2, ShiftAddNAS-T1↑^2, by block; ours beside."""

from __future__ import annotations

from repro.papers.shiftaddnas import drawn, sharing

NETWORK = "ShiftAddNAS-T1↑^2"


def computed():
    """One row per block, see `drawn.blocks`."""
    return drawn.blocks(NETWORK)


def trained(recipe, seeds, run):
    """The networks that table 6's two ways of sharing rank second, block by block: see `drawn.found`."""
    return drawn.found(recipe, run(sharing.supernet_specs(recipe, sharing.PRINTED, seeds)), rank=2)


TABLE = drawn.entry_of("The searched network of rank 2", NETWORK, "shiftaddnas_t1_rank2", trained, computed)
