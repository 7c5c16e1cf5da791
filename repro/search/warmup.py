"""Separate warm-up (ACGhostNet Sec. 3.4.2): three sub-supernets by adder ratio, each trained to an accuracy threshold.

Trained together from the start, adder operations lag behind convolutions and an evolution soon drops them. So the paths
are divided into thirds by their share of adder operations, and each third is trained by itself, on the shared weights,
until it reaches the threshold. The paper gives no order and no limit. Here the sub-supernets take their turn either one
after another ("sequential", most adders first) or epoch by epoch ("interleaved"), and each has a limit of epochs, so
that an unreachable threshold ends and the outcome says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from repro.errors import check_choice, check_int, check_number
from repro.search.inherit import evaluate_paths, sampled_epoch
from repro.search.space import SearchSpace, adder_share
from repro.search.supernet import Path, SinglePathSupernet
from repro.train.data import Prepared, generator_for
from repro.train.loop import Trainer

ORDERS = ("sequential", "interleaved")
GROUPS = ("few adders", "mixed", "many adders")


def adder_group(path: Path) -> int:
    """0 for an adder share of at most 1/3, 2 for at least 2/3, 1 between; of {AAg1, CCg1}^6: 22, 20 and 22 paths."""
    share = adder_share(path)
    return 0 if 3 * share <= 1 + 1e-9 else 2 if 3 * share >= 2 - 1e-9 else 1


@dataclass(frozen=True)
class Warmup:
    """Settings of a separate warm-up.

    `threshold_pct` is the paper's t (70 %); `limit_epochs` the most epochs one sub-supernet may take;
    `probe_paths` paths of a sub-supernet are evaluated after each of its epochs, and their mean accuracy compared.
    """

    threshold_pct: float = 70.0
    limit_epochs: int = 10
    order: str = "sequential"
    probe_paths: int = 4

    def __post_init__(self):
        check_choice("order", self.order, ORDERS)
        check_int("limit_epochs", self.limit_epochs, minimum=1)
        check_int("probe_paths", self.probe_paths, minimum=1)
        check_number("threshold_pct", self.threshold_pct, minimum=0, maximum=100)


@dataclass
class GroupOutcome:
    """How the warm-up of one sub-supernet ended."""

    group: str
    threshold_pct: float
    epochs: int = 0
    accuracy_pct: float = float("nan")
    reached: bool = False

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        if self.reached:
            return f"sub-supernet '{self.group}' reached {self.threshold_pct:g} % in {self.epochs} epochs."
        return (
            f"sub-supernet '{self.group}' did not reach {self.threshold_pct:g} % within its limit of {self.epochs} "
            f"epochs (it got to {self.accuracy_pct:.1f} %); lower the threshold or raise the limit."
        )

    def as_dict(self) -> dict:
        return asdict(self) | {"sentence": self.sentence}


def path_sampler(space: SearchSpace, group: int | None = None) -> Callable[[torch.Generator], Path]:
    """Draws uniform paths of the space, or of one third of it by adder ratio."""
    if group is None:
        return space.sample
    what = f"the adder ratio of sub-supernet '{GROUPS[group]}'"
    return lambda generator: space.sample(generator, allowed=lambda path: adder_group(path) == group, what=what)


def groups_present(space: SearchSpace) -> list[int]:
    """Groups that hold at least one path, most adders first (a space without adders has only the first)."""
    shares = [[adder_share((option,)) for option in options] for options in space.blocks]
    present = set()
    if space.size <= 4096:
        present = {adder_group(path) for path in space.all_paths()}
    else:
        lowest, highest = (sum(map(pick, shares)) / len(shares) for pick in (min, max))
        present = {0} if lowest <= 1 / 3 else set()
        present |= {2} if highest >= 2 / 3 else set()
        present |= {1} if lowest < 2 / 3 and highest > 1 / 3 else set()
    return sorted(present, reverse=True)


def separate_warmup(
    supernet: SinglePathSupernet,
    space: SearchSpace,
    trainer: Trainer,
    train: Prepared,
    held_out: Prepared,
    settings: Warmup,
    *,
    rows: list[dict],
    on_epoch: Callable[[dict], object] | None = None,
) -> list[GroupOutcome]:
    """Warm up each sub-supernet in turn and return their outcomes; may raise Divergence.

    Args:
        trainer: carries optimiser and schedule on into joint training.
        held_out: the mean accuracy of probe paths is measured here, batch norm re-estimated on `train`.
        rows: one dict per epoch is appended; rows that an interrupted warm-up left continue it.
    """
    groups = groups_present(space)
    outcomes = {group: GroupOutcome(GROUPS[group], settings.threshold_pct) for group in groups}
    for row in rows:
        _count(next(outcome for outcome in outcomes.values() if outcome.group == row["group"]), row)
    for group in _turns(groups, settings):
        outcome = outcomes[group]
        if outcome.reached or outcome.epochs == settings.limit_epochs:
            continue
        epoch = len(rows)
        row = {"epoch": epoch + 1, "phase": "warm-up", "group": outcome.group}
        row |= sampled_epoch(supernet, trainer, train, epoch, path_sampler(space, group))
        probes = _probe_paths(space, group, settings.probe_paths, trainer.seed)
        measured = evaluate_paths(supernet, probes, held_out, calibration=train)
        row["probe_accuracy_pct"] = sum(result["accuracy_pct"] for result in measured) / len(measured)
        rows.append(row)
        _count(outcome, row)
        if on_epoch is not None:
            on_epoch(row)
    return [outcomes[group] for group in groups]


def _count(outcome: GroupOutcome, row: dict) -> None:
    outcome.epochs += 1
    outcome.accuracy_pct = row["probe_accuracy_pct"]
    outcome.reached = outcome.accuracy_pct >= outcome.threshold_pct


def _turns(groups: list[int], settings: Warmup) -> list[int]:
    if settings.order == "sequential":
        return [group for group in groups for _ in range(settings.limit_epochs)]
    return groups * settings.limit_epochs


def _probe_paths(space: SearchSpace, group: int, count: int, seed: int) -> list[Path]:
    draw = path_sampler(space, group)
    generator = generator_for("probe", seed, group)
    return list(dict.fromkeys(draw(generator) for _ in range(count)))
