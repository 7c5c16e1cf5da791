"""What AutoShiftNet's tables have in common: rows trained in one domain or both, some with cells that a search found.

A seed of a fixed row is a training. Of our rows it is a search and the training of what it found, since searches differ
more than trainings. A row and column that several tables show is one run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import pandas as pd

from repro.papers import jobs
from repro.papers.autoshiftnet import found
from repro.papers.autoshiftnet.networks import OURS
from repro.papers.autoshiftnet.recipes import NETWORKS, NETWORKS_SCALE, SEEDS, NetworksRecipe
from repro.papers.autoshiftnet.training import REAL, SHIFT, spec
from repro.papers.table import Drawing, Table
from repro.report.figures import legend_below, new_figure
from repro.report.palette import SERIES
from repro.runs import Outcome
from repro.search.gradient import CellSearch

Cell = tuple[Mapping[str, object], int, str, Outcome, str]
"""(key columns, seed, column, training, measure): one number of a table, as `jobs.answers_frame` takes it."""
Outcomes = dict[tuple[str, str, str, int], Outcome]
"""(row, domain, column, seed) -> its training."""
Searches = dict[tuple[str, int], CellSearch]
"""(column, seed) -> what a search found."""


def train_rows(
    recipe: NetworksRecipe, rows: Iterable[str], seeds: Sequence[int], run, domains: Sequence[str] = (SHIFT,)
) -> tuple[Outcomes, Searches]:
    """Train rows, and ours with the cells that each search finds (the printed ones where the recipe has no search)."""
    rows = [*rows, *([] if recipe.searches else [OURS])]
    fixed = {
        (row, domain, column, seed): spec(recipe.job(row, column, domain), seed)
        for row in rows
        for domain in domains
        for column in recipe.data
        for seed in seeds
    }
    asked = {(column, seed): found.spec(search, seed) for column, search in recipe.searches.items() for seed in seeds}
    done = run(fixed | asked)
    searches = found.finished({key: done[key] for key in asked})
    ours = {
        (OURS, domain, column, seed): spec(recipe.job(OURS, column, domain, genotype=search.genotype), seed)
        for (column, seed), search in searches.items()
        for domain in domains
    }
    return {key: done[key] for key in fixed} | run(ours), searches


NEW_SEEDS = 100
"""Added to a seed where the best search's cells are trained again: none of the trainings that are the average row."""


def train_best(recipe: NetworksRecipe, searches: Searches, seeds: Sequence[int], run) -> dict[tuple[str, int], Outcome]:
    """(column, seed) -> a training of the cells of the column's best search, tested after every epoch."""
    genotypes = {}
    for column in recipe.data:
        mine = {key: search for key, search in searches.items() if key[0] == column}
        if mine:
            genotypes[column] = mine[found.best(mine)].genotype
    return run(
        {
            (column, seed + NEW_SEEDS): spec(recipe.job(OURS, column, genotype=genotype, curve=True), seed + NEW_SEEDS)
            for column, genotype in genotypes.items()
            for seed in seeds
        }
    )


def table_of(cells: Iterable[Cell]) -> pd.DataFrame:
    """One row per key and seed with its numbers and notes; `attrs["extra"]["examples"]`: which answers were right.

    A key may hold `search_seed`, the search that found the row's network.
    """
    cells, rows = list(cells), {}
    for key, seed, column, outcome, measure in cells:
        row = rows.setdefault((*key.values(), seed), {**key, "seed": seed, "note": ""})
        row[column] = jobs.accuracy_of(outcome, measure)
        note = jobs.note_of(outcome)
        row["note"] = row["note"] if note in row["note"] else f"{row['note']}; {note}".lstrip("; ")
    frame = pd.DataFrame(rows.values())
    frame.attrs["extra"] = {"examples": jobs.answers_frame(cells)}
    return frame


def add_drops(frame: pd.DataFrame, of: str, name: str) -> None:
    """Column `name`, in place: in bit-shift rows the accuracy `of` less that of the real row of the same seed."""
    real = frame[frame["domain"] == REAL].set_index(["model", "seed"])[of]
    against = real.reindex(pd.MultiIndex.from_frame(frame[["model", "seed"]])).to_numpy()
    frame[name] = (frame[of] - against).where(frame["domain"] == SHIFT)


def slopes(frame: pd.DataFrame, value: str, *, y_label: str):
    """A figure: accuracy of every model in both domains, means over seeds with a line between, seeds as dots."""
    figure, panels = new_figure(1, 1, width_in=4.4, height_in=3.4)
    axes = panels[0, 0]
    for (model, mine), colour in zip(frame.groupby("model", sort=False), SERIES):
        means = mine.groupby("domain")[value].mean().reindex([REAL, SHIFT])
        axes.plot([0, 1], means, color=colour, label=model)
        axes.scatter(mine["domain"].eq(SHIFT).astype(int), mine[value], s=12, color=colour, linewidths=0, alpha=0.7)
    axes.set_xticks([0, 1], ["real", "bit-shift"])
    axes.set(xlabel="domain", ylabel=y_label, xlim=(-0.2, 1.2))
    legend_below(figure, axes, columns=3)
    return figure


def entry_of(title: str, trained: Callable, **options) -> Table:
    """The entry of a table or figure over networks trained by themselves."""
    shared = {"recipes": NETWORKS, "seeds": SEEDS, "scale": NETWORKS_SCALE, "unit": "search"}
    return Table(title, trained=trained, **{**shared, **options})


def dots(frame: pd.DataFrame, by: str, value: str, *, x_label: str, series: str | None = None):
    """A figure: a dot per row of the frame, a line per value of `by` in the frame's order, a colour per `series`."""
    names = list(dict.fromkeys(frame[by]))[::-1]
    figure, panels = new_figure(1, 1, width_in=5.2, height_in=0.7 + 0.24 * len(names))
    axes = panels[0, 0]
    groups = [("", frame)] if series is None else frame.groupby(series, sort=False)
    for (label, mine), colour in zip(groups, SERIES):
        axes.scatter(mine[value], mine[by].map(names.index), s=18, alpha=0.8, color=colour, linewidths=0, label=label)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel=x_label, ylabel=by, ylim=(-0.6, len(names) - 0.4))
    if series is not None:
        legend_below(figure, axes)
    return figure


def drawn_sets(ours: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Column that is drawn -> the data set in it, and the end of its picture's name.

    Below `paper` one set stands for both columns, so one is drawn.
    """
    if ours.attrs.get("preset") == "paper":
        return {"cifar10": ("CIFAR-10", ""), "cifar100": ("CIFAR-100", "_cifar100")}
    return {"cifar10": (ours.attrs.get("dataset", "cifar10"), "")}


def draw_curves(epochs: pd.DataFrame, panel: str, caption: str) -> list[Drawing]:
    """Training and test accuracy against the epoch, a panel per value of a column and a line per seed.

    Args: epochs: `panel`, seed, epoch, train_accuracy_pct, test_accuracy_pct.
    """
    names = list(dict.fromkeys(epochs[panel]))
    figure, panels = new_figure(1, max(1, len(names)), width_in=3.4, height_in=2.8, share_y=True)
    for axes, name in zip(panels[0], names):
        for (column, label), colour in zip(CURVES.items(), SERIES):
            for place, (_, mine) in enumerate(epochs[epochs[panel] == name].groupby("seed")):
                shown = label if place == 0 else None
                axes.plot(mine["epoch"], mine[column], color=colour, linewidth=1.2, label=shown)
        axes.set(xlabel="epoch", ylabel="accuracy (%)", title=name)
    if names:
        legend_below(figure, panels[0, 0])
    return [Drawing(figure, caption)]


CURVES = {"train_accuracy_pct": "training batches", "test_accuracy_pct": "test images"}
