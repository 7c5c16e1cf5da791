"""ShiftAddAug table 6 (Sec. 4.5): searched networks. None of the seven architectures is published.

Only the printed columns can be compared with each other.
"""

from __future__ import annotations

from repro.papers.analytic import analytic_frame, from_printed
from repro.papers.table import Table


def _ratio(frame):
    """Operations of each row over those of ShiftAddAug's row of the same data set and kind."""
    operations = frame[["mult_m", "shift_m", "add_m"]].sum(axis=1)
    base = operations.where(frame["method"] == "ShiftAddAug").groupby([frame["dataset"], frame["mult_free"]])
    return operations / base.transform("max")


def computed():
    """Empty rows; `attrs["extra"]["from_printed"]` says whether the printed ratios follow from the printed counts."""
    formula = "(multiplications + shifts + additions) over those of ShiftAddAug, printed counts"
    columns = ["mult_m", "shift_m", "add_m"]
    return analytic_frame(
        "shiftaddaug_t06",
        {},
        convention="ratio of the summed operator counts to those of the ShiftAddAug row of the same data set and kind",
        unknown="searched architecture not published; the ratio of its printed counts is in the frame `from_printed`",
        extra={"from_printed": from_printed("shiftaddaug_t06", "macs_compare_x", formula, _ratio, columns)},
    )


TABLE = Table(
    "Searched networks beside other searches",
    computed=computed,
    layout="wide",
    shown=("mult_m", "shift_m", "add_m", "macs_compare_x", "accuracy_pct"),
)
