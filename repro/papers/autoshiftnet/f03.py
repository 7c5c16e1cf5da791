"""AutoShiftNet figure 3 (Sec. 5.4): cells that DARTS and the two-step search find in the bit-shift space, both trained.

DARTS has one softmax over all operations, the epochs and rates of step one, and its own cut.
"""

from __future__ import annotations

import dataclasses

import pandas as pd

from repro.papers import jobs
from repro.papers.autoshiftnet import found
from repro.papers.autoshiftnet.cells import edge_rows, fields_of
from repro.papers.autoshiftnet.comparing import entry_of
from repro.papers.autoshiftnet.networks import OURS
from repro.papers.autoshiftnet.recipes import REAL_SPACE
from repro.papers.autoshiftnet.training import spec
from repro.papers.table import Drawing
from repro.report.cell_graphs import cell_figure
from repro.search.gradient import CellSearch

STRATEGIES = {"DARTS": {"strategy": "darts"}, "topology": {"strategy": "two steps"}}
ON_CIFAR10 = "topology on CIFAR-10"


def trained(recipe, seeds, run):
    """One row per strategy, search (seed), cell and edge: strategy, cell, node, edge, op, input_index, seed.

    Cells are those of CIFAR-100, as in the paper; where CIFAR-10 has a search of its own, what the two steps find there
    is beside them (strategy `ON_CIFAR10`). `attrs["extra"]`: accuracies, per strategy and seed skips_normal,
    skips_reduction (of 8 edges each) and accuracy_pct of these cells trained as a bit-shift network; scores, per
    strategy, dataset (as printed) and seed accuracy_pct, also of a search with real weights (strategy `REAL_SPACE`)
    where the preset has time for it; examples, the answers behind the scores; step_one, per strategy but DARTS and seed
    skips and genotype of what DARTS's cut would leave of step one, nothing of which is trained.
    """
    strategies = STRATEGIES | {name: fields for name, fields in recipe.variants.items() if name == REAL_SPACE}
    specs = {
        (name, column, seed): found.spec(found.variant(search, **changes), seed)
        for name, changes in strategies.items()
        for column, search in recipe.searches.items()
        for seed in seeds
    }
    known = found.finished(run(specs))
    done = run({key: spec(recipe.job(OURS, key[1], genotype=one.genotype), key[2]) for key, one in known.items()})
    accuracy = {key: jobs.accuracy_of(outcome) for key, outcome in done.items()}
    first, *_, shown = recipe.searches
    places = {(name, shown): name for name in STRATEGIES}
    if recipe.searches[first] != recipe.searches[shown]:
        places["topology", first] = ON_CIFAR10
    keys = {(places[key[:2]], key[2]): key for key in known if key[:2] in places}
    cells = {place: known[key] for place, key in keys.items()}
    frame = pd.DataFrame(
        [
            {"strategy": name, **row, "seed": seed}
            for (name, seed), one in cells.items()
            for row in edge_rows(one.genotype)
        ],
        columns=["strategy", "cell", "node", "edge", "op", "input_index", "seed"],
    )
    accuracies = found.summary(cells).rename(columns={"column": "strategy"})
    accuracies["accuracy_pct"] = [accuracy[key] for key in keys.values()]
    halfway = {place: _step_one(one) for place, one in cells.items() if place[0] != "DARTS"}
    step_one = found.summary(halfway).rename(columns={"column": "strategy"})
    frame.attrs["extra"] = {
        "accuracies": accuracies,
        "step_one": step_one.reindex(columns=["strategy", "seed", "skips_normal", "skips_reduction", "genotype"]),
        "scores": pd.DataFrame(
            [(*key, value) for key, value in accuracy.items()], columns=["strategy", "dataset", "seed", "accuracy_pct"]
        ),
        "examples": jobs.answers_frame(
            ({"strategy": name, "dataset": column}, seed, "accuracy_pct", outcome, "top1_pct")
            for (name, column, seed), outcome in done.items()
        ),
    }
    return frame


def _step_one(search: CellSearch) -> CellSearch:
    """A search as if it had ended with step one, cut as DARTS cuts."""
    epochs = sum(row["step"] == "operations" for row in search.rows)
    return dataclasses.replace(search, rows=search.rows[:epochs], genotype=search.genotype_at(epochs))


def draw(ours):
    """Both cells of the first search of each strategy."""
    drawings = []
    about = ours.attrs["extra"]["accuracies"]
    for strategy in dict.fromkeys(ours["strategy"]):
        mine, told = ours[ours["strategy"] == strategy], about[about["strategy"] == strategy]
        first = mine[mine["seed"] == mine["seed"].iloc[0]]
        skips = ", ".join(map(str, told["skips_normal"]))
        accuracy = ", ".join(f"{value:.1f}" for value in told["accuracy_pct"])
        caption = (
            f"Cells that {strategy} finds in the bit-shift space, the first search. Skips of the 8 edges of the "
            f"normal cell by search: {skips}; accuracy of the cells trained: {accuracy} %."
        )
        halfway = ours.attrs["extra"].get("step_one")  # no part of records that are older
        if halfway is not None and strategy in set(halfway["strategy"]):
            skips = ", ".join(map(str, halfway.loc[halfway["strategy"] == strategy, "skips_normal"]))
            caption += f" Skips if step one were cut as DARTS cuts: {skips}."
        name = strategy.lower().replace(" ", "-")
        drawings.append(Drawing(cell_figure(fields_of(first), title=strategy), caption, name))
    return drawings


TABLE = entry_of(
    "Cells of DARTS and of the two-step search in the bit-shift space",
    trained,
    draw=draw,
    keeps=("accuracies", "scores", "examples", "step_one"),
)
