"""Counts, energy and latency of the five models under each operator and accounting (tables 3 and 6 of the paper)."""

from __future__ import annotations

import functools

import pandas as pd

from repro.cost import ACCOUNTINGS, count, layers_cost
from repro.cost.skeleton import traced
from repro.papers.analytic import MILLION

RESOLUTION, CLASSES = 160, 100
MODELS = {
    "MobileNetV2-w0.35": ("mobilenet_v2", {"width": 0.35}),
    "MobileNetV3-w0.35": ("mobilenet_v3_large", {"width": 0.35}),
    "MCUNet-in3": ("mcunet_in3", {}),
    "ProxylessNAS-w0.35": ("proxylessnas_mobile", {"width": 0.35}),
    "MobileNetV2-Tiny": ("mobilenet_v2_tiny", {}),
}
OPERATORS = ("conv", "shift", "adder")


def network(model: str, op: str):
    """(skeleton, layers) of one of the five models with one operator, at 160 pixels and 100 classes."""
    name, options = MODELS[model]
    return traced(name, RESOLUTION, num_classes=CLASSES, op=op, **options)


@functools.lru_cache(maxsize=64)
def measures(model: str, op: str) -> dict[str, float]:
    """params_m, mult_m, shift_m, add_m, and energy (mJ) and latency (ms) under each accounting."""
    skeleton, layers = network(model, op)
    counted = count(skeleton, convention="shiftaddaug", layers=list(layers))
    values = {
        "params_m": counted.params / MILLION,
        "mult_m": counted.mults / MILLION,
        "shift_m": counted.shifts / MILLION,
        "add_m": counted.adds / MILLION,
    }
    for accounting in ACCOUNTINGS:
        cost = layers_cost(layers, accounting=accounting)
        values[f"energy_{accounting}_mj"], values[f"latency_{accounting}_ms"] = cost.energy_mj, cost.latency_ms
    return values


def accountings() -> pd.DataFrame:
    """Energy (mJ) and latency (ms) of the five models and three operators under the three accountings."""
    rows = [
        (
            model,
            op,
            accounting,
            measures(model, op)[f"energy_{accounting}_mj"],
            measures(model, op)[f"latency_{accounting}_ms"],
        )
        for model in MODELS
        for op in OPERATORS
        for accounting in ACCOUNTINGS
    ]
    return pd.DataFrame(rows, columns=["model", "op", "accounting", "energy_mj", "latency_ms"])
