"""What tables will take, before they are run: trainings are measured here for a moment and added up.

Of every run that a table asks for first, two short epochs are trained on this machine's device, with the run's own
function, network, batch size and number of threads: once with few batches, once with more. What the second epochs
differ by is the time of a batch; the rest (shuffling, a checkpoint, a test) is taken once an epoch, however long it is.
What a run does after its training (a search in a supernet, scoring) is not in it, nor are runs that follow from what
the first ones find. Data that are not here are stood in for (`repro.papers.stand_ins`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from repro.datasets import REGISTRY
from repro.errors import MissingDataError, check_int, check_number
from repro.papers.data import IMAGENET, DataRecipe
from repro.papers.registry import entry
from repro.papers.stand_ins import stand_ins
from repro.runs import Engine, Outcome, RunContext, RunSpec, find_status
from repro.train.data import steps_per_epoch
from repro.train.imagefolder import ImageFolder
from repro.train.text import TokenPairs

BATCHES = (2, 10)
"""Training batches of short epochs: the fewer, and the more."""


class _Planned(BaseException):
    """The runs that a table asks for first."""

    def __init__(self, specs: Sequence[RunSpec]) -> None:
        super().__init__()
        self.specs = list(specs)


class _Plan(Engine):
    """Ends a table at the first runs whose outcomes `known` does not give."""

    def __init__(self, known: Callable[[RunSpec], Outcome | None] | None = None) -> None:
        super().__init__()
        self._known, self._asked = known, []

    def _do(self, specs: Sequence[RunSpec]) -> list[Outcome]:
        self._asked += specs
        outcomes = [self._known(spec) for spec in specs] if self._known else [None]
        if None in outcomes:
            raise _Planned(self._asked)
        return outcomes

    @property
    def asked(self) -> list[RunSpec]:
        return self._asked


class _Enough(BaseException):
    """Two epochs are over."""


class _Watch(RunContext):
    """Notes the seconds of epochs, and ends the run after the second."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.seconds: list[float] = []

    def log(self, **metrics: Any) -> None:
        if "seconds" in metrics:
            self.seconds.append(metrics["seconds"])
        if len(self.seconds) == 2:
            raise _Enough


def planned(
    table_id: str,
    preset: str,
    dataset: str | None = None,
    seeds: Iterable[int] | None = None,
    *,
    known: Callable[[RunSpec], Outcome | None] | None = None,
) -> list[RunSpec]:
    """The runs that a table asks for first, finished or not. Raises: InputError, MissingDataError as `run_table`.

    Args:
        known: gives the outcome of a run if there is one; where it has those of all first ones, the runs that follow
            from them are planned, too, and so on.
    """
    table = entry(table_id)
    if table.trained is None:
        return []
    recipe, _ = table.recipe(table_id, preset, dataset)
    plan = _Plan(known)
    try:
        table.trained(recipe, list(table.seeds[preset] if seeds is None else seeds), plan)
    except _Planned as stage:
        return stage.specs
    return plan.asked


def _shortened(recipe: Any, batches: int) -> tuple[Any, int, int]:
    """A run's recipe with so many batches of training images; how many images that is, and how many it has itself."""
    data, batch = recipe.data, getattr(recipe.train, "batch_size", 0)
    if not isinstance(data, DataRecipe) or data.dataset == IMAGENET or REGISTRY[data.dataset].folders:
        return recipe, 0, 0  # sentences, and images that are read file by file: `_short_passes` cuts their epochs
    images = data.train_images or REGISTRY[data.dataset].rows["train"]
    fewer = min(images, round(batches * batch / (1 - data.held_out)))
    return dataclasses.replace(recipe, data=dataclasses.replace(data, train_images=fewer)), fewer, images


@contextlib.contextmanager
def _threads_of_a_run() -> Iterator[None]:
    """For the time of a measurement, torch's threads are those of a worker (`repro.runs.run_many`): one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _short_passes(batches: int) -> Iterator[list[tuple[int, int]]]:
    """For the time of a measurement, shuffled passes over files or sentences end after so many batches.

    Yields a list that every such pass adds to: its batches, and those of the whole pass.
    """
    passes: list[tuple[int, int]] = []

    def short(whole: Callable[..., Iterator], count: Callable[[Any, int], int]) -> Callable[..., Iterator]:
        def cut(data: Any, size: int, generator: Any = None, *args: Any, **options: Any) -> Iterator:
            if generator is None:  # in order: an evaluation
                return whole(data, size)
            number = count(data, size)
            passes.append((min(batches, number), number))
            return itertools.islice(whole(data, size, generator, *args, **options), batches)

        return cut

    kept = [(ImageFolder, ImageFolder.batches), (TokenPairs, TokenPairs.batches)]
    ImageFolder.batches = short(ImageFolder.batches, lambda data, size: steps_per_epoch(len(data), size))
    TokenPairs.batches = short(TokenPairs.batches, TokenPairs.number_of_batches)
    try:
        yield passes
    finally:
        for cls, method in kept:
            cls.batches = method


def _short_epoch(spec: RunSpec, batches: int) -> tuple[float, int, int] | None:
    """Seconds of an epoch with so many batches, how long it is, and how long the run's own are (in the same unit)."""
    recipe, short, whole = _shortened(spec.recipe, batches)
    with tempfile.TemporaryDirectory() as folder, _threads_of_a_run(), _short_passes(batches) as passes:
        watch = _Watch(Path(folder))
        try:
            spec.load_function()(recipe, spec.seed, watch)
        except _Enough:
            pass
    if not watch.seconds:
        return None
    return (watch.seconds[-1], *(passes[-1] if passes else (short, whole)))


def seconds_of(spec: RunSpec, longer: Mapping[str, float] | None = None) -> float | None:
    """Seconds that the training of a run would take on this machine; None for a run that is no training by epochs.

    Args: longer: by name, how many times as many batches the published data have as those that stand in for them.
    """
    train = getattr(spec.recipe, "train", None)
    if not getattr(train, "epochs", 0):
        return None
    measured = [_short_epoch(spec, batches) for batches in BATCHES]
    if None in measured:
        return None
    (few_s, few, _), (more_s, more, whole) = measured
    # Epochs of the same length, and those of which the longer one took less by chance, say nothing of what is fixed.
    each = (more_s - few_s) / (more - few) if more > few and more_s > few_s else more_s / max(more, 1)
    times = (longer or {}).get(getattr(spec.recipe.data, "dataset", ""), 1.0)
    return (more_s + each * (whole * times - more)) * train.epochs


def forecast(
    names: Sequence[str], preset: str, *, dataset: str | None = None, seeds: Iterable[int] | None = None
) -> pd.DataFrame:
    """The first runs of tables that are not finished, each once, and what they would take on one such device.

    Returns: columns kind, runs, measured (how many of them could be), hours (of the measured ones together), longest
        (hours of the longest run): one row per kind of run. `attrs["missing"]` has, by its id, why a table was left
        out: its data are damaged or incomplete; `attrs["stand_ins"]` names the data sets that were stood in for.
    Raises: MissingDataError where all tables are left out.
    """
    seeds = None if seeds is None else list(seeds)
    specs: dict[Path, RunSpec] = {}
    missing: dict[str, str] = {}
    known: dict[str, float | None] = {}
    rows = []
    with stand_ins() as longer:
        for name in names:
            try:
                specs |= {spec.folder: spec for spec in planned(name, preset, dataset, seeds)}
            except MissingDataError as error:
                missing[name] = str(error)
        if missing and not specs:
            raise MissingDataError(next(iter(missing.values())))
        for spec in specs.values():
            if find_status(spec).state == "done":
                continue
            if spec.recipe_digest not in known:
                known[spec.recipe_digest] = seconds_of(spec, longer)
            rows.append({"kind": spec.kind, "hours": (known[spec.recipe_digest] or math.nan) / 3600})
    grouped = pd.DataFrame(rows, columns=["kind", "hours"]).groupby("kind", sort=False)["hours"]
    columns = {"runs": "size", "measured": "count", "hours": "sum", "longest": "max"}
    found = grouped.agg(**columns).reset_index()
    found.attrs |= {"missing": missing, "stand_ins": sorted(longer)}
    return found


def by_devices(forecast: pd.DataFrame, devices: Sequence[int], price: float | None = None) -> pd.DataFrame:
    """Hours and, with the price of a device's hour, cost of a forecast by the number of devices.

    A run takes one device, so no number of them ends before the longest run; all of them are paid until the end.
    """
    total, longest = forecast["hours"].sum(), forecast["longest"].max()
    rows = []
    for number in devices:
        hours = max(total / check_int("gpus", number, minimum=1), longest)
        cost = {} if price is None else {"cost": hours * number * check_number("price", price, minimum=0)}
        rows.append({"GPUs": number, "hours": hours, **cost})
    return pd.DataFrame(rows)
