"""The repository's own texts as pages: they keep their places, so the links between them keep working."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from repro.errors import InputError
from repro.papers.registry import file_of, list_ids
from repro.paths import repo_root, write_text
from repro.report.board import BEGIN, END

COPIED = ("CONTRIBUTING.md", "data/README.md", "data/published/README.md", "data/published/inconsistencies.md")
"""Texts that are pages as they stand; so are the guides."""
GUIDES = "docs/guides"
_LINK = re.compile(r"\[([^\]\n]+)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def read(path: str) -> str:
    """A text of the repository. Raises: InputError if it is not there."""
    try:
        return (repo_root() / path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); it is a page of the site.") from error


def guides() -> list[str]:
    """Paths of the guides within the repository, in reading order."""
    folder = repo_root() / GUIDES
    return [f"{GUIDES}/{path.name}" for path in sorted(folder.glob("*.md"))]


def relink(text: str, path: str) -> str:
    """A text with its links led to pages of the site.

    A link to another text stays, one to an entry's file leads to the entry's page, one to the verdicts to the claims;
    what has no page (the licence, a source file) stays as plain words.

    Args:
        path: of the text within the repository, which its links are relative to.
    """
    folder = posixpath.dirname(path)
    entries = {str(file_of(name)): f"entries/{name}.md" for name in list_ids()}
    pages = {page: page for page in (*COPIED, *guides(), "README.md")}
    pages |= entries | {"data/results/VERDICTS.md": "claims.md"}

    def led(found: re.Match) -> str:
        words, target, anchor = found.groups()
        page = pages.get(posixpath.normpath(posixpath.join(folder, target)))
        if page is None:
            return words
        return f"[{words}]({posixpath.relpath(page, folder or '.')}{anchor or ''})"

    return _LINK.sub(led, text)


def introduction() -> str:
    """The README up to its second heading: what the front page begins with."""
    return relink(read("README.md").partition("\n## ")[0], "README.md")


def usage() -> str:
    """The README from its second heading on, without the board, which the front page has."""
    text = "## " + read("README.md").partition("\n## ")[2]
    head, _, rest = text.partition(BEGIN)
    head, tail = (relink(part, "README.md") for part in (head, rest.partition(END)[2]))
    return f"# Use it\n\n{head}The board is on the [front page](index.md).{tail}"


def texts() -> dict[str, str]:
    """{path within the source tree: Markdown} of every page that is a text of the repository."""
    copied = {path: relink(read(path), path) for path in (*COPIED, *guides())}
    return copied | {"README.md": usage()}


def write_all(folder: Path, pages: dict[str, str]) -> None:
    """Write pages (path within `folder` -> text)."""
    for path, text in pages.items():
        write_text(folder / path, text)
