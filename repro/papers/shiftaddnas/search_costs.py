"""What searches cost (appendix A): seconds of the runs that tables 3 and 6 make, by phase.

Nothing runs for these tables alone. Seconds belong to the machine that each row names: shares and ratios can be
compared with the paper's, days cannot. Those of a supernet are of all its epochs, whenever they ran; an evolution that
was interrupted tells only the seconds since it went on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from repro.papers.shiftaddnas import sharing, translation_search
from repro.papers.shiftaddnas.sharing import SharingRecipe
from repro.papers.shiftaddnas.translation_recipes import HAT, HYBRID, TranslationsRecipe
from repro.runs import Outcome

SUPERNET, SEARCH = "Supernet Train", "Arch. Search"
NLP = {SUPERNET: ("supernet",), SEARCH: ("predictor", "evolution")}
CV = {SUPERNET: ("train",), SEARCH: ("search",)}
"""Phase of table 10 -> the activities of a run that it takes in."""
METHODS = {HYBRID: "ShiftAddNAS", HAT: "HAT"}
"""Space of a translation search -> the method of table 8 that searches it."""
DAY_S = 86_400
MACHINE = "Days of the machine that the notes name, not of a V100: only shares and ratios compare with the paper's."
"""Said beside the numbers."""


def translation_phases(recipe: TranslationsRecipe, seeds: Sequence[int], run) -> pd.DataFrame:
    """Seconds of table 3's searches, of all language pairs and spaces: see `_phases`."""
    return _phases(
        run(
            {
                (METHODS[space], pair, seed): translation_search.spec(mine.search_in(space), seed)
                for pair, mine in recipe.pairs.items()
                for space in mine.spaces
                for seed in seeds
            }
        ),
        NLP,
    )


def vision_phases(recipe: SharingRecipe, seeds: Sequence[int], run) -> pd.DataFrame:
    """Seconds of table 6's search with heterogeneous sharing: see `_phases`."""
    done = run(sharing.supernet_specs(recipe, ["w/ HWS"], seeds))
    return _phases({("ShiftAddNAS", recipe.data.dataset, seed): each for (_, seed), each in done.items()}, CV)


def _phases(done: Mapping[tuple[str, str, int], Outcome], parts: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """One row per search and phase: method, task, seed, phase, seconds (NaN where it did not end), machine."""
    rows = []
    for (method, task, seed), outcome in done.items():
        spent, machine = (outcome.value or {}).get("seconds", {}), outcome.provenance.get("device", "")
        for phase, names in parts.items():
            seconds = sum(spent.get(name, math.nan) for name in names)
            about = {"method": method, "task": task, "seed": seed, "phase": phase}
            rows.append({**about, "seconds": seconds, "machine": machine})
    return pd.DataFrame(rows)


def days(phases: pd.DataFrame, key: Sequence[str]) -> pd.DataFrame:
    """One row per key and seed: search_cost_gpu_days, mean over tasks, and a note with the seconds and the machines.

    Args:
        phases: what `translation_phases` or `vision_phases` gave.
        key: columns of `phases`; phases that are not among them are added up.
    """
    rows = []
    for place, group in phases.groupby([*key, "seed"], sort=False):
        seconds = group.groupby("task")["seconds"].agg(lambda each: each.sum(skipna=False)).mean(skipna=False)
        note = "the search did not end"
        if math.isfinite(seconds):
            note = f"{seconds:.3g} s on {' and '.join(dict.fromkeys(group['machine']))}"
        about = dict(zip([*key, "seed"], place))
        rows.append({**about, "search_cost_gpu_days": seconds / DAY_S, "note": note})
    return pd.DataFrame(rows)
