"""Which published tables and figures have an entry: the folder is the register.

`shiftaddaug_t03` is `repro/papers/shiftaddaug/t03.py`, `shiftaddaug_supp_t03` is `repro/papers/shiftaddaug/supp_t03.py`.
"""

from __future__ import annotations

import functools
import importlib
import re
from pathlib import Path

from repro.errors import InputError, check_choice
from repro.papers.table import Table

_ENTRY = re.compile(r"(?:supp_)?[tf]\d\d")


@functools.cache
def _files() -> dict[str, str]:
    """Id -> path of its entry within the repository, for every file that is one."""
    here = Path(__file__).parent
    return {
        f"{file.parent.name}_{file.stem}": file.relative_to(here.parent.parent).as_posix()
        for file in sorted(here.glob("*/*.py"))
        if _ENTRY.fullmatch(file.stem)
    }


@functools.cache
def list_ids() -> list[str]:
    """All published ids that can be regenerated, in the order of the papers."""
    from repro.report import published_figures, published_tables

    return [name for name in [*published_tables(), *published_figures()] if name in _files()]


def file_of(table_id: str) -> str | None:
    """Path of an id's entry within the repository, or None if it has none."""
    return _files().get(table_id)


def entry(table_id: str) -> Table:
    """The entry of a published table or figure.

    Raises: InputError for an id that is not published (naming the nearest), or published without an entry.
    """
    from repro.report import published_figures, published_tables

    check_choice("table", table_id, [*published_tables(), *published_figures()])
    path = file_of(table_id)
    if path is None:
        raise InputError(f"table={table_id!r} is published but has no entry here yet; see 'python -m repro status'.")
    return importlib.import_module(path.removesuffix(".py").replace("/", ".")).TABLE
