"""AutoShiftNet figure 2 (Sec. 4.3): the learning rate of the search, epoch by epoch, as our search takes it."""

from __future__ import annotations

import dataclasses

import pandas as pd

from repro.papers.autoshiftnet.recipes import PAPER
from repro.papers.table import Drawing, Table
from repro.report.figures import legend_below, new_figure
from repro.report.palette import SERIES
from repro.search.gradient import search_rate, search_temperature

SETTINGS = {"reset": "whole", "reset, own cosine": "own", "no reset": "none"}


def computed():
    """One row per setting and epoch (from 1) of the paper's search: setting, epoch, step, lr, temperature."""
    rows = [
        {
            "setting": setting,
            "epoch": epoch + 1,
            "step": "operations" if epoch < sum(PAPER.operation_epochs) else "topology",
            "lr": search_rate(dataclasses.replace(PAPER, reset=reset), epoch),
            "temperature": search_temperature(PAPER, epoch),
        }
        for setting, reset in SETTINGS.items()
        for epoch in range(PAPER.epochs)
    ]
    frame = pd.DataFrame(rows)
    frame.attrs["convention"] = "the rate of every epoch of the search at the paper's settings"
    return frame


def draw(ours):
    """Rate (left) and temperature of the pairs (right) against the epoch."""
    figure, panels = new_figure(1, 2, width_in=3.6, height_in=2.8)
    rate, temperature = panels[0]
    for (setting, mine), colour in zip(ours.groupby("setting", sort=False), SERIES):
        rate.plot(mine["epoch"], mine["lr"], color=colour, label=setting)
    one = ours[ours["setting"] == ours["setting"].iloc[0]]
    searched = one[one["step"] == "topology"]
    temperature.plot(searched["epoch"], searched["temperature"], color=SERIES[0])
    rate.set(xlabel="epoch of the search", ylabel="learning rate of the weights")
    temperature.set(xlabel="epoch of the search", ylabel="temperature of the pairs", yscale="log")
    legend_below(figure, rate, columns=1)
    caption = (
        "The rate begins again where step two does. The paper does not say where its second cosine ends: as in logs of "
        "the public code, whose checked-in script has no reset, it ends at about half its peak; without a reset it has "
        "fallen to a tenth."
    )
    return [Drawing(figure, caption)]


TABLE = Table("The learning rate of the search", computed=computed, draw=draw)
