"""Several explorers in tabs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import ipywidgets as widgets

from repro.widgets.design_view import design_explorer
from repro.widgets.weights_view import weight_explorer

TABS: dict[str, Callable[[], widgets.Widget]] = {"Design and its cost": design_explorer, "Weights": weight_explorer}


def explorer(more: Mapping[str, Callable[[], widgets.Widget]] | None = None) -> widgets.Widget:
    """Design explorer, weight explorer and `more` (title -> view) in tabs; a tab is made when it is first opened."""
    views = {**TABS, **(more or {})}
    pages = [widgets.VBox() for _ in views]
    tabs = widgets.Tab(children=pages, titles=list(views))

    def open_tab(_=None) -> None:
        page, make = pages[tabs.selected_index or 0], list(views.values())[tabs.selected_index or 0]
        if not page.children:
            page.children = [make()]

    tabs.selected_index = 0
    tabs.observe(open_tab, "selected_index")
    open_tab()
    return tabs
