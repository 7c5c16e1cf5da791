"""AutoShiftNet figure 3 (Sec. 5.4): cells that DARTS and the two-step search find in the bit-shift space, both trained.

DARTS has one softmax over all operations, the epochs and rates of step one, and its own cut.
"""

from __future__ import annotations

import pandas as pd

from repro.papers import jobs
from repro.papers.autoshiftnet import found
from repro.papers.autoshiftnet.cells import edge_rows, fields_of
from repro.papers.autoshiftnet.comparing import entry_of
from repro.papers.autoshiftnet.networks import OURS
from repro.papers.autoshiftnet.training import spec
from repro.papers.table import Drawing
from repro.report.cell_graphs import cell_figure

STRATEGIES = {"DARTS": "darts", "topology": "two steps"}


def trained(recipe, seeds, run):
    """One row per strategy, search (seed), cell and edge: strategy, cell, node, edge, op, input_index, seed.

    `attrs["extra"]["accuracies"]`: strategy, seed, skips_normal, skips_reduction (of 8 edges each), accuracy_pct of the
    cells trained as a bit-shift network.
    """
    (column, search), *_ = recipe.searches.items()
    specs = {
        (name, seed): found.spec(found.variant(search, strategy=strategy), seed)
        for name, strategy in STRATEGIES.items()
        for seed in seeds
    }
    known = found.finished(run(specs))
    done = run({key: spec(recipe.job(OURS, column, genotype=one.genotype), key[1]) for key, one in known.items()})
    columns = ["strategy", "cell", "node", "edge", "op", "input_index", "seed"]
    frame = pd.DataFrame(
        [
            {"strategy": name, **row, "seed": seed}
            for (name, seed), one in known.items()
            for row in edge_rows(one.genotype)
        ],
        columns=columns,
    )
    accuracies = found.summary(known).rename(columns={"column": "strategy"})
    accuracies["accuracy_pct"] = [jobs.accuracy_of(done[key]) for key in known]
    frame.attrs["extra"] = {"accuracies": accuracies}
    return frame


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
        drawings.append(Drawing(cell_figure(fields_of(first), title=strategy), caption, strategy.lower()))
    return drawings


TABLE = entry_of(
    "Cells of DARTS and of the two-step search in the bit-shift space", trained, draw=draw, keeps=("accuracies",)
)
