"""ShiftAddNAS table 7 (Sec. 4.7): operator sets. Only the full space's network is published (T0 at 256 pixels)."""

from __future__ import annotations

from repro.cost import CONVENTIONS
from repro.papers.analytic import analytic_frame
from repro.papers.shiftaddnas.counts import vision_counts
from repro.papers.table import Table


def computed():
    """Operations of the network with all operators."""
    counts = vision_counts("shiftaddnas_t0", 256)
    note = "ShiftAddNAS-T0 at 256 pixels, whose counts in table 4 are the same"
    values = {("Our Space", "All"): {key: counts[key] for key in ("mult_g", "add_g", "shift_g")} | {"note": note}}
    return analytic_frame(
        "shiftaddnas_t07",
        values,
        convention=CONVENTIONS["shiftaddnas"].text,
        unknown="searched architecture not published",
    )


TABLE = Table("Operator sets of the search space", computed=computed, layout="wide", models=("shiftaddnas_t0",))
