"""Static HTML pages of executed notebooks: no kernel, no network, pages that lead to pages.

A page leaves out what only a kernel can serve: cells tagged `interactive`, widgets, progress on stderr, and headings
that are left with nothing below. Formulas become MathML; wide tables scroll in a box of their own; the caption below a
picture is its alternative text.
"""

from __future__ import annotations

import copy
import html
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from repro.errors import InputError
from repro.paths import write_text

if TYPE_CHECKING:
    from nbformat import NotebookNode

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
PICTURES = {"image/svg+xml": "svg", "image/png": "png", "image/jpeg": "jpg"}
"""Kinds of pictures, each with the name of its block in nbconvert's template."""

# The shadow at the edge of a wide table lies behind covers that scroll with it: it shows where more is to come.
# Colours reach 4.5 : 1 on their ground; pictures, which are drawn for white, stay on a white sheet in the dark.
CSS = """
:root {
  color-scheme: light dark; --repro-shade: #0006; --repro-stripe: #0000000b;
  --repro-good: #14643c; --repro-bad: #a3201a; --repro-open: #6b5200; --repro-quiet: #4b5563;
  --jp-mirror-editor-comment-color: #2f6868; --jp-mirror-editor-operator-color: #8a1ad0;
  --jp-mirror-editor-number-color: #0b6b0b;
}
body.jp-Notebook { background: var(--jp-layout-color0); margin: 0 auto; max-width: 1360px; padding: 16px; }
.jp-RenderedMarkdown > * { max-width: 72em; }
.jp-InputArea-editor { overflow-x: auto; }
.jp-RenderedText pre .ansi-red-fg { color: var(--repro-bad); }
.jp-RenderedText pre .ansi-green-fg { color: var(--repro-good); }
.jp-RenderedText pre .ansi-yellow-fg { color: var(--repro-open); }
.jp-RenderedText pre :is(.ansi-blue-fg, .ansi-cyan-fg) { color: var(--jp-content-link-color); }
.repro-parameters { color: var(--repro-quiet); font-size: 85%; }
.repro-wide {
  border: 1px solid var(--jp-border-color2); box-sizing: border-box; margin: 8px 0; max-width: 100%; overflow-x: auto;
  width: fit-content;
  background:
    linear-gradient(to right, var(--jp-layout-color0) 40px, transparent) 0 0 / 60px 100% no-repeat local,
    linear-gradient(to left, var(--jp-layout-color0) 40px, transparent) 100% 0 / 60px 100% no-repeat local,
    linear-gradient(to right, var(--repro-shade), transparent) 0 0 / 18px 100% no-repeat scroll,
    linear-gradient(to left, var(--repro-shade), transparent) 100% 0 / 18px 100% no-repeat scroll;
}
.jp-RenderedHTMLCommon .repro-wide table { margin: 0; }
.jp-RenderedHTMLCommon .repro-wide tbody tr { background: transparent; }
.jp-RenderedHTMLCommon .repro-wide tbody tr:nth-child(even) { background: var(--repro-stripe); }
.repro-wide::-webkit-scrollbar { height: 12px; }
.repro-wide::-webkit-scrollbar-track { background: var(--jp-layout-color2); }
.repro-wide::-webkit-scrollbar-thumb { background: #888; border-radius: 6px; }
@supports not selector(::-webkit-scrollbar) { .repro-wide { scrollbar-color: #888 var(--jp-layout-color2); } }
@media screen and (prefers-color-scheme: dark) {
  :root {
    --repro-good: #6fd39b; --repro-bad: #ff9a92; --repro-open: #e7c454; --repro-quiet: #b4bac4;
    --repro-shade: #fff6; --repro-stripe: #ffffff12;
    --jp-mirror-editor-comment-color: #8fc7c7; --jp-mirror-editor-operator-color: #d9a3ff;
    --jp-mirror-editor-number-color: #81c784;
  }
  :is(.jp-RenderedSVG, .jp-RenderedImage) img {
    background: white; border-radius: 4px; box-sizing: border-box; padding: 8px;
  }
}
"""

# The lab template without what it would load from the network, with its dark colours for those who ask for dark.
TEMPLATE = """{% extends 'lab/index.html.j2' %}
{% block html_head_js %}{% endblock %}
{% block jupyter_widgets %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block html_head_css %}
<style media="screen and (prefers-color-scheme: dark)">{% include 'static/theme-dark.css' %}</style>
<style>CSS</style>
{% endblock %}
""".replace("CSS", CSS)
TEMPLATE += "".join(
    f"{{% block data_{kind} scoped %}}"
    "{{ super() | replace('<img ', '<img alt=\"' ~ output.metadata.alt ~ '\" ', 1) }}"
    "{% endblock %}\n"
    for kind in PICTURES.values()
)

NOTE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1.0">
<title>{name}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font-family: sans-serif; margin: 3em auto; max-width: 40em; }}
</style></head>
<body><h1>{name}</h1><p>Not executed yet. This makes the page:</p><pre>{command}</pre></body>
</html>
"""


def write_page(notebook: NotebookNode, page: Path, linked: Iterable[str] = ()) -> Path:
    """Write the page of an executed notebook.

    Args:
        linked: names of notebooks; links to them lead to their pages, which lie beside this one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        body, _ = _exporter().from_notebook_node(static(notebook), {"metadata": {"name": page.stem}})
    body = re.sub(r"<table\b.*?</table>", r'<div class="repro-wide">\g<0></div>', body, flags=re.DOTALL)
    for name in linked:
        body = re.sub(rf'href="(?:\./)?{re.escape(name)}\.ipynb(?=["#])', f'href="{name}.html', body)
    return write_text(page, body)


def write_notes(folder: Path, notebooks: Mapping[str, Sequence[str]]) -> None:
    """For every notebook (name -> tables it covers) without a page: a page that says how to execute it."""
    for name, tables in notebooks.items():
        page = folder / f"{name}.html"
        if not page.exists():
            write_text(page, NOTE.format(name=html.escape(name), command=html.escape(making_command(tables))))


def making_command(tables: Sequence[str]) -> str:
    """The command that executes a notebook which covers these tables."""
    return f"make tables TABLES='{' '.join(tables)}'" if tables else "make tables"


def static(notebook: NotebookNode) -> NotebookNode:
    """A copy of a notebook with what a page without a kernel can show."""
    notebook = copy.deepcopy(notebook)
    notebook.metadata.pop("widgets", None)
    cells = [cell for cell in notebook.cells if "interactive" not in _tags(cell)]
    for cell in cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_live(output)]
    _describe_pictures(cells)
    notebook.cells = without_empty_headings(_parameters_in_small(cells))
    return notebook


def _describe_pictures(cells: Iterable[NotebookNode]) -> None:
    """Give every picture its alternative text, as HTML, as `alt` of its metadata."""
    heading = ""
    for cell in cells:
        if cell.cell_type == "markdown":
            heading = [heading, *re.findall(r"^#{1,6} +(.*)$", cell.source, re.M)][-1]
        outputs = cell.get("outputs", [])
        for output, below in zip(outputs, [*outputs[1:], {}]):
            if PICTURES.keys() & output.get("data", {}).keys():
                output.metadata["alt"] = html.escape(_description(output.data, below, heading))


def _description(data: Mapping[str, str], below: Mapping, heading: str) -> str:
    """A picture's caption (the output below it, if that is one paragraph in italics), else what its SVG says of itself,
    else where it stands."""
    caption = re.fullmatch(r"\s*\*(?!\*)([^\n]+)\*\s*", below.get("data", {}).get("text/markdown", ""))
    own = re.search(r"<(desc|title)\b[^>]*>\s*(\S.*?)\s*</\1>", data.get("image/svg+xml", ""), re.DOTALL)
    if caption or own:
        return html.unescape(caption[1] if caption else own[2])  # type: ignore[index]
    return f"Picture below the heading {heading!r}" if heading else "Picture without a caption"


def _tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def _is_live(output: NotebookNode) -> bool:
    """Progress and warnings (stderr), or a widget."""
    return output.get("name") == "stderr" or WIDGET_VIEW in output.get("data", {})


def _parameters_in_small(cells: list[NotebookNode]) -> list[NotebookNode]:
    """The cell of declared parameters goes if others were injected; the one that stays is a line of small print."""
    from nbformat.v4 import new_markdown_cell

    injected = any("injected-parameters" in _tags(cell) for cell in cells)
    kept = []
    for cell in cells:
        tags = _tags(cell)
        if "parameters" in tags and injected:
            continue
        if "parameters" in tags or "injected-parameters" in tags:
            lines = [line for line in cell.source.splitlines() if line and not line.startswith("#")]
            values = " · ".join(f"<code>{html.escape(line)}</code>" for line in lines)
            cell = new_markdown_cell(f'<p class="repro-parameters">Parameters: {values}</p>', id=cell.id)
        kept.append(cell)
    return kept


def without_empty_headings(cells: list[NotebookNode]) -> list[NotebookNode]:
    """Drop cells that hold one heading only and are followed by the end or by a heading of the same rank or above."""
    kept: list[NotebookNode] = []
    below = 0  # rank of the heading that the next kept cell begins with; 0 at the end, 7 for other content
    for cell in reversed(cells):
        heading = re.match(r"(#{1,6}) ", cell.source.strip()) if cell.cell_type == "markdown" else None
        rank = len(heading.group(1)) if heading else 7
        if heading and "\n" not in cell.source.strip() and below <= rank:
            continue
        kept.append(cell)
        below = rank
    return kept[::-1]


def _exporter():
    from jinja2 import pass_context
    from nbconvert import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def inline_math(self, body: str) -> str:
            return mathml(body, "inline")

        def block_math(self, body: str) -> str:
            return mathml(body, "block")

        def latex_environment(self, name: str, body: str) -> str:
            return mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")

    class Exporter(HTMLExporter):
        @pass_context
        def markdown2html(self, context, source: str) -> str:
            return MarkdownWithMath(renderer=Renderer(escape=False)).render(source)

    return Exporter(raw_template=TEMPLATE, exclude_input_prompt=True, exclude_output_prompt=True)


def mathml(formula: str, display: str) -> str:
    """A LaTeX formula as MathML, which browsers draw themselves.

    Args:
        display: "inline" or "block".
    Raises: InputError for what is no formula.
    """
    from latex2mathml.converter import convert

    try:
        return convert(formula, display=display)
    except Exception as error:  # the package's errors share no class of their own
        raise InputError(f"formula={formula!r} is not LaTeX that a page can show ({type(error).__name__}).") from error
