"""ShiftAddAug table 2 (Sec. 3.4): the search space of the augmentation."""

from __future__ import annotations

from repro.papers.analytic import analytic_frame
from repro.papers.shiftaddaug.space import AugmentationSpace
from repro.papers.table import Table


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
