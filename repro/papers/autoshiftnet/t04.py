"""AutoShiftNet table 4 (Sec. 5.4): searches with and without adaptive L2 and learning rate reset.

What each finds is trained alike. "Without L2R" is the conventional L2 of P and S, which Sec. 4.3 sets against the
adaptive one. The other readings (the term with S, no term at all) and a search with real weights are beside it.
"""

from __future__ import annotations

import pandas as pd

from repro.papers import jobs
from repro.papers.autoshiftnet import found
from repro.papers.autoshiftnet.comparing import dots, drawn_sets, entry_of, table_of
from repro.papers.autoshiftnet.networks import OURS
from repro.papers.autoshiftnet.training import spec
from repro.papers.table import Drawing

SCHEMES: dict[int, dict[str, str]] = {
    1: {"l2": "code", "reset": "whole"},
    2: {"l2": "code", "reset": "none"},
    3: {"l2": "conventional", "reset": "whole"},
    4: {"l2": "conventional", "reset": "none"},
}
"""Row -> fields of the search."""
NAMES = {1: "both", 2: "L2 only", 3: "reset only", 4: "neither"}


def trained(recipe, seeds, run):
    """One row per scheme and search: accuracy of the cells that it finds, all trained alike, and less that of scheme 1.

    `attrs["extra"]`: examples; variants: variant, column, seed, accuracy_pct of further searches; searches.
    """
    schemes = SCHEMES | dict(recipe.variants)
    searches = found.finished(
        run(
            {
                (scheme, column, seed): found.spec(found.variant(search, **changes), seed)
                for scheme, changes in schemes.items()
                for column, search in recipe.searches.items()
                for seed in seeds
            }
        )
    )
    done = run(
        {key: spec(recipe.job(OURS, key[1], genotype=search.genotype), key[2]) for key, search in searches.items()}
    )
    frame = table_of(
        ({"id": scheme, "search_seed": seed}, seed, f"{column}_accuracy_pct", outcome, "top1_pct")
        for (scheme, column, seed), outcome in done.items()
        if scheme in SCHEMES
    )
    for column in recipe.data:
        first = frame[frame["id"] == 1].set_index("seed")[f"{column}_accuracy_pct"]
        difference = frame[f"{column}_accuracy_pct"] - frame["seed"].map(first)
        frame[f"{column}_diff_pct"] = difference.where(frame["id"] != 1)
    frame.attrs["stands_for"] = recipe.stands_for
    frame.attrs["extra"]["searches"] = pd.concat(
        [
            found.summary({key[1:]: search for key, search in searches.items() if key[0] == scheme}).assign(
                scheme=NAMES.get(scheme, scheme)
            )
            for scheme in schemes
        ],
        ignore_index=True,
    )
    frame.attrs["extra"]["variants"] = pd.DataFrame(
        [
            (scheme, column, seed, jobs.accuracy_of(outcome))
            for (scheme, column, seed), outcome in done.items()
            if scheme not in SCHEMES
        ],
        columns=["variant", "column", "seed", "accuracy_pct"],
    )
    return frame


def draw(ours):
    """Accuracy by scheme, a dot per search, and of the further searches below."""
    variants = ours.attrs.get("extra", {}).get("variants", pd.DataFrame(columns=["column", "variant"]))
    drawings = []
    for column, (dataset, part) in drawn_sets(ours).items():
        rows = ours.assign(search=ours["id"].map(NAMES), accuracy_pct=ours[f"{column}_accuracy_pct"])
        further = variants[variants["column"] == column].rename(columns={"variant": "search"})
        both = pd.concat([rows, further])[["search", "accuracy_pct"]]
        figure = dots(both, "search", "accuracy_pct", x_label="test accuracy of the cells found (%)")
        text = f"Accuracy on {dataset} of the cells found with each scheme, all trained alike; a dot is a search."
        drawings.append(Drawing(figure, text, part))
    return drawings


TABLE = entry_of(
    "Searches with and without adaptive L2 and learning rate reset",
    trained,
    draw=draw,
    layout="wide",
    keeps=("examples", "variants", "searches"),
)
