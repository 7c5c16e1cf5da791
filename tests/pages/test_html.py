"""Pages need neither kernel nor network, lead to one another, and leave out what only a kernel can show."""

import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from IPython.core.formatters import DisplayFormatter
from IPython.display import HTML
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from repro import report
from repro.errors import InputError
from repro.pages import show
from repro.pages.html import WIDGET_VIEW, mathml, static, write_notes, write_page
from repro.papers.table import Drawing
from repro.report.figures import new_figure
from tests.widgets import browser_tools

TABLE = "<table><tr><td>1</td></tr></table>"
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20">{}<rect width="40" height="20"/></svg>'


def code(source, *outputs, tags=()):
    return new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)})


def heading(text, tags=()):
    return new_markdown_cell(text, metadata={"tags": list(tags)})


def stream(name, text):
    return new_output("stream", name=name, text=text)


def shown(kind, data):
    return new_output("display_data", data={kind: data})


def bundle(one):
    """What a kernel sends of an object: MIME type -> data."""
    return {kind: str(data) for kind, data in DisplayFormatter().format(one)[0].items()}


def one_line():
    fig, ((axes,),) = new_figure()
    axes.plot([0, 1], [1, 0])
    axes.set(xlabel="epochs", ylabel="loss")
    return fig


def page_of(folder, *cells, linked=()):
    page = write_page(new_notebook(cells=list(cells)), folder / "90_small.html", linked)
    return page.read_text(encoding="utf-8")


def sources(*cells):
    return [cell.source for cell in static(new_notebook(cells=list(cells))).cells]


def test_a_page_loads_nothing(tmp_path):
    page = page_of(tmp_path, heading("# Title\n\nwith $x^2$"), code("show()", shown("text/html", TABLE)))
    assert "<script" not in page and "<link" not in page
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//|@import|url\(\s*['\"]?(?:https?:)?//", page)


def test_links_between_notebooks_lead_to_pages(tmp_path):
    output = shown("text/markdown", "| [10](10_ranking.ipynb) | [11](11_cost.ipynb#Table-4) | [x](other.ipynb) |")
    links = heading("See [10](10_ranking.ipynb) and [11](./11_cost.ipynb).")
    page = page_of(tmp_path, links, code("show()", output), linked=["10_ranking", "11_cost"])
    assert page.count('href="10_ranking.html"') == 2
    assert 'href="11_cost.html"' in page and 'href="11_cost.html#Table-4"' in page
    assert 'href="other.ipynb"' in page


def test_a_page_that_is_not_executed_says_how_to_make_it(tmp_path):
    (tmp_path / "10_ranking.html").write_text("executed")
    write_notes(tmp_path, {"10_ranking": ["t06"], "11_cost": ["t04", "t05"], "00_start": []})
    assert (tmp_path / "10_ranking.html").read_text() == "executed"
    assert "make tables TABLES=&#x27;t04 t05&#x27;" in (tmp_path / "11_cost.html").read_text()
    assert "<pre>make tables</pre>" in (tmp_path / "00_start.html").read_text()


def test_progress_and_widgets_are_left_out_and_errors_stay(tmp_path):
    failed = new_output("error", ename="ValueError", evalue="wrong", traceback=["ValueError: wrong"])
    widget = shown(WIDGET_VIEW, {"model_id": "7"})
    outputs = [stream("stderr", "seen 50%|#####     |"), stream("stdout", "printed"), widget]
    page = page_of(tmp_path, code("work()", *outputs, failed))
    assert "seen 50%" not in page and "model_id" not in page
    assert "printed" in page and "ValueError: wrong" in page


def test_interactive_cells_and_the_headings_above_them_are_left_out():
    cells = [
        heading("# Title"),
        heading("## Explore"),
        code("explorer()", tags=["interactive"]),
        heading("## Results"),
        heading("### Details"),
        code("results()"),
        heading("## Try it", tags=["interactive"]),
        heading("## Nothing below"),
        heading("### Nor here"),
    ]
    assert sources(*cells) == ["# Title", "## Results", "### Details", "results()"]


def test_a_heading_with_text_in_its_cell_stays():
    assert sources(heading("# Title"), heading("## Last\n\nA sentence.")) == ["# Title", "## Last\n\nA sentence."]


def test_only_injected_parameters_are_shown_and_small(tmp_path):
    declared = code('preset = "quick"\nfresh = False', tags=["parameters"])
    injected = code('# Parameters\npreset = "smoke"', tags=["injected-parameters"])
    page = page_of(tmp_path, declared, injected)
    assert "quick" not in page and "fresh =" not in page and "# Parameters" not in page
    assert '<p class="repro-parameters">Parameters: <code>preset = "smoke"</code></p>' in page
    assert "quick" in page_of(tmp_path, declared)


def test_the_notebook_itself_is_left_as_it_was():
    notebook = new_notebook(cells=[code("explorer()", tags=["interactive"])], metadata={"widgets": {}})
    static(notebook)
    assert len(notebook.cells) == 1 and "widgets" in notebook.metadata


def test_every_table_stands_in_a_box_that_scrolls(tmp_path):
    page = page_of(tmp_path, code("show()", shown("text/html", TABLE + TABLE)))
    assert page.count(f'<div class="repro-wide">{TABLE}</div>') == 2
    assert re.search(r"\.repro-wide \{[^}]*overflow-x: auto", page)


def test_formulas_become_mathml(tmp_path):
    formulas = heading("Inline $a_i$, then\n\n$$\\sum_i |x_i - w_i|$$\n\nand `$not this$`.")
    page = page_of(tmp_path, formulas)
    assert page.count("<math") == 2 and 'display="block"' in page
    assert "$not this$" in page and "$a_i$" not in page


def test_what_is_no_formula_is_named():
    with pytest.raises(InputError, match=r"formula='a\^b\^c'"):
        mathml("a^b^c", "inline")


class Pictures(HTMLParser):
    """Alternative texts of the pictures of a page."""

    def __init__(self, text):
        super().__init__()
        self.texts = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.texts += [dict(attrs).get("alt")] if tag == "img" else []


def described(folder, *cells):
    return Pictures(page_of(folder, *cells)).texts


def test_a_pictures_caption_is_its_alternative_text(tmp_path):
    caption = shown("text/markdown", '*More than 3 &lt; 5 "bits" [of 2*3].*')
    pictures = [shown("image/svg+xml", SVG.format("")), caption, shown("image/png", "iVBORw0KGgo="), caption]
    noise = stream("stderr", "a warning between")
    texts = described(tmp_path, heading("# T"), code("draw()", pictures[0], noise, *pictures[1:]))
    assert texts == ['More than 3 < 5 "bits" [of 2*3].'] * 2


def test_a_picture_without_a_caption_says_what_it_is_or_where(tmp_path):
    """Never that nobody described it, which is what nbconvert would say."""
    own, bare = SVG.format("<title> made &amp; named </title>"), SVG.format("<desc> </desc>")
    strong = shown("text/markdown", "**Ours:** preset")
    cells = [heading("# T\n\n## Part"), code("draw()", shown("image/svg+xml", own), strong)]
    cells += [code("draw()", shown("image/svg+xml", bare), strong, shown("image/jpeg", "/9j/"))]
    where = "Picture below the heading 'Part'"
    assert described(tmp_path, *cells) == ["made & named", where, where]
    assert described(tmp_path, code("draw()", shown("image/png", "iVBORw0KGgo="))) == ["Picture without a caption"]


def test_what_notebooks_display_is_a_picture_with_its_caption(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_FIGURES", str(tmp_path))
    outputs = []
    monkeypatch.setattr(show, "display", lambda one: outputs.append(new_output("display_data", data=bundle(one))))
    drawing = Drawing(one_line(), "What <it> shows & why.")
    show.figure(drawing, "a_f01")
    assert described(tmp_path, code("show.figure()", *outputs)) == [drawing.caption]


TRACEBACK = " ".join(f"\x1b[0;3{number}mcolour {number}\x1b[0m" for number in (1, 2, 3, 4, 6))
WORDS = {"light": "rgb(0, 0, 0)", "dark": "rgb(255, 255, 255)"}
CODE = """from math import pi  # a comment
@cached
class Words(str):
    def of(self, n=3):
        return f"{n:.1f}" if n not in (None, True) and n <= 1e-3 else 'a\\n' + str(pi)
"""


@pytest.fixture(scope="module")
def shown_page(tmp_path_factory):
    """A page with one of all that notebooks show: text, code, tables with verdicts, a picture, an error."""
    folder, outputs = tmp_path_factory.mktemp("shown"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPRO_FIGURES", str(folder))
        patch.setattr(show, "display", lambda one: outputs.append(new_output("display_data", data=bundle(one))))
        record = report.latest("acghostnet_t06")
        show.display(HTML(report.render_table(report.compare("acghostnet_t06", record.frame))))
        rows = pd.DataFrame([dict.fromkeys(("verdict", "evidence"), name) for name in show.VERDICT_COLOURS] * 2)
        show.display(show.in_colour(rows))
        show.figure(Drawing(one_line(), "Loss falls."), "a_f01")
    text = heading("# Title\n\nA [link](https://example.org), `code`, $x^2$ and *more*.\n\n> A quotation.\n\n    block")
    failed = new_output("error", ename="ValueError", evalue="wrong", traceback=[TRACEBACK])
    given = code('preset = "smoke"', tags=["injected-parameters"])
    page_of(folder, text, given, code(CODE, stream("stdout", "printed"), *outputs, failed))
    return folder / "90_small.html"


@pytest.mark.browser
@pytest.mark.skipif(browser_tools.CHROMIUM is None, reason="there is no Chromium here")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_words_stand_out_in_the_light_and_in_the_dark_and_pictures_stay_on_white(shown_page, scheme):
    with browser_tools.page(width=390, scheme=scheme) as tab:
        tab.goto(shown_page.as_uri())
        ground, faint = tab.evaluate(browser_tools.FAINT)
        assert (ground > 0.5) == (scheme == "light") and faint == []
        assert tab.evaluate(browser_tools.FITS) and tab.locator("table").count() == 2
        sheet = tab.locator("img").evaluate("e => getComputedStyle(e).backgroundColor")
        assert scheme == "light" or sheet == "rgb(255, 255, 255)"
        write_notes(shown_page.parent, {"11_cost": []})
        tab.goto((shown_page.parent / "11_cost.html").as_uri())
        assert tab.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") == (scheme == "dark")
        assert tab.evaluate("getComputedStyle(document.body).color") == WORDS[scheme]
