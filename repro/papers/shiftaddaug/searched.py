"""Networks that searches found, trained from new weights with all or a part of their augmentation (tables 6 and 11)."""

from __future__ import annotations

import dataclasses
import fnmatch

from repro.augment import AugmentRecipe
from repro.models.mobile import MobileSpec
from repro.papers import jobs
from repro.papers.shiftaddaug import found
from repro.papers.shiftaddaug.found import FoundJob, TwoStageRun
from repro.papers.shiftaddaug.two_stage import Target
from repro.runs import Outcome
from repro.train import TrainRecipe


@dataclasses.dataclass(frozen=True)
class WithoutMutation(Target):
    """A TargetNet that is multiplication-free from the start; extra blocks still leave it in the window."""

    @property
    def recipe(self) -> AugmentRecipe:
        """As `Target.recipe`."""
        return dataclasses.replace(super().recipe, mutation=None)


def without_depth(subnet: MobileSpec, target: Target) -> tuple[MobileSpec, Target]:
    """(SubNet, TargetNet) without the blocks that are not deployed: no depth augmentation is left."""
    kept = tuple(block for block, stays in zip(subnet.blocks, target.keep) if stays)
    bare = Target(target.deployed, (True,) * len(kept), target.op, target.window)
    return dataclasses.replace(subnet, blocks=kept), bare


def without_mutation(target: Target) -> Target:
    """The TargetNet with the operators that it ends with from the start."""
    if all(target.keep):
        return dataclasses.replace(target, window=None)
    return WithoutMutation(target.inside, target.keep, target.op, target.window)


FIRST_CONVOLUTIONS = 3
"""How many the supplement keeps as adders in its search; depthwise ones are not counted, they always multiply there."""


def with_first_convolutions(target: Target, op: str) -> Target:
    """The TargetNet whose first three convolutions have an operator of their own; source: supplement, sec. 2."""
    dense, left = ["stem.conv"], ["stem.conv"]
    for number, block in enumerate(target.deployed.blocks):
        parts = ("expand", "depthwise", "project") if block.expand else ("depthwise", "project")
        names = [f"blocks.{number}.{part}.conv" for part in parts]
        left += names
        dense += [name for name in names if "depthwise" not in name]
    found = {}
    for key, other in {**dict.fromkeys(dense[:FIRST_CONVOLUTIONS], op), **target.op}.items():
        mine = fnmatch.filter(left, key)
        left = [name for name in left if name not in mine]
        if mine or not key.startswith("blocks."):  # what names no layer any more is refused
            found[key] = other
    return dataclasses.replace(target, op=found)


def job(search: TwoStageRun, train: TrainRecipe, subnet: MobileSpec, target: Target, **options) -> FoundJob:
    """The training of what a search found, on all its training images; `options` as FoundJob's."""
    data = dataclasses.replace(search.data, held_out=0.0)
    known = {"remap": search.remap, "calibration_images": search.calibration_images}
    return FoundJob(data, train, subnet, target, **known, **options)


def costs(search: TwoStageRun, target: Target) -> dict[str, float]:
    """mult_m, shift_m, add_m (millions), energy_mj and latency_ms of the deployed network at the size of its images."""
    priced = found.costs_of(search.data).costs(target.deployed, target.op)
    counts = {"mult_m": "mults", "shift_m": "shifts", "add_m": "adds"}
    return {column: priced[name] / 1e6 for column, name in counts.items()} | {
        column: priced[column] for column in ("energy_mj", "latency_ms")
    }


def note(search: Outcome, *trainings: Outcome) -> str:
    """What a row must say of a search or a training that did not end well, or ''."""
    return "; ".join(filter(None, map(jobs.note_of, (search, *trainings))))
