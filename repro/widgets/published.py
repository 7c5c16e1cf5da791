"""The papers' printed networks as points to compare a design with."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import pandas as pd

from repro.cost.pareto import front
from repro.cost.units import SIMULATOR_ENERGIES
from repro.errors import check_choice
from repro.report import published

QUANTITIES = {
    "energy_mj": "energy as printed (mJ)",
    "arithmetic_mj": "energy of the counted operations (mJ)",
    "params_m": "parameters (million)",
    "mult_m": "multiplications (million)",
}


@dataclass(frozen=True)
class Source:
    """A published table of networks with parameters and operations.

    Attributes:
        table_id: in data/published. title: how it is called in a menu.
        accuracy: its column of accuracies in percent.
        energy: what its printed energy covers: "operations", "chip", or "" where it prints none.
    """

    table_id: str
    title: str
    accuracy: str
    energy: str


_RENAMED = {"fmul_m": "mult_m", "fadd_m": "add_m"}


@functools.lru_cache(maxsize=8)
def published_points(source: Source) -> pd.DataFrame:
    """Printed networks of one table: label, accuracy_pct, params_m, mult_m, shift_m, add_m, arithmetic_mj, energy_mj.

    arithmetic_mj prices the printed counts with 3.7, 0.9 and 0.13 pJ per multiplication, addition and shift; energy_mj
    is what the paper prints (missing where it prints none). Rows without an accuracy are left out.
    """
    frame = published(source.table_id).rename(columns=_RENAMED)
    for column in [name for name in frame if name in ("mult_g", "shift_g", "add_g")]:
        frame[column.replace("_g", "_m")] = frame[column] * 1e3
    if "energy_uj" in frame:
        frame["energy_mj"] = frame["energy_uj"] * 1e-3
    for column in ("shift_m", "energy_mj"):
        if column not in frame:
            frame[column] = 0.0 if column == "shift_m" else float("nan")
    parts = [frame[name].astype(str) for name in ("model", "method") if name in frame]
    frame["label"] = parts[0] if len(parts) == 1 else parts[0] + ", " + parts[1]
    unit = SIMULATOR_ENERGIES[32]
    operations = (frame["mult_m"], unit.mult_pj), (frame["add_m"], unit.add_pj), (frame["shift_m"], unit.shift_pj)
    frame["arithmetic_mj"] = sum(counts * energy for counts, energy in operations) * 1e-3
    frame["accuracy_pct"] = frame[source.accuracy]
    columns = ["label", "accuracy_pct", "params_m", "mult_m", "shift_m", "add_m", "arithmetic_mj", "energy_mj"]
    return frame[columns].dropna(subset=["accuracy_pct"]).reset_index(drop=True)


def quantities(source: Source) -> dict[str, str]:
    """What the points of a table can be drawn against: column -> label."""
    points = published_points(source)
    return {name: label for name, label in QUANTITIES.items() if points[name].notna().any()}


def published_front(source: Source, quantity: str) -> pd.DataFrame:
    """The printed networks that no other one beats in both `quantity` (smaller) and accuracy (larger)."""
    check_choice("quantity", quantity, quantities(source))
    points = published_points(source).dropna(subset=[quantity])
    return front(points, {quantity: "min", "accuracy_pct": "max"})


def standing(source: Source, quantity: str, value: float) -> str:
    """Where a design whose accuracy nobody knows lies among the printed networks, in one sentence."""
    points = published_points(source).dropna(subset=[quantity])
    cheaper = points[points[quantity] <= value]
    if cheaper.empty:
        return f"No network of {source.title} needs as little: there is nothing to compare its accuracy with."
    best = cheaper.loc[cheaper["accuracy_pct"].idxmax()]
    return (
        f"{len(cheaper)} of {len(points)} printed networks need no more. This design joins the front if it exceeds "
        f"{best['accuracy_pct']:.1f} %, the accuracy of {best['label']}; untrained, its own is unknown."
    )
