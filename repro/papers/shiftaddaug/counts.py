"""Analytic columns of ShiftAddAug: tables 1 (unit energies), 2 (space), 3 (counts, energy, latency), 6 (ratios)."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import pandas as pd

from repro.cost import ACCOUNTINGS, CONVENTIONS, count, layers_cost
from repro.cost.skeleton import traced
from repro.cost.units import HOROWITZ, SIMULATOR, unit_energy, unit_energy_table
from repro.errors import check_choice
from repro.papers.analytic import MILLION, analytic_frame, from_printed

RESOLUTION, CLASSES = 160, 100
MODELS = {
    "MobileNetV2-w0.35": ("mobilenet_v2", {"width": 0.35}),
    "MobileNetV3-w0.35": ("mobilenet_v3_large", {"width": 0.35}),
    "MCUNet-in3": ("mcunet_in3", {}),
    "ProxylessNAS-w0.35": ("proxylessnas_mobile", {"width": 0.35}),
    "MobileNetV2-Tiny": ("mobilenet_v2_tiny", {}),
}
METHODS = {
    "Base": "conv",
    "NetAug": "conv",
    "Shift": "shift",
    "AugShift": "shift",
    "Add": "adder",
    "AugAdd": "adder",
}
NOTES = {
    "conv": "",
    "shift": "energy and latency match only with the classifier left out and the stem counted twice; the corrected "
    "reading is in the frame `accountings`",
    "adder": "depthwise convolutions and classifier multiply; adder layers pay neither DRAM nor buffer",
}


def table_1() -> pd.DataFrame:
    """Unit energies by the other sources: Horowitz's survey, and the simulator for shifts.

    They differ from the printed table in two entries, FP32 addition and FP16 multiplication, which look exchanged.
    """
    rows = {}
    for operation, printed in (("mult", "Mult."), ("add", "Add"), ("shift", "Shift")):
        values: dict[str, object] = {"note": f"source: {SIMULATOR if operation == 'shift' else HOROWITZ}"}
        for number_format in ("FP32", "FP16", "INT32", "INT8"):
            source, entry = (SIMULATOR, number_format) if operation == "shift" else (HOROWITZ, number_format)
            if operation == "shift":
                if number_format in ("FP32", "FP16"):
                    continue  # a shift of a floating-point number is not priced
                entry = {"INT32": "FP32", "INT8": "INT8"}[number_format]  # the simulator's 32-bit setting
            values[f"energy_{number_format.lower()}_pj"] = unit_energy(operation, entry, source).energy_pj
        rows[printed] = values
    return analytic_frame(
        "shiftaddaug_t01",
        rows,
        convention="energy of one operation in 45 nm CMOS by the sources that the papers cite",
        extra={"unit_energies": unit_energy_table()},
    )


@dataclass(frozen=True)
class AugmentationSpace:
    """Choices of the search over augmented networks (table 2); the target network is a subnet of the augmented one."""

    operators: tuple[str, ...] = ("conv", "shift", "adder")
    width_multiples: tuple[float, ...] = (2.2, 2.4, 2.8, 3.2)
    expand_multiples: tuple[float, ...] = (2.2, 2.4, 2.8, 3.2)
    mutation_start_pct: tuple[int, ...] = (5, 10, 15, 20)
    mutation_stop_pct: tuple[int, ...] = (50, 60, 70)


def table_2(space: AugmentationSpace | None = None) -> pd.DataFrame:
    """The search space of the augmentation."""
    space = space or AugmentationSpace()
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


@functools.lru_cache(maxsize=64)
def _measures(model: str, op: str) -> dict[str, float]:
    name, options = MODELS[model]
    network, layers = traced(name, RESOLUTION, num_classes=CLASSES, op=op, **options)
    counted = count(network, convention="shiftaddaug", layers=list(layers))
    values = {
        "params_m": counted.params / MILLION,
        "mult_m": counted.mults / MILLION,
        "shift_m": counted.shifts / MILLION,
        "add_m": counted.adds / MILLION,
    }
    for accounting in ACCOUNTINGS:
        cost = layers_cost(layers, accounting=accounting)
        values[f"energy_{accounting}_mj"], values[f"latency_{accounting}_ms"] = cost.energy_mj, cost.latency_ms
    return values


def accountings() -> pd.DataFrame:
    """Energy (mJ) and latency (ms) of the five models and three operators under the three accountings."""
    rows = []
    for model in MODELS:
        for op in ("conv", "shift", "adder"):
            values = _measures(model, op)
            for accounting in ACCOUNTINGS:
                rows.append(
                    {
                        "model": model,
                        "op": op,
                        "accounting": accounting,
                        "energy_mj": values[f"energy_{accounting}_mj"],
                        "latency_ms": values[f"latency_{accounting}_ms"],
                    }
                )
    return pd.DataFrame(rows)


def table_3(accounting: str = "published") -> pd.DataFrame:
    """Counts, energy and latency of the five models under six methods; augmentation does not change the network.

    Args:
        accounting: "published", "corrected" (every layer once) or "unbiased"; see `repro.cost.eyeriss`.
    """
    check_choice("accounting", accounting, ACCOUNTINGS)
    values = {}
    for model in MODELS:
        for method, op in METHODS.items():
            measured = _measures(model, op)
            values[model, method] = {
                **{name: measured[name] for name in ("params_m", "mult_m", "shift_m", "add_m")},
                "energy_mj": measured[f"energy_{accounting}_mj"],
                "latency_ms": measured[f"latency_{accounting}_ms"],
                "note": NOTES[op] if accounting == "published" else "",
            }
    return analytic_frame(
        "shiftaddaug_t03",
        values,
        convention=f"160 pixels, 100 classes; {CONVENTIONS['shiftaddaug'].text}; row-stationary model at 32 bit, "
        f"depthwise layers with one input channel, accounting {accounting}",
        extra={"accountings": accountings()},
    )


def table_6() -> pd.DataFrame:
    """Searched networks: none of the seven architectures is published, so only the printed columns can be compared."""

    def ratio(frame: pd.DataFrame) -> pd.Series:
        operations = frame[["mult_m", "shift_m", "add_m"]].sum(axis=1)
        ours = operations.where(frame["method"] == "ShiftAddAug")
        # Each row is compared with the ShiftAddAug row of the same data set and kind, as the printed ratios require.
        base = ours.groupby([frame["dataset"], frame["mult_free"]]).transform("max")
        return operations / base

    return analytic_frame(
        "shiftaddaug_t06",
        {},
        convention="ratio of the summed operator counts to those of the ShiftAddAug row of the same data set and kind",
        unknown="searched architecture not published; the ratio of its printed counts is in the frame `from_printed`",
        extra={
            "from_printed": from_printed(
                "shiftaddaug_t06",
                "macs_compare_x",
                "(multiplications + shifts + additions) over those of ShiftAddAug, printed counts",
                ratio,
                ["mult_m", "shift_m", "add_m"],
            )
        },
    )
