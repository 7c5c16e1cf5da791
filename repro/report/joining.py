"""Runs on several data sets as one table, for claims about all of them; each data set is a record of its own."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from repro.report.conform import folded
from repro.report.evidence import JOINED
from repro.report.published import is_figure, table_spec
from repro.report.records import Record

EXTRAS = ("examples", "draws")


def join(records: Sequence[Record]) -> pd.DataFrame | None:
    """The rows of a table's records, one a printed data set; None where there are not two, or rows name no data set.

    Args:
        records: of one table and preset; of two that stand for the same printed data set the first is taken.
    """
    if not records or is_figure(records[0].table_id) or "dataset" not in table_spec(records[0].table_id).key:
        return None
    chosen: dict[str, Record] = {}
    for record in records:
        printed = record.frame.attrs["stands_for"].get(record.dataset, record.dataset)
        chosen.setdefault(folded(printed), record)
    parts = [record.frame for record in chosen.values()]
    if len(parts) < 2:
        return None
    frame = pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)
    extras = {name: [part.attrs["extra"][name] for part in parts if name in part.attrs["extra"]] for name in EXTRAS}
    frame.attrs = parts[0].attrs | {
        "dataset": JOINED.join(record.dataset for record in chosen.values()),
        "stands_for": {
            name: printed
            for part, name in ((record.frame, record.dataset) for record in chosen.values())
            if (printed := part.attrs["stands_for"].get(name))
        },
        "extra": {name: pd.concat(found, ignore_index=True) for name, found in extras.items() if found},
    }
    return frame
