"""Unit energies as the papers print them, each with its source and process node, and the ratios quoted beside them.

The papers disagree on two entries. A 32-bit floating-point addition costs 1.1 pJ in ShiftAddAug (table 1) and
0.9 pJ in ACGhostNet (sections 3.1 and 3.3) and in the simulator behind ShiftAddNAS and ShiftAddAug; a 16-bit
floating-point multiplication costs 0.9 pJ in ShiftAddAug and 1.1 pJ in Horowitz's survey that the others cite, so the
two values look exchanged in ShiftAddAug's table. Every entry is kept under its own source; nothing is averaged.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import pandas as pd

from repro.errors import InputError, check_choice

FORMATS = ("FP32", "FP16", "INT32", "INT8")
OPERATIONS = ("mult", "add", "shift")

ALL_FORMATS = "ShiftAddAug, table 1"
"""The only source with every operation and format; the default, and what prices a shift that another one does not."""
SIMULATOR = "ShiftAddNAS, public simulator"
HOROWITZ = "Horowitz, ISSCC 2014"


@dataclass(frozen=True)
class UnitEnergy:
    """Energy of one operation.

    Attributes:
        operation: "mult", "add" or "shift".
        number_format: "FP32", "FP16", "INT32" or "INT8".
        energy_pj: picojoules per operation.
        node: process node or platform.
        source: the paper and place that prints it.
    """

    operation: str
    number_format: str
    energy_pj: float
    node: str
    source: str


def _entries(source: str, **by_format: tuple[float | None, float | None, float | None]) -> list[UnitEnergy]:
    return [
        UnitEnergy(operation, number_format, energy, "45 nm CMOS", source)
        for number_format, energies in by_format.items()
        for operation, energy in zip(OPERATIONS, energies, strict=True)
        if energy is not None
    ]


# Per format: multiplication, addition, shift.
UNIT_ENERGIES: tuple[UnitEnergy, ...] = tuple(
    _entries(
        ALL_FORMATS,
        FP32=(3.7, 1.1, None),
        FP16=(0.9, 0.4, None),
        INT32=(3.1, 0.1, 0.13),
        INT8=(0.2, 0.03, 0.024),
    )
    + _entries("ACGhostNet, sections 3.1 and 3.3", FP32=(3.7, 0.9, None), INT8=(0.2, 0.03, None))
    + _entries(SIMULATOR, FP32=(3.7, 0.9, 0.13), INT8=(0.2, 0.03, 0.024))
    + _entries(
        HOROWITZ,
        FP32=(3.7, 0.9, None),
        FP16=(1.1, 0.4, None),
        INT32=(3.1, 0.1, None),
        INT8=(0.2, 0.03, None),
    )
)
"""Energies of one multiplication, addition and shift, as printed in the papers."""


@dataclass(frozen=True)
class OperationEnergies:
    """Energies (pJ) of the three operations at one width, the form that the models take.

    Attributes:
        mult_pj, add_pj, shift_pj: picojoules per operation.
        source: where they come from.
    """

    mult_pj: float
    add_pj: float
    shift_pj: float
    source: str


# The simulator's two settings. It prices its "32 bit" setting with floating-point arithmetic and an INT32 shift.
SIMULATOR_ENERGIES = {
    32: OperationEnergies(3.7, 0.9, 0.13, SIMULATOR),
    8: OperationEnergies(0.2, 0.03, 0.024, SIMULATOR),
}


@dataclass(frozen=True)
class SavingRatio:
    """How many times cheaper an operation is than a multiplication, as ShiftAddNAS quotes it (section 3.1, figure 1).

    Attributes:
        operation, number_format: as in `UnitEnergy`.
        ratio: multiplication energy over operation energy.
        node_as_printed: the platform that the sentence assigns to it.
        node: the platform that the unit energies support.
    """

    operation: str
    number_format: str
    ratio: float
    node_as_printed: str
    node: str


_CMOS, _FPGA = "45 nm CMOS", "FPGA"

# The sentence says "in a 45nm CMOS technology and SOTA FPGA, respectively", but 3.1/0.13 = 23.8, 3.1/0.1 = 31 and
# 3.7/0.9 = 4.1 are the second numbers of each pair: the order is swapped, 196 and 47 belong to the FPGA.
SAVING_RATIOS: tuple[SavingRatio, ...] = (
    SavingRatio("shift", "INT32", 196.0, _CMOS, _FPGA),
    SavingRatio("shift", "INT32", 24.0, _FPGA, _CMOS),
    SavingRatio("add", "INT32", 196.0, _CMOS, _FPGA),
    SavingRatio("add", "INT32", 31.0, _FPGA, _CMOS),
    SavingRatio("add", "FP32", 47.0, _CMOS, _FPGA),
    SavingRatio("add", "FP32", 4.1, _FPGA, _CMOS),
)


def unit_energy_table() -> pd.DataFrame:
    """All unit energies, one row per operation, number format and source (`energy_pj` in picojoules)."""
    return pd.DataFrame([asdict(entry) for entry in UNIT_ENERGIES])


def saving_ratio_table() -> pd.DataFrame:
    """The quoted ratios with the platform as printed and as the unit energies support it, and our recomputed ratio.

    `computed_ratio` divides the 45 nm energies (ShiftAddAug table 1; FP32 from Horowitz); the papers print no FPGA
    energies, so it is empty there.
    """
    rows = []
    for quoted in SAVING_RATIOS:
        computed = float("nan")
        if quoted.node == _CMOS:
            source = HOROWITZ if quoted.number_format == "FP32" else ALL_FORMATS
            mult = unit_energy("mult", quoted.number_format, source)
            computed = mult.energy_pj / unit_energy(quoted.operation, quoted.number_format, source).energy_pj
        rows.append({**asdict(quoted), "computed_ratio": computed})
    return pd.DataFrame(rows)


def unit_energy(operation: str, number_format: str, source: str = ALL_FORMATS) -> UnitEnergy:
    """The entry of one source.

    Raises: InputError on an unknown operation, format or source, or a combination that the source does not print.
    """
    check_choice("operation", operation, OPERATIONS)
    check_choice("number_format", number_format, FORMATS)
    check_choice("source", source, dict.fromkeys(entry.source for entry in UNIT_ENERGIES))
    for entry in UNIT_ENERGIES:
        if (entry.operation, entry.number_format, entry.source) == (operation, number_format, source):
            return entry
    printed = [f"{e.operation} {e.number_format}" for e in UNIT_ENERGIES if e.source == source]
    raise InputError(
        f"operation={operation!r} with number_format={number_format!r} is not printed by source={source!r}; "
        f"it has: {', '.join(printed)}."
    )


def operation_energies(number_format: str, source: str = ALL_FORMATS) -> OperationEnergies:
    """One source's energies at one format, in the form that `layer_cost` and `model_cost` take.

    Where a source prints no shift, that of ShiftAddAug's table at the integer format of the same width stands in (its
    32-bit shift for FP16); `source` of the result says so.
    Raises: InputError on a source that prints no multiplication or addition at this format.
    """
    mult, add = (unit_energy(operation, number_format, source).energy_pj for operation in ("mult", "add"))
    for entry in UNIT_ENERGIES:
        if (entry.operation, entry.number_format, entry.source) == ("shift", number_format, source):
            return OperationEnergies(mult, add, entry.energy_pj, f"{source}, {number_format}")
    integer = "INT8" if number_format == "INT8" else "INT32"
    shift = unit_energy("shift", integer, ALL_FORMATS).energy_pj
    label = f"{source}, {number_format}; shift: {ALL_FORMATS}, {integer}"
    return OperationEnergies(mult, add, shift, label)
