"""ShiftAddNAS figure 5 (Sec. 4.2): BLEU against FLOPs, and against latency and energy; runs are those of table 3."""

from __future__ import annotations

import dataclasses

from repro.papers.shiftaddnas import t03
from repro.papers.shiftaddnas.translations import trained_rows
from repro.papers.table import Drawing
from repro.report.charts import energy_accuracy

COSTS = {
    "flops_g": ("", "FLOPs per sentence (billions)"),
    "latency_ms": ("latency", "modelled latency per sentence (ms)"),
    "energy_mj": ("energy", "modelled energy per sentence (mJ)"),
}


def trained(recipe, seeds, run):
    """One row per network, language pair and seed: BLEU and costs. Resamples of BLEU are kept with table 3."""
    frame = trained_rows(recipe, seeds, run)
    figure = frame.drop(columns="note")
    figure.attrs = {"stands_for": frame.attrs["stands_for"]}
    return figure


def draw(ours):
    """BLEU against each cost, mean over seeds, one panel per language pair; numbers are the rows of table 3."""
    key = ["row", "model", "eight_bit", "dataset"]
    mean = ours.groupby(key, sort=False, as_index=False)[["bleu", *COSTS]].mean().dropna(subset=["bleu", "flops_g"])
    if mean.empty:
        return []
    named = mean.assign(series=mean["model"], name=mean["row"].astype(str))
    seeds = ours["seed"].nunique()
    drawings = []
    for cost, (part, label) in COSTS.items():
        points = named.dropna(subset=[cost])  # the Evolved Transformer is not priced
        figure = energy_accuracy(
            points, x=cost, y="bleu", x_label=label, y_label="BLEU", panel="dataset", width_in=4.0, log_x=True
        )
        caption = (
            f"BLEU on the test sentences against {label}: our networks, mean of {seeds} "
            f"seed{'s' if seeds > 1 else ''}, with the front of all; numbers are the rows of table 3."
        )
        drawings.append(Drawing(figure, caption, part))
    return drawings


TABLE = dataclasses.replace(
    t03.TABLE,
    title="BLEU against FLOPs, latency and energy of translation networks",
    trained=trained,
    computed=None,
    draw=draw,
    keeps=(),
    layout="long",
    shown=(),
)
