"""What page 41 shows of one search of cells: the run, and pictures that need no control."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from repro.errors import InputError
from repro.papers.table import Drawing
from repro.report.figures import new_figure
from repro.report.palette import COLOURS, lighter
from repro.search.cell_supernet import KINDS
from repro.search.gradient import CellSearch
from repro.train import profile_step
from repro.widgets.cell_search import KIND_NAMES, edge_names, edge_view, epoch_figure, history


def searched(preset: str, dataset: str | None = None, seed: int = 0, *, fresh: bool = False) -> CellSearch:
    """The search of a preset, which the tables share; a finished one is reused.

    Raises: InputError when no epoch of it ended, with the reason.
    """
    from repro import runs
    from repro.papers.autoshiftnet import found

    spec = found.spec(found.recipe_of(preset, dataset), seed)
    outcome = runs.engine("local", fresh=fresh)({"search": spec})["search"]
    search = found.found(outcome)
    if search is None or not search.rows:
        raise InputError(
            f"the search of seed {seed} gave nothing: {outcome.message if search is None else search.detail}."
        )
    return search


def _shade(axes, rows: pd.DataFrame) -> None:
    """Epochs in which the architecture is trained."""
    for epoch in rows.loc[rows["phase"] == "search", "epoch"]:
        axes.axvspan(epoch - 0.5, epoch + 0.5, color=lighter(COLOURS["hybrid"], 0.75), linewidth=0, zorder=0)


def progress(search: CellSearch) -> Drawing:
    """Accuracies, rate and temperature, and how much of the found cells is settled, epoch by epoch."""
    rows = history(search)
    figure, panels = new_figure(1, 3, width_in=3.5, height_in=2.8)
    accuracy, rate, settled = panels[0]
    for name, colour, label in (("train", "faint", "training images"), ("held_out", "ours", "held-out images")):
        accuracy.plot(rows["epoch"], rows[f"{name}_accuracy_pct"], color=COLOURS[colour], marker=".", label=label)
    rate.plot(rows["epoch"], rows["lr"], color=COLOURS["ink"], marker=".", label="learning rate of the weights")
    warm = rows.dropna(subset="temperature")
    rate.plot(warm["epoch"], warm["temperature"], color=COLOURS["adder"], marker=".", label="temperature of the pairs")
    settled.plot(rows["epoch"], rows["edges_as_final"], color=COLOURS["shift"], marker=".")
    for axes in panels[0]:
        _shade(axes, rows)
        axes.xaxis.get_major_locator().set_params(integer=True)
    accuracy.set(xlabel="epoch", ylabel="accuracy of the supernet (%)")
    rate.set(xlabel="epoch", ylabel="rate; temperature", yscale="log")
    settled.set(xlabel="epoch", ylabel="edges cut now as in the end", ylim=(0, None))
    accuracy.legend(fontsize=7)
    rate.legend(fontsize=7)
    caption = "The search by epoch; shaded where the architecture is trained."
    if search.genotype is not None:
        edges = 2 * len(search.genotype.normal)
        before = rows[rows["step"] == "operations"]["edges_as_final"].iloc[-1]
        caption += (
            f" After step one {before:.0f} of the {edges} edges are those of the found cells; a cut there would be the "
            "one of DARTS."
        )
    return Drawing(figure, caption)


def weights(search: CellSearch) -> Drawing:
    """Weight of every edge after every epoch, a panel a kind of cell; dots mark the edges that would be cut."""
    rows, names = history(search), list(edge_names(search))
    figure, panels = new_figure(1, 2, width_in=5.0, height_in=3.6, share_y=True)
    for axes, kind in zip(panels[0], KINDS):
        views = [edge_view(search, epoch, kind) for epoch in rows["epoch"]]
        values = np.array([view["weight"] for view in views]).T
        shown = axes.imshow(values, aspect="auto", cmap="Greens", vmin=0, vmax=1, extent=_extent(values))
        edge, epoch = np.nonzero(np.array([view["cut"] for view in views]).T)
        axes.scatter(epoch + 1, edge, s=8, color=COLOURS["chosen"], linewidths=0)
        first = rows["epoch"][rows["step"] == "topology"].min()
        if np.isfinite(first):
            axes.axvline(first - 0.5, color=COLOURS["ink"], linewidth=1)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set(xlabel="epoch", title=KIND_NAMES[kind])
        axes.grid(False)
    panels[0, 0].set_yticks(range(len(names)), names, fontsize=7)
    panels[0, 0].set_ylabel("edge")
    figure.colorbar(shown, ax=panels[0].tolist(), label="weight of the edge")
    caption = (
        "Left of the line the weight of an edge's best operation among its group, right of it the probability that the "
        "node's pair holds the edge; dots are the edges that would be cut."
    )
    return Drawing(figure, caption)


def _extent(values: np.ndarray) -> tuple[float, float, float, float]:
    """Epochs from 1 across, edges from 0 downwards."""
    edges, epochs = values.shape
    return (0.5, epochs + 0.5, edges - 0.5, -0.5)


def after(search: CellSearch, epoch: int) -> list[Drawing]:
    """Both cells after an epoch and what would be cut."""
    row = search.rows[epoch - 1]
    caption = f"After epoch {epoch} of {len(search.rows)}, in the step of {row['step']}; wide edges weigh most."
    return [Drawing(epoch_figure(search, epoch, kind), caption, kind) for kind in KINDS]


def step_times(search: CellSearch, preset: str, dataset: str | None = None) -> pd.DataFrame:
    """How long one batch takes in each step's supernet, forward and backward, and the operators' share of it.

    Returns: step, step_ms, operators_ms, operators_pct (`repro.train.profile_step`, on this machine now).
    """
    from repro.papers.autoshiftnet import found
    from repro.search.gradient import make_supernet

    facts = found.recipe_of(preset, dataset).data.facts
    classes, side, recipe = facts["num_classes"], facts["side"], search.recipe
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(recipe.batch_size, facts["in_channels"], side, side, generator=generator)
    labels = torch.randint(classes, (recipe.batch_size,), generator=generator)
    rows = []
    for step in dict.fromkeys(row["step"] for row in search.rows):
        shape = {"in_channels": facts["in_channels"], "num_classes": classes}
        spent = profile_step(make_supernet(recipe, step, kept=search.kept, **shape), images, labels)
        share = 100 * spent["operator_share"]
        rows.append((step, spent["step_ms"], spent["operator_ms"], share))
    return pd.DataFrame(rows, columns=["step", "step_ms", "operators_ms", "operators_pct"])
