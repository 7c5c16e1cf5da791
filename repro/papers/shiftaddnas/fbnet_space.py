"""Networks of the FBNet space (Sec. 4.4, 4.7): supernet, search under a limit of operations, and what it finds.

Paper and public code give no block list, recipe or latency of these networks, so all of it is ours: FBNet's kinds of
blocks in FBNet's stages or fewer, one supernet with heterogeneous sharing for each set of operators, evolution by
held-out loss, the network found trained alone. "FBNet" is what the same search finds among convolutions. Attention is
left out, as the paper does in this space. Tables 5 and 7 share the runs.

Each set of operators has peak rates of its own, chosen on held-out training images; see `TUNED`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
import torch

from repro.cost import count
from repro.cost.skeleton import skeleton
from repro.papers import jobs
from repro.papers.analytic import MILLION
from repro.papers.data import DataRecipe, device, load_splits
from repro.papers.kinds import spec_of
from repro.papers.presets import CALIBRATION_IMAGES, SHORT, cifar_subset
from repro.papers.shiftaddnas.networks import energy
from repro.papers.shiftaddnas.path_search import Search, form_of
from repro.papers.shiftaddnas.recipes import ADAMW, TUNED_SETTINGS
from repro.papers.shiftaddnas.sharing import fit_logged
from repro.runs import Outcome, RunContext, RunSpec
from repro.search.evolution import evolve
from repro.search.fbnet_supernet import SKIP, FBNetSpace, FBNetSupernet
from repro.search.inherit import evaluate_paths
from repro.search.supernet import Path
from repro.search.weight_sharing import WeightSharing
from repro.train import TrainRecipe
from repro.train.data import prepare

SETS = {
    "Attn&Conv": ("conv",),
    "Shift&Add": ("shift", "adder"),
    "Attn&Conv&Add": ("conv", "adder"),
    "All": ("conv", "shift", "adder"),
}
"""Operator set of table 7 -> operators of the blocks; the space has no attention."""
COUNTS = ("macs_m", "mult_m", "add_m", "shift_m")
"""Million operations of a network, as tables 5 and 7 count them."""
SUPERNET, FOUND = "supernet", "found"
SUPERNET_RATES = {name: TUNED_SETTINGS[name] for name in ("adamw 0.01", "adamw 0.02", "adamw 0.04", "adamw 0.08")}
FOUND_RATES = {f"sgd {rate:g}": {"lr": rate} for rate in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)}
"""What `repro tune shiftaddnas_fbnet` compares on held-out images: peak rates of AdamW for supernets, of SGD with the
adaptive rate of adders for networks by themselves. By AdamW a network of adders alone stays at chance from 0.005 on."""
_DIGITS_CHOSE = {
    "supernet Attn&Conv": "adamw 0.04",
    "supernet Shift&Add": "adamw 0.02",
    "supernet Attn&Conv&Add": "adamw 0.04",
    "supernet All": "adamw 0.04",
    "found Attn&Conv": "sgd 0.4",
    "found Shift&Add": "sgd 0.2",
    "found Attn&Conv&Add": "sgd 0.8",
    "found All": "sgd 0.8",
}
TUNED = {"digits": _DIGITS_CHOSE, "cifar10": _DIGITS_CHOSE}
"""Data set -> kind of network (`kind_of`) -> the rate with which it does best by itself.

CIFAR-10 has no record of `repro tune` yet: its networks take what digits chose.
"""


def kind_of(part: str, name: str) -> str:
    """Kind of a network, whose rate is tuned by itself: `SUPERNET` or `FOUND`, and its operator set."""
    return f"{part} {name}"


def tuned_rates(dataset: str) -> dict[str, float]:
    """Kind of network -> its peak rate on a data set."""
    return {kind: (SUPERNET_RATES | FOUND_RATES)[name]["lr"] for kind, name in TUNED[dataset].items()}


@dataclasses.dataclass(frozen=True)
class FBNetRecipe:
    """What all searches of a preset have in common.

    Attributes:
        space: with all operators.
        supernet, found: trainings of a supernet, and of the network that is found.
        search: limits of operations as a share of those of the largest network.
        calibration_images: as in `repro.papers.jobs.Job`.
        rates: kind of network (`kind_of`) -> its peak rate where it is not that of `supernet` or `found`.
    """

    data: DataRecipe
    space: FBNetSpace
    supernet: TrainRecipe
    found: TrainRecipe
    search: Search
    calibration_images: int = CALIBRATION_IMAGES
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def run(self, name: str) -> FBNetRun:
        """One search among a set of operators."""
        return FBNetRun(self.data, self.within(name), self._at_rate(SUPERNET, name), self.search)

    def spec(self, name: str, seed: int) -> RunSpec:
        """The run of a search among a set of operators."""
        return run_spec(self.run(name), seed)

    def job(self, name: str, path: Sequence[str]) -> jobs.Job:
        """The training of a path's network by itself, which was found among a set of operators."""
        train = self._at_rate(FOUND, name)
        return jobs.Job("fbnet", self.space.options(path), self.data, train, self.calibration_images)

    def within(self, name: str) -> FBNetSpace:
        """The space with a set of operators."""
        return dataclasses.replace(self.space, operators=SETS[name])

    def _at_rate(self, part: str, name: str) -> TrainRecipe:
        train = {SUPERNET: self.supernet, FOUND: self.found}[part]
        return dataclasses.replace(train, lr=self.rates.get(kind_of(part, name), train.lr))


@dataclasses.dataclass(frozen=True)
class FBNetRun:
    """One supernet with heterogeneous sharing, the search with it if there is one, and fixed paths that it scores."""

    data: DataRecipe
    space: FBNetSpace
    train: TrainRecipe
    search: Search | None
    paths: tuple[Path, ...] = ()


def run_spec(run: FBNetRun, seed: int) -> RunSpec:
    """One supernet training with what it serves; several processes may share it (engine "torchrun")."""
    return spec_of("shiftaddnas_fbnet", run, seed, model="fbnet", parallel=True)


@functools.lru_cache(maxsize=4096)
def operations(space: FBNetSpace, data: DataRecipe, path: Path) -> dict[str, float]:
    """`COUNTS` of a path's network for one image of the data."""
    shape = form_of(data)
    counted = count(
        skeleton("fbnet", **space.options(path), **shape),
        (shape["in_channels"], data.facts["side"], data.facts["side"]),
        "shiftaddnas",
    )
    numbers = (counted.macs, counted.mults, counted.adds, counted.shifts)
    return {name: number / MILLION for name, number in zip(COUNTS, numbers)}


def search(run: FBNetRun, seed: int, context: RunContext) -> dict:
    """Run function: train the supernet, evolve paths by held-out loss under the limit; resumes both.

    Returns: {"outcome", "detail", "params", "top1_pct" (mean accuracy of the fixed paths on held-out images, None
        without such or for a path whose scores are not finite), "found" (None without a search or if it diverged):
        "path", "loss", "macs_m", "limit_macs_m", "rounds", the best loss after each}.
    Raises: InputError for a limit that no path meets.
    """
    space, limits = run.space, {}
    if run.search is not None:
        limits = {
            "cost": {"macs_m": lambda paths: [operations(space, run.data, path)["macs_m"] for path in paths]},
            "limit": limit_of(space, run.data, run.search),
        }
        # A limit that no path meets is told before anything is trained.
        evolve(space.paths, lambda paths: [0.0] * len(paths), **limits, population=2, rounds=0, seed=seed)
    splits = load_splits(run.data)
    train, held_out = (prepare(part, device()) for part in (splits.train, splits.held_out))
    torch.manual_seed(seed)
    supernet = FBNetSupernet(space, WeightSharing(), **form_of(run.data)).to(device())
    history = fit_logged(supernet, train, run.train, seed, context)
    value = {"detail": history.detail, "params": sum(p.numel() for p in supernet.parameters())}
    if history.diverged:
        return {"outcome": "diverged", **value, "top1_pct": None, "found": None}

    def judge(paths: Sequence[Path]) -> list[dict]:
        return evaluate_paths(supernet, paths, held_out, calibration=train, batch_size=run.train.eval_batch_size)

    accuracy = sum(each["accuracy_pct"] for each in judge(run.paths)) / len(run.paths) if run.paths else math.nan
    value = {"outcome": "done", **value, "top1_pct": accuracy if math.isfinite(accuracy) else None}
    if run.search is None:
        return value | {"found": None}
    found = evolve(
        space.paths,
        lambda paths: [-each["loss"] for each in judge(paths)],
        **limits,
        population=run.search.population,
        rounds=run.search.rounds,
        parents=run.search.parents,
        mutation=run.search.mutation,
        seed=seed,
        checkpoint=context.checkpoint / "search.json",
    )
    best = found.best
    rounds = [-max(each.score for each in done.population if each.place is not None) for done in found.rounds]
    about = {
        "path": list(best.genome),
        "loss": -best.score,
        **best.costs,
        "limit_macs_m": limits["limit"],
        "rounds": rounds,
    }
    return value | {"found": about}


def limit_of(space: FBNetSpace, data: DataRecipe, search: Search) -> float:
    """The most million operations that a search allows."""
    return search.limits["macs_m"] * largest(space, data)


def largest(space: FBNetSpace, data: DataRecipe) -> float:
    """Million operations of the network with the largest kind of block in every place, whatever its operators."""
    kinds = [f"{kind}:{space.operators[0]}" for kind in space.kinds if kind != SKIP]
    return max(operations(space, data, (block,) * len(space.shapes))["macs_m"] for block in kinds)


@dataclasses.dataclass(frozen=True)
class Searched:
    """What the searches found, by operator set and seed: paths with their costs, and their trainings."""

    found: pd.DataFrame
    trained: Mapping[tuple[str, int], Outcome]


def searched(recipe: FBNetRecipe, names: Iterable[str], seeds: Sequence[int], run) -> Searched:
    """Search every set of operators and train what is found; `found` has one row per set and seed.

    Columns: operators, seed, path, loss, limit_macs_m, counts of operations (macs_m, mult_m, add_m, shift_m), modelled
    energy_mj and latency_ms. A search that failed has no row.
    """
    done = run({(name, seed): recipe.spec(name, seed) for name in names for seed in seeds})
    found = {key: best for key, outcome in done.items() if (best := (outcome.value or {}).get("found")) is not None}
    paths = {key: tuple(best["path"]) for key, best in found.items()}
    trained = run({(name, seed): jobs.spec(recipe.job(name, path), seed) for (name, seed), path in paths.items()})
    rows = [
        {
            "operators": name,
            "seed": seed,
            "path": " ".join(path),
            "loss": found[name, seed]["loss"],
            "limit_macs_m": found[name, seed]["limit_macs_m"],
            **operations(recipe.space, recipe.data, path),
            **energy(recipe.job(name, path)),
        }
        for (name, seed), path in paths.items()
    ]
    columns = ["operators", "seed", "path", "loss", "limit_macs_m", *COUNTS, "energy_mj", "latency_ms"]
    return Searched(pd.DataFrame(rows, columns=columns), trained)


# ------------------------------------------------------------------ presets

_LIMITS = {"macs_m": 0.6}
_DIGITS = FBNetRecipe(
    DataRecipe("digits", held_out=0.5),
    FBNetSpace(((16, 1, 1), (16, 2, 2), (24, 1, 1)), kinds=("k3_e1", "k3_e3", "k5_e3", "skip"), head=64),
    supernet=TrainRecipe(epochs=40, batch_size=32, **ADAMW),
    found=TrainRecipe(epochs=30, **SHORT),
    search=Search(_LIMITS, population=12, rounds=3),
    rates=tuned_rates("digits"),
)
_QUICK = dataclasses.replace(
    _DIGITS,
    supernet=dataclasses.replace(_DIGITS.supernet, epochs=20),
    found=dataclasses.replace(_DIGITS.found, epochs=10),
)
_PAPER = FBNetRecipe(
    DataRecipe("cifar10", held_out=0.1),
    FBNetSpace(),
    supernet=TrainRecipe(epochs=300, batch_size=256, lr=2e-3, warmup_epochs=5, crop_padding=4, flip=True, **ADAMW),
    found=TrainRecipe(epochs=300, batch_size=128, weight_decay=5e-4, crop_padding=4, flip=True),
    search=Search(_LIMITS),
    calibration_images=0,
)
RECIPES = {
    ("smoke", "digits"): FBNetRecipe(
        DataRecipe("digits", train_images=128, test_images=64, held_out=0.5),
        FBNetSpace(((16, 2, 1),), kinds=("k3_e1", "skip"), head=16),
        supernet=TrainRecipe(epochs=1, batch_size=32, **ADAMW),
        found=TrainRecipe(epochs=1, **SHORT),
        search=Search(_LIMITS, population=3, rounds=1),
        rates=tuned_rates("digits"),
        calibration_images=64,
    ),
    ("quick", "digits"): _QUICK,
    ("study", "cifar10"): FBNetRecipe(
        cifar_subset(10_000, held_out=0.2),
        FBNetSpace(((16, 1, 1), (24, 2, 2), (32, 2, 2)), kinds=("k3_e1", "k3_e3", "k5_e1", "k5_e3", "skip"), head=128),
        supernet=TrainRecipe(epochs=16, batch_size=64, **ADAMW),
        found=TrainRecipe(epochs=15, **SHORT),
        search=Search(_LIMITS, population=16, rounds=6),
        rates=tuned_rates("cifar10"),
    ),
    ("study", "digits"): _DIGITS,
    ("paper", "cifar10"): _PAPER,
    ("paper", "cifar100"): dataclasses.replace(_PAPER, data=DataRecipe("cifar100", held_out=0.1)),
}
_SCALED = (
    "FBNet space: four or five searched blocks of two to four kinds at two or three resolutions, at most 60 % of the "
    "largest network's operations; FBNet is what the same search finds among convolutions."
)
SCALE = {
    "smoke": "FBNet space: two blocks, one epoch on 64 images: checks that everything runs, says nothing.",
    "quick": f"{_SCALED} Half the epochs of study for supernets, a third for what they find.",
    "study": _SCALED,
    "paper": "FBNet space: all 22 blocks on CIFAR at 32 pixels, at most 60 % of the largest network's operations; "
    "the paper prints neither blocks nor settings of these networks, so they are ours.",
}
