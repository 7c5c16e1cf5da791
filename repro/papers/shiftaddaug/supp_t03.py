"""ShiftAddAug supplement table 3: speed and memory of training, from the benchmark's newest records (`make bench`)."""

from __future__ import annotations

from repro.bench import figures, records, summary
from repro.papers.table import Drawing, Table
from repro.report.published import published


def computed():
    """One row per method that was timed; provenance is that of the benchmark's rows."""
    return summary.training_table(records.of_newest_machine(records.read()))


def draw(ours):
    """Time and memory of a training step relative to Base."""
    caption = "Time and memory of a training step relative to Base: the paper's GPU figures beside ours."
    return [Drawing(figures.step_chart(ratios(ours)), caption)]


def ratios(ours):
    """Time and memory of each method relative to Base, the paper's beside ours."""
    return summary.training_ratios(published("shiftaddaug_supp_t03"), ours)


TABLE = Table("Speed and memory of a training step", computed=computed, draw=draw)
