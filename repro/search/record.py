"""Generations of a search on disk, one JSON file each, so that a front can be replayed; and one table of them all."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path as FilePath

from repro.errors import MissingDataError
from repro.paths import sealed_json, unsealed_json, write_text
from repro.search.supernet import Path


@dataclass(frozen=True)
class Candidate:
    """One evaluated path of a generation.

    accuracy_pct is NaN if its network diverged. energy is in the unit of the search's objective. origin is "parent",
    "mutation" or "crossover". front counts from 0 in the ordinary sort, -1 if not finite; place is the position among
    the survivors, None if it was not kept.
    """

    path: Path
    accuracy_pct: float
    energy: float
    origin: str
    front: int
    place: int | None

    @property
    def kept(self) -> bool:
        return self.place is not None


@dataclass(frozen=True)
class Generation:
    """All candidates of one evolution, after `epoch` epochs of training in all; `seconds` by activity."""

    number: int
    epoch: int
    candidates: list[Candidate]
    seconds: dict[str, float]

    @property
    def survivors(self) -> list[Candidate]:
        """The kept candidates, best first."""
        return sorted((c for c in self.candidates if c.kept), key=lambda c: c.place)  # type: ignore[arg-type, return-value]


def _file(folder: FilePath, number: int) -> FilePath:
    return FilePath(folder) / "generations" / f"{number:04d}.json"


def as_plain(generation: Generation) -> dict:
    """A generation as JSON values; NaN becomes null."""
    candidates = [
        {
            "path": "-".join(c.path),
            "accuracy_pct": c.accuracy_pct if math.isfinite(c.accuracy_pct) else None,
            "energy": c.energy,
            "origin": c.origin,
            "front": c.front,
            "place": c.place,
        }
        for c in generation.candidates
    ]
    about = {"number": generation.number, "epoch": generation.epoch, "seconds": generation.seconds}
    return {**about, "candidates": candidates}


def from_plain(content: dict) -> Generation:
    """The generation that `as_plain` made these values of."""
    candidates = [
        Candidate(
            path=tuple(row["path"].split("-")),
            accuracy_pct=math.nan if row["accuracy_pct"] is None else row["accuracy_pct"],
            energy=row["energy"],
            origin=row["origin"],
            front=row["front"],
            place=row["place"],
        )
        for row in content["candidates"]
    ]
    return Generation(content["number"], content["epoch"], candidates, content["seconds"])


def write_generation(folder: str | os.PathLike, generation: Generation) -> FilePath:
    """Write one generation atomically."""
    return write_text(_file(FilePath(folder), generation.number), sealed_json(as_plain(generation), indent=0) + "\n")


def read_generations(folder: str | os.PathLike) -> list[Generation]:
    """Generations 1, 2, … of a search folder in order; MissingDataError if one of them cannot be read."""
    numbers = sorted(int(file.stem) for file in (FilePath(folder) / "generations").glob("[0-9]*.json"))
    generations = []
    for number in numbers:
        try:
            content = unsealed_json(_file(FilePath(folder), number))
        except (OSError, ValueError) as error:
            raise MissingDataError(
                f"generation {number} of the search in {FilePath(folder).name} cannot be read; "
                "delete the folder and search again."
            ) from error
        generations.append(from_plain(content))
    return generations


def generations_frame(generations: Iterable[Generation]):
    """Long table (pandas) with one row per candidate and generation: generation, epoch, path, accuracy_pct, energy,
    origin, front, place, kept."""
    import pandas as pd

    columns = ["generation", "epoch", "path", "accuracy_pct", "energy", "origin", "front", "place", "kept"]
    rows = [
        (g.number, g.epoch, "-".join(c.path), c.accuracy_pct, c.energy, c.origin, c.front, c.place, c.kept)
        for g in generations
        for c in g.candidates
    ]
    return pd.DataFrame(rows, columns=columns).astype({"place": "Int64"})
