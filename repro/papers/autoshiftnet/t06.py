"""AutoShiftNet table 6 (appendix C): the best cells on CIFAR-100, as printed and as our own search finds them."""

from __future__ import annotations

from repro.papers.autoshiftnet import cells
from repro.papers.autoshiftnet.recipes import SCALE, SEARCHES, SEEDS
from repro.papers.table import Table

PRINTED = "autoshiftnet_cifar100"


def computed():
    """One row per node and input of both cells, transcribed."""
    return cells.printed_table("autoshiftnet_t06", PRINTED)


def trained(recipe, seeds, run):
    """One row per node and input of both cells of the best search."""
    return cells.searched_table(PRINTED, recipe, seeds, run)


def draw(ours):
    """The printed cells beside ours."""
    return cells.draw_cells(ours, PRINTED)


_SAME = "On the digits these are the searches of table 5: one data set stands for both CIFAR sets."

TABLE = Table(
    "The best cells on CIFAR-100",
    trained=trained,
    computed=computed,
    draw=draw,
    recipes={key: recipe for key, recipe in SEARCHES.items() if key[1] != "cifar10"},
    seeds=SEEDS,
    scale={preset: text if preset == "paper" else f"{text} {_SAME}" for preset, text in SCALE.items()},
    layout="wide",
    keeps=("cells", "overlap"),
    unit="search",
)
