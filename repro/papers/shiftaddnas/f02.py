"""ShiftAddNAS figure 2 (Sec. 3.1): the supernets, for translation (space of table 1) and for vision (table 2)."""

from __future__ import annotations

import functools

import pandas as pd
import torch

from repro.models.shiftaddnas import BLOCKS, COUNTS
from repro.papers.analytic import MILLION
from repro.papers.shiftaddnas.sharing import MODES, PAPER_SPACE
from repro.papers.table import Drawing, Table
from repro.report.figures import new_figure
from repro.report.palette import COLOURS
from repro.search.elastic_transformer import TranslationSpace
from repro.search.hybrid_supernet import HybridSupernet

RESOLUTIONS = tuple(COUNTS)


@functools.cache
def params_m(mode: str) -> float:
    """Million parameters of the vision supernet under a way of sharing, with the 100 classes of the public logs."""
    return sum(parameter.numel() for parameter in _supernet(mode).parameters()) / MILLION


@functools.cache
def pool_everywhere_m() -> float:
    """Million weights of the pool if each layer had every resolution with both entrances, as in the public code."""
    sizes: dict[tuple[str, str], int] = {}
    for name, parameter in _supernet("w/ Naive WS").named_parameters():
        if ".pool." in name:
            _, layer, resolution, _ = name.split(".", 3)
            sizes[layer, resolution] = sizes.get((layer, resolution), 0) + parameter.numel()
    fullest = [max(size for (_, at), size in sizes.items() if at == each) for each in {at for _, at in sizes}]
    return PAPER_SPACE.layers * sum(fullest) / MILLION


def _supernet(mode: str) -> HybridSupernet:
    with torch.device("meta"):
        return HybridSupernet(PAPER_SPACE, MODES[mode], in_channels=3, num_classes=100, form="imagenet")


def computed():
    """One row per layer, resolution and operator of the vision supernet; `first`: whether it may halve the map."""
    rows = [
        {"layer": layer, "resolution": RESOLUTIONS[level], "op": BLOCKS[letter], "first": any(first)}
        for layer in range(PAPER_SPACE.layers)
        for level, first in PAPER_SPACE.places(layer).items()
        for letter in PAPER_SPACE.levels[level].operators
    ]
    frame = pd.DataFrame(rows)
    frame.attrs["convention"] = (
        f"table 2 with the operators that the public code draws from: {len(PAPER_SPACE.splits)} ways to divide 16 "
        f"layers among four resolutions, {PAPER_SPACE.size:.3g} paths; {params_m('w/o WS'):.1f} million parameters "
        f"without sharing, {params_m('w/ Naive WS'):.1f} with one pool. The public code, whose sizes claim c40 prints, "
        "has every operator at each resolution in all layers, whether a path gets there or not: a pool for all of "
        f"these has {pool_everywhere_m():.1f} million weights"
    )
    return frame


def draw(ours):
    """Choices by layer: block types of encoder and decoder (left), operators at each resolution (right)."""
    from matplotlib.patches import Patch

    figure, panels = new_figure(columns=2, width_in=5.2, height_in=2.8)
    left, right = panels[0]
    space = TranslationSpace()
    encoder, decoder = max(space.encoder_layers), max(space.decoder_layers)
    for row, (depth, types) in enumerate(((encoder, space.encoder_types), (decoder, space.decoder_types))):
        for layer in range(depth):
            _cell(left, layer, row, types)
    for (layer, resolution), cell in ours.groupby(["layer", "resolution"]):
        _cell(right, layer, RESOLUTIONS.index(resolution), cell["op"])
    texts = ("encoder", "decoder")
    for axis, layers, rows in ((left, max(encoder, decoder), texts), (right, PAPER_SPACE.layers, RESOLUTIONS)):
        axis.set(xlim=(0, layers), ylim=(len(rows), 0), xlabel="layer")
        axis.set_xticks([layer + 0.5 for layer in range(layers)], range(1, layers + 1))
        axis.set_yticks([row + 0.5 for row in range(len(rows))], rows)
        axis.grid(False)
    left.set(ylabel="part of the network")
    right.set(ylabel="map (pixels a side)")
    handles = [Patch(facecolor=COLOURS[op], label=op) for op in (*BLOCKS.values(), "shiftadd")]
    figure.legend(handles=handles, loc="outside upper center", ncols=5, fontsize=8)
    caption = (
        "Choices of the supernets. Translation (left): a layer takes one of the strips; where a strip has two colours, "
        "they share the channels; the decoder may have fewer layers. Vision (right): a path takes one strip per layer, "
        "never of a finer map than before."
    )
    return [Drawing(figure, caption)]


def _cell(axis, layer: int, row: int, types) -> None:
    """One layer's choices: a strip for each, cut where a choice joins two branches."""
    from matplotlib.patches import Rectangle

    height = 0.84 / len(types)
    for place, name in enumerate(types):
        parts = name.split("+")
        for side, part in enumerate(parts):
            width = 0.84 / len(parts)
            corner = (layer + 0.08 + side * width, row + 0.08 + place * height)
            axis.add_patch(
                Rectangle(
                    corner, width, height, facecolor=COLOURS["adder" if part == "add" else part], edgecolor="white"
                )
            )


TABLE = Table("The supernets: choices by layer", computed=computed, draw=draw)
