"""A page for every notebook: its text, with the committed records in place of what its cells would show."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace

from repro import report
from repro.pages.execute import notebooks_folder
from repro.pages.html import making_command, without_empty_headings
from repro.site import parts
from repro.site.entries import Entry, picture_gallery, record_table

_SHOWS_RECORDS = re.compile(r"\b(?:page|run_table)\((?!name\):)")
_ID = re.compile(r'"(\w+_[tf]\d\d)"')
_SHOWS_MORE = re.compile(r"\b(?:show\.(?!verdicts|provenance|environment)\w+|print)\(")
_MORE = "*Computed when the notebook is executed.*"


def page(name: str, found: Mapping[str, Entry], covers: Sequence[str], claims: str, *, executed: bool) -> str:
    """The Markdown of a notebook's page.

    Args:
        found: every entry by id.
        covers: ids of the tables and figures that the notebook is about.
        claims: Markdown of the claims on them.
        executed: whether the executed notebook is a page of the site, too.
    """
    cells = json.loads((notebooks_folder() / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    sections: list[str] = []
    for cell in cells:
        source = "".join(cell["source"])
        if "interactive" not in cell["metadata"].get("tags", []):
            sections += [source] if cell["cell_type"] == "markdown" else _shown(source, found, covers, claims)
    texts = [SimpleNamespace(cell_type="markdown", source=text) for text in sections]
    title, *rest = [text.source for text in without_empty_headings(texts)]
    heading, _, opening = title.partition("\n")
    note = "Below is the notebook's text, with the committed records in place of what its cells would show. "
    note += f"`{making_command(covers)}` executes it, with what its cells compute beyond the records"
    # No link of Markdown: that page is none of Sphinx's, which would look for a heading.
    note += f"; {parts.link('as it was executed here', f'../pages/{name}.html')}." if executed else "."
    return "\n\n".join([heading, note, opening.strip(), *rest]) + "\n"


def _shown(source: str, found: Mapping[str, Entry], covers: Sequence[str], claims: str) -> Iterable[str]:
    """What stands on the page for a code cell."""
    ids = [one for one in dict.fromkeys(_ID.findall(source)) if one in found]
    if "claims_under_test(" in source:
        yield claims
    elif ids and _SHOWS_RECORDS.search(source) and "here = [" not in source:
        analytic = 'columns="analytic"' in source
        for one in ids:
            yield from _record(found[one], analytic)
    elif _SHOWS_MORE.search(source):
        yield _MORE


def _record(entry: Entry, analytic: bool) -> Iterable[str]:
    """The pictures and the table of an entry's latest record; of one without training where only that is asked for."""
    record, newest = (report.latest(entry.name, trained=trained) for trained in (not analytic, True))
    told = f"[{entry.title}](../entries/{entry.name}.md)"
    if record is None:
        yield f"{told}: {entry.state}."
        return
    yield f"{told}, committed record: {record.label}" + (f"; {entry.code}." if entry.code else ".")
    if record.label == newest.label:  # type: ignore[union-attr]
        yield from picture_gallery(entry)
    yield parts.raw(record_table(entry, record))
