"""All three explorers in tabs."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as widgets

from repro.widgets.design_view import design_explorer
from repro.widgets.ghost_view import acghostnet_explorer
from repro.widgets.weights_view import weight_explorer

TABS: dict[str, Callable[[], widgets.Widget]] = {
    "Design and its cost": design_explorer,
    "ACGhostNet": acghostnet_explorer,
    "Weights": weight_explorer,
}


def explorer() -> widgets.Widget:
    """Design, ACGhostNet and weight explorer in tabs; a tab is made when it is first opened."""
    pages = [widgets.VBox() for _ in TABS]
    tabs = widgets.Tab(children=pages, titles=list(TABS))

    def open_tab(_=None) -> None:
        page, make = pages[tabs.selected_index or 0], list(TABS.values())[tabs.selected_index or 0]
        if not page.children:
            page.children = [make()]

    tabs.selected_index = 0
    tabs.observe(open_tab, "selected_index")
    open_tab()
    return tabs
