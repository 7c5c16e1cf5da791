"""The pages that list: front page, claims, notebooks, the reference of the public names."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from repro.pages.execute import list_notebooks, list_titles
from repro.pages.html import write_notes
from repro.paths import pages_root
from repro.report.board import STATUSES_ON_BOARD, Judged
from repro.report.claims import places
from repro.report.published import PAPERS
from repro.report.verdicts import with_note
from repro.site import parts
from repro.site.entries import Entry, place_words
from repro.site.texts import COPIED, guides, introduction

BETWEEN = "between the papers"
PUBLIC = (
    *("repro.layers", "repro.ops", "repro.models", "repro.train", "repro.augment", "repro.search", "repro.cost"),
    *("repro.datasets", "repro.runs", "repro.report", "repro.papers", "repro.errors"),
)
"""Packages that the reference describes, in its order: what each names in `__all__`."""
MODULES = (
    *("repro.train.data", "repro.train.imagefolder", "repro.train.shift_trainer"),
    *("repro.search.hybrid_space", "repro.search.hybrid_supernet", "repro.search.inherit"),
    *("repro.search.weight_sharing", "repro.papers.analytic", "repro.papers.data", "repro.papers.table"),
    "repro.papers.jobs",
)
"""Modules that it describes besides, which the guides build on: what has no underscore in front."""


def front(found: Sequence[Entry], board: str) -> str:
    """The front page: what this is, one picture a paper, the board, and where everything is.

    Args:
        board: Markdown of the board, ids linked to the entries' pages.
    """
    pictures = ["## One picture a paper", parts.raw(_gallery(found))]
    return "\n\n".join([introduction(), *pictures, "## Status", board, _toc()])


def _gallery(found: Sequence[Entry]) -> str:
    """The first picture of each paper (with its supplement), figures before tables, as links to their pages."""
    cards = []
    for paper in dict.fromkeys(name.partition(",")[0] for name in PAPERS.values()):
        drawn = [entry for entry in found if entry.paper.partition(",")[0] == paper and entry.pictures]
        drawn.sort(key=lambda entry: "_f" not in entry.name)
        for entry in drawn[:1]:
            picture = entry.pictures[0]
            cards.append(
                f'<figure class="picture"><a href="entries/{entry.name}.html" aria-label="{parts.plain(entry.title)}">'
                f'<img src="figures/{picture.file}" alt="{parts.plain(picture.caption)}"></a>'
                f"<figcaption><strong>{parts.plain(entry.title)}.</strong> {parts.plain(picture.caption)}</figcaption>"
                "</figure>"
            )
    return f'<div class="gallery">{"".join(cards)}</div>'


def _toc() -> str:
    groups = {
        "Results": ["claims", "entries/index", "notebooks", "data/published/inconsistencies"],
        "Guides": ["README", *(path.removesuffix(".md") for path in guides())],
        "Reference": ["api/index", "data/README", "data/published/README", "CONTRIBUTING"],
    }
    assert {path.removesuffix(".md") for path in COPIED} <= {page for pages in groups.values() for page in pages}
    return "\n\n".join(_tree(pages, caption) for caption, pages in groups.items())


def _tree(pages: Sequence[str], caption: str = "", depth: int = 1) -> str:
    options = [":hidden:"] * bool(caption) + [f":caption: {caption}"] * bool(caption) + [f":maxdepth: {depth}"]
    return "\n".join(["```{toctree}", *options, "", *pages, "```"])


def entries_index(found: Sequence[Entry]) -> str:
    """The page that lists the pages of a published id, by paper."""
    sections = ["# Tables and figures"]
    for paper in PAPERS.values():
        mine = [entry for entry in found if entry.paper == paper]
        items = [
            f"{parts.link(place_words(e.name), f'{e.name}.html')} {parts.plain(e.caption)} <em>({e.state})</em>"
            for e in mine
        ]
        sections += [f"## {paper}", parts.raw(parts.listed(items))]
    names = [entry.name for entry in found]
    return "\n\n".join([*sections, _tree(names, "Tables and figures")]) + "\n"


def claims_page(claims: pd.DataFrame, judged: Mapping[str, Judged], known: Sequence[str]) -> str:
    """Every claim in one table that is searched by paper, status and words; without a script it is whole.

    Args:
        known: ids that have a page.
    """
    rows = []
    for claim in claims.itertuples():
        found, paper = judged[claim.claim_id], PAPERS.get(claim.paper, BETWEEN)
        where = "<br>".join(
            parts.link(place, f"entries/{place}.html") if place in known else parts.plain(place)
            for place in places(claim.claim_id)
        )
        rows.append(
            f'<tr id="{claim.claim_id}" data-paper="{parts.plain(paper)}" data-status="{parts.plain(found.status)}">'
            f'<th scope="row">{claim.claim_id}<br><span class="where">{where}</span></th>'
            f"<td>{parts.plain(claim.claim)}</td><td>{parts.plain(claim.published_verdict)} ({claim.origin})</td>"
            f"<td>{parts.status(found.status)}</td>"
            f"<td>{parts.plain(with_note(claim.claim_id, found.evidence))}</td></tr>"
        )
    seen = {found.status for found in judged.values()}
    heads = ("id and place", "claim", "printed numbers agree", "ours", "evidence")
    table = (
        '<div class="wide" role="region" tabindex="0" aria-label="Claims"><table class="words" id="claims"><thead><tr>'
        + "".join(f'<th scope="col">{head}</th>' for head in heads)
        + f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
    form = (
        '<form id="claims-search" role="search" aria-label="Claims" hidden>'
        '<label>Words <input type="search" name="words" autocomplete="off"></label>'
        + _select("paper", [*PAPERS.values(), BETWEEN])
        + _select("status", [name for name in STATUSES_ON_BOARD if name in seen])
        + '<button type="reset">Show all</button><p id="claims-count" role="status"></p></form>'
    )
    text = (
        "What the papers say, and what our records say of it, by fixed criteria "
        "([how](data/published/README.md)). ± is half of a 95 % interval."
    )
    return "\n\n".join(["# Claims", text, parts.raw(f'{form}\n{table}\n<script src="_static/claims.js"></script>')])


def _select(name: str, options: Sequence[str]) -> str:
    choices = "".join(f"<option>{parts.plain(option)}</option>" for option in options)
    return f'<label>{name.capitalize()} <select name="{name}"><option value="">all</option>{choices}</select></label>'


def copy_executed(folder: Path) -> list[str]:
    """Put the pages of the notebooks that were executed here into `folder`; returns their names.

    Where there are any, the others get a note each, which the links between such pages lead to.
    """
    executed = []
    for name in list_notebooks():
        page, copy = (pages_root() / f"{name}{ending}" for ending in (".html", ".ipynb"))
        if page.is_file() and copy.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(page, folder / page.name)
            executed.append(name)
    if executed:
        write_notes(folder, list_notebooks())
    return executed


def notebooks_page(executed: Sequence[str]) -> str:
    """The notebooks and what they ask.

    Args:
        executed: names of those whose executed page is in the site.
    """
    rows, titles = [], list_titles()
    for name, covers in list_notebooks().items():
        rows.append(
            f'<tr><th scope="row">{parts.link(name, f"notebooks/{name}.html")}</th><td>{parts.plain(titles[name])}</td>'
            f"<td>{parts.link('executed', f'pages/{name}.html') if name in executed else 'from the records'}</td>"
            f"<td>{', '.join(parts.link(one, f'entries/{one}.html') for one in covers)}</td></tr>"
        )
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("notebook", "question", "page", "tables and figures"))
    text = (
        "Each notebook's page has its text with the committed records; those that `make tables` executed before the "
        "site was built have a page of that, too. `make lab` opens them to change and run."
    )
    table = (
        '<div class="wide" role="region" tabindex="0" aria-label="Notebooks"><table class="words"><thead><tr>'
        f"{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
    pages = [f"notebooks/{name}" for name in list_notebooks()]
    return "\n\n".join(["# Notebooks", text, parts.raw(table), _tree(pages, "Notebooks")])


def constants(package: str) -> dict[str, str]:
    """{name: text below its definition} of what a package names in `__all__` that is no class, function or module."""
    offered = importlib.import_module(package)
    wanted = {
        name: value
        for name in offered.__all__
        if not (inspect.isroutine(value := getattr(offered, name)) or inspect.isclass(value) or inspect.ismodule(value))
    }
    found = dict.fromkeys(wanted, "")
    for name, module in sorted(sys.modules.items()):
        if name.startswith("repro.") and any(vars(module).get(one) is value for one, value in wanted.items()):
            body = ast.parse(inspect.getsource(module)).body
            for statement, below in itertools.pairwise(body):
                for target in getattr(statement, "targets", [getattr(statement, "target", None)]):
                    text = getattr(getattr(below, "value", None), "value", None)
                    if getattr(target, "id", None) in wanted and isinstance(text, str):
                        found[target.id] = inspect.cleandoc(text)
    return {name: "\n\n".join(filter(None, [text, _names_in(wanted[name])])) for name, text in found.items()}


def _names_in(value: object) -> str:
    """What a constant names, by which it is asked for."""
    names = list(value) if isinstance(value, tuple | dict) else []
    return f"Names: {', '.join(names)}." if names and all(isinstance(name, str) for name in names) else ""


def reference() -> dict[str, str]:
    """{path: reStructuredText or Markdown} of the reference: one page a package or module, from its docstrings."""
    pages = {}
    for name in PUBLIC + MODULES:
        # The packages name theirs in __all__.
        more = "   :imported-members:\n" if name not in ("repro.errors", *MODULES) else ""
        text = f"{name}\n{'=' * len(name)}\n\n.. automodule:: {name}\n   :members:\n{more}"
        for constant, about in constants(name).items() if more else ():  # no directive takes them from where they stand
            text += f"\n.. py:data:: {constant}\n   :module: {name}\n\n{textwrap.indent(about, '   ')}\n"
        pages[f"api/{name}.rst"] = text
    text = (
        "What the packages offer by name, and below them the modules that the guides build on; everything else is not "
        "for use from outside and may change."
    )
    pages["api/index.md"] = "\n\n".join(["# Reference", text, _tree(PUBLIC), _tree(MODULES)]) + "\n"
    return pages
