"""Energy and latency of one layer on a row-stationary (Eyeriss-like) accelerator.

The analytical model of the public ShiftAddNAS simulator, which also gives ShiftAddAug's energies and latencies:
data move between DRAM, an on-chip buffer, a network to the processing elements (PEs) and register files; every access
has a price; a search over all tilings picks the one that is reported. Symbols as there:

    N batch, C input channels, H x W input map, M output channels, R = S kernel side, U stride, E x F output map,
    M = M0 M1 M2 M3, C = C0 C1 C2 C3 with C3 = 1, E = E1 E3, N = N0 N3; F, R and S are not tiled.

Index 0 is the register file, 1 the PE array, 2 the buffer, 3 DRAM. Three accountings:

    published   what the simulator does: shift layers move 10-bit words and run 32/10 times faster, adder layers pay
                neither DRAM nor buffer nor input and weight transport, conv and shift taps pay no accumulation and an
                adder tap pays one addition.
    corrected   the same prices; differs in the feeding of whole models (`repro.cost.model_cost`).
    unbiased    every operator moves the same words (or explicit ones), a conv tap pays a multiplication and an
                addition, a shift tap a shift and an addition, an adder tap two additions, one tap per PE and cycle.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from repro.cost.tilings import divisors, drop_while_walking, factorisations
from repro.cost.units import SIMULATOR_ENERGIES, OperationEnergies
from repro.errors import InputError, check_choice, check_int

OPERATORS = ("conv", "fc", "shift", "add")
ACCOUNTINGS = ("published", "corrected", "unbiased")
"""Ways to account for energy and latency: as the public scripts do, without their slips, and without their bias."""
RULES = ("combined", "energy", "latency")
LEVELS = ("compute", "rf", "noc", "buffer", "dram")
TENSORS = ("input", "weight", "output")

# Price of an access in pJ per 16-bit word: rows DRAM, buffer, network, register file; columns input, weight, output.
# Weights do not pass through the buffer; partial sums travel between neighbouring PEs at half the network's price.
ACCESS_PJ_PER_16_BIT = np.array(
    [
        [200.0, 200.0, 200.0],
        [6 * 3.7, 0.0, 6 * 3.7],
        [2 * 3.7, 2 * 3.7, 3.7],
        [3.7, 2 * 3.7, 3.7],
    ]
)
_MEMORY_LEVELS = ("dram", "buffer", "noc", "rf")
# Published adder layers: only partial-sum transport and the register file are charged.
_ADDER_CHARGED = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])

SHIFT_BITS = (16 + 5) // 2  # the mean of 16-bit activations and 5-bit weights, floored, for all three tensors
SHIFT_CYCLE_SHARE = 10 / 32  # vision script; the translation script uses 1/2


@dataclass(frozen=True)
class Hardware:
    """The modelled chip. Capacities are in words at 32 bit; at 8 bit memories hold 2 and the array 4 times as many.

    Attributes:
        pe_limit: an array of this many PEs; a mapping must use strictly fewer.
        psum_words: partial sums per PE (M0 at most this).
        input_words: input register file per PE (C0 S strictly below).
        weight_words: weight register file per PE (M0 C0 S strictly below).
        buffer_words: on-chip buffer (inputs and partial sums of a pass strictly below).
        clock_mhz: clock frequency.
    """

    pe_limit: int = 192
    psum_words: int = 16
    input_words: int = 12
    weight_words: int = 960
    buffer_words: int = 65536
    clock_mhz: float = 250.0

    def __post_init__(self) -> None:
        for name in ("pe_limit", "psum_words", "input_words", "weight_words", "buffer_words"):
            check_int(name, getattr(self, name), minimum=1)
        if not 0 < self.clock_mhz < float("inf"):
            raise InputError(f"clock_mhz={self.clock_mhz!r} is not allowed; it must be a positive number.")


@dataclass(frozen=True)
class LayerShape:
    """One layer as the accelerator sees it; all sizes in elements, the input map without padding."""

    batch: int
    in_channels: int
    height: int
    width: int
    out_channels: int
    kernel_size: int
    stride: int
    out_height: int
    out_width: int
    fc: bool = False

    @property
    def fc_like(self) -> bool:
        """Whether the layer is fully connected in the model's sense (no output row to spread over PEs)."""
        return self.fc or self.height == self.width == self.out_height == self.out_width == 1

    @property
    def taps(self) -> int:
        """Kernel taps evaluated: N E F M R S C."""
        return (
            self.batch * self.out_height * self.out_width * self.out_channels * self.kernel_size**2 * self.in_channels
        )


@dataclass(frozen=True)
class Pricing:
    """What a layer pays.

    Attributes:
        tap_pj: computation energy of one kernel tap.
        word_bits: width of input, weight and output (partial sum) words.
        charged: share of each access price that is charged, (DRAM, buffer, network, register file) x TENSORS.
        cycles_per_tap: cycles that one PE needs for one tap.
        wide: capacities of the 8-bit setting.
    """

    tap_pj: float
    word_bits: tuple[float, float, float]
    charged: tuple[tuple[float, ...], ...] = ((1.0, 1.0, 1.0),) * 4
    cycles_per_tap: float = 1.0
    wide: bool = False

    def access_pj(self) -> np.ndarray:
        """pJ per word accessed, shape (4, 3)."""
        return ACCESS_PJ_PER_16_BIT * np.array(self.charged) * np.array(self.word_bits) / 16


@dataclass(frozen=True)
class Breakdown:
    """Energy of a layer in mJ by level and tensor.

    Attributes:
        compute_mj: arithmetic.
        memory_mj: rows DRAM, buffer, network, register file; columns input, weight, output.
    """

    compute_mj: float
    memory_mj: tuple[tuple[float, float, float], ...]

    @property
    def by_level(self) -> dict[str, float]:
        """mJ of compute, rf, noc, buffer and dram; they add up to the layer's energy."""
        levels = dict(zip(_MEMORY_LEVELS, (sum(row) for row in self.memory_mj)))
        return {"compute": self.compute_mj} | {name: levels[name] for name in LEVELS[1:]}

    @property
    def by_tensor(self) -> dict[str, float]:
        """mJ of moving inputs, weights and outputs; they add up to the layer's energy less compute."""
        return dict(zip(TENSORS, (sum(column) for column in zip(*self.memory_mj))))


class Tiling(NamedTuple):
    """Factors of M, C, E and N by level: 0 register file, 1 PE array, 2 buffer, 3 DRAM."""

    M0: int
    M1: int
    M2: int
    M3: int
    C0: int
    C1: int
    C2: int
    E1: int
    E3: int
    N0: int
    N3: int
    C3: int = 1


@dataclass(frozen=True)
class LayerCost:
    """Modelled cost of one layer.

    Attributes:
        energy_mj, latency_ms: of the reported tiling.
        breakdown: energy by level and tensor.
        tiling: the reported tiling.
        pes: processing elements in use, M1 C1 E1 R.
    """

    energy_mj: float
    latency_ms: float
    breakdown: Breakdown
    tiling: Tiling
    pes: int


def pricing(
    op: str,
    bits: int = 32,
    accounting: str = "published",
    *,
    shift_cycle_share: float = SHIFT_CYCLE_SHARE,
    word_bits: tuple[float, float, float] | None = None,
    energies: OperationEnergies | None = None,
) -> Pricing:
    """What `op` pays at a width under an accounting; arguments as in `layer_cost`."""
    check_choice("op", op, OPERATORS)
    check_choice("accounting", accounting, ACCOUNTINGS)
    if bits not in SIMULATOR_ENERGIES:
        raise InputError(f"bits={bits!r} is not allowed; the accelerator model has unit energies for 32 and 8 bit.")
    if word_bits is not None and (len(word_bits) != 3 or not all(0 < width <= 64 for width in word_bits)):
        raise InputError(
            f"word_bits={word_bits!r} is not allowed; give three widths above 0 and at most 64 bit: "
            "input, weight and output."
        )
    unit, wide = energies or SIMULATOR_ENERGIES[bits], bits == 8
    multiplies = op in ("conv", "fc")
    if accounting == "unbiased":
        tap_pj = unit.add_pj + (unit.mult_pj if multiplies else unit.shift_pj if op == "shift" else unit.add_pj)
        return Pricing(tap_pj, word_bits or (bits,) * 3, wide=wide)
    if multiplies:
        return Pricing(unit.mult_pj, word_bits or (bits,) * 3, wide=wide)
    if op == "shift":
        widths = word_bits or (SHIFT_BITS,) * 3
        return Pricing(unit.shift_pj, widths, cycles_per_tap=shift_cycle_share, wide=wide)
    charged = tuple(tuple(row) for row in _ADDER_CHARGED.tolist())
    return Pricing(unit.add_pj, word_bits or (bits,) * 3, charged, wide=wide)


def _factors(shape: LayerShape, hardware: Hardware, wide: bool, filtered: bool) -> dict[str, np.ndarray]:
    """Factors of N, M, C and E along axes 0, 1, 2 and 3, so that they broadcast against each other.

    Tilings that cannot satisfy a constraint whatever the other dimensions do are left out.
    """
    memory, array = (2, 4) if wide else (1, 1)
    kernel, pes = shape.kernel_size, hardware.pe_limit * array
    outs = factorisations(shape.out_channels, 4)
    if filtered:
        outs = drop_while_walking(outs, outs[:, 0] > 16)
    outs = outs[(outs[:, 0] <= hardware.psum_words * memory) & (outs[:, 1] * kernel < pes)]
    ins = factorisations(shape.in_channels, 3)
    ins = ins[(ins[:, 0] * kernel < hardware.input_words * memory) & (ins[:, 1] * kernel < pes)]
    tables = (factorisations(shape.batch, 2), outs, ins, factorisations(shape.out_height, 2))
    names = (("N0", "N3"), ("M0", "M1", "M2", "M3"), ("C0", "C1", "C2"), ("E1", "E3"))
    return {
        name: table[:, column].reshape([-1 if axis == other else 1 for other in range(4)])
        for axis, (table, columns) in enumerate(zip(tables, names))
        for column, name in enumerate(columns)
    }


def _valid(shape: LayerShape, t: dict, hardware: Hardware, wide: bool, any_e1: bool) -> np.ndarray:
    """Which combinations of factors satisfy all constraints, a boolean array over the four axes."""
    memory, array = (2, 4) if wide else (1, 1)
    kernel, row = shape.kernel_size, shape.out_width
    window = ((t["E1"] - 1) * shape.stride + kernel) * ((row - 1) * shape.stride + kernel)
    inputs, outputs = t["C1"] * t["C0"] * window, t["M2"] * t["M1"] * t["M0"] * (t["E1"] * row)
    valid = t["N0"] * (inputs + outputs) < hardware.buffer_words * memory
    valid &= t["M1"] * (t["C1"] * t["E1"] * kernel) < hardware.pe_limit * array
    valid &= t["M0"] * (t["C0"] * kernel) < hardware.weight_words * memory
    if not (shape.fc_like or any_e1):
        valid &= t["E1"] != 1
    return valid


def _access_counts(shape: LayerShape, t: dict) -> list[list[np.ndarray]]:
    """Word accesses, rows DRAM, buffer, network, register file; columns input, weight, output.

    Input counts vary with the factors of M only, weight counts with those of N and E, output counts with those of C.
    """
    kernel, row = shape.kernel_size, shape.out_width
    inputs = float(shape.batch * shape.height * shape.width * shape.in_channels)
    weights = float(kernel**2 * shape.in_channels * shape.out_channels)
    outputs = float(shape.batch * shape.out_height * row * shape.out_channels)
    no_words = np.zeros((1, 1, 1, 1))
    network_in = t["M3"] * t["M2"] * t["M1"] * (kernel * shape.out_height / shape.height * inputs)
    register_out = 2 * t["C2"] * t["C1"] * kernel * (t["C0"] * kernel - 1)
    return [
        [t["M3"] * inputs, t["N3"] * t["E3"] * weights, no_words + outputs],
        [t["M3"] * t["M2"] * inputs, no_words, np.maximum(2 * (t["C2"] - 1), 1) * outputs],
        [
            network_in,
            t["N3"] * t["E3"] * t["E1"] * weights,
            np.maximum(t["C2"] * (t["C1"] * kernel - 1), 1) * outputs,
        ],
        [
            network_in * t["M0"] * (kernel * row / shape.width),
            t["N3"] * t["E3"] * t["E1"] * t["N0"] * (row * weights),
            np.maximum(register_out, 1) * outputs,
        ],
    ]


def _chosen(energy: np.ndarray, latency: np.ndarray, rule: str) -> int:
    if rule == "energy":
        return int(np.argmin(energy))
    if rule == "latency":
        return int(np.argmin(latency))
    return int(np.argmin((energy - energy.min()) / energy.max() + (latency - latency.min()) / latency.max()))


@functools.lru_cache(maxsize=65536)
def price(
    shape: LayerShape,
    prices: Pricing,
    hardware: Hardware = Hardware(),
    rule: str = "combined",
    filtered_list: bool = False,
    any_rows: bool = False,
) -> LayerCost:
    """Search all tilings of a layer under explicit prices. Cached by its arguments.

    Args:
        shape, prices, hardware: what runs, what it pays, on which chip.
        rule: "combined" minimises (E - Emin)/Emax + (L - Lmin)/Lmax over the valid tilings, "energy" and "latency"
            their own figure.
        filtered_list: reproduce the simulator's deletion of M0 > 16 from a list that is being walked over.
        any_rows: let a layer that has no other tiling put one output row at a time on the array (E1 = 1), which the
            simulator never does; it concerns maps with one row or a large prime number of rows.
    Raises: InputError when no tiling satisfies the constraints.
    """
    t = _factors(shape, hardware, prices.wide, filtered_list)
    valid = _valid(shape, t, hardware, prices.wide, any_e1=False)
    if any_rows and not valid.any():
        valid = _valid(shape, t, hardware, prices.wide, any_e1=True)
    if not valid.any():
        raise InputError(_no_fit(shape, hardware, prices.wide))
    counts, access_pj, compute_pj = _access_counts(shape, t), prices.access_pj(), shape.taps * prices.tap_pj
    by_tensor = [sum(counts[level][j] * access_pj[level, j] for level in range(4)) for j in range(3)]
    # Tensors first, then the full grid: each term varies along its own axes only.
    energy = np.broadcast_to((by_tensor[0] + compute_pj) + by_tensor[1] + by_tensor[2], valid.shape)
    outer = (shape.batch * shape.out_width * shape.kernel_size) * (t["M3"] * t["M2"] * t["M0"])
    cycles = np.broadcast_to(outer * (t["C2"] * t["C0"] * t["E3"]), valid.shape)
    position = np.flatnonzero(valid)[_chosen(energy[valid], cycles[valid].astype(float), rule)]
    best = np.unravel_index(position, valid.shape)

    def at(values: np.ndarray) -> Any:
        return values[tuple(0 if size == 1 else i for i, size in zip(best, values.shape))].item()

    tiling = Tiling(**{name: at(column) for name, column in t.items()})
    return LayerCost(
        energy_mj=float(energy[best] * 1e-9),
        latency_ms=float(cycles[best] * prices.cycles_per_tap / (hardware.clock_mhz * 1e3)),
        breakdown=Breakdown(
            compute_pj * 1e-9,
            tuple(tuple(at(counts[i][j]) * access_pj[i, j].item() * 1e-9 for j in range(3)) for i in range(4)),
        ),
        tiling=tiling,
        pes=tiling.M1 * tiling.C1 * tiling.E1 * shape.kernel_size,
    )


def _no_fit(shape: LayerShape, hardware: Hardware, wide: bool) -> str:
    """Which capacity the layer exceeds, in one sentence."""
    memory, array = (2, 4) if wide else (1, 1)
    size = (
        f"layer {shape.in_channels}x{shape.height}x{shape.width} -> "
        f"{shape.out_channels}x{shape.out_height}x{shape.out_width} with kernel {shape.kernel_size} "
        "does not fit the modelled accelerator"
    )
    if shape.kernel_size >= hardware.input_words * memory:
        return f"{size}: kernel_size must be below {hardware.input_words * memory}, the input registers of a PE."
    # The array takes a divisor of the output rows other than 1; the smallest needs the fewest PEs.
    group = 1 if shape.fc_like else next((d for d in sorted(divisors(shape.out_height)) if d > 1), None)
    if group is None:
        return (
            f"{size}: the published model has no mapping for a map with one output row; "
            "use a larger input or accounting='unbiased'."
        )
    if group * shape.kernel_size >= hardware.pe_limit * array:
        return (
            f"{size}: {shape.out_height} output rows can only be taken {group} at a time, which needs "
            f"{group * shape.kernel_size} PEs, and fewer than {hardware.pe_limit * array} are allowed; "
            "use another input size or accounting='unbiased'."
        )
    return f"{size}: no tiling of its rows fits the {hardware.buffer_words * memory} words of the on-chip buffer."


def layer_cost(
    op: str,
    *,
    batch: int = 1,
    in_channels: int,
    height: int = 1,
    width: int = 1,
    out_channels: int,
    kernel_size: int = 1,
    stride: int = 1,
    out_height: int = 1,
    out_width: int = 1,
    bits: int = 32,
    pe_limit: int = 192,
    rule: str = "combined",
    accounting: str = "published",
    shift_cycle_share: float = SHIFT_CYCLE_SHARE,
    word_bits: tuple[float, float, float] | None = None,
    energies: OperationEnergies | None = None,
    filtered_list: bool = False,
    hardware: Hardware | None = None,
) -> LayerCost:
    """Modelled energy and latency of one layer.

    Args:
        op: "conv", "fc" (fully connected; batch counts tokens), "shift" or "add".
        batch, in_channels, height, width: input, the map without padding.
        out_channels, out_height, out_width, kernel_size, stride: output and square kernel.
        bits: 32 or 8. Published shift layers move 10-bit words in both.
        pe_limit: mappings use strictly fewer PEs; 192 in the vision, 168 in the translation figures.
        rule: which tiling is reported, "combined" (as published), "energy" or "latency".
        accounting: "published", "corrected" (the same for a single layer) or "unbiased"; see the module.
        shift_cycle_share: cycles of a published shift tap, 10/32 (vision) or 1/2 (translation).
        word_bits: widths of input, weight and output words, if they differ from the accounting's.
        energies: pJ per operation instead of the simulator's.
        filtered_list: reproduce the simulator's loss of candidates at 8 bit.
        hardware: other capacities; its `pe_limit` then counts.
    Returns: `LayerCost`.
    Raises: InputError on sizes below 1, unknown options, or a layer that fits in no tiling.
    Source: ShiftAddNAS, public simulator; Chen et al., Eyeriss, 2016, for the dataflow.
    """
    check_choice("rule", rule, RULES)
    sizes = {
        "batch": batch,
        "in_channels": in_channels,
        "height": height,
        "width": width,
        "out_channels": out_channels,
        "kernel_size": kernel_size,
        "stride": stride,
        "out_height": out_height,
        "out_width": out_width,
    }
    shape = LayerShape(**{name: check_int(name, value, minimum=1) for name, value in sizes.items()}, fc=op == "fc")
    prices = pricing(op, bits, accounting, shift_cycle_share=shift_cycle_share, word_bits=word_bits, energies=energies)
    chip = hardware or Hardware(pe_limit=pe_limit)
    return price(shape, prices, chip, rule, filtered_list, accounting != "published")
