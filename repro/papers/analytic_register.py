"""The register of analytic tables: what follows from the architectures, without training.

`ANALYTIC[table_id]()` gives a frame in the schema of the published CSV. Cells that need training or an architecture
that is not published are empty, with the reason in the row's note; `attrs` name the convention and hold further frames
under `extra` (other accountings, consistency of printed columns).
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from repro.papers.acghostnet import counts as acghostnet
from repro.papers.autoshiftnet import counts as autoshiftnet
from repro.papers.shiftaddaug import counts as shiftaddaug
from repro.papers.shiftaddnas import counts as shiftaddnas

ANALYTIC: dict[str, Callable[[], pd.DataFrame]] = {
    "acghostnet_t02": acghostnet.table_2,
    "acghostnet_t04": acghostnet.table_4,
    "acghostnet_t05": acghostnet.table_5,
    "shiftaddaug_t01": shiftaddaug.table_1,
    "shiftaddaug_t02": shiftaddaug.table_2,
    "shiftaddaug_t03": shiftaddaug.table_3,
    "shiftaddaug_t06": shiftaddaug.table_6,
    "shiftaddnas_t01": shiftaddnas.table_1,
    "shiftaddnas_t02": shiftaddnas.table_2,
    "shiftaddnas_t03": shiftaddnas.table_3,
    "shiftaddnas_t04": shiftaddnas.table_4,
    "shiftaddnas_t05": shiftaddnas.table_5,
    "shiftaddnas_t06": shiftaddnas.table_6,
    "shiftaddnas_t07": shiftaddnas.table_7,
    "shiftaddnas_t11": shiftaddnas.table_11,
    "autoshiftnet_t01": autoshiftnet.table_1,
    "autoshiftnet_t02": autoshiftnet.table_2,
    "autoshiftnet_t05": autoshiftnet.table_5,
    "autoshiftnet_t06": autoshiftnet.table_6,
}
