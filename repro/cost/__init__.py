"""Operation counts, energy and latency models, Pareto fronts.

    count(model, input_size, convention=...)        parameters and operations under a paper's convention
    layer_cost(op, ...)                             one layer on the row-stationary accelerator
    model_cost(model, input_size, accounting=...)   a whole model on it
    translation_cost(config, ...)                   the translation networks of ShiftAddNAS
    LatencyPredictor().fit(features, latencies)     latency learned from features of a path (path_features)
    skeleton(name, ...)                             a model without memory for its weights
    traced(name, pixels, ...)                       the same with its layers, kept for further pricing
    repro.models.trace.trace(model, input_size)       its layers as they run; count and layers_cost take them

Published unit energies are inputs, kept with their source in `repro.cost.units`. Energy and latency are modelled, not
measured.
"""

from repro.cost.counting import CONVENTIONS, Convention, Count, count, operation_energy_pj
from repro.cost.eyeriss import ACCOUNTINGS, Hardware, LayerCost, layer_cost
from repro.cost.latency_predictor import LatencyPredictor, path_features
from repro.cost.model import DEPTHWISE, ModelCost, layers_cost, model_cost
from repro.cost.skeleton import skeleton, traced
from repro.cost.translation import TranslationCost, translation_cost
from repro.cost.units import (
    UNIT_ENERGIES,
    OperationEnergies,
    operation_energies,
    saving_ratio_table,
    unit_energy,
    unit_energy_table,
)
from repro.models.trace import Layer

__all__ = [
    "ACCOUNTINGS",
    "CONVENTIONS",
    "DEPTHWISE",
    "UNIT_ENERGIES",
    "Convention",
    "Count",
    "Hardware",
    "LatencyPredictor",
    "Layer",
    "LayerCost",
    "ModelCost",
    "OperationEnergies",
    "TranslationCost",
    "count",
    "layer_cost",
    "layers_cost",
    "model_cost",
    "operation_energies",
    "operation_energy_pj",
    "path_features",
    "saving_ratio_table",
    "skeleton",
    "traced",
    "translation_cost",
    "unit_energy",
    "unit_energy_table",
]
