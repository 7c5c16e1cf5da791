"""Pieces of pages: raw HTML inside Markdown, tables in boxes of their own, verdicts as coloured words."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

import pandas as pd

from repro.report.decide import NOT_REPRODUCED, REPRODUCED, UNDECIDED
from repro.report.tables import html_table
from repro.report.verdicts import AGREES

_TONES = {REPRODUCED: "good", AGREES: "good", NOT_REPRODUCED: "bad", UNDECIDED: "open", "mixed": "open"}


def raw(text: str) -> str:
    """HTML as a block of a Markdown page."""
    return f"```{{raw}} html\n{text}\n```\n"


def plain(text: object) -> str:
    """Text for HTML, every character for itself."""
    return html.escape(str(text))


def boxed(table: str, label: str) -> str:
    """A table of `repro.report` in a box that scrolls and is reached by keyboard; colours are the site's."""
    table = re.sub(r"<style.*?</style>\s*", "", table, flags=re.DOTALL)
    box = f'<div class="wide" role="region" tabindex="0" aria-label="{plain(label)}">'
    return re.sub(r'^<div style="[^"]*" tabindex="0">', box, table)


def frame_table(frame: pd.DataFrame, label: str) -> str:
    """A frame of texts as such a table."""
    return boxed(html_table(frame, label), label)


def status(word: str) -> str:
    """A verdict: the word, in a colour that repeats it."""
    return f'<span class="status {_TONES.get(word, "none")}">{plain(word)}</span>'


def link(words: str, target: str, *, download: bool = False) -> str:
    """A link; `download` saves the file instead of showing it."""
    return f'<a href="{plain(target)}"{" download" if download else ""}>{plain(words)}</a>'


def listed(items: Iterable[str]) -> str:
    """HTML pieces as a list."""
    return "<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>"


def figure(source: str, caption: str) -> str:
    """A picture with its caption, which is its alternative text too."""
    return (
        f'<figure class="picture"><img src="{plain(source)}" alt="{plain(caption)}" loading="lazy">'
        f"<figcaption>{plain(caption)}</figcaption></figure>"
    )
