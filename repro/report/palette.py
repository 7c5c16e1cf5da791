"""The colours of every figure and widget, told apart by colour-blind readers (Okabe and Ito).

An operator has one colour everywhere; so have published numbers, ours, and what is chosen or in the background.
"""

OPERATORS = {
    "conv": "#0072B2",
    "adder": "#D55E00",
    "shift": "#009E73",
    "shiftadd": "#CC79A7",
    "attention": "#E69F00",
}
COLOURS = OPERATORS | {
    "hybrid": "#56B4E9",
    "published": "#555555",
    "ours": "#0072B2",
    "fit": "#000000",
    "ink": "#222222",
    "faint": "#9aa0a6",
    "chosen": "#b3261e",
}
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours of series that are no operators, in order."""
LEVELS = {"compute": "#D55E00", "rf": "#56B4E9", "noc": "#0072B2", "buffer": "#E69F00", "dram": "#999999"}
"""Energy by level of the modelled chip: arithmetic, register files, network, buffer, memory."""


def lighter(colour: str, share: float) -> str:
    """A colour mixed with `share` of white, as #rrggbb."""
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(part + (255 - part) * share):02x}" for part in parts)
