"""ShiftAddAug table 1 (Sec. 2): energy of one operation, by the other sources.

They are Horowitz's survey, and the simulator for shifts. They differ from the printed table in two entries, FP32
addition and FP16 multiplication, which look exchanged.
"""

from __future__ import annotations

from repro.cost.units import HOROWITZ, SIMULATOR, unit_energy, unit_energy_table
from repro.papers.analytic import analytic_frame
from repro.papers.table import Drawing, Table
from repro.report.charts import unit_energies

FORMATS = ("FP32", "FP16", "INT32", "INT8")
SHIFT_FORMATS = {"INT32": "FP32", "INT8": "INT8"}
"""A shift of a floating-point number is not priced; the simulator's 32-bit setting is called FP32."""


def computed():
    """Energy in pJ by operation and number format."""
    rows = {}
    for operation, printed in (("mult", "Mult."), ("add", "Add"), ("shift", "Shift")):
        source = SIMULATOR if operation == "shift" else HOROWITZ
        entries = SHIFT_FORMATS if operation == "shift" else dict(zip(FORMATS, FORMATS))
        values = {
            f"energy_{name.lower()}_pj": unit_energy(operation, entry, source).energy_pj
            for name, entry in entries.items()
        }
        rows[printed] = {"note": f"source: {source}", **values}
    return analytic_frame(
        "shiftaddaug_t01",
        rows,
        convention="energy of one operation in 45 nm CMOS by the sources that the papers cite",
        extra={"unit_energies": unit_energy_table()},
    )


def draw(ours):
    """Energy per operation by format and source."""
    caption = "Energy of one operation at 45 nm by number format; the sources disagree on the FP32 addition."
    return [Drawing(unit_energies(unit_energy_table()), caption)]


TABLE = Table("Energy of one operation by number format", computed=computed, draw=draw, layout="wide")
