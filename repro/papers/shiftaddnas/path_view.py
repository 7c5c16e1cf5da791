"""One path of a small supernet: what it costs, and its loss with the weights that it inherits (notebook 31)."""

from __future__ import annotations

import ipywidgets as widgets
import pandas as pd
import torch

from repro.models.shiftaddnas import BLOCKS
from repro.papers.data import DataRecipe, load_splits
from repro.papers.shiftaddnas.path_search import form_of, path_costs
from repro.papers.shiftaddnas.sharing import MODES
from repro.report.palette import COLOURS
from repro.search.hybrid_space import HybridSpace, Level
from repro.search.hybrid_supernet import HybridSupernet, fit_paths
from repro.search.inherit import evaluate_paths
from repro.search.supernet import Path
from repro.train import TrainRecipe
from repro.train.data import generator_for
from repro.widgets.parts import beside, column, control, figure, table_html

DATA = DataRecipe("digits", held_out=0.5)
SPACE = HybridSpace((Level(8, 1, 2, "CS+", stride=1), Level(8, 2, 3)), layers=4)
SHOWN = 24
"""Random paths that stand beside the one that is chosen."""
NAMES = {"macs_m": "operations (million)", "energy_uj": "modelled energy (µJ)", "latency_us": "modelled latency (µs)"}


def small_supernet(epochs: int = 10) -> HybridSupernet:
    """A supernet of four layers with heterogeneous sharing, trained on half of the digits in seconds."""
    torch.manual_seed(0)
    supernet = HybridSupernet(SPACE, MODES["w/ HWS"], **form_of(DATA))
    recipe = TrainRecipe(epochs=epochs, batch_size=32, lr=0.02, optimizer="adam", adaptive="none", weight_decay=0.05)
    fit_paths(supernet, load_splits(DATA).train, recipe, seed=0)
    return supernet


def described(supernet: HybridSupernet, paths: list[Path]) -> pd.DataFrame:
    """One row per path of a supernet of `DATA`: path, costs per image, held-out loss and accuracy_pct."""
    splits = load_splits(DATA)
    judged = evaluate_paths(supernet, paths, splits.held_out, calibration=splits.train)
    return pd.DataFrame(
        {
            "path": "-".join(each["path"]),
            **path_costs(supernet.space, DATA, each["path"]),
            "loss": each["loss"],
            "accuracy_pct": each["accuracy_pct"],
        }
        for each in judged
    )


def path_explorer(supernet: HybridSupernet) -> widgets.Widget:
    """Choose how the layers are divided and an operator for each; see the path's costs and its inherited loss.

    Args:
        supernet: one of `DATA`, e.g. `small_supernet()`.
    """
    space = supernet.space
    others = described(supernet, space.sample_distinct(SHOWN, generator_for("shown paths")))
    splits = {" + ".join(map(str, split)): split for split in space.splits}
    split = control(widgets.Dropdown, "blocks by resolution", "the finest first", options=splits)
    cost = control(widgets.Dropdown, "cost", options={text: name for name, text in NAMES.items()}, value="energy_uj")
    layers = [control(widgets.Dropdown, f"layer {place}", options=("",)) for place in range(1, space.layers + 1)]
    readout = widgets.HTML()
    plot = figure(y="held-out loss, inherited weights", width=560, height=420)
    plot.chart.add_scatter(mode="markers", name="random paths", marker={"color": COLOURS["faint"]})
    plot.chart.add_scatter(mode="markers", name="this path", marker={"color": COLOURS["chosen"], "size": 12})
    quiet = False

    def divide(_=None) -> None:
        """Offer each layer the operators of its resolution, and keep what was chosen where it is one."""
        nonlocal quiet
        quiet = True
        levels = [level for level, count in zip(space.levels, split.value) for _ in range(count)]
        for layer, level in zip(layers, levels):
            before, options = layer.value, {BLOCKS[letter]: letter for letter in level.operators}
            layer.options = options
            layer.value = before if before in options.values() else level.operators[0]
        quiet = False
        update()

    def update(_=None) -> None:
        if quiet:
            return
        mine = described(supernet, [space.path((split.value, *(layer.value for layer in layers)))])
        with plot.change() as chart:
            for trace, rows in zip(chart.data, (others, mine)):
                trace.x, trace.y, trace.text = rows[cost.value], rows["loss"], rows["path"]
            chart.layout.xaxis.title.text = NAMES[cost.value]
        row = mine.iloc[0]
        better = int((others["loss"] < row["loss"]).sum())
        readout.value = table_html(
            [
                ("path", row["path"]),
                *((text, f"{row[name]:.4g}") for name, text in NAMES.items()),
                ("held-out loss", f"{row['loss']:.3f}"),
                ("held-out accuracy", f"{row['accuracy_pct']:.1f} %"),
                ("random paths with a lower loss", f"{better} of {len(others)}"),
            ]
        )

    split.observe(divide, "value")
    for widget in (cost, *layers):
        widget.observe(update, "value")
    divide()
    return beside(column(split, *layers, cost, readout), plot)
