"""The whole site (`make test-site`): no warning, no link that leads nowhere, pages that all can read and operate."""

import functools
import importlib
import re
from html.parser import HTMLParser

import pytest

from repro import report
from repro.pages import execute as notebooks
from repro.site import listings
from repro.site.build import build
from tests.widgets.browser_tools import ARGUMENTS, CHROMIUM, FAINT, FITS

EXECUTED = "40_autoshiftnet_cost"
"""A notebook that is executed before the site is built; nothing in it is trained."""

LOOKED_AT = (
    *("index", "entries/shiftaddaug_t03", "api/repro.layers", "README", "docs/guides/02_convert_and_train"),
    *("data/published/inconsistencies", "notebooks", "notebooks/13_acghostnet_results", f"pages/{EXECUTED}", "claims"),
)
"""Pages that are opened in a browser, one of each kind, the claims last."""

WIDTHS = (390, 900, 1440)
SCHEMES = ("light", "dark")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    for module in ("sphinx", "myst_parser", "furo", "papermill"):
        pytest.importorskip(module, reason="the extra [site] is not installed (make env-site)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPRO_OUTPUT", str(tmp_path_factory.mktemp("built")))
        done = notebooks.execute(EXECUTED, {"preset": "smoke", "interactive": False}, progress=False)
        assert done.state == "executed", done.message
        yield build()


UNSAID = "No description has been provided"
"""What nbconvert says of a picture that nobody describes."""


class Outline(HTMLParser):
    """Ranks of the headings, and pictures without an alternative text of their own, of a page."""

    def __init__(self, text):
        super().__init__()
        self.ranks, self.silent, self.pictures = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if re.fullmatch("h[1-6]", tag):
            self.ranks.append(int(tag[1]))
        if tag == "img":
            self.pictures += 1
        if tag == "img" and (dict(attrs).get("alt") or UNSAID).startswith(UNSAID):
            self.silent.append(dict(attrs).get("src"))


def test_nothing_is_warned_of_and_every_link_leads_somewhere(site):
    assert site.warnings == [] and site.broken == []


def test_every_public_name_stands_in_the_reference(site):
    for package in listings.PUBLIC:
        page = (site.folder / "api" / f"{package}.html").read_text(encoding="utf-8")
        offered = importlib.import_module(package)
        for name in getattr(offered, "__all__", ()):
            value = getattr(offered, name)
            home = f"{value.__module__}.{name}" if getattr(value, "__module__", "").startswith("repro") else ""
            assert f'id="{package}.{name}"' in page or f'id="{home}"' in page, f"{package}.{name}"


def test_every_published_id_has_a_page(site):
    for name in [*report.published_tables(), *report.published_figures()]:
        assert (site.folder / "entries" / f"{name}.html").is_file(), name


def test_headings_are_in_order_and_pictures_have_words(site):
    assert Outline((site.folder / "pages" / f"{EXECUTED}.html").read_text(encoding="utf-8")).pictures
    for path in site.folder.rglob("*.html"):
        found = Outline(path.read_text(encoding="utf-8"))
        assert found.silent == [], path.name
        if path.name not in ("genindex.html", "py-modindex.html", "search.html"):
            assert found.ranks.count(1) == 1, path.name
            assert all(after - before <= 1 for before, after in zip(found.ranks, found.ranks[1:])), path.name


OVER = """() => [...document.querySelectorAll(".wide, .table-wrapper")]
  .filter(box => box.getBoundingClientRect().right > box.parentElement.getBoundingClientRect().right + 0.5)
  .map(box => box.textContent.trim().slice(0, 40))"""
"""Boxes of tables that reach beyond the column of the text."""


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def opened(site, browser, width, scheme):
    """(name, tab) of each page in turn, without a network; a script that fails fails the test."""
    wrong = []
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, offline=True)
    tab = context.new_page()
    tab.on("pageerror", lambda error: wrong.append(str(error)))

    def pages(names=LOOKED_AT):
        for name in names:
            tab.goto((site.folder / f"{name}.html").as_uri())
            yield name, tab

    yield pages
    context.close()
    assert wrong == []


in_a_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"),
    pytest.mark.parametrize("width", WIDTHS),
    pytest.mark.parametrize("scheme", SCHEMES),
]


def all_of(marks):
    return lambda function: functools.reduce(lambda done, mark: mark(done), marks, function)


@all_of(in_a_browser)
def test_pages_fit_and_all_words_stand_out_from_their_ground(opened, width, scheme):
    wide, unread = [], []
    for name, tab in opened():
        wide += [name] * (not tab.evaluate(FITS)) + [(name, words) for words in tab.evaluate(OVER)]
        ground, faint = tab.evaluate(FAINT)
        assert (ground > 0.5) == (scheme == "light"), name
        unread += [(name, *each) for each in faint]
    assert wide == [] and unread == []


@all_of(in_a_browser)
def test_the_claims_are_searched_by_keyboard(opened, width, scheme):
    from playwright.sync_api import expect

    for _, tab in opened(["claims"]):
        tab.get_by_label("Words").focus()
        tab.keyboard.type("kendall tau")
        tab.keyboard.press("Tab")
        tab.keyboard.type("ACGhostNet")
        rows = tab.locator("#claims tbody tr:visible")
        count = tab.locator("#claims-count").inner_text()
        assert 0 < rows.count() < 20 and count == f"{rows.count()} of {len(report.claims())} claims"
        assert all("kendall" in text.lower() for text in rows.all_inner_texts())
        tab.get_by_role("button", name="Show all").click()
        expect(rows).to_have_count(len(report.claims()))
        tab.get_by_label("Status").select_option("reproduced")
        shown = rows.evaluate_all("all => all.map(row => row.dataset.status)")
        count = tab.locator("#claims-count").inner_text()
        assert set(shown) == {"reproduced"} and count == f"{len(shown)} of {len(report.claims())} claims"
