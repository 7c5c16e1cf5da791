"""Several explorers in tabs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import ipywidgets as widgets

from repro.widgets.design_view import design_explorer
from repro.widgets.parts import heading
from repro.widgets.published import Source
from repro.widgets.weights_view import weight_explorer


def explorer(
    more: Mapping[str, Callable[[], widgets.Widget]] | None = None, sources: Sequence[Source] = ()
) -> widgets.Widget:
    """Design explorer, weight explorer and `more` (title -> view) in tabs; a tab is made when it is first opened.

    Args:
        sources: published tables that the design explorer compares with.
    """
    design = functools.partial(design_explorer, sources=sources)
    views = {"Design": design, "Weights": weight_explorer, **(more or {})}
    pages = [widgets.VBox() for _ in views]
    tabs = widgets.Tab(children=pages, titles=list(views))

    def open_tab(_=None) -> None:
        page, make = pages[tabs.selected_index or 0], list(views.values())[tabs.selected_index or 0]
        if not page.children:
            page.children = [heading("loading …")]
            page.children = [make()]

    tabs.selected_index = 0
    tabs.observe(open_tab, "selected_index")
    open_tab()
    return tabs
