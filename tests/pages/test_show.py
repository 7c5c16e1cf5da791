"""What the notebooks' one-liners put on a page."""

import math

import pandas as pd

from repro.pages import show


def test_a_small_frame_has_the_digits_asked_for_and_no_negative_zero(monkeypatch):
    displayed = []
    monkeypatch.setattr(show, "display", displayed.append)
    show.table(pd.DataFrame({"name": ["<a>", "b", "c"], "gain": [-0.0001, -1.25, math.nan], "n": [1, 2, 3]}), digits=2)
    (style,) = displayed
    page = style.to_html()
    assert ">0.00<" in page and ">-1.25<" in page and ">–<" in page and ">1<" in page and "-0.00" not in page
    assert "&lt;a&gt;" in page
