"""Models A to D of a finished search, named as the paper names its own: from the least energy to the most."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from repro.papers.acghostnet.found import SearchRun, found_models, search_frames
from repro.runs import Outcome
from repro.search.record import Candidate


def models_by_energy(outcome: Outcome) -> dict[str, Candidate]:
    """{"A": …} of a search in ascending energy; empty if it diverged before its first evolution.

    They are picked by budget (`found_models`). Where a front has no further network within a larger budget, the pick
    may need less energy than the one before it; so the letters are given out afterwards.
    """
    found = found_models(outcome)
    ordered = sorted(found.values(), key=lambda candidate: (candidate.energy, candidate.path))
    return dict(zip(sorted(found), ordered))


def frames(recipe: SearchRun, outcomes: Sequence[Outcome]) -> dict[str, pd.DataFrame]:
    """The frames of `search_frames`, models named by energy."""
    result = search_frames(recipe, outcomes)
    models = result["models"].sort_values(["seed", "energy_uj", "path"], ignore_index=True)
    for _, places in models.groupby("seed").groups.items():
        models.loc[places, "model"] = sorted(models.loc[places, "model"])
    return {**result, "models": models}
