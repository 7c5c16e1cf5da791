"""The options of table 2."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AugmentationSpace:
    """Choices of the search over augmented networks; the target network is a subnet of the augmented one."""

    operators: tuple[str, ...] = ("conv", "shift", "adder")
    width_multiples: tuple[float, ...] = (2.2, 2.4, 2.8, 3.2)
    expand_multiples: tuple[float, ...] = (2.2, 2.4, 2.8, 3.2)
    mutation_start_pct: tuple[int, ...] = (5, 10, 15, 20)
    mutation_stop_pct: tuple[int, ...] = (50, 60, 70)
