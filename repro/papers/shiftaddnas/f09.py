"""ShiftAddNAS figure 9 (appendix D): the searched network of rank 1, ShiftAddNAS-T1↑^1, by block; ours beside."""

from __future__ import annotations

from repro.papers.shiftaddnas import drawn, sharing

NETWORK = "ShiftAddNAS-T1↑^1"


def computed():
    """One row per block, see `drawn.blocks`."""
    return drawn.blocks(NETWORK)


def trained(recipe, seeds, run):
    """The networks that table 6's two ways of sharing rank first, block by block: see `drawn.found`.

    `attrs["extra"]["scores"]`: `drawn.shares` of the ten best.
    """
    done = run(sharing.supernet_specs(recipe, sharing.PRINTED, seeds))
    frame = drawn.found(recipe, done, rank=1)
    frame.attrs["extra"] = {"scores": drawn.shares(done)}
    return frame


TABLE = drawn.entry_of(
    "The searched network of rank 1", NETWORK, "shiftaddnas_t1", trained, computed, keeps=("scores",)
)
