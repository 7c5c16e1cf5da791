"""`build`: the source tree of the site, Sphinx over it, and the links of what comes out."""

from __future__ import annotations

import io
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from repro import __version__
from repro.errors import InputError, require
from repro.paths import is_installed, output_root
from repro.site.links import broken_links

_HERE = Path(__file__).parent
CONFIG = {
    "project": "repro: multiplication-free neural networks, reproduced",
    "html_title": "repro",
    "version": __version__,
    "release": __version__,
    "extensions": ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"],
    "html_theme": "furo",
    "html_static_path": [str(_HERE / "static")],
    "html_css_files": ["site.css"],
    "html_copy_source": False,
    "html_show_sphinx": False,
    "html_show_search_summary": False,  # a page opened as a file may not fetch others
    "html_show_copyright": False,
    "html_use_index": True,
    "language": "en",
    "myst_heading_anchors": 3,
    "suppress_warnings": ["myst.xref_missing"],  # anchors of our own raw HTML; every link is checked afterwards
    "default_role": "literal",  # `name` in our docstrings is code
    "napoleon_use_param": False,  # "width, depth: …" stays one entry
    "autodoc_member_order": "bysource",
    "autodoc_inherit_docstrings": False,  # torch's words on forward() say nothing of ours
    "autodoc_typehints": "signature",
    "autodoc_default_options": {"no-value": True},
    "python_maximum_signature_line_length": 88,
    "add_module_names": False,
    "toc_object_entries_show_parents": "hide",
    "pygments_style": "a11y-high-contrast-light",
}


@dataclass(frozen=True)
class Site:
    """What a build gave: folder, number of pages, MB, seconds, warnings of Sphinx, links that lead nowhere.

    `executed` names the notebooks whose executed page is in it.
    """

    folder: Path
    pages: int
    size_mb: float
    seconds: float
    warnings: list[str]
    broken: list[str]
    executed: list[str]


def site_root() -> Path:
    """Where the site goes: output/site."""
    return output_root() / "site"


def build() -> Site:
    """Build the whole site into output/site, which then holds this build and nothing else.

    A build that fails leaves the former site as it was.
    Raises: InputError without the extra [site], outside a checkout, or where nothing can be written.
    """
    if is_installed():
        raise InputError("the site is built in a checkout: an installed package does not carry the texts and guides.")
    for module in ("sphinx", "myst_parser", "furo"):
        require(module, extra="site")
    started = time.perf_counter()
    with _workplace() as work:
        source, target = work / "source", work / "html"
        executed = write_source(source)
        warnings = _sphinx(source, target, work / "doctrees")
        for name in (".buildinfo", "objects.inv"):
            (target / name).unlink(missing_ok=True)
        _replace(site_root(), target)
    files = [path for path in site_root().rglob("*") if path.is_file()]
    return Site(
        site_root(),
        pages=sum(path.suffix == ".html" for path in files),
        size_mb=round(sum(path.stat().st_size for path in files) / 1e6, 1),
        seconds=round(time.perf_counter() - started, 1),
        warnings=warnings,
        broken=broken_links(site_root()),
        executed=executed,
    )


@contextmanager
def _workplace() -> Iterator[Path]:
    """A folder beside the site for the time of a build."""
    try:
        output_root().mkdir(parents=True, exist_ok=True)
        work = tempfile.TemporaryDirectory(prefix=".site-", dir=output_root())
    except OSError as error:
        raise InputError(
            f"cannot write to folder {output_root()} ({error.strerror}); make it writable or set REPRO_OUTPUT."
        ) from error
    with work as name:
        yield Path(name)


def _replace(old: Path, new: Path) -> None:
    try:
        if old.exists():
            shutil.rmtree(old)
        new.chmod(0o755)
        new.rename(old)
    except OSError as error:
        raise InputError(f"cannot replace {old} ({error.strerror}); make it writable or remove it.") from error


def write_source(folder: Path) -> list[str]:
    """Write what Sphinx reads: pages in Markdown, and under `extra` what goes into the site as it is.

    Returns: the names of the notebooks that were executed here.
    """
    from repro import papers, report
    from repro.pages.execute import list_notebooks
    from repro.papers.status import offers_of
    from repro.report.board import board_markdown, judge_records
    from repro.site import entries, listings, notebooks, texts

    fingerprints = {}

    def code_of(record):  # the board asks twice
        key = record.table_id, record.preset, record.dataset
        if key not in fingerprints:
            fingerprints[key] = papers.code_now(record.table_id, record.provenance)
        return fingerprints[key]

    judged, claims = judge_records(offers_of), report.claims()
    found = entries.entries(report.status_board(code_of, judged))
    board = board_markdown(code_of, "entries/{}.md".format, judged)
    pages = texts.texts() | listings.reference()
    pages |= {f"entries/{entry.name}.md": entries.page(entry, judged, claims) for entry in found}
    pages["entries/index.md"] = listings.entries_index(found)
    pages["claims.md"] = listings.claims_page(claims, judged, [entry.name for entry in found])
    executed, by_id = listings.copy_executed(folder / "extra" / "pages"), {entry.name: entry for entry in found}
    pages["notebooks.md"] = listings.notebooks_page(executed)
    for name, covers in list_notebooks().items():
        about = entries.claims_table(name, covers, judged, claims)
        pages[f"notebooks/{name}.md"] = notebooks.page(name, by_id, covers, about, executed=name in executed)
    pages["index.md"] = listings.front(found, board)
    texts.write_all(folder, pages)
    for entry in found:
        texts.write_all(folder / "extra" / "downloads", entry.files)
        texts.write_all(folder / "extra" / "figures", {picture.file: picture.svg for picture in entry.pictures})
    return executed


def _sphinx(source: Path, target: Path, doctrees: Path) -> list[str]:
    """Run Sphinx; returns its warnings."""
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    told = io.StringIO()
    config = CONFIG | {"html_extra_path": [str(source / "extra")], "exclude_patterns": ["extra"]}
    with patch_docutils(), docutils_namespace():
        app = Sphinx(source, None, target, doctrees, "html", config, status=None, warning=told)
        app.connect("autodoc-process-docstring", _docstring, priority=100)  # before napoleon
        app.build()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", told.getvalue())
    return [line.replace(str(source), "").strip() for line in plain.splitlines() if line.strip()]


# ------------------------------------------------------------------ docstrings

_ONE_LINE = re.compile(r"([A-Z][a-z]+): (\S.*)$")
_SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields):\s*$")


def _docstring(app, what, name, obj, options, lines: list[str]) -> None:
    lines[:] = marked_up(lines)


def marked_up(lines: list[str]) -> list[str]:
    """A docstring of this package as reStructuredText that shows what was written.

    Indented blocks after an empty line are code; characters that would be markup outside of backticks stand for
    themselves; "Returns: …", "Source: …" and their like on one line become paragraphs of their own.
    """
    text: list[str] = []
    code = folded = section = False
    for position, line in enumerate(lines):
        indented = line.startswith("  ")
        after_gap = position == 0 or not lines[position - 1].strip()
        if line.strip() and not indented:
            code = folded = False
            section = bool(_SECTION.match(line))
        if indented and after_gap and not code and not section:
            text += ["::", ""]
            code = True
        if code:
            text.append(line)
        elif found := _ONE_LINE.match(line):
            text += ["", f"**{found[1]}:** {_escaped(found[2])}"]
            folded = True
        elif folded and indented:
            text.append(_escaped(line.strip()))
        else:
            text += [""] * (section and bool(_SECTION.match(line)))
            text.append(_escaped(line))
    return text


def _escaped(line: str) -> str:
    """A line whose stars, bars and final underscores outside of backticks stand for themselves."""
    pieces = line.split("`")
    for at in range(0, len(pieces), 2):
        pieces[at] = re.sub(r"([\\*|]|_(?=\W|$))", r"\\\1", pieces[at])
    return "`".join(pieces)
