"""Training a single-path supernet by uniform sampling, and ranking its paths with inherited weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from repro.errors import InputError, check_int
from repro.search.inherit import evaluate_paths, sampled_epoch
from repro.search.space import SearchSpace
from repro.search.supernet import SinglePathSupernet
from repro.search.warmup import GroupOutcome, Warmup, groups_present, path_sampler, separate_warmup
from repro.train.data import prepare, seen_by
from repro.train.loop import DIVERGED, FINISHED, Divergence, Trainer
from repro.train.recipe import TrainRecipe

__all__ = [
    "SupernetHistory",
    "SupernetRecipe",
    "evaluate_paths",
    "sampled_epoch",
    "strategy",
    "train_supernet",
]


@dataclass(frozen=True)
class SupernetRecipe:
    """How a supernet is trained.

    `train.epochs` is the whole budget, `train.adaptive` the strategy's rate ("adder", or "all" for both operators).
    With a `warmup`, its sub-supernets share all but `joint_epochs` of that budget; what they leave over goes to joint
    training, so every strategy takes the same number of steps under one cosine schedule.
    ACGhostNet Sec. 4.4: 50 epochs in all, 20 of them joint after a separate warm-up.
    """

    train: TrainRecipe = field(default_factory=lambda: TrainRecipe(epochs=50, lr=0.025, adaptive="all"))
    joint_epochs: int = 20
    warmup: Warmup | None = None

    def __post_init__(self):
        check_int("joint_epochs", self.joint_epochs, minimum=0)


@dataclass
class SupernetHistory:
    """One row per epoch, the warm-up's outcomes (empty without one), and how the training ended."""

    rows: list[dict] = field(default_factory=list)
    warmup: list[GroupOutcome] = field(default_factory=list)
    outcome: str = FINISHED
    detail: str = ""


def strategy(recipe: SupernetRecipe, *, adaptive_lr: bool, separate: bool) -> SupernetRecipe:
    """One of the four strategies of ACGhostNet table 6 at `recipe`'s budget.

    `adaptive_lr` means on both operators; without it the adaptive rate stays on adders only, which need it.
    """
    warmup = (recipe.warmup or Warmup()) if separate else None
    return replace(recipe, train=replace(recipe.train, adaptive="all" if adaptive_lr else "adder"), warmup=warmup)


def train_supernet(
    supernet: SinglePathSupernet,
    space: SearchSpace,
    train_data,
    held_out,
    recipe: SupernetRecipe,
    *,
    seed: int,
    on_epoch: Callable[[dict], object] | None = None,
    checkpoint: str | Path | None = None,
) -> SupernetHistory:
    """Train `supernet` in place: one uniformly sampled path per step, after a separate warm-up if the recipe has one.

    Args:
        space: the paths that may be sampled; each must be a path of the supernet.
        held_out: where the warm-up's threshold is measured (not the test set that a ranking is judged on).
        seed: of batches, transforms, dropout and sampled paths; seed the weights before building the supernet.
        checkpoint: file written after every epoch; if it exists, the training continues from it bit for bit.
    """
    device = next(supernet.parameters()).device
    train, held_out = prepare(train_data, device), prepare(held_out, device)
    total = recipe.train.epochs
    trainer = Trainer(supernet, recipe.train, examples=len(train), seed=seed)
    identity = {} if checkpoint is None else {"recipe": asdict(recipe), **seen_by(train)}
    history = SupernetHistory(**trainer.resume(checkpoint, identity))

    def finished(row: dict) -> None:
        if checkpoint is not None:
            trainer.save(checkpoint, identity, rows=history.rows)
        if on_epoch is not None:
            on_epoch(row)

    try:
        if recipe.warmup is not None:
            settings = _within_budget(recipe, len(groups_present(space)))
            joint = [row for row in history.rows if row["phase"] == "joint"]
            del history.rows[len(history.rows) - len(joint) :]
            history.warmup = separate_warmup(
                supernet, space, trainer, train, held_out, settings, rows=history.rows, on_epoch=finished
            )
            history.rows += joint
        for epoch in range(len(history.rows), total):
            row = {"epoch": epoch + 1, "phase": "joint"}
            row |= sampled_epoch(supernet, trainer, train, epoch, path_sampler(space))
            history.rows.append(row)
            finished(row)
    except Divergence as problem:
        history.outcome, history.detail = DIVERGED, str(problem)
    return history


def _within_budget(recipe: SupernetRecipe, groups: int) -> Warmup:
    share = (recipe.train.epochs - recipe.joint_epochs) // groups
    if share < 1:
        raise InputError(
            f"joint_epochs={recipe.joint_epochs} leaves no epoch of {recipe.train.epochs} for each of {groups} "
            "sub-supernets; lower it or raise epochs."
        )
    return replace(recipe.warmup, limit_epochs=min(recipe.warmup.limit_epochs, share))  # type: ignore[type-var, return-value, union-attr]
