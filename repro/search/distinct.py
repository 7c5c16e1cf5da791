"""Different paths of a space, by drawing until there are enough."""

from __future__ import annotations

from typing import Protocol

import torch

from repro.errors import InputError


class Sampled(Protocol):
    """A space that knows how many paths it has and draws one."""

    @property
    def size(self) -> int: ...

    def sample(self, generator: torch.Generator) -> tuple[str, ...]: ...


def sample_distinct(space: Sampled, count: int, generator: torch.Generator) -> list[tuple[str, ...]]:
    """`count` different paths. Raises: InputError if the space has fewer."""
    if count > space.size:
        raise InputError(f"count={count} is not allowed; the space has only {space.size} paths.")
    found: dict[tuple[str, ...], None] = {}
    while len(found) < count:
        found[space.sample(generator)] = None
    return list(found)
