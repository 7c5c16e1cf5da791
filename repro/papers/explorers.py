"""The explorers with what the papers add to them (notebook 03, `make app`)."""

from __future__ import annotations

import ipywidgets

from repro.papers.acghostnet.explorer_view import acghostnet_explorer
from repro.widgets import explorer as tabs


def explorer() -> ipywidgets.Widget:
    """Design explorer, weight explorer and the ACGhostNet explorer in tabs."""
    return tabs({"ACGhostNet": acghostnet_explorer})
