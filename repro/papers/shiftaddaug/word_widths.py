"""What narrower words do to the five models' energy, and what the script's slips cost the shift rows of table 3."""

from __future__ import annotations

import functools

import pandas as pd

from repro.cost import layers_cost
from repro.papers.analytic import span
from repro.papers.shiftaddaug.counts import MODELS, OPERATORS, network

WIDTHS = {
    "conv, 32-bit words": ("conv", 32, None),
    "shift, 32-bit words": ("shift", 32, None),
    "adder, 32-bit words": ("adder", 32, None),
    "shift, 16-bit activations, 5-bit weights": ("shift", 32, (16, 5, 16)),
    "conv, 8-bit words": ("conv", 8, None),
    "adder, 8-bit words": ("adder", 8, None),
}


@functools.cache
def word_widths() -> pd.DataFrame:
    """Energy (mJ) of ShiftAddAug's models without bias, each term at its own explicit word width.

    Columns: setting (operator and widths), one per model; the published accounting's 10-bit shift is the first row.
    """
    rows = {"shift as published (10-bit words, 32-bit convolutions)": {}} | {name: {} for name in WIDTHS}
    for model in MODELS:
        networks = {op: network(model, op)[1] for op in OPERATORS}
        first = next(iter(rows))
        rows[first][model] = layers_cost(networks["shift"], accounting="corrected").energy_mj
        for setting, (op, bits, words) in WIDTHS.items():
            cost = layers_cost(networks[op], accounting="unbiased", bits=bits, word_bits=words)
            rows[setting][model] = cost.energy_mj
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("setting").reset_index()


def width_sentences() -> list[str]:
    """What narrower words do, from `word_widths`."""
    table = word_widths().set_index("setting")
    eight, shift = table.loc["conv, 8-bit words"], table.loc["shift, 16-bit activations, 5-bit weights"]
    full = table.loc["conv, 32-bit words"]
    return [
        f"Shift layers with 16-bit activations and 5-bit weights need {span(100 * (1 - shift / full))} less energy "
        "than convolutions at 32 bit: what they save is width, not arithmetic.",
        f"Convolutions at 8 bit need {span(100 * (1 - eight / shift))} less than these shift layers."
        if (eight < shift).all()
        else f"Convolutions at 8 bit need less than these shift layers in {int((eight < shift).sum())} of {len(eight)} "
        "networks.",
    ]


def slip_sentences(readings: pd.DataFrame) -> list[str]:
    """What counting the stem twice and leaving the classifier out costs the shift rows.

    Args:
        readings: of `repro.papers.shiftaddaug.counts.accountings`.
    """
    shift = readings[readings["op"] == "shift"].pivot(
        index="model", columns="accounting", values=["energy_mj", "latency_ms"]
    )
    energy = 100 * (1 - shift["energy_mj"]["corrected"] / shift["energy_mj"]["published"])
    latency = 100 * (1 - shift["latency_ms"]["corrected"] / shift["latency_ms"]["published"])
    return [
        f"The slip works against the Shift rows: with every layer counted once their energies are {span(energy, 1)} "
        f"and their latencies {span(latency, 1)} lower."
    ]
