"""ShiftAddNAS table 1 (Sec. 3.1): the translation space as `repro.models.translation_configs.SPACE` holds it."""

from __future__ import annotations

from repro.models.translation_configs import ATTENTION, BLOCK_TYPES, CROSS_LAYERS, DECODER_TYPES, SPACE
from repro.papers.analytic import analytic_frame
from repro.papers.table import Table

SHORT = {ATTENTION: "Attn", "attention": "Attn", "conv": "Conv", "shift": "Shift", "shiftadd": "Shift", "add": "Add"}
ORDER = ("Attn", "Attn+Conv", "Attn+Shift", "Attn+Add", "Conv", "Shift", "Add")


def _names(blocks):
    found = {"+".join(SHORT[part] for part in block.split("+")) for block in blocks}
    return ";".join(name for name in ORDER if name in found)


def _descending(values):
    return ";".join(str(value) for value in sorted(values, reverse=True))


def computed():
    """One row per dimension of the space."""
    return analytic_frame(
        "shiftaddnas_t01",
        {
            "Encoder block types": {"options": _names(BLOCK_TYPES)},
            "Decoder block types": {"options": _names(DECODER_TYPES)},
            "Num. of decoder blocks": {"options": _descending(SPACE["decoder_layers"])},
            "Elastic embed. dim.": {"options": _descending(SPACE["embed"])},
            "Elastic head num.": {"options": _descending(SPACE["heads"])},
            "Elastic MLP dim.": {"options": _descending(SPACE["ffn"])},
            "Arbitrary Attn": {"options": _descending(CROSS_LAYERS[choice] for choice in SPACE["cross"])},
        },
        convention="Shift stands for the light shift-add branch",
    )


TABLE = Table("Search space for translation", computed=computed, layout="wide")
