"""Pages need neither kernel nor network, lead to one another, and leave out what only a kernel can show."""

import re

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from repro.errors import InputError
from repro.pages.html import WIDGET_VIEW, mathml, static, write_notes, write_page

TABLE = "<table><tr><td>1</td></tr></table>"


def code(source, *outputs, tags=()):
    return new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)})


def heading(text, tags=()):
    return new_markdown_cell(text, metadata={"tags": list(tags)})


def stream(name, text):
    return new_output("stream", name=name, text=text)


def shown(kind, data):
    return new_output("display_data", data={kind: data})


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
