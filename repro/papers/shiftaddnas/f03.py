"""ShiftAddNAS figure 3 (Sec. 3.2): weights of each operator in a supernet in which nothing is shared."""

from __future__ import annotations

from repro.papers.shiftaddnas import distributions, recipes
from repro.papers.table import Drawing, Table

SETTING = "w/o WS"
OPS = ("conv", "shift", "adder")


def trained(recipe, seeds, run):
    """As `distributions.of_supernets`."""
    return distributions.of_supernets(recipe, seeds, run, (SETTING,), OPS)


def draw(ours):
    """Histograms with both fits."""
    figure = distributions.histograms(ours, (SETTING,), OPS, lambda _, op: f"{op}: ")
    caption = (
        "3x3 filters of each operator in a supernet without weight sharing, the family that fits them better, and "
        "their excess kurtosis (0 Gaussian, 3 Laplace); middle cell, first seed. "
        f"{distributions.correlations(ours)}"
    )
    return [Drawing(figure, caption)]


TABLE = Table(
    "Weights of convolution, shift and adder layers in a supernet without sharing",
    trained=trained,
    draw=draw,
    recipes=recipes.RECIPES,
    seeds=recipes.SEEDS,
    scale=recipes.SCALE,
    keeps=("histograms",),
    unit="supernet",
)
