"""Pages are made from records and texts alone, without Sphinx; links that lead nowhere are found."""

import json
import re
import sys

import pytest

from repro import report
from repro.cli import main as command_line
from repro.errors import InputError
from repro.pages.execute import notebooks_folder
from repro.report.board import Judged
from repro.report.published import PAPERS
from repro.site import build, entries, listings, notebooks, parts, texts
from repro.site.links import broken_links

CLAIMS = report.claims()
JUDGED = {name: Judged({}, "not run", "no <record> of it") for name in CLAIMS["claim_id"]}


def entry(name, **options):
    options = {"paper": "A", "caption": "a < b", "state": "regenerated", "code": "", "records": []} | options
    return entries.Entry(name, **options)


def test_links_of_a_text_lead_to_pages():
    text = "[t](repro/papers/shiftaddaug/t03.py) [v](data/results/VERDICTS.md) [L](LICENSE) [c](CONTRIBUTING.md#runs)"
    assert (
        texts.relink(text, "README.md") == "[t](entries/shiftaddaug_t03.md) [v](claims.md) L [c](CONTRIBUTING.md#runs)"
    )
    assert texts.relink("[r](../../README.md#a)", "docs/guides/x.md") == "[r](../../README.md#a)"
    assert texts.relink("[x](https://example.org/a)", "README.md") == "[x](https://example.org/a)"


def test_the_readme_is_split_at_its_second_heading_and_its_board_is_left_out():
    first, rest = texts.introduction(), texts.usage()
    assert first.startswith("# ") and "\n## " not in first
    assert "(index.md)" in rest and "status-board" not in rest and "acghostnet_t01](" not in rest
    assert rest.count("\n## ") == texts.read("README.md").count("\n## ")


def test_a_text_that_is_absent_is_named():
    with pytest.raises(InputError, match=r"docs/none\.md cannot be read"):
        texts.read("docs/none.md")


def test_a_page_shows_every_record_beside_the_printed_numbers():
    name = "acghostnet_t06"
    shown = entry(name, records=report.load_records(name))
    page = entries.page(shown, JUDGED, CLAIMS)
    for record in shown.records:
        assert f"## Published and ours: {record.label}" in page and f"{name}-{record.preset}-{record.dataset}" in page
    assert "<p>a &lt; b</p>" in page and "no &lt;record&gt; of it" in page and "<style" not in page
    claimed = CLAIMS["claim_id"][CLAIMS["table_or_figure"] == name]
    assert len(claimed) and all(f"../claims.html#{one}" in page for one in claimed)
    linked = set(re.findall(r'href="\.\./downloads/([^"]+)"', page))
    assert linked == shown.files.keys() and len(linked) == 1 + 3 * len(shown.records)
    assert all(text.strip() for text in shown.files.values())


def test_a_page_without_record_shows_the_printed_numbers():
    page = entries.page(entry("shiftaddnas_t08", state="not yet"), JUDGED, CLAIMS)
    assert "Nothing regenerates it yet" in page or "python -m repro table" in page
    assert "## Published" in page and "## Provenance" not in page


@pytest.mark.parametrize(("name", "words"), [("acghostnet_t06", "table 6"), ("shiftaddaug_supp_f01", "figure 1")])
def test_an_id_is_told_in_words(name, words):
    assert entries.place_words(name) == words


def test_long_data_are_cut_and_say_so():
    record = report.latest("acghostnet_f06")
    assert 0 < len(record.frame) <= entries.SHOWN_ROWS and "The first" not in entries._data(record.frame, "x")
    longer = record.frame.loc[record.frame.index.repeat(entries.SHOWN_ROWS)]
    assert f"The first 60 of {len(longer)} rows" in entries._data(longer, "x")


def test_the_claims_are_all_in_one_table_with_what_the_search_reads():
    page = listings.claims_page(CLAIMS, JUDGED, ["acghostnet_t01"])
    assert page.count("<tr id=") == len(CLAIMS) and page.count('data-status="not run"') == len(CLAIMS)
    assert set(re.findall(r'data-paper="([^"]+)"', page)) == {*PAPERS.values(), listings.BETWEEN}
    assert 'href="entries/acghostnet_t01.html"' in page and "entries/acghostnet_t02.html" not in page
    assert page.count("<label>") == 3 and "claims.js" in page and "no &lt;record&gt; of it" in page
    assert page.count("added up.</td>") == 1
    assert "added up.</td>" in entries.claims_table("f06", ["autoshiftnet_f06"], JUDGED, CLAIMS)


def test_the_front_page_has_a_picture_of_each_paper_a_figure_before_a_table():
    drawn = [entries.Picture("p.svg", "<svg/>", "what <it> shows")]
    found = [entry("a_t01", pictures=drawn), entry("a_f01", paper="ACGhostNet", pictures=drawn)]
    found += [entry("b_t01", paper="ACGhostNet", pictures=drawn)]
    page = listings.front(found, "BOARD")
    assert page.count("<img") == 1 and 'href="entries/a_f01.html"' in page and 'alt="what &lt;it&gt; shows"' in page
    assert "BOARD" in page and page.count("{toctree}") == 3


def test_notebooks_that_were_executed_are_told_from_those_that_were_not(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_OUTPUT", str(tmp_path))
    assert listings.copy_executed(tmp_path / "site") == [] and not (tmp_path / "site").exists()
    first, second, *rest = listings.list_notebooks()
    (tmp_path / "pages").mkdir()
    for ending in (".html", ".ipynb"):
        (tmp_path / "pages" / f"{first}{ending}").write_text("made")
    page = listings.notebooks_page(listings.copy_executed(tmp_path / "site"))
    assert page.count(f'<td><a href="pages/{first}.html">executed</a></td>') == 1
    assert page.count("<td>from the records</td>") == 1 + len(rest)
    assert all(f'href="notebooks/{name}.html"' in page and f"\nnotebooks/{name}\n" in page for name in (first, second))
    assert (tmp_path / "site" / f"{first}.html").read_text() == "made"
    assert "make tables" in (tmp_path / "site" / f"{second}.html").read_text()


@pytest.mark.parametrize("name", ["13_acghostnet_results", "30_shiftaddnas_cost"])
def test_a_notebook_that_was_not_executed_shows_its_text_with_the_committed_records(name):
    covers = listings.list_notebooks()[name]
    found = {one: entry(one, records=report.load_records(one)) for one in covers}
    claims = entries.claims_table(name, covers, JUDGED, CLAIMS)
    page = notebooks.page(name, found, covers, claims, executed=False)
    cells = json.loads((notebooks_folder() / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        for line in "".join(cell["source"]).splitlines():
            kept = cell["cell_type"] == "markdown" and line.strip() and line not in ("## Verdicts", "## Provenance")
            assert not kept or "interactive" in cell["metadata"].get("tags", []) or line in page, line
    assert "## Verdicts" not in page and claims in page and f"make tables TABLES='{' '.join(covers)}'" in page
    for one in covers:
        record = report.latest(one, trained="cost" not in name)
        assert f"(../entries/{one}.md), committed record: {record.label}." in page
    assert page.count("aria-label=") == len(covers) + 1 and "executed here" not in page
    link = f'<a href="../pages/{name}.html">as it was executed here</a>'
    assert link in notebooks.page(name, found, covers, "", executed=True)


def test_an_id_without_record_is_told_on_its_notebooks_page():
    shown = notebooks._shown('show.page("x_t01")', {"x_t01": entry("acghostnet_f02", state="not yet")}, ["x_t01"], "")
    assert list(shown) == ["[A, figure 2](../entries/acghostnet_f02.md): not yet."]
    assert list(notebooks._shown("show.table(frame)", {}, [], "")) == [notebooks._MORE]
    assert list(notebooks._shown('here = ["x_t01"]\nours = {}', {}, [], "")) == []


def test_every_package_of_the_reference_names_what_is_public():
    for name in listings.PUBLIC[:-1]:
        path = listings.__file__.replace("site/listings.py", f"{name.removeprefix('repro.')}/__init__.py")
        assert "\n__all__ = [" in open(path, encoding="utf-8").read(), name


def test_constants_are_told_with_what_stands_below_them_and_their_names():
    told = listings.constants("repro.datasets")
    assert (
        told["REGISTRY"].startswith("Name -> what is known of an image data set")
        and "Names: digits" in told["REGISTRY"]
    )
    page = listings.reference()["api/repro.cost.rst"]
    assert ".. py:data:: ACCOUNTINGS\n   :module: repro.cost\n\n   Ways to account for energy" in page
    undescribed = [
        f"{package}.{name}"
        for package in listings.PUBLIC[:-1]
        for name, text in listings.constants(package).items()
        if not text
    ]
    assert not undescribed


def test_a_docstring_shows_what_was_written():
    lines = [
        "A |x| of `a_*b`, see x_.",
        "",
        "    code(*it)",
        "",
        "Args:",
        "    x: any | none.",
        "Returns: two",
        "    lines.",
    ]
    assert build.marked_up(lines) == [
        *(r"A \|x\| of `a_*b`, see x\_.", "", "::", "", "    code(*it)", "", "", "Args:", r"    x: any \| none."),
        *("", "**Returns:** two", "lines."),
    ]


def test_a_table_is_a_box_that_is_reached_by_keyboard():
    drawn = str(report.render_table(report.compare("acghostnet_t06", report.latest("acghostnet_t06").frame)))
    box = parts.boxed(drawn, "a & b")
    assert "<style" in drawn and "<style" not in box
    assert box.startswith('<div class="wide" role="region" tabindex="0" aria-label="a &amp; b">')


def test_links_that_lead_nowhere_are_found(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.html").write_text(
        '<h1 id="top"></h1><a href="#top"></a><a href="sub/b.html#here"></a><a href="https://example.org"></a>'
        '<a href="none.html"></a><a href="sub/b.html#gone"></a><script src="https://cdn.example.org/x.js"></script>'
        '<img src="data:image/png;base64,AA"><a href="../outside.txt"></a>'
    )
    (tmp_path / "sub" / "b.html").write_text('<p id="here"><a href="../a.html#top"></a><img src="c%20d.svg">')
    (tmp_path / "sub" / "c d.svg").write_text("")
    (tmp_path.parent / "outside.txt").write_text("")
    assert broken_links(tmp_path) == [
        "a.html: none.html",
        "a.html: sub/b.html#gone",
        "a.html: https://cdn.example.org/x.js",
        "a.html: ../outside.txt",
    ]


def test_without_the_extra_one_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "sphinx", None)
    with pytest.raises(InputError, match=r"sphinx is not installed; it comes with the extra \[site\]"):
        build.build()


def test_an_installed_package_says_where_the_site_is_built(monkeypatch):
    monkeypatch.setitem(sys.modules, "sphinx", None)  # the extra would not help
    monkeypatch.setattr(build, "is_installed", lambda: True)
    with pytest.raises(InputError, match="built in a checkout"):
        build.build()


def test_an_output_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "require", lambda module, extra: None)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REPRO_OUTPUT", str(tmp_path / "file" / "output"))
    with pytest.raises(InputError, match=r"cannot write to folder .*output"):
        build.build()


@pytest.mark.parametrize(("broken", "code"), [([], 0), (["a.html: b.html"], 1)])
def test_the_command_tells_what_was_built_and_fails_for_a_broken_link(broken, code, tmp_path, monkeypatch, capsys):
    made = build.Site(tmp_path, pages=3, size_mb=1.5, seconds=2.0, warnings=[], broken=broken, executed=[])
    monkeypatch.setattr(build, "build", lambda: made)
    monkeypatch.setattr(sys, "argv", ["repro", "site"])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    printed = capsys.readouterr().out
    assert (ended.value.code or 0) == code and f"3 pages, 1.5 MB, 2 s, {len(broken)} broken links" in printed
    assert all(line in printed for line in broken)


@pytest.mark.parametrize("done", [0, 1, 3, None])
def test_the_command_says_which_command_gives_executed_notebooks(done, tmp_path, monkeypatch, capsys):
    names = list(listings.list_notebooks())
    made = build.Site(tmp_path, pages=3, size_mb=1.5, seconds=2.0, warnings=[], broken=[], executed=names[:done])
    monkeypatch.setattr(build, "build", lambda: made)
    monkeypatch.setattr(sys, "argv", ["repro", "site"])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    printed, told = " ".join(capsys.readouterr().out.split()), {0: "None of", 1: "1 of", 3: "3 of"}
    assert not ended.value.code and ("`make tables` executes them" in printed) == (done is not None)
    assert (
        done is None or f"{told[done]} the {len(names)} notebooks {'were' if done == 3 else 'was'} executed" in printed
    )


FURO = {"light": ("#ffffff", "#f8f9fb"), "dark": ("#131416", "#1a1c1e")}
"""The theme's backgrounds of text and of the rows of tables."""


def luminance(colour):
    """Relative luminance of "#rrggbb" (WCAG 2.2)."""
    digits = colour.removeprefix("#")
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(*colours):
    darker, lighter = sorted(map(luminance, colours))
    return (lighter + 0.05) / (darker + 0.05)


def test_verdicts_have_the_contrast_that_text_needs_light_and_dark():
    assert contrast("#000000", "#ffffff") == pytest.approx(21) and round(contrast("#767676", "#ffffff"), 2) == 4.54
    css = (build._HERE / "static" / "site.css").read_text(encoding="utf-8")
    light, *dark = re.findall(r"--good: .*?(?=})", css)
    assert len(dark) == 2 and len({" ".join(one.split()) for one in dark}) == 1  # chosen, and the system's
    for theme, colours in (("light", light), ("dark", dark[0])):
        words = dict(re.findall(r"--(good|bad|open|quiet): (#[0-9a-f]{6})", colours))
        assert len(words) == 4
        for word, colour in words.items():
            assert min(contrast(colour, ground) for ground in FURO[theme]) >= 4.5, (theme, word)
