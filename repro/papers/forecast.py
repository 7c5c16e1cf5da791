"""What tables will take, before they are run: trainings are measured here for a moment and added up.

Of every run that a table asks for first, two short epochs are trained on this machine's device, with the run's own
function, network and batch size; the second one's seconds, for as many images as the run has, times its epochs, are
what the run takes. What a run does after its training (a search in a supernet, scoring) is not in it, nor are runs that
follow from what the first ones find.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from repro.datasets import REGISTRY, load
from repro.errors import check_int, check_number
from repro.papers.data import IMAGENET, DataRecipe
from repro.papers.registry import entry
from repro.runs import Engine, Outcome, RunContext, RunSpec, find_status

BATCHES = 10
"""Training batches of each of the two short epochs."""


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


def _shortened(recipe: Any) -> tuple[Any, float]:
    """A run's recipe with `BATCHES` batches of training images, and how many times as many images it has itself."""
    data, batch = recipe.data, getattr(recipe.train, "batch_size", 0)
    if not isinstance(data, DataRecipe) or data.dataset == IMAGENET or REGISTRY[data.dataset].folders:
        return recipe, 1.0  # sentences, and images that are read file by file: whole epochs
    images = data.train_images or len(load(data.dataset, "train"))
    fewer = min(images, round(BATCHES * batch / (1 - data.held_out)))
    return dataclasses.replace(recipe, data=dataclasses.replace(data, train_images=fewer)), images / fewer


def seconds_of(spec: RunSpec) -> float | None:
    """Seconds that the training of a run would take on this machine; None for a run that is no training by epochs."""
    train = getattr(spec.recipe, "train", None)
    if not getattr(train, "epochs", 0):
        return None
    recipe, times = _shortened(spec.recipe)
    with tempfile.TemporaryDirectory() as folder:
        watch = _Watch(Path(folder))
        try:
            spec.load_function()(recipe, spec.seed, watch)
        except _Enough:
            pass
    return watch.seconds[-1] * times * train.epochs if watch.seconds else None


def forecast(
    names: Sequence[str], preset: str, *, dataset: str | None = None, seeds: Iterable[int] | None = None
) -> pd.DataFrame:
    """The first runs of tables that are not finished, each once, and what they would take on one such device.

    Returns: columns kind, runs, measured (how many of them could be), hours (of the measured ones together), longest
        (hours of the longest run): one row per kind of run.
    """
    seeds = None if seeds is None else list(seeds)
    specs = {spec.folder: spec for name in names for spec in planned(name, preset, dataset, seeds)}
    known: dict[str, float | None] = {}
    rows = []
    for spec in specs.values():
        if find_status(spec).state == "done":
            continue
        if spec.recipe_digest not in known:
            known[spec.recipe_digest] = seconds_of(spec)
        rows.append({"kind": spec.kind, "hours": (known[spec.recipe_digest] or math.nan) / 3600})
    grouped = pd.DataFrame(rows, columns=["kind", "hours"]).groupby("kind", sort=False)["hours"]
    columns = {"runs": "size", "measured": "count", "hours": "sum", "longest": "max"}
    return grouped.agg(**columns).reset_index()


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
