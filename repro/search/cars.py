"""CARS with pNSGA-III: continuous evolution of paths on one supernet (ACGhostNet Sec. 3.4 and 4.1).

1. Warm-up: the supernet is trained on uniformly drawn paths, or by three sub-supernets first (separate warm-up).
2. A population of n random paths is drawn. Between evolutions only its members are trained, on the shared weights.
3. Every few epochs the population is expanded from n to 2n by mutation and crossover; all are evaluated with inherited
   weights on data that trained nothing, their batch norm re-estimated; pNSGA-III keeps n.

Everything random depends on (seed, epoch) or (seed, generation). A search with a folder writes a checkpoint every
generation (and as often during warm-up), so that a kill loses at most one generation and the resumed search ends with
the population of an uninterrupted one, bit for bit. Each generation's candidates stay in a file of their own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path as FilePath
from typing import Any

import torch

from repro.errors import InputError, check_choice, check_int, check_number
from repro.search.inherit import evaluate_paths, sampled_epoch
from repro.search.pnsga import METHODS, select
from repro.search.record import Candidate, Generation, as_plain, from_plain, write_generation
from repro.search.space import SearchSpace
from repro.search.supernet import Path, SinglePathSupernet
from repro.search.warmup import GroupOutcome, Warmup, groups_present, path_sampler, separate_warmup
from repro.train.data import generator_for, prepare, seen_by
from repro.train.loop import DIVERGED, FINISHED, STOPPED, Divergence, Trainer
from repro.train.recipe import TrainRecipe

CHECKPOINT = "search.pt"
_TRIES = 200

Objective = Callable[[list[Path]], Sequence[float]]


def energy_objective(lookup) -> Objective:
    """The objective that asks a lookup's `score(paths)` for energies in pJ."""
    return lambda paths: lookup.score([list(path) for path in paths])["energy_pj"].tolist()


PAPER_TRAINING = TrainRecipe(
    epochs=500, batch_size=128, lr=0.025, weight_decay=3e-4, adaptive="all", crop_padding=4, flip=True
)
"""ACGhostNet Sec. 4.1, Searching; crop and flip are the usual ones, not stated."""


@dataclass(frozen=True)
class SearchRecipe:
    """A search; the defaults are the paper's (ACGhostNet Sec. 4.1).

    `train.epochs` counts everything: warm-up, then an evolution after every `evolve_every` epochs. `population` n is
    expanded to `expanded` candidates. A child is a mutation with probability `mutation_share` (the paper does not say),
    else a crossover. `evaluate_images` limits the held-out images per candidate (None: all of the half).
    `separate` warms up by sub-supernets, which share `warmup_epochs` between them.
    """

    train: TrainRecipe = PAPER_TRAINING
    warmup_epochs: int = 50
    evolve_every: int = 10
    population: int = 128
    expanded: int = 256
    mutation_share: float = 0.5
    selection: str = "pnsga3"
    evaluate_images: int | None = None
    calibration_batches: int = 2
    separate: Warmup | None = field(default_factory=Warmup)

    def __post_init__(self):
        check_int("warmup_epochs", self.warmup_epochs, minimum=0)
        check_int("evolve_every", self.evolve_every, minimum=1)
        check_int("population", self.population, minimum=1)
        check_int("expanded", self.expanded, minimum=self.population)
        check_int("calibration_batches", self.calibration_batches, minimum=1)
        check_choice("selection", self.selection, METHODS)
        check_number("mutation_share", self.mutation_share, minimum=0, maximum=1)
        if self.warmup_epochs + self.evolve_every > self.train.epochs:
            raise InputError(
                f"warmup_epochs={self.warmup_epochs} and evolve_every={self.evolve_every} leave no evolution within "
                f"{self.train.epochs} epochs; raise epochs."
            )

    @property
    def generations(self) -> int:
        """Evolutions in all; epochs after the last one that do not fill `evolve_every` are not run."""
        return (self.train.epochs - self.warmup_epochs) // self.evolve_every


@dataclass
class SearchResult:
    """What a search did: every generation, one row per epoch, the warm-up's outcomes, and how it ended."""

    generations: list[Generation] = field(default_factory=list)
    rows: list[dict] = field(default_factory=list)
    warmup: list[GroupOutcome] = field(default_factory=list)
    population: list[Path] = field(default_factory=list)
    outcome: str = FINISHED
    detail: str = ""

    @property
    def survivors(self) -> list[Candidate]:
        """The last generation's survivors, best first."""
        return self.generations[-1].survivors if self.generations else []

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time by activity: train, evaluate, evolve (expansion, energy lookup and selection)."""
        totals = {"train": sum(row["seconds"] for row in self.rows)}
        for name in ("evaluate", "evolve"):
            totals[name] = sum(generation.seconds[name] for generation in self.generations)
        return totals


class Search:
    """One search; `run()` carries it to its end, from the folder's checkpoint if there is one.

    Args:
        supernet: both operators' weights; seed before building it.
        space: the paths that may be visited, each a path of the supernet.
        train_data, held_out: two halves of the training set, one for weights, one for evaluation.
        objective: energies (positive, lower is better) of a list of paths, e.g. `energy_objective(EnergyLookup(...))`.
        folder: where checkpoint and generations go; None keeps nothing.
    """

    def __init__(
        self,
        supernet: SinglePathSupernet,
        space: SearchSpace,
        train_data,
        held_out,
        objective: Objective,
        recipe: SearchRecipe,
        *,
        seed: int,
        folder: str | FilePath | None = None,
    ):
        if len(space.blocks) != len(supernet.options):
            raise InputError(f"space has {len(space.blocks)} blocks; the supernet has {len(supernet.options)}.")
        if recipe.population > space.size:
            raise InputError(
                f"population={recipe.population} is not allowed; the space has only {space.size} paths to hold apart."
            )
        self.supernet, self.space, self.objective = supernet, space, objective
        self.recipe, self.seed = recipe, seed
        self.folder = None if folder is None else FilePath(folder)
        device = next(supernet.parameters()).device
        self.train: Any = prepare(train_data, device)
        self.held_out: Any = prepare(held_out, device)
        if recipe.evaluate_images is not None:
            self.held_out = self.held_out.take(slice(0, recipe.evaluate_images))  # type: ignore[attr-defined]
        self.trainer = Trainer(supernet, recipe.train, examples=len(self.train), seed=seed)
        self._seen = {} if folder is None else seen_by(self.train)
        self.result = SearchResult()
        self._energies: dict[Path, float] = {}

    def run(
        self,
        *,
        on_epoch: Callable[[dict], object] | None = None,
        on_generation: Callable[[Generation], object] | None = None,
        stop_after: int | None = None,
    ) -> SearchResult:
        """Run or resume. `stop_after` ends after that many generations, outcome "stopped".

        Divergence (loss or gradient not finite) ends the search with outcome "diverged"; the generations before it
        are kept.
        """
        self._resume()
        result = self.result
        try:
            self._warm_up(on_epoch)
            if not result.population:
                result.population = self.space.sample_distinct(
                    self.recipe.population, generator_for("population", self.seed)
                )
            for number in range(len(result.generations) + 1, self.recipe.generations + 1):
                self._train_parents(number, on_epoch)
                generation = self._evolve(number)
                result.generations.append(generation)
                result.population = [candidate.path for candidate in generation.survivors]
                self._save(generation)
                if on_generation is not None:
                    on_generation(generation)
                if number == stop_after and number < self.recipe.generations:
                    result.outcome, result.detail = STOPPED, f"after generation {number} of {self.recipe.generations}"
                    break
        except Divergence as problem:
            result.outcome, result.detail = DIVERGED, str(problem)
        return result

    # --- training ----------------------------------------------------------------------------------------------------

    def _warm_up(self, on_epoch: Callable[[dict], object] | None) -> None:
        recipe, rows = self.recipe, self.result.rows

        def finished(row: dict) -> None:
            if on_epoch is not None:
                on_epoch(row)
            if len(rows) % recipe.evolve_every == 0 or len(rows) == recipe.warmup_epochs:
                self._save(None)

        if len(rows) >= recipe.warmup_epochs and self.result.generations:
            return
        if recipe.separate is not None and recipe.warmup_epochs:
            self.result.warmup = self._separate(rows, finished)
        while len(rows) < recipe.warmup_epochs:
            row = {"epoch": len(rows) + 1, "phase": "uniform", "group": None}
            row |= sampled_epoch(self.supernet, self.trainer, self.train, len(rows), path_sampler(self.space))
            rows.append(row)
            finished(row)

    def _separate(self, rows: list[dict], finished: Callable[[dict], None]) -> list[GroupOutcome]:
        groups = len(groups_present(self.space))
        limit = self.recipe.warmup_epochs // groups
        if limit < 1:
            raise InputError(
                f"warmup_epochs={self.recipe.warmup_epochs} is not allowed; {groups} sub-supernets need at least one "
                "epoch each."
            )
        settings = Warmup(**{**asdict(self.recipe.separate), "limit_epochs": limit})  # type: ignore[arg-type]
        uniform = [row for row in rows if row["phase"] == "uniform"]
        separate = rows[: len(rows) - len(uniform)]

        def record(row: dict) -> None:
            rows.append(row)
            finished(row)

        return separate_warmup(
            self.supernet,
            self.space,
            self.trainer,
            self.train,
            self.held_out,
            settings,
            rows=separate,
            on_epoch=record,
        )

    def _train_parents(self, number: int, on_epoch: Callable[[dict], object] | None) -> None:
        parents = self.result.population
        first = self.recipe.warmup_epochs + (number - 1) * self.recipe.evolve_every

        def draw(generator):
            return parents[int(len(parents) * _uniform(generator))]

        for epoch in range(first, first + self.recipe.evolve_every):
            row = {"epoch": epoch + 1, "phase": f"generation {number}", "group": None}
            row |= sampled_epoch(self.supernet, self.trainer, self.train, epoch, draw)
            self.result.rows.append(row)
            if on_epoch is not None:
                on_epoch(row)

    # --- evolution ---------------------------------------------------------------------------------------------------

    def _evolve(self, number: int) -> Generation:
        started = time.perf_counter()
        candidates = expand(
            self.result.population,
            self.space,
            self.recipe.expanded,
            generator_for("evolve", self.seed, number),
            mutation_share=self.recipe.mutation_share,
        )
        paths = [path for path, _ in candidates]
        energies = self._energies_of(paths)
        expanded = time.perf_counter()
        measured = evaluate_paths(
            self.supernet,
            paths,
            self.held_out,
            calibration=self.train,
            calibration_batches=self.recipe.calibration_batches,
            batch_size=self.recipe.train.eval_batch_size,
        )
        evaluated = time.perf_counter()
        accuracies = [result["accuracy_pct"] for result in measured]
        selection = select(
            accuracies, energies, min(self.recipe.population, len(paths)), method=self.recipe.selection, seed=self.seed
        )
        place = {position: rank for rank, position in enumerate(selection.kept)}
        return Generation(
            number=number,
            epoch=len(self.result.rows),
            candidates=[
                Candidate(path, accuracy, energy, origin, selection.front[i], place.get(i))
                for i, ((path, origin), accuracy, energy) in enumerate(zip(candidates, accuracies, energies))
            ],
            seconds={
                "evaluate": evaluated - expanded,
                "evolve": (expanded - started) + (time.perf_counter() - evaluated),
            },
        )

    def _energies_of(self, paths: list[Path]) -> list[float]:
        unknown = [path for path in paths if path not in self._energies]
        if unknown:
            energies = [float(energy) for energy in self.objective(unknown)]
            for path, energy in zip(unknown, energies, strict=True):
                if not 0 < energy < math.inf:
                    raise InputError(f"objective gave {energy} for path {'-'.join(path)}; an energy must be positive.")
            self._energies.update(zip(unknown, energies))
        return [self._energies[path] for path in paths]

    # --- files -------------------------------------------------------------------------------------------------------

    def _identity(self) -> dict:
        return {"recipe": asdict(self.recipe), "space": self.space.blocks, **self._seen}

    def _save(self, generation: Generation | None) -> None:
        if self.folder is None:
            return
        if generation is not None:
            write_generation(self.folder, generation)
        self.trainer.save(
            self.folder / CHECKPOINT,
            self._identity(),
            generations=[as_plain(generation) for generation in self.result.generations],
            rows=self.result.rows,
            warmup=[asdict(outcome) for outcome in self.result.warmup],
            population=self.result.population,
        )

    def _resume(self) -> None:
        progress = self.trainer.resume(self.folder and self.folder / CHECKPOINT, self._identity())
        if progress:
            generations = [from_plain(generation) for generation in progress["generations"]]
            for generation in generations:  # files that show a search; what continues one is the checkpoint alone
                write_generation(self.folder, generation)  # type: ignore[arg-type]
            self.result = SearchResult(
                generations=generations,
                rows=progress["rows"],
                warmup=[GroupOutcome(**outcome) for outcome in progress["warmup"]],
                population=[tuple(path) for path in progress["population"]],
            )


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator, dtype=torch.float64))


def expand(
    population: list[Path], space: SearchSpace, count: int, generator: torch.Generator, *, mutation_share: float = 0.5
) -> list[tuple[Path, str]]:
    """The population followed by children until there are `count`: [(path, "parent" | "mutation" | "crossover")].

    No path occurs twice. If variation finds nothing new in 200 tries (a nearly exhausted space) the list stays shorter.
    """
    found = dict.fromkeys(population, "parent")

    def pick() -> Path:
        return population[int(_uniform(generator) * len(population))]

    misses = 0
    while len(found) < count and misses < _TRIES:
        kind = "mutation" if _uniform(generator) < mutation_share else "crossover"
        child = space.mutate(pick(), generator) if kind == "mutation" else space.cross(pick(), pick(), generator)
        misses = misses + 1 if child in found else 0
        found.setdefault(child, kind)
    return list(found.items())


def run_search(
    supernet: SinglePathSupernet,
    space: SearchSpace,
    train_data,
    held_out,
    objective: Objective,
    recipe: SearchRecipe,
    *,
    seed: int,
    folder: str | FilePath | None = None,
    **run_options,
) -> SearchResult:
    """`Search(...).run(...)` in one call; options as there."""
    search = Search(supernet, space, train_data, held_out, objective, recipe, seed=seed, folder=folder)
    return search.run(**run_options)
