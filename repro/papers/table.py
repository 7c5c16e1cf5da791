"""What an entry is: how one published table or figure is regenerated."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from repro.errors import InputError, check_choice

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from repro.runs import Engine

PRESETS = ("smoke", "quick", "study", "paper")
"""Seconds; minutes on two cores; hours on two cores, with the seeds a verdict needs; the papers' settings, on GPUs."""
ARCHITECTURE = "architecture"
"""Data set of what follows from the architecture: nothing is trained for it."""


@dataclasses.dataclass(frozen=True)
class Drawing:
    """One picture of an entry: figure, a caption that states the finding, and its name where there are several."""

    figure: Figure
    caption: str
    part: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """One published table or figure; the file that holds it gives it its id.

    Attributes:
        title: one line for progress and lists.
        trained: (recipe, seeds, run) -> frame. `run({key: spec}) -> {key: outcome}` does the work, on any engine; a
            follow-up run is the next line of the same function. The frame has the schema of the published CSV, one row
            per key and seed, and further frames (points of a scatter, …) in `attrs["extra"]`.
        computed: () -> frame of the columns that need no training, if there are any.
        draw: frame -> its pictures; the frame is that of `trained` or of `computed` (`is_computed` tells).
        recipes: recipe by (preset, data set); the first data set of a preset is its default.
        seeds: default seeds by preset.
        scale: what differs from the paper at each preset, one sentence that is shown beside the numbers.
        layout, shown: how pages compare it ("long", or "wide" with these columns; empty for all).
        keeps: names of the extra frames that `draw` needs, stored beside the record.
        models: models that `computed` builds, for the fingerprint of its code.
        unit: what a seed repeats, said beside verdicts: a "training", a "supernet", or a "search" with its trainings.
        fills: the printed rows that a run can fill, as a condition of the language of checks; all where it is empty.
        stands_for: where each data set is a run of its own, data set of a recipe -> the printed one whose rows it
            fills, if that is not the same name; None where a run fills the rows of every printed data set.
    """

    title: str
    trained: Callable[[Any, Sequence[int], Engine], pd.DataFrame] | None = None
    computed: Callable[[], pd.DataFrame] | None = None
    draw: Callable[[pd.DataFrame], list[Drawing]] | None = None
    recipes: Mapping[tuple[str, str], Any] = dataclasses.field(default_factory=dict)
    seeds: Mapping[str, Sequence[int]] = dataclasses.field(default_factory=dict)
    scale: Mapping[str, str] = dataclasses.field(default_factory=dict)
    layout: str = "long"
    shown: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    unit: str = "training"
    fills: str = ""
    stands_for: Mapping[str, str] | None = None

    def datasets(self, preset: str) -> list[str]:
        """Data sets that this preset has a recipe for, the default first."""
        return [dataset for known, dataset in self.recipes if known == preset]

    def recipe(self, table_id: str, preset: str, dataset: str | None = None) -> tuple[Any, str]:
        """The recipe of a preset and data set, and the data set's name. Raises: InputError if there is none."""
        from repro.datasets import REGISTRY

        check_choice("preset", preset, PRESETS)
        known = self.datasets(preset)
        if not known:
            raise InputError(f"preset={preset!r} has no recipe for {table_id}; choose another preset.")
        chosen = check_choice("dataset", dataset or known[0], sorted({*REGISTRY, *(name for _, name in self.recipes)}))
        if chosen not in known:
            able = [preset for preset, name in self.recipes if name == chosen]
            where = f"it has one at {' and '.join(able)}" if able else f"there is one on {' and '.join(known)}"
            raise InputError(f"{table_id} has no recipe for dataset={chosen!r} at preset {preset}; {where}.")
        return self.recipes[preset, chosen], chosen


def is_computed(frame: pd.DataFrame) -> bool:
    """Whether a frame is what `computed` gives: nothing was trained for it."""
    return frame.attrs.get("dataset", ARCHITECTURE) == ARCHITECTURE
