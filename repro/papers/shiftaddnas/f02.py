"""ShiftAddNAS figure 2, right (Sec. 3.1): the multi-resolution supernet for vision, from the space of table 2."""

from __future__ import annotations

import pandas as pd

from repro.models.shiftaddnas import BLOCKS, COUNTS
from repro.papers.shiftaddnas.sharing import PAPER_SPACE
from repro.papers.table import Drawing, Table
from repro.report.figures import new_figure
from repro.report.palette import COLOURS

RESOLUTIONS = tuple(COUNTS)


def computed():
    """One row per layer, resolution and operator of the supernet; `first`: whether it may halve the map."""
    rows = [
        {"layer": layer, "resolution": RESOLUTIONS[level], "op": BLOCKS[letter], "first": any(first)}
        for layer in range(PAPER_SPACE.layers)
        for level, first in PAPER_SPACE.places(layer).items()
        for letter in PAPER_SPACE.levels[level].operators
    ]
    frame = pd.DataFrame(rows)
    frame.attrs["convention"] = (
        f"table 2 with the operators that the public code draws from: {len(PAPER_SPACE.splits)} ways to divide 16 "
        f"layers among four resolutions, {PAPER_SPACE.size:.3g} paths"
    )
    return frame


def draw(ours):
    """Choices by layer and resolution; the translation supernet (left) has its own tables."""
    from matplotlib.patches import Patch, Rectangle

    figure, panels = new_figure(width_in=7.2, height_in=2.8)
    axis = panels[0, 0]
    for (layer, resolution), cell in ours.groupby(["layer", "resolution"]):
        row = RESOLUTIONS.index(resolution)
        for place, op in enumerate(cell["op"]):
            corner = (layer + 0.08, row + 0.08 + 0.84 * place / len(cell))
            axis.add_patch(Rectangle(corner, 0.84, 0.84 / len(cell), facecolor=COLOURS[op], edgecolor="white"))
    axis.set(xlim=(0, PAPER_SPACE.layers), ylim=(len(RESOLUTIONS), 0), xlabel="layer", ylabel="map (pixels a side)")
    axis.set_xticks([layer + 0.5 for layer in range(PAPER_SPACE.layers)], range(1, PAPER_SPACE.layers + 1))
    axis.set_yticks([row + 0.5 for row in range(len(RESOLUTIONS))], RESOLUTIONS)
    axis.grid(False)
    handles = [Patch(facecolor=COLOURS[op], label=op) for op in BLOCKS.values()]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=8)
    caption = "Choices of the vision supernet: a path takes one cell per layer, never of a finer map than before."
    return [Drawing(figure, caption)]


TABLE = Table("The supernet for vision: choices by layer and resolution", computed=computed, draw=draw)
