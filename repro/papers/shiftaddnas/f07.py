"""ShiftAddNAS figure 7 (Sec. 4.5): weights of Conv and Add layers without sharing, with HWS without and with its KL."""

from __future__ import annotations

from repro.papers.shiftaddnas import distributions, recipes
from repro.papers.table import Drawing, Table

SETTINGS = ("w/o WS", "HWS w/o KL", "w/ HWS")
OPS = ("conv", "adder")


def trained(recipe, seeds, run):
    """As `distributions.of_supernets`."""
    return distributions.of_supernets(recipe, seeds, run, SETTINGS, OPS)


def draw(ours):
    """Histograms with both fits."""
    figure = distributions.histograms(ours, SETTINGS, OPS, lambda setting, op: f"{setting}, {op}: ")
    caption = (
        "3x3 filters that convolutions and adder layers of a supernet compute with, the family that fits them better, "
        "and their excess kurtosis (0 Gaussian, 3 Laplace); middle cell, first seed. "
        f"{distributions.correlations(ours)}"
    )
    return [Drawing(figure, caption)]


TABLE = Table(
    "Weights of Conv and Add layers in supernets, without sharing and with HWS",
    trained=trained,
    draw=draw,
    recipes=recipes.RECIPES,
    seeds=recipes.SEEDS,
    scale=recipes.SCALE,
    keeps=("histograms",),
    unit="supernet",
)
