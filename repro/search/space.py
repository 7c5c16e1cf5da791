"""Search spaces: the options of every block, and ways to enumerate, sample, mutate and cross paths."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from repro.errors import InputError
from repro.search.distinct import sample_distinct
from repro.search.supernet import Path, checked_path, random_path

MOST_PATHS = 100_000
_TRIES = 10_000


@dataclass(frozen=True)
class SearchSpace:
    """`blocks[i]` are the option names of block i; a path takes one of each."""

    blocks: tuple[tuple[str, ...], ...]

    def __init__(self, blocks: Sequence[Sequence[str]]):
        frozen = tuple(tuple(options) for options in blocks)
        if not frozen or any(not options or len(set(options)) != len(options) for options in frozen):
            raise InputError("blocks is not a search space; every block needs at least one option, each named once.")
        object.__setattr__(self, "blocks", frozen)

    @property
    def size(self) -> int:
        """Number of paths."""
        size = 1
        for options in self.blocks:
            size *= len(options)
        return size

    def __contains__(self, path: object) -> bool:
        return (
            isinstance(path, tuple)
            and len(path) == len(self.blocks)
            and all(name in options for name, options in zip(path, self.blocks))
        )

    def check(self, path: Sequence[str]) -> Path:
        """Return `path` as a tuple if it lies in this space, else raise InputError."""
        return checked_path(path, self.blocks)

    def all_paths(self) -> Iterator[Path]:
        """Every path in a fixed order; refuses spaces of more than `MOST_PATHS`."""
        if self.size > MOST_PATHS:
            raise InputError(f"the space has {self.size:.3g} paths, more than {MOST_PATHS}; sample it instead.")
        return itertools.product(*self.blocks)

    def sample(
        self, generator: torch.Generator, *, allowed: Callable[[Path], bool] | None = None, what: str = "the constraint"
    ) -> Path:
        """A uniform path, or a uniform one among those that `allowed` accepts (by rejection).

        Raises InputError, naming `what`, when 10,000 draws in a row are refused.
        """
        for _ in range(_TRIES):
            path = random_path(self.blocks, generator)
            if allowed is None or allowed(path):
                return path
        raise InputError(f"no path of the space met {what} in {_TRIES} draws; loosen it.")

    def sample_distinct(self, count: int, generator: torch.Generator) -> list[Path]:
        """`count` different paths."""
        return sample_distinct(self, count, generator)

    def mutate(self, path: Path, generator: torch.Generator) -> Path:
        """`path` with the choice of one random block changed to another (ACGhostNet Sec. 3.4).

        Blocks with a single option cannot change; a space without any other is returned unchanged.
        """
        open_blocks = [i for i, options in enumerate(self.blocks) if len(options) > 1]
        if not open_blocks:
            return path
        block = open_blocks[_draw(len(open_blocks), generator)]
        others = [name for name in self.blocks[block] if name != path[block]]
        return (*path[:block], others[_draw(len(others), generator)], *path[block + 1 :])

    def cross(self, path: Path, other: Path, generator: torch.Generator) -> Path:
        """`path` with the choice of one random block taken from `other` (ACGhostNet Sec. 3.4).

        The block is drawn among those where the two differ; equal parents give the parent back.
        """
        differing = [i for i, (mine, theirs) in enumerate(zip(path, other)) if mine != theirs]
        if not differing:
            return path
        block = differing[_draw(len(differing), generator)]
        return (*path[:block], other[block], *path[block + 1 :])


def _draw(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))


def adder_share(path: Path) -> float:
    """Share of adders among a path's operations, 0 to 1, by the options' letters: AAg1 is all adder, ACg1 half."""
    letters = [letter for option in path for letter in option.split("g")[0].lower() if letter in "ac"]
    return letters.count("a") / len(letters)
