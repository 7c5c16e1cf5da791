"""Paths of a supernet over layers, resolutions and operators: each layer has a resolution, no finer than the last, and
one of the operators that are allowed there (ShiftAddNAS, table 2).

A block of a path is written as the number of its resolution, the finest is 0, and the letter of its operator: "0C" is a
convolution at the finest, "2A" attention two halvings below.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from repro.errors import InputError, check_choice, check_int
from repro.models.shiftaddnas import BLOCKS
from repro.search.distinct import sample_distinct
from repro.search.evolution import GeneSpace, Genome
from repro.search.supernet import Path

OUT = 4
"""Channels of a block's output over those of its middle."""


@dataclass(frozen=True)
class Level:
    """One resolution.

    Attributes:
        planes: channels in the middle of its blocks; four times as many leave them.
        fewest, most: blocks of a path at it.
        operators: letters of those allowed, of A attention, C convolution, S shift, + adder.
        stride: of its first block; 1 keeps the map of the resolution before.
        heads: of attention.
    """

    planes: int
    fewest: int
    most: int
    operators: str = "ACS+"
    stride: int = 2
    heads: int = 1

    def __post_init__(self):
        for name in ("planes", "fewest", "stride", "heads"):
            check_int(name, getattr(self, name), minimum=1)
        check_int("most", self.most, minimum=self.fewest)
        if not self.operators or len(set(self.operators)) != len(self.operators):
            raise InputError(f"operators={self.operators!r} is not allowed; it must name each operator once.")
        for letter in self.operators:
            check_choice("operators", letter, BLOCKS)
        if "A" in self.operators and self.planes % self.heads:
            raise InputError(f"heads={self.heads} is not allowed; it must divide planes={self.planes}.")


@dataclass(frozen=True)
class HybridSpace:
    """All paths of `layers` blocks through `levels`, finest first.

    Raises: InputError where the levels' counts cannot add up to `layers`.
    """

    levels: tuple[Level, ...]
    layers: int

    def __post_init__(self):
        object.__setattr__(self, "levels", tuple(self.levels))
        check_int("layers", self.layers, minimum=1)
        if not self.levels or not self.splits:
            counts = ", ".join(f"{level.fewest} to {level.most}" for level in self.levels)
            raise InputError(f"layers={self.layers} is not allowed; the levels take {counts or 'no'} blocks.")

    @functools.cached_property
    def splits(self) -> tuple[tuple[int, ...], ...]:
        """Blocks at each level, for every way to divide the layers."""
        choices = itertools.product(*(range(level.fewest, level.most + 1) for level in self.levels))
        return tuple(counts for counts in choices if sum(counts) == self.layers)

    @property
    def size(self) -> int:
        """Number of paths."""
        return sum(map(self._operators_of, self.splits))

    def _operators_of(self, split: tuple[int, ...]) -> int:
        return math.prod(len(level.operators) ** count for level, count in zip(self.levels, split))

    def places(self, layer: int) -> dict[int, tuple[bool, ...]]:
        """{level: whether its blocks in this layer may be the level's first}: what a supernet must hold."""
        found: dict[int, set[bool]] = {}
        for split in self.splits:
            levels = [number for number, count in enumerate(split) for _ in range(count)]
            found.setdefault(levels[layer], set()).add(layer == 0 or levels[layer - 1] != levels[layer])
        return {level: tuple(sorted(first)) for level, first in sorted(found.items())}

    def check(self, path: Sequence[str]) -> Path:
        """Return `path` as a tuple if it lies in this space.

        Raises: InputError for a path of another length, an operator that is not allowed at a resolution, a resolution
            that is finer than the one before or skips one, or too few or too many blocks at one.
        """
        if isinstance(path, str) or not isinstance(path, Sequence) or len(path) != self.layers:
            raise InputError(f"path={path!r} is not allowed; it must name {self.layers} blocks, one per layer.")
        for place, block in enumerate(path):
            number = block[:-1] if isinstance(block, str) else ""
            if number not in map(str, range(len(self.levels))):
                known = ", ".join(f"{n}C" for n in range(len(self.levels)))
                raise InputError(
                    f"path[{place}]={block!r} is not allowed; it names a resolution and a letter: {known}."
                )
            if block[-1] not in self.levels[int(number)].operators:
                known = ", ".join(number + letter for letter in self.levels[int(number)].operators)
                raise InputError(f"path[{place}]={block!r} is not allowed; at its resolution allowed are: {known}.")
        levels = [int(block[:-1]) for block in path]
        split = tuple(levels.count(number) for number in range(len(self.levels)))
        if levels != sorted(levels) or split not in self.splits:
            counts = ", ".join(f"{level.fewest} to {level.most} at {n}" for n, level in enumerate(self.levels))
            raise InputError(f"path={'-'.join(path)} is not allowed; resolutions go from 0 up, with {counts} blocks.")
        return tuple(path)

    def sample(self, generator: torch.Generator) -> Path:
        """A path drawn uniformly from all."""
        weights = torch.tensor([self._operators_of(split) for split in self.splits], dtype=torch.float64)
        split = self.splits[int(torch.multinomial(weights, 1, generator=generator))]
        draws = iter(torch.rand(self.layers, generator=generator, dtype=torch.float64).tolist())
        return tuple(
            f"{number}{level.operators[int(next(draws) * len(level.operators))]}"
            for number, (level, count) in enumerate(zip(self.levels, split))
            for _ in range(count)
        )

    def sample_distinct(self, count: int, generator: torch.Generator) -> list[Path]:
        """`count` different paths."""
        return sample_distinct(self, count, generator)

    def all_paths(self) -> Iterator[Path]:
        """Every path in a fixed order."""
        for split in self.splits:
            levels = [number for number, count in enumerate(split) for _ in range(count)]
            for letters in itertools.product(*(self.levels[number].operators for number in levels)):
                yield tuple(f"{number}{letter}" for number, letter in zip(levels, letters))

    # ------------------------------------------------------------------ other forms of a path

    @functools.cached_property
    def genes(self) -> GeneSpace:
        """The space for `evolve`: a gene for how the layers are divided, one for each layer's operator."""
        letters = tuple(letter for letter in BLOCKS if any(letter in level.operators for level in self.levels))
        genes = {"split": self.splits} | {f"layer {layer}": letters for layer in range(self.layers)}
        return GeneSpace(genes, rule=self._keeps, normal=functools.partial(self._normal, letters))

    def _normal(self, letters: tuple[str, ...], genome: Genome) -> Genome:
        """The genome with operators that a level lacks replaced by those it has, another one from layer to layer.

        Where levels share few operators, hardly any genome that is drawn gene by gene keeps to them.
        """
        split, *drawn = genome
        numbers = (number for number, count in enumerate(split) for _ in range(count))
        allowed = [self.levels[number].operators for number in numbers]
        turns = enumerate(zip(drawn, allowed))
        return (split, *(own if own in has else has[(n + letters.index(own)) % len(has)] for n, (own, has) in turns))

    def _blocks(self, genome: Genome) -> Iterator[tuple[int, str]]:
        split, *letters = genome
        return zip((number for number, count in enumerate(split) for _ in range(count)), letters)

    def _keeps(self, genome: Genome) -> bool:
        return all(letter in self.levels[number].operators for number, letter in self._blocks(genome))

    def path(self, genome: Genome) -> Path:
        """The path of a genome of `genes`."""
        return self.check([f"{number}{letter}" for number, letter in self._blocks(genome)])

    def stages(self, path: Sequence[str]) -> tuple[str, ...]:
        """Letters by resolution, ("CC", "CSCC", …), as `repro.models` builds the network that is retrained."""
        path = self.check(path)
        return tuple("".join(b[-1] for b in path if int(b[:-1]) == number) for number in range(len(self.levels)))
