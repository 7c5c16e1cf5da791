"""The explorers with what the papers add to them (notebook 03, `make app`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.widgets.published import Source

if TYPE_CHECKING:
    import ipywidgets

SOURCES = (
    Source("shiftaddaug_t03", "ShiftAddAug table 3 (CIFAR-100)", "accuracy_pct", "chip"),
    Source("acghostnet_t05", "ACGhostNet table 5 (ImageNet)", "top1_pct", "operations"),
    Source("acghostnet_t04", "ACGhostNet table 4 (CIFAR-10)", "accuracy_pct", "operations"),
    Source("shiftaddnas_t04", "ShiftAddNAS table 4 (ImageNet)", "top1_pct", ""),
)
"""Printed networks that a design can be compared with."""


def explorer() -> ipywidgets.Widget:
    """Design explorer, weight explorer and the ACGhostNet explorer in tabs."""
    from repro.papers.acghostnet.explorer_view import acghostnet_explorer
    from repro.widgets import explorer as tabs

    return tabs({"ACGhostNet": acghostnet_explorer}, SOURCES)
