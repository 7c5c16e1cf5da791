"""Modelled energy and latency of whole models on the row-stationary accelerator.

Three accountings, as for single layers (`repro.cost.eyeriss`), with what a whole model adds:

    published   as the papers' script feeds it. For ShiftAddAug's all-shift networks that includes an indexing slip:
                the classifier is left out and the stem is counted twice.
    corrected   the same prices, every layer once.
    unbiased    every operator pays its own traffic and its accumulation.

Normalisation, activation, pooling and residual sums are free, the batch is what the input says (1 in the papers), and
layers do not share data through the buffer: the model's cost is the sum over its layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from torch import nn

from repro.cost.eyeriss import (
    LEVELS,
    RULES,
    SHIFT_CYCLE_SHARE,
    TENSORS,
    Hardware,
    LayerShape,
    price,
    pricing,
)
from repro.cost.units import OperationEnergies
from repro.errors import InputError, check_choice
from repro.models.trace import InputSize, Layer, trace

DEPTHWISE = {
    "single": "C = channels per group, M = n: the input traffic is that of one group (ShiftAddAug)",
    "ungrouped": "C = M = n: priced as a dense convolution, n times too many operations (ShiftAddNAS)",
    "separate": "n layers with C = channels per group, M = n / groups, each with its own input",
}
"""Ways to price depthwise convolutions -> what each charges."""


@dataclass(frozen=True)
class ModelCost:
    """Modelled cost of one model for one input.

    Attributes:
        energy_mj, latency_ms: sums over the layers.
        by_level: mJ by compute, rf, noc, buffer, dram.
        by_tensor: mJ of data movement by input, weight, output.
        layers: one row per priced layer: name, role, op, sizes, energy_mj, latency_ms, and mJ by level and tensor.
        accounting: the accounting.
        notes: peculiarities that were applied, one sentence each.
    """

    energy_mj: float
    latency_ms: float
    by_level: dict[str, float]
    by_tensor: dict[str, float]
    layers: pd.DataFrame
    accounting: str
    notes: tuple[str, ...] = ()


def layer_shape(layer: Layer, depthwise: str = "single") -> tuple[LayerShape, int]:
    """The accelerator's view of a layer, and how many of it run.

    Raises: InputError when the kernel is not square or the convolution transposed, which the model cannot express.
    """
    if layer.kind != "conv":
        return LayerShape(layer.batch, layer.in_channels, 1, 1, layer.out_channels, 1, 1, 1, 1, fc=True), 1
    if layer.transposed:
        raise InputError(f"layer {layer.name} is a transposed convolution, which the accelerator model does not have.")
    if layer.kernel[0] != layer.kernel[1]:
        raise InputError(
            f"layer {layer.name} has the kernel {layer.kernel[0]}x{layer.kernel[1]}; "
            "the accelerator model takes square ones only."
        )
    inputs, outputs, copies = layer.in_channels // layer.groups, layer.out_channels, 1
    if depthwise == "ungrouped":
        inputs = layer.in_channels
    elif depthwise == "separate":
        outputs, copies = layer.out_channels // layer.groups, layer.groups
    shape = LayerShape(
        layer.batch,
        inputs,
        layer.height,
        layer.width,
        outputs,
        layer.kernel[0],
        layer.stride,
        layer.out_height,
        layer.out_width,
    )
    return shape, copies


def _operator(layer: Layer) -> str:
    if layer.op == "conv":
        return "conv" if layer.kind == "conv" else "fc"
    return {"shift": "shift", "adder": "add"}[layer.op]


def with_shift_slip(layers: list[Layer]) -> list[Layer]:
    """The layers that the published Shift rows sum: a shift classifier dropped, the shift stem twice."""
    dropped = [layer for layer in layers if not (layer.kind == "linear" and layer.role == "classifier")]
    return [*dropped, replace(layers[0], name=f"{layers[0].name} (again)", params=0)]


def _slips(layers: list[Layer]) -> bool:
    heads = [layer for layer in layers if layer.kind == "linear" and layer.role == "classifier"]
    return bool(heads) and layers[0].op == "shift" and all(layer.op == "shift" for layer in heads)


def layers_cost(
    layers: Iterable[Layer],
    *,
    accounting: str = "published",
    bits: int = 32,
    pe_limit: int = 192,
    rule: str = "combined",
    depthwise: str = "single",
    shift_slip: bool | None = None,
    shift_cycle_share: float = SHIFT_CYCLE_SHARE,
    word_bits: tuple[float, float, float] | None = None,
    energies: OperationEnergies | None = None,
    filtered_list: bool = False,
    hardware: Hardware | None = None,
) -> ModelCost:
    """Cost of a list of traced layers; arguments as in `model_cost`."""
    check_choice("depthwise", depthwise, DEPTHWISE)
    check_choice("rule", rule, RULES)
    chip = hardware or Hardware(pe_limit=pe_limit)
    layers, notes = list(layers), []
    if shift_slip is None:
        shift_slip = accounting == "published" and _slips(layers)
    if shift_slip:
        layers = with_shift_slip(layers)
        notes.append("classifier left out and stem counted twice, as in the published Shift rows")
    rows = []
    for layer in layers:
        shape, copies = layer_shape(layer, depthwise)
        op = _operator(layer)
        prices = pricing(
            op, bits, accounting, shift_cycle_share=shift_cycle_share, word_bits=word_bits, energies=energies
        )
        if op == "shift" and layer.kind != "conv":
            shape = replace(shape, fc=False)
        try:
            cost = price(shape, prices, chip, rule, filtered_list, accounting != "published")
        except InputError as error:
            raise InputError(f"in {layer.name or 'the model'}: {error}") from error
        split = {name: value * copies for name, value in cost.breakdown.by_level.items()}
        split |= {name: value * copies for name, value in cost.breakdown.by_tensor.items()}
        rows.append(
            {
                "name": layer.name,
                "role": layer.role,
                "op": op,
                "in_channels": layer.in_channels,
                "out_channels": layer.out_channels,
                "kernel_size": layer.kernel[0],
                "groups": layer.groups,
                "out_height": layer.out_height,
                "out_width": layer.out_width,
                "macs": layer.taps,
                "energy_mj": cost.energy_mj * copies,
                "latency_ms": cost.latency_ms * copies,
                **split,
            }
        )
    table = pd.DataFrame(rows)
    return ModelCost(
        energy_mj=float(table["energy_mj"].sum()),
        latency_ms=float(table["latency_ms"].sum()),
        by_level={name: float(table[name].sum()) for name in LEVELS},
        by_tensor={name: float(table[name].sum()) for name in TENSORS},
        layers=table,
        accounting=accounting,
        notes=tuple(notes),
    )


def model_cost(model: nn.Module, input_size: InputSize, accounting: str = "published", **options: Any) -> ModelCost:
    """Modelled energy and latency of `model` for one input, without running data.

    Args:
        model: any module; which layers multiply, shift or add is read from it.
        input_size: a side in pixels, (C, H, W), (N, C, H, W), or example tensor(s).
        accounting: "published", "corrected" or "unbiased".
        options: `bits` (32 or 8), `pe_limit` (192), `rule` ("combined", "energy", "latency"), `depthwise` (see
            `DEPTHWISE`), `shift_slip` (None: as the accounting says), and `shift_cycle_share`, `word_bits`,
            `energies`, `filtered_list`, `hardware` as in `layer_cost`.
    Returns: `ModelCost`.
    Raises: InputError naming the layer that does not fit the modelled chip, or an unknown option.
    """
    return layers_cost(trace(model, input_size), accounting=accounting, **options)
