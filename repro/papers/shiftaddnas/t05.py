"""ShiftAddNAS table 5 (Sec. 4.4): CIFAR networks of the FBNet space.

`computed`: only operator totals are published, which an identity can check. `trained`: what one search finds among
convolutions (FBNet) and among all operators, under the same limit of operations, trained alone.
"""

from __future__ import annotations

import pandas as pd

from repro.papers import jobs
from repro.papers.analytic import analytic_frame, from_printed
from repro.papers.shiftaddnas import fbnet_space, recipes
from repro.papers.table import Table

IDENTITY = "multiplications + shifts + 2 x (MACs - multiplications - shifts), printed counts"
FBNET, OURS = "FBNet", "ShiftAddNAS"
METHODS = {"Attn&Conv": FBNET, "All": OURS}
"""Operator set that is searched -> method."""
STANDS_FOR = {"digits": "CIFAR10"}


def trained(recipe, seeds, run):
    """One row per method and search; gain and savings are those over the FBNet of the same seed.

    Counts and modelled latency are those of the networks that were trained. `attrs["extra"]`: found, examples.
    """
    done = fbnet_space.searched(recipe, METHODS, seeds, run)
    dataset = recipe.data.dataset
    accuracy = {(METHODS[name], seed): jobs.accuracy_of(outcome) for (name, seed), outcome in done.trained.items()}
    priced = {(METHODS[row["operators"]], row["seed"]): row for row in done.found.to_dict("records")}
    rows = []
    for (name, seed), outcome in done.trained.items():
        method, base = METHODS[name], (FBNET, seed)
        row = {"dataset": dataset, "method": method, "seed": seed, "accuracy_pct": accuracy[method, seed]}
        row |= {column: priced[method, seed][column] for column in fbnet_space.COUNTS}
        if method == OURS and base in accuracy:
            row["accuracy_gain_pct"] = accuracy[method, seed] - accuracy[base]
            row["latency_savings_pct"] = 100 * (1 - priced[method, seed]["latency_ms"] / priced[base]["latency_ms"])
        rows.append(row | {"note": jobs.note_of(outcome)})
    frame = pd.DataFrame(rows)
    frame.attrs["extra"] = {
        "found": done.found.assign(operators=done.found["operators"].map(METHODS)).rename(
            columns={"operators": "method"}
        ),
        "examples": jobs.answers_frame(
            ({"dataset": dataset, "method": METHODS[name]}, seed, "accuracy_pct", outcome, "top1_pct")
            for (name, seed), outcome in done.trained.items()
        ),
    }
    frame.attrs["stands_for"] = STANDS_FOR
    return frame


def _additions(frame):
    rest = frame["macs_m"] - frame["mult_m"] - frame["shift_m"]
    return frame["mult_m"] + frame["shift_m"] + 2 * rest


def computed():
    """Empty rows; `attrs["extra"]["from_printed"]` says whether printed additions follow from printed counts."""
    columns = ["macs_m", "mult_m", "shift_m"]
    return analytic_frame(
        "shiftaddnas_t05",
        {},
        convention="additions = multiplications + shifts + 2 x adder taps",
        unknown="block list not published; whether the printed counts agree is in the frame `from_printed`",
        extra={"from_printed": from_printed("shiftaddnas_t05", "add_m", IDENTITY, _additions, columns)},
    )


TABLE = Table(
    "Searched networks of the FBNet space on CIFAR",
    trained=trained,
    computed=computed,
    recipes=fbnet_space.RECIPES,
    seeds=recipes.SEARCH_SEEDS,
    scale=fbnet_space.SCALE,
    stands_for=STANDS_FOR,
    layout="wide",
    keeps=("found", "examples"),
    unit="search",
)
