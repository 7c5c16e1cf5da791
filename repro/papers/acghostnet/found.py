"""The search as a run (Sec. 4.1), shared by tables 4 and 5 and figures 1, 3, 5 and 6, and what it found."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import pandas as pd
import torch

from repro.papers.acghostnet.energy import EnergyLookup
from repro.papers.acghostnet.models import BUDGETS, front_of, models_by_budget
from repro.papers.acghostnet.recipes import SearchRun
from repro.papers.acghostnet.supernet import ghost_space, ghost_supernet
from repro.papers.data import device, load_splits
from repro.papers.kinds import spec_of
from repro.runs import Outcome, RunContext, RunSpec
from repro.search.cars import energy_objective, run_search
from repro.search.inherit import evaluate_paths
from repro.search.record import Candidate, Generation, as_plain, from_plain, generations_frame


def spec(recipe: SearchRun, seed: int) -> RunSpec:
    """One search."""
    return spec_of("acghostnet_search", recipe, seed, model="acghostnet")


PAPER_SIZE = (32, 10)
"""Pixels and classes of table 4's networks, at width 1."""


def form_of(side: int) -> str:
    """Images of up to 64 pixels take GhostNet's CIFAR form, as in the energy lookup."""
    return "cifar" if side <= 64 else "imagenet"


def energy_lookup(recipe: SearchRun) -> EnergyLookup:
    """Counts and energy of any network of the space at the size at which the search trains it."""
    facts, shape = recipe.data.facts, recipe.shape
    return EnergyLookup(
        facts["side"],
        facts["num_classes"],
        shape.width,
        in_channels=facts["in_channels"],
        head=shape.head,
        blocks=shape.blocks,
    )


def search(recipe: SearchRun, seed: int, context: RunContext) -> dict:
    """Run function: all candidates of all generations; resumes from the last generation.

    The last survivors are judged once more, on all held-out images (`judged_pct`, percent, best survivor first): the
    evolutions look at fewer.
    """
    splits, facts = load_splits(recipe.data), recipe.data.facts
    torch.manual_seed(seed)
    supernet = ghost_supernet(
        width=recipe.shape.width,
        head=recipe.shape.head,
        dropout=0.0,  # the paper states dropout for the final training only
        form=form_of(facts["side"]),
        num_classes=facts["num_classes"],
        in_channels=facts["in_channels"],
        blocks=recipe.shape.blocks,
    ).to(device())
    lookup = energy_lookup(recipe)
    result = run_search(
        supernet,
        ghost_space(blocks=lookup.num_blocks),
        splits.train,
        splits.held_out,
        energy_objective(lookup),
        recipe.search,
        seed=seed,
        folder=context.checkpoint,
        on_epoch=lambda row: context.log(**row),
    )
    judged = evaluate_paths(
        supernet,
        [candidate.path for candidate in result.survivors],
        splits.held_out,
        calibration=splits.train,
        batch_size=recipe.search.train.eval_batch_size,
    )
    return {
        "outcome": "diverged" if result.outcome == "diverged" else "done",
        "detail": result.detail,
        "warmup": [outcome.as_dict() for outcome in result.warmup],
        "generations": [as_plain(generation) for generation in result.generations],
        "judged_pct": [each["accuracy_pct"] for each in judged],
        "seconds": result.seconds,
    }


# ------------------------------------------------------------------ what came of it


def generations(outcome: Outcome) -> list[Generation]:
    """The generations of a search; none if it failed."""
    return [from_plain(plain) for plain in (outcome.value or {}).get("generations", [])]


def judged(outcome: Outcome) -> list[Candidate]:
    """The last survivors of a search with their accuracy on all held-out images; empty if it found nothing."""
    known = generations(outcome)
    if not known:
        return []
    pairs = zip(known[-1].survivors, outcome.value["judged_pct"], strict=True)
    return [dataclasses.replace(candidate, accuracy_pct=accuracy) for candidate, accuracy in pairs]


def models(outcome: Outcome) -> dict[str, Candidate]:
    """Models {"A": …} to D of a search, in ascending energy as the paper's own; empty if it found nothing.

    Their `energy` is that of the search's own size.

    They are picked from the last survivors by budgets that are shares of GhostNet's energy (`models.BUDGETS`). Budgets
    and the order of the letters go by the energy of the networks at the paper's size (table 4): small images shift the
    shares between blocks, so that 70 % at 8 pixels is 55 % at 32. What stands in where a search has no network between
    two budgets may need less energy than the pick before it; so the letters are given out afterwards.
    """
    survivors = judged(outcome)
    if not survivors:
        return {}
    lookup = EnergyLookup(*PAPER_SIZE, blocks=outcome.spec.recipe.shape.blocks)
    whole = lookup.score([["CCg1"] * lookup.num_blocks])["energy_pj"].item()
    energies = lookup.score([candidate.path for candidate in survivors])["energy_pj"]
    full_size = [dataclasses.replace(c, energy=energy) for c, energy in zip(survivors, energies)]
    found = models_by_budget(full_size, {name: share * whole for name, share in BUDGETS.items()})
    ordered = sorted(found.values(), key=lambda candidate: (candidate.energy, candidate.path))
    by_path = {candidate.path: candidate for candidate in survivors}
    return {name: by_path[candidate.path] for name, candidate in zip(sorted(found), ordered)}


def frames(outcome_by_seed: Mapping[int, Outcome]) -> dict[str, pd.DataFrame]:
    """Frames for pages and widgets, each with a column `seed`.

    candidates: every candidate of every generation with energy_uj and on_front (among that generation's survivors).
    models: models A to D: model, path, energy_uj, inherited_accuracy_pct. warmup: how each sub-supernet ended.
    seconds: wall time by activity, and the share of the evolution step.
    """
    candidates, picked, warmups, seconds = [], [], [], []
    for seed, outcome in outcome_by_seed.items():
        if not outcome.ok:
            continue
        candidates.append(_candidates(generations(outcome)).assign(seed=seed))
        picked += [
            {
                "seed": seed,
                "model": f"ACGhostNet-{name}",
                "path": "-".join(c.path),
                "energy_uj": c.energy / 1e6,
                "inherited_accuracy_pct": c.accuracy_pct,
            }
            for name, c in models(outcome).items()
        ]
        warmups += [{"seed": seed, **group} for group in outcome.value["warmup"]]
        spent = outcome.value["seconds"]
        share = 100 * spent["evolve"] / max(sum(spent.values()), 1e-9) if spent else math.nan
        seconds.append({"seed": seed, **{f"{name}_s": s for name, s in spent.items()}, "evolve_share_pct": share})
    return {
        "candidates": pd.concat(candidates, ignore_index=True) if candidates else pd.DataFrame(),
        "models": pd.DataFrame(picked, columns=["seed", "model", "path", "energy_uj", "inherited_accuracy_pct"]),
        "warmup": pd.DataFrame(warmups),
        "seconds": pd.DataFrame(seconds),
    }


def _candidates(known: list[Generation]) -> pd.DataFrame:
    frame = generations_frame(known)
    fronts = {(g.number, c.path) for g in known for c in front_of(g.survivors)}
    frame["on_front"] = [(n, tuple(path.split("-"))) in fronts for n, path in zip(frame["generation"], frame["path"])]
    frame["energy_uj"] = frame.pop("energy") / 1e6
    return frame
