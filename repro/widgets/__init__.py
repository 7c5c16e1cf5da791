"""Interactive views for notebooks and the app: thin ipywidgets front ends over ordinary functions.

    explorer(more, sources)    the next two and `more` in tabs (`repro.papers.explorers` adds what the papers have)
    design_explorer()          a model, its operators and the modelled chip: counts, energy, latency, Pareto front
    weight_explorer(trained)   remapping and rounding of a layer's weights, drawn or trained
    augmentation_explorer()    a target and the network around it: what training and deployment cost (notebook 21)
    channel_explorer(places)   which channels came into the target of a training, by epoch (notebook 21)
    adder_term_explorer()      one term of an adder layer with its surrogate gradients (notebook 01)
    ranking_explorer(points)   predicted against true accuracy of a supernet's networks (notebook 10)
    cell_search_explorer(search)   a search of cells, epoch by epoch (notebook 41)
    translation_explorer(t)    a sentence, translated by a network of a trained supernet (notebook 32)
    judging_explorer()         how often each verdict is reached on a claim whose truth is chosen (notebook 04)

What is computed lives in modules without a widget (`design`, `published`, `weights`, `augmentation`, `small`,
`translating`); those named `*_view` only lay out controls, pass values on, and put what comes back into figures.
Nothing here trains.
"""

from __future__ import annotations

import importlib

_VIEWS = {
    "explorer": "repro.widgets.explorer_view",
    "design_explorer": "repro.widgets.design_view",
    "weight_explorer": "repro.widgets.weights_view",
    "augmentation_explorer": "repro.widgets.augmentation_view",
    "channel_explorer": "repro.widgets.channels_view",
    "adder_term_explorer": "repro.widgets.small_view",
    "ranking_explorer": "repro.widgets.small_view",
    "cell_search_explorer": "repro.widgets.cell_search_view",
    "judging_explorer": "repro.widgets.judging_view",
    "translation_explorer": "repro.widgets.translating_view",
}

__all__ = list(_VIEWS)


def __getattr__(name: str):
    """Load a view on first use: the pure modules stay usable without ipywidgets and plotly."""
    if name in _VIEWS:
        return getattr(importlib.import_module(_VIEWS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
