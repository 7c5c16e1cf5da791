"""AutoShiftNet figure 5 (appendix D): training and test accuracy of the best searched network, epoch by epoch."""

from __future__ import annotations

import pandas as pd

from repro.papers.autoshiftnet.comparing import draw_curves, drawn_sets, entry_of, train_best, train_rows

COLUMNS = ["column", "epoch", "train_accuracy_pct", "test_accuracy_pct", "seed"]


def trained(recipe, seeds, run):
    """The trainings of table 1's best row: column, epoch, train_accuracy_pct (on batches), test_accuracy_pct, seed."""
    _, searches = train_rows(recipe, (), seeds, run)
    done = train_best(recipe, searches, seeds, run)
    return pd.DataFrame(
        [
            {"column": column, "seed": seed, **{name: row[name] for name in COLUMNS[1:-1]}}
            for (column, seed), outcome in done.items()
            for row in (outcome.value or {}).get("curve", [])
        ],
        columns=COLUMNS,
    )


def draw(ours):
    """Both accuracies against the epoch, a panel per data set."""
    sets = {column: dataset for column, (dataset, _) in drawn_sets(ours).items()}
    named = ours[ours["column"].isin(sets)].assign(dataset=ours["column"].map(sets))
    return draw_curves(named, "dataset", "The best searched network in training; a line per training.")


TABLE = entry_of("Accuracy during the training of the searched networks", trained, draw=draw)
