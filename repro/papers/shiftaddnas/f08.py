"""ShiftAddNAS figure 8 (appendix B): figure 3's weights, of every resolution of the supernets; runs are shared."""

from __future__ import annotations

import dataclasses

from repro.papers.shiftaddnas import distributions, f03
from repro.papers.shiftaddnas.f03 import OPS, SETTING
from repro.papers.table import Drawing


def trained(recipe, seeds, run):
    """As `distributions.of_supernets`; the histograms name the layer too, of which each resolution has one."""
    frame = distributions.of_supernets(recipe, seeds, run, (SETTING,), OPS)
    histograms = frame.attrs["extra"]["histograms"]
    if len(frame):
        layers = frame.drop_duplicates("level").set_index("level")["layer"]
        histograms.insert(2, "layer", histograms["level"].map(layers))
    return frame


def draw(ours):
    """Histograms with both fits, a row per layer."""
    figure = distributions.layers(ours, OPS)
    caption = (
        "3x3 filters of each operator in a supernet without weight sharing, the family that fits them better, and "
        "their excess kurtosis (0 Gaussian, 3 Laplace); of each resolution, from fine to coarse, the middle layer that "
        f"may have it; first seed. {distributions.correlations_by_layer(ours)}"
    )
    return [Drawing(figure, caption)]


TABLE = dataclasses.replace(
    f03.TABLE,
    title="Weights of convolution, shift and adder layers at every resolution of a supernet without sharing",
    trained=trained,
    draw=draw,
)
