"""What a folder of pages links to that is not there, and what it would fetch from the network."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LINKS = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "src", "iframe": "src"}


class _Page(HTMLParser):
    """Anchors of a page, and its links as (tag, target)."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors |= {value for value in (found.get("id"), found.get("name") if tag == "a" else None) if value}
        if target := found.get(_LINKS.get(tag, "")):
            self.links.append((tag, target))


def broken_links(folder: Path) -> list[str]:
    """'page: target' for every link of the pages below `folder` that leads nowhere within it, in order.

    A file or an anchor that is absent counts, and so does a script, style or picture that lies on the network: the
    pages are read without one. Links for a person to follow to other sites are not tried.
    """
    pages = {path.resolve(): _Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    top, found = folder.resolve(), []
    for path, page in pages.items():
        for tag, target in page.links:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                fetched = tag != "a" and parts.scheme not in ("data", "mailto")
                reached = not fetched
            else:
                file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
                reached = file.is_file() and file.is_relative_to(top)
                if reached and parts.fragment and file in pages:
                    reached = unquote(parts.fragment) in pages[file].anchors
            if not reached:
                found.append(f"{path.relative_to(top).as_posix()}: {target}")
    return found
