"""What every engine is: one call, equal specs once, every outcome kept."""

from __future__ import annotations

import abc
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from repro.runs.executor import Outcome
from repro.runs.spec import RunSpec

Key = TypeVar("Key", bound=Hashable)


class Engine(abc.ABC):
    """Does runs and keeps every outcome it has given; what it has given it does not do again.

    Attributes:
        instead: gives the outcome that may stand for a run that today's code has not finished, or None.
    """

    instead: Callable[[RunSpec], Outcome | None] | None = None

    def __init__(self) -> None:
        self._given: dict[Path, Outcome] = {}

    @property
    def outcomes(self) -> list[Outcome]:
        """Every outcome so far, each once, in the order in which they were asked for."""
        return list(self._given.values())

    def __call__(self, specs: Mapping[Key, RunSpec]) -> dict[Key, Outcome]:
        """Do all runs that are not finished; equal specs are one run. A run that fails has an outcome that says so."""
        folders = {key: spec.folder for key, spec in specs.items()}
        asked = {folders[key]: spec for key, spec in specs.items() if folders[key] not in self._given}
        if self.instead is not None:
            taken = {folder: self.instead(spec) for folder, spec in asked.items()}
            self._given.update({folder: outcome for folder, outcome in taken.items() if outcome is not None})
            asked = {folder: spec for folder, spec in asked.items() if folder not in self._given}
        if asked:
            self._given.update(zip(asked, self._do(list(asked.values())), strict=True))
        return {key: self._given[folder] for key, folder in folders.items()}

    @abc.abstractmethod
    def _do(self, specs: Sequence[RunSpec]) -> list[Outcome]:
        """The outcome of each spec, in order; no two have the same folder."""
