"""ShiftAddNAS table 2 (Sec. 3.1): the vision space as `repro.models.shiftaddnas` holds it."""

from __future__ import annotations

from repro.models.shiftaddnas import BLOCKS, COUNTS
from repro.papers.analytic import analytic_frame
from repro.papers.shiftaddnas.drawn import LETTERS
from repro.papers.table import Table


def computed():
    """Block types, and how many blocks of each resolution."""
    values = {"Block types": {"options": ";".join(LETTERS[block] for block in BLOCKS.values())}}
    note = "retrained networks have four times 64, 128, 256 and 512 channels at the block outputs, not the printed ones"
    for (resolution, (low, high)), channels in zip(COUNTS.items(), (128, 256, 512, 1024)):
        options = ";".join(str(number) for number in range(low, high + 1))
        values[f"Num. of {resolution}^2 x {channels} blocks"] = {"options": options, "note": note}
    return analytic_frame("shiftaddnas_t02", values, convention="sixteen blocks in all")


TABLE = Table("Search space for vision", computed=computed, layout="wide")
