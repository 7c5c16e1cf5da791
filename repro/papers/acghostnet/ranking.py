"""Toy supernets as runs (Sec. 3.4 and 4.4): every path with the weights it inherits. Tables 3 and 6 and figure 4."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from repro.papers.acghostnet import toy
from repro.papers.data import DataRecipe, load_splits
from repro.papers.kinds import spec_of
from repro.report.examples import pack
from repro.runs import RunContext, RunSpec
from repro.search.train_supernet import SupernetRecipe, evaluate_paths, train_supernet


@dataclasses.dataclass(frozen=True)
class SharedRun:
    """One supernet, and the paths that are ranked with its weights.

    Attributes:
        space: "six blocks", or a family of two layers ("adder", "conv").
        options: of the supernet, for example its width.
        paths: names of the paths: letters of six blocks ("CAACAC"), or two layers ("a3,a5").
    """

    space: str
    options: Mapping[str, Any]
    paths: tuple[str, ...]
    data: DataRecipe
    supernet: SupernetRecipe


SIX_BLOCKS = "six blocks"
FEW = 16
"""A space of more paths than this is judged by its ranking, which needs no single answers."""


def spec(recipe: SharedRun, seed: int) -> RunSpec:
    """One supernet training."""
    return spec_of("acghostnet_supernet", recipe, seed, model="acghostnet")


def train_shared(recipe: SharedRun, seed: int, context: RunContext) -> dict:
    """Run function: accuracy (percent) of every path with the weights inherited from one supernet.

    Paths are judged on the held-out training images, as a search would; the test images stay for the networks trained
    by themselves. `correct` has the packed right answers (`repro.report.examples`) of each path of a space of few.
    """
    splits, facts = load_splits(recipe.data), recipe.data.facts
    options = {**recipe.options, "in_channels": facts["in_channels"], "num_classes": facts["num_classes"]}
    torch.manual_seed(seed)
    if recipe.space == SIX_BLOCKS:
        supernet, space = toy.six_block_supernet(**options), toy.six_block_space()
        paths = [toy.six_block_path(letters) for letters in recipe.paths]
    else:
        supernet, space = toy.two_layer_supernet(recipe.space, **options), toy.two_layer_space(recipe.space)
        paths = [tuple(layers.split(",")) for layers in recipe.paths]
    history = train_supernet(
        supernet,
        space,
        splits.train,
        splits.held_out,
        recipe.supernet,
        seed=seed,
        on_epoch=lambda row: context.log(**row),
        checkpoint=context.checkpoint / "training",
    )
    value = {"detail": history.detail, "warmup": [outcome.as_dict() for outcome in history.warmup]}
    if history.outcome == "diverged":
        return {"outcome": "diverged", **value, "accuracy_pct": {}}
    results = dict(
        zip(recipe.paths, evaluate_paths(supernet, paths, splits.held_out, calibration=splits.train), strict=True)
    )
    accuracy = {name: result["accuracy_pct"] for name, result in results.items()}
    answers = {name: pack(result["right"].numpy()) for name, result in results.items()} if len(results) <= FEW else {}
    return {
        "outcome": "done",
        **value,
        "accuracy_pct": {name: share for name, share in accuracy.items() if share == share},
        "examples": len(splits.held_out),
        "correct": answers,
    }
