"""ShiftAddAug table 2 (Sec. 3.4): the search space of the augmentation."""

from __future__ import annotations

from dataclasses import dataclass

from repro.papers.analytic import analytic_frame
from repro.papers.table import Table


@dataclass(frozen=True)
class AugmentationSpace:
    """Choices of the search over augmented networks; the target network is a subnet of the augmented one."""

    operators: tuple[str, ...] = ("conv", "shift", "adder")
    width_multiples: tuple[float, ...] = (2.2, 2.4, 2.8, 3.2)
    expand_multiples: tuple[float, ...] = (2.2, 2.4, 2.8, 3.2)
    mutation_start_pct: tuple[int, ...] = (5, 10, 15, 20)
    mutation_stop_pct: tuple[int, ...] = (50, 60, 70)


def computed():
    """One row per dimension of the space."""
    space = AugmentationSpace()
    printed = {"conv": "Mult.", "shift": "Shift", "adder": "Add"}
    options = {
        "SubNet as aug. model": "SuperNet",
        "TargerNet": "SubNet",
        "Block types": ";".join(printed[operator] for operator in space.operators),
        "width aug. multiples": ";".join(map(str, space.width_multiples)),
        "expand aug. multiples": ";".join(map(str, space.expand_multiples)),
        "Time node: mutation start": ";".join(f"{share}%" for share in space.mutation_start_pct),
        "Time node: mutation stop": ";".join(f"{share}%" for share in space.mutation_stop_pct),
    }
    return analytic_frame(
        "shiftaddaug_t02",
        {item: {"options": text} for item, text in options.items()},
        convention="multiples of the target's width and expansion; shares of the training epochs",
    )


TABLE = Table("Search space of the augmentation", computed=computed, layout="wide")
