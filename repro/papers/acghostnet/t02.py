"""ACGhostNet table 2 (Sec. 3.2): the eight module types as the search space builds them."""

from __future__ import annotations

from repro.models.acghostnet import MODULE_TYPES, module_type
from repro.papers.analytic import analytic_frame
from repro.papers.table import Table


def computed():
    """Operators and groups of each type."""
    values = {}
    for name in MODULE_TYPES:
        kind = module_type(name)
        printed = name.replace("CAg", "CAG")  # the table's spelling of these two
        values[printed] = {
            "first_block_normal_conv": kind.primary,
            "second_block_cheap_op": kind.cheap,
            "groups": "N" if kind.divide == 1 else f"N/{kind.divide}",
        }
    return analytic_frame(
        "acghostnet_t02",
        values,
        convention="both ghost modules of a block share the type; N is the number of channels of the cheap operation",
    )


TABLE = Table("The eight module types of a block", computed=computed, layout="wide")
