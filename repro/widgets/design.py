"""A design: a model, its operators and the chip it is priced on; what it counts and costs.

Three steps, each cached, so that a control repeats only what it changed: `traced` builds the network without weights
and lists its layers, `assigned` applies operators chosen by hand, `counted` and `priced` put numbers on them.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pandas as pd

from repro.cost import (
    UNIT_ENERGIES,
    Count,
    Hardware,
    Layer,
    ModelCost,
    OperationEnergies,
    count,
    layers_cost,
    operation_energies,
    skeleton,
)
from repro.cost.units import SIMULATOR_ENERGIES
from repro.errors import InputError, check_choice, check_int
from repro.models import describe, list_models
from repro.models.trace import trace

OPERATORS = ("conv", "shift", "adder")
PRESETS = {
    "as published": "the operators of the paper's own network",
    "conv": "every layer multiplies",
    "shift": "shift layers wherever the family's paper has them",
    "adder": "adder layers wherever the family's paper has them",
    "shift everywhere": "no layer keeps its multiplications",
    "adder everywhere": "no layer keeps its multiplications",
}
LEVEL_NAMES = {
    "compute": "compute",
    "rf": "register file",
    "noc": "network",
    "buffer": "global buffer",
    "dram": "DRAM",
}
WITHOUT_IMAGES = ("translation",)  # reads words, so a resolution means nothing
OWN_ENERGIES = "the accelerator model's own"


def models() -> list[str]:
    """The models that read images."""
    return [name for name in list_models() if name not in WITHOUT_IMAGES]


@dataclass(frozen=True)
class Network:
    """Which network; `options` is text such as 'form="cifar", head=448', as for `repro.models.create`."""

    model: str = "mobilenet_v2"
    width: float = 0.35
    resolution: int = 160
    num_classes: int = 100
    preset: str = "conv"
    options: str = ""


@dataclass(frozen=True)
class Chip:
    """How it is priced: see `repro.cost.model_cost`; `energies` is one of `energy_tables()`."""

    accounting: str = "published"
    bits: int = 32
    energies: str = OWN_ENERGIES
    word_bits: str = ""
    rule: str = "combined"
    hardware: Hardware = field(default_factory=Hardware)


@functools.lru_cache(maxsize=64)
def network_defaults(model: str) -> Network:
    """The published form of a model: its own width and classes, at the resolution of its paper.

    Raises: InputError on an unknown model, with the nearest name.
    """
    check_choice("model", model, models())
    options = describe(model).set_index("option")["default"]
    classes = int(options["num_classes"])
    resolution = 32 if options.get("form") == "cifar" else 160 if classes == 100 else 224
    return Network(model, float(options.get("width", 1.0)), resolution, classes, "as published")


@functools.lru_cache(maxsize=64)
def _kept(model: str, op: str) -> tuple[str, ...]:
    """Roles that stay multiplicative under an operator in the published form of a family."""
    defaults = describe(model).set_index("option")["default"]
    return tuple(defaults.get(f"keep (op={op!r})", ()))


def parse_options(text: str) -> dict:
    """Options of a model from text like 'form="cifar", head=448'.

    Raises: InputError when the text is not a list of name=value with plain values.
    """
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        if call.args or any(word.arg is None for word in call.keywords):
            raise ValueError("positional")
        return {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    except (SyntaxError, ValueError, AttributeError) as error:
        raise InputError(
            f"options={text!r} is not allowed; write name=value pairs with plain values, such as "
            'form="cifar", head=448.'
        ) from error


@functools.lru_cache(maxsize=256)
def traced(network: Network) -> tuple[int, tuple[Layer, ...]]:
    """(trainable values, layers) of a network, built without weights.

    Raises: InputError on an unknown model, option or preset (with the nearest name), impossible channels or groups, a
    genotype that is not well formed, or an image too small for the network.
    """
    check_choice("model", network.model, models())
    check_choice("operators", network.preset, PRESETS)
    check_int("resolution", network.resolution, minimum=1, maximum=2048)
    options = parse_options(network.options)
    if {"op", "keep", "num_classes", "width"} & set(options):
        raise InputError("options must not repeat what has its own control: width, num_classes and op.")
    if network.preset != "as published":
        op, _, everywhere = network.preset.partition(" ")
        options["op"] = op
        # A family that keeps "*" places the operator itself, by an option of its own.
        if everywhere and "*" not in _kept(network.model, op):
            options["keep"] = ()
    model = skeleton(network.model, num_classes=network.num_classes, width=network.width, **options)
    channels = options.get("in_channels", 3)
    layers = trace(model, (channels, network.resolution, network.resolution))
    return count(model, layers=layers).params, tuple(layers)


def assigned(layers: Iterable[Layer], overrides: Iterable[tuple[str, str]]) -> list[Layer]:
    """The layers with the operators that were chosen by hand.

    Args:
        overrides: (layer name, operator); later entries win.
    Raises: InputError on an unknown layer or operator, or a product of two activations, which has no weights.
    """
    layers, chosen = list(layers), dict(overrides)
    kinds = {layer.name: layer.kind for layer in layers}
    for name, op in chosen.items():
        check_choice("operator", op, OPERATORS)
        check_choice("layer", name, kinds)
        if kinds[name] == "matmul":
            raise InputError(f"layer {name} multiplies two activations; it has no weights to shift or compare with.")
    return [replace(layer, op=chosen.get(layer.name, layer.op)) for layer in layers]


def groups(layers: Iterable[Layer]) -> dict[str, list[str]]:
    """Names of layers by stage (side of the output map) and by role, for choosing several at once."""
    found: dict[str, list[str]] = {"all layers": []}
    layers = [layer for layer in layers if layer.kind != "matmul"]
    for layer in layers:
        found["all layers"].append(layer.name)
    for layer in layers:
        if layer.out_height > 1:
            found.setdefault(f"stage with {layer.out_height}×{layer.out_width} maps", []).append(layer.name)
    for layer in layers:
        found.setdefault(f"role: {layer.role}", []).append(layer.name)
    return found


def energy_tables() -> dict[str, tuple[str, str] | None]:
    """Unit-energy tables that name a multiplication and an addition, as label -> (format, source)."""
    printed: dict[tuple[str, str], set[str]] = {}
    for entry in UNIT_ENERGIES:
        printed.setdefault((entry.number_format, entry.source), set()).add(entry.operation)
    complete = [pair for pair, operations in printed.items() if {"mult", "add"} <= operations]
    return {OWN_ENERGIES: None} | {f"{name} ({source})": (name, source) for name, source in complete}


def unit_energies(chip: Chip) -> OperationEnergies:
    """pJ per multiplication, addition and shift that a chip's setting means.

    Raises: InputError on an unknown table or width.
    """
    tables = energy_tables()
    pair = tables[check_choice("unit energies", chip.energies, tables)]
    if pair is not None:
        return operation_energies(*pair)
    if chip.bits not in SIMULATOR_ENERGIES:
        raise InputError(f"bits={chip.bits!r} is not allowed; the accelerator model has 32 and 8 bit.")
    return SIMULATOR_ENERGIES[chip.bits]


def parse_word_bits(text: str) -> tuple[float, float, float] | None:
    """Three widths in bit from text like "16, 5, 16" (input, weight, output words); None for an empty text."""
    if not text.strip():
        return None
    try:
        first, second, third = (float(word) for word in text.replace(",", " ").split())
    except ValueError as error:
        raise InputError(
            f"word widths={text!r} is not allowed; give three numbers of bits, for input, weight and output words, "
            "or leave it empty."
        ) from error
    return first, second, third


@functools.lru_cache(maxsize=256)
def _priced(layers: tuple[Layer, ...], chip: Chip) -> ModelCost:
    energies = None if chip.energies == OWN_ENERGIES else unit_energies(chip)
    return layers_cost(
        layers,
        accounting=chip.accounting,
        bits=chip.bits,
        rule=chip.rule,
        word_bits=parse_word_bits(chip.word_bits),
        energies=energies,
        hardware=chip.hardware,
    )


def priced(layers: Iterable[Layer], chip: Chip) -> ModelCost:
    """Modelled energy and latency of the layers on a chip.

    Raises: InputError on an unknown setting, or naming the layer that does not fit the modelled buffers.
    """
    return _priced(tuple(layers), chip)


def counted(layers: Iterable[Layer], params: int, convention: str) -> Count:
    """Operations of the layers under a convention, and the parameters found before."""
    from torch import nn

    found = count(nn.Module(), layers=list(layers), convention=convention)
    return replace(found, params=params)


def arithmetic_mj(found: Count, unit: OperationEnergies) -> float:
    """Energy (mJ) of the counted operations alone, without any data movement."""
    return 1e-9 * (unit.mult_pj * found.mults + unit.add_pj * found.adds + unit.shift_pj * found.shifts)


def layer_frame(found: Count, cost: ModelCost | None) -> pd.DataFrame:
    """One row per layer: name, role, op, sizes, mults, shifts, adds, params, and energy and latency where priced."""
    columns = ["name", "role", "op", "in_channels", "out_channels", "out_height", "params", "mults", "shifts", "adds"]
    frame = found.layers[columns].copy()
    if cost is not None:
        # Only the published reading of all-shift networks drops or repeats a layer; those rows sum by name.
        names = cost.layers["name"].str.removesuffix(" (again)")
        sums = cost.layers.groupby(names, sort=False)[["energy_mj", "latency_ms"]].sum()
        calls = frame.groupby("name")["name"].transform("size")
        frame["energy_mj"] = frame["name"].map(sums["energy_mj"]).fillna(0.0) / calls
        frame["latency_ms"] = frame["name"].map(sums["latency_ms"]).fillna(0.0) / calls
    return frame
