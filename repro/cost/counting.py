"""Parameters and operations of a model under named conventions.

The papers count differently; a `Convention` says what one of them counts, and every table of ours names the one it
uses. Multiplications, shifts and additions of a layer follow from its kernel taps:

    convolution, linear, product   1 multiplication and 1 addition per tap
    shift                          1 shift and 1 addition per tap
    adder                          2 additions per tap (one subtraction, one accumulation)

Activations, pooling, residual sums and, unless a convention says so, normalisation and biases are not counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import pandas as pd
from torch import nn

from repro.errors import check_choice
from repro.models.trace import InputSize, Layer, trace, weights_of


@dataclass(frozen=True)
class Convention:
    """What one paper counts.

    Attributes:
        name: how to ask for it.
        source: the tables whose figures follow from it.
        text: one sentence for captions.
        adds_per_mac: additions per multiply- or shift-accumulate.
        adds_per_adder_tap: additions per adder tap.
        bias_ops: a layer with bias counts one multiply- or shift-accumulate more per output, in networks without
            adder layers.
        norm_adds: additions per output element of an adder layer whose normalisation cannot be folded.
    """

    name: str
    source: str
    text: str
    adds_per_mac: float = 1
    adds_per_adder_tap: int = 2
    bias_ops: bool = False
    norm_adds: int = 0


CONVENTIONS: dict[str, Convention] = {
    convention.name: convention
    for convention in (
        Convention(
            "plain", "", "taps of convolutions, linear layers and attention products; an adder tap is two additions"
        ),
        Convention(
            "acghostnet",
            "ACGhostNet tables 4 and 5",
            "taps of all convolutions and linear layers including SE and classifier; an adder tap is two additions",
        ),
        Convention(
            "shiftaddaug",
            "ShiftAddAug table 3",
            "taps plus one per biased output; in adder networks no biases, two additions per adder tap, and two more "
            "per output element of an adder layer followed by a normalisation, which cannot be folded into it",
            bias_ops=True,
            norm_adds=2,
        ),
        Convention(
            "shiftaddnas",
            "ShiftAddNAS tables 4 and 11",
            "taps of convolutions, linear layers and attention products; an adder tap is two additions",
        ),
        Convention(
            "autoshiftnet",
            "AutoShiftNet table 2",
            "additions are half of the multiply-accumulates, the only reading near the printed column",
            adds_per_mac=0.5,
        ),
        Convention(
            "autoshiftnet-honest",
            "AutoShiftNet table 2, corrected",
            "one addition per shift-accumulate, which a shift network really performs",
        ),
    )
}
"""Name -> a way to count operations."""


@dataclass(frozen=True)
class Count:
    """Counts of one model for one input.

    Attributes:
        params: trainable values, including normalisation and biases, without training-only auxiliary heads; of packed
            layers the weights that their codes stand for.
        mults, shifts, adds: operations under the convention.
        macs: kernel taps of all layers, whatever their operator (plus biased outputs where the convention says so).
        layers: one row per layer that ran, with its sizes and counts.
        convention: the convention.
    """

    params: int
    mults: float
    shifts: float
    adds: float
    macs: float
    layers: pd.DataFrame
    convention: Convention


def layer_operations(layer: Layer, convention: Convention, *, bias_ops: bool = False) -> dict[str, float]:
    """mults, shifts, adds and macs of one layer under a convention; `bias_ops` adds one MAC per biased output."""
    macs = layer.taps
    if layer.op == "adder":
        adds = convention.adds_per_adder_tap * layer.taps + (convention.norm_adds * layer.outputs) * layer.normed
        return {"mults": 0, "shifts": 0, "adds": adds, "macs": macs}
    if bias_ops and layer.bias:
        macs += layer.outputs
    return {
        "mults": macs if layer.op == "conv" else 0,
        "shifts": macs if layer.op == "shift" else 0,
        "adds": macs * convention.adds_per_mac,
        "macs": macs,
    }


def _auxiliary_params(model: nn.Module, layers: Iterable[Layer]) -> int:
    """Trainable values of top-level branches that only training uses."""
    ran = {layer.name.split(".")[0] for layer in layers}
    unused = {
        name.split(".")[0]
        for name, module in model.named_modules()
        if getattr(module, "cost_role", "") == "auxiliary" and name.split(".")[0] not in ran
    }
    return sum(p.numel() for name, p in model.named_parameters() if p.requires_grad and name.split(".")[0] in unused)


def count(
    model: nn.Module,
    input_size: InputSize | None = None,
    convention: str | Convention = "plain",
    *,
    layers: list[Layer] | None = None,
) -> Count:
    """Parameters and operations of `model` for one input, without running data.

    Args:
        model: any module, on any device (also the meta device).
        input_size: a side in pixels, (C, H, W), (N, C, H, W), or example tensor(s).
        convention: one of `CONVENTIONS` or a `Convention`.
        layers: what `repro.models.trace.trace` found for this model, to save tracing it again.
    Returns: `Count`.
    Raises: InputError on an unknown convention or sizes that do not fit the model.
    """
    if not isinstance(convention, Convention):
        convention = CONVENTIONS[check_choice("convention", convention, CONVENTIONS)]
    layers = trace(model, input_size) if layers is None else layers
    bias_ops = convention.bias_ops and not any(layer.op == "adder" for layer in layers)
    table = pd.DataFrame([asdict(layer) | layer_operations(layer, convention, bias_ops=bias_ops) for layer in layers])
    totals = {name: table[name].sum().item() for name in ("mults", "shifts", "adds", "macs")}
    params = weights_of(model) - _auxiliary_params(model, layers)
    return Count(params, **totals, layers=table, convention=convention)


OPERATION_PJ = {"add": 0.9, "mult": 3.7}
"""32-bit floating-point energies of ACGhostNet section 3.3; its energy column is these times the counts."""


def operation_energy_pj(adds: float, mults: float) -> float:
    """ACGhostNet's energy (pJ): 0.9 per addition and 3.7 per multiplication; data movement is not part of it."""
    return OPERATION_PJ["add"] * adds + OPERATION_PJ["mult"] * mults
