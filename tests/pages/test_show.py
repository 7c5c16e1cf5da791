"""What the notebooks' one-liners put on a page."""

import math

import pandas as pd
import pytest

from repro.datasets import load
from repro.pages import show


def test_a_small_frame_has_the_digits_asked_for_and_no_negative_zero(monkeypatch):
    displayed = []
    monkeypatch.setattr(show, "display", displayed.append)
    show.table(pd.DataFrame({"name": ["<a>", "b", "c"], "gain": [-0.0001, -1.25, math.nan], "n": [1, 2, 3]}), digits=2)
    (style,) = displayed
    page = style.to_html()
    assert ">0.00<" in page and ">-1.25<" in page and ">–<" in page and ">1<" in page and "-0.00" not in page
    assert "&lt;a&gt;" in page


def test_what_comes_from_messages_and_records_is_text_on_a_page(monkeypatch):
    displayed = []
    monkeypatch.setattr(show, "display", lambda item: displayed.append(item.data))
    hostile = "<script>alert(1)</script> [x](javascript:y) `z`"
    about = {"preset": "quick", "dataset": "digits", "seeds": [0], "scale": hostile, "failed": [hostile]}
    frame = pd.DataFrame()
    frame.attrs = about
    show.label(frame)
    show.say(hostile)
    page = "\n".join(displayed)
    assert page.count("&lt;script&gt;") == 3 and "<" not in page
    assert r"failed:** &lt;script&gt;alert\(1\)&lt;/script&gt; \[x\]\(javascript:y\) \`z\`" in page


@pytest.mark.parametrize("name", ["glyphs", "eyes"])
def test_a_data_set_is_shown_with_its_classes_or_masks_and_its_source(name, monkeypatch):
    drawings = []
    monkeypatch.setattr(show, "figure", lambda drawing, where: drawings.append((drawing, where)))
    show.dataset(name, 10)
    ((drawing, where),) = drawings
    texts = [axes.get_title() or axes.get_ylabel() for axes in drawing.figure.axes]
    data = load(name, "train", limit=10)
    wanted = ["image", "mask"] if name == "eyes" else [str(int(label)) for label in data.labels]
    assert [text for text in texts if text] == wanted and where == f"data_{name}"
    assert "drawn" in drawing.caption and data.provenance["source"] in drawing.caption
