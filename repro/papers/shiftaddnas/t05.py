"""ShiftAddNAS table 5 (Sec. 4.4): CIFAR networks of the FBNet space.

Only operator totals are published, which an identity can check.
"""

from __future__ import annotations

from repro.papers.analytic import analytic_frame, from_printed
from repro.papers.table import Table

IDENTITY = "multiplications + shifts + 2 x (MACs - multiplications - shifts), printed counts"


def _additions(frame):
    rest = frame["macs_m"] - frame["mult_m"] - frame["shift_m"]
    return frame["mult_m"] + frame["shift_m"] + 2 * rest


def computed():
    """Empty rows; `attrs["extra"]["from_printed"]` says whether printed additions follow from printed counts."""
    columns = ["macs_m", "mult_m", "shift_m"]
    return analytic_frame(
        "shiftaddnas_t05",
        {},
        convention="additions = multiplications + shifts + 2 x adder taps",
        unknown="block list not published; whether the printed counts agree is in the frame `from_printed`",
        extra={"from_printed": from_printed("shiftaddnas_t05", "add_m", IDENTITY, _additions, columns)},
    )


TABLE = Table("Searched networks of the FBNet space on CIFAR", computed=computed)
