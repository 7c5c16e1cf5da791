"""Counts and energies of tables 4 and 5 that follow from published architectures."""

from __future__ import annotations

import functools

import pandas as pd

from repro.cost import CONVENTIONS, count, layers_cost, operation_energy_pj
from repro.cost.skeleton import traced
from repro.models.acghostnet import MODULE_TYPES
from repro.papers.acghostnet.energy import EnergyLookup
from repro.papers.analytic import MILLION, from_printed

FIGURE_5 = "the choice of each block is printed only as an image (figure 5)"
FORMULA = "0.9 pJ x additions + 3.7 pJ x multiplications of the printed counts"


def network_row(
    name: str, resolution: int, energy: str, note: str = "", accounting: str = "published", **options
) -> dict[str, object]:
    model, layers = traced(name, resolution, **options)
    result = count(model, convention="acghostnet", layers=list(layers))
    if accounting == "unbiased":
        energy_pj = layers_cost(layers, accounting="unbiased").energy_mj * 1e9
    else:  # the operation-energy model has no slip to correct and charges each accumulation already
        energy_pj = operation_energy_pj(result.adds, result.mults)
    joule_scale = {"energy_uj": 1e-6, "energy_mj": 1e-9}[energy]
    return {
        "params_m": result.params / MILLION,
        "fadd_m": result.adds / MILLION,
        "fmul_m": result.mults / MILLION,
        energy: energy_pj * joule_scale,
        "note": note,
    }


@functools.cache
def _lookup(resolution: int, num_classes: int) -> EnergyLookup:
    return EnergyLookup(resolution, num_classes)


@functools.cache
def energy_bounds() -> pd.DataFrame:
    """What any of the 8^16 architectures can reach, from the lookup: the printed rows A to D must lie inside.

    `taps_m` is (additions + multiplications) / 2, which does not depend on the operators but on the groups.
    """
    rows = []
    for dataset, lookup in (("CIFAR10", _lookup(32, 10)), ("ImageNet", _lookup(224, 1000))):
        scores = lookup.score([[choice] * lookup.num_blocks for choice in MODULE_TYPES])
        taps = (scores["fadd"] + scores["fmul"]) / 2 / MILLION
        low, high = lookup.energy_range_pj()
        rows.append(
            {
                "dataset": dataset,
                "params_min_m": scores["params"].min() / MILLION,
                "params_max_m": scores["params"].max() / MILLION,
                "taps_min_m": taps.min(),
                "taps_max_m": taps.max(),
                "energy_min_uj": low * 1e-6,
                "energy_max_uj": high * 1e-6,
            }
        )
    return pd.DataFrame(rows)


def from_printed_counts(table_id: str) -> pd.DataFrame:
    """Whether the printed energies of table 4 (uJ) or 5 (mJ) follow from the printed counts."""
    target, scale = {"acghostnet_t04": ("energy_uj", 1e-6), "acghostnet_t05": ("energy_mj", 1e-9)}[table_id]
    return from_printed(
        table_id,
        target,
        FORMULA,
        lambda frame: operation_energy_pj(frame["fadd_m"], frame["fmul_m"]) * MILLION * scale,
        ["fadd_m", "fmul_m"],
    )


def convention(accounting: str) -> str:
    counted = CONVENTIONS["acghostnet"].text
    if accounting == "unbiased":
        return f"{counted}; row-stationary model with data movement at 32 bit, every operator paying its own"
    return f"{counted}; 0.9 pJ per addition, 3.7 pJ per multiplication, no data movement"
