"""The guides' code runs, and their links lead somewhere."""

import posixpath
import re

import pytest

from repro.paths import repo_root
from repro.site.texts import guides


def text_of(path):
    return (repo_root() / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", guides())
def test_a_guides_code_runs(path):
    names = {}
    for code in re.findall(r"```python\n(.*?)```", text_of(path), re.S):
        exec(code, names)


@pytest.mark.parametrize("path", guides())
def test_a_guides_links_lead_to_headings(path):
    for target, anchor in re.findall(r"\]\(([^)#:]+)#?([^)]*)\)", text_of(path)):
        other = text_of(posixpath.normpath(posixpath.join(posixpath.dirname(path), target)))
        headings = re.findall(r"^#+ (.*)$", other, re.M)
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in headings}


def test_there_are_guides_with_code():
    assert sum("```python" in text_of(path) for path in guides()) >= 4
