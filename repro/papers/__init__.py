"""The four papers: one file per published table or figure, `repro/papers/<paper>/<tNN|fNN|supp_tNN>.py`.

    run_table("acghostnet_t06", preset="quick")    regenerate one by its id
    list_ids()                                     all that can be regenerated
    entry("acghostnet_t06")                        what an entry holds; `file_of` says where
"""

from repro.papers.regenerate import (
    check_request,
    check_seeds,
    code_now,
    computed,
    draw_figures,
    drawings_of,
    run_table,
)
from repro.papers.registry import entry, file_of, list_ids
from repro.papers.table import PRESETS, Drawing, Table

__all__ = [
    "PRESETS",
    "Drawing",
    "Table",
    "check_request",
    "check_seeds",
    "code_now",
    "computed",
    "draw_figures",
    "drawings_of",
    "entry",
    "file_of",
    "list_ids",
    "run_table",
]
