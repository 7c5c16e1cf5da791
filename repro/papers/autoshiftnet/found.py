"""The search of cells as a run (Sec. 4 and appendix A), shared by every entry that shows or trains what it found."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Mapping
from typing import TypeVar

import pandas as pd

from repro.errors import InputError, check_choice
from repro.papers.autoshiftnet.recipes import SEARCHES, CellRun
from repro.papers.data import device, load_splits
from repro.papers.kinds import spec_of
from repro.runs import Outcome, RunContext, RunSpec
from repro.search.gradient import CellSearch, search_cells

Key = TypeVar("Key", bound=Hashable)


def spec(recipe: CellRun, seed: int) -> RunSpec:
    """One search."""
    return spec_of("autoshiftnet_search", recipe, seed)


def variant(recipe: CellRun, **changes: object) -> CellRun:
    """The same search with other fields of its `CellSearchRecipe`."""
    return dataclasses.replace(recipe, search=dataclasses.replace(recipe.search, **changes))


def recipe_of(preset: str, dataset: str | None = None) -> CellRun:
    """The search of a preset, on its default data set where none is named."""
    known = [name for of, name in SEARCHES if of == preset]
    if not known:
        check_choice("preset", preset, dict.fromkeys(of for of, _ in SEARCHES))
    if dataset and dataset not in known:
        raise InputError(
            f"dataset={dataset!r} has no search at preset {preset}; there is one on {' and '.join(known)}."
        )
    return SEARCHES[preset, dataset or known[0]]


def search(recipe: CellRun, seed: int, context: RunContext) -> dict:
    """Run function: what `CellSearch.as_plain` holds; resumes from the last epoch."""
    splits = load_splits(recipe.data)
    result = search_cells(
        recipe.search,
        splits.train,
        splits.held_out,
        seed=seed,
        num_classes=recipe.data.facts["num_classes"],
        folder=context.checkpoint,
        on_epoch=lambda row: context.log(**{name: value for name, value in row.items() if name != "architecture"}),
        device=device(),
    )
    plain = result.as_plain()
    return {**plain, "outcome": "done" if result.outcome == "finished" else result.outcome}


def found(outcome: Outcome) -> CellSearch | None:
    """The search behind an outcome; None if it failed. Its `genotype` is None where it diverged."""
    if not outcome.ok:
        return None
    plain = outcome.value
    ended = "finished" if plain["outcome"] == "done" else plain["outcome"]
    return CellSearch.from_plain(outcome.spec.recipe.search, {**plain, "outcome": ended})


def finished(outcomes: Mapping[Key, Outcome]) -> dict[Key, CellSearch]:
    """The searches among some outcomes that found cells."""
    searches = {key: found(outcome) for key, outcome in outcomes.items()}
    return {key: search for key, search in searches.items() if search is not None and search.genotype is not None}


def best(searches: Mapping[Key, CellSearch]) -> Key:
    """The search whose supernet is the most accurate on held-out images; test images choose nothing."""
    accuracy = {key: search.held_out_accuracy_pct for key, search in searches.items()}
    return max(accuracy, key=lambda key: -math.inf if math.isnan(accuracy[key]) else accuracy[key])


def summary(searches: Mapping[tuple[str, int], CellSearch]) -> pd.DataFrame:
    """One row per (column, seed): column, seed, held_out_accuracy_pct, seconds, skips of each cell, genotype (JSON)."""
    rows = [
        {
            "column": column,
            "seed": seed,
            "held_out_accuracy_pct": search.held_out_accuracy_pct,
            "seconds": sum(row["seconds"] for row in search.rows),
            "skips_normal": sum(op == "skip_connect" for op, _ in search.genotype.normal),
            "skips_reduction": sum(op == "skip_connect" for op, _ in search.genotype.reduce),
            "genotype": search.genotype.as_text(),
        }
        for (column, seed), search in searches.items()
    ]
    return pd.DataFrame(rows)
