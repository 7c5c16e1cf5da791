"""The row-stationary model against a slow, scalar re-statement of its equations, and against known check values."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.cost.eyeriss import Hardware, layer_cost
from repro.errors import InputError

UNIT_PJ = {32: {"mult": 3.7, "add": 0.9, "shift": 0.13}, 8: {"mult": 0.2, "add": 0.03, "shift": 0.024}}


def divisors(n):
    return [d for d in range(1, n + 1) if n % d == 0]


def splits(n, parts):
    if parts == 1:
        yield (n,)
        return
    for d in divisors(n):
        for rest in splits(n // d, parts - 1):
            yield (d, *rest)


def prices(op, bits, accounting):
    """e_op, data bits, on-chip factor (0 for adder layers that skip memory), cycles per tap."""
    unit = UNIT_PJ[bits]
    if accounting == "unbiased":
        first = {"conv": "mult", "fc": "mult", "shift": "shift", "add": "add"}[op]
        return unit[first] + unit["add"], bits, 1, 1.0
    if op == "shift":
        return unit["shift"], 10, 1, 10 / 32
    if op == "add":
        return unit["add"], bits, 0, 1.0
    return unit["mult"], bits, 1, 1.0


def brute_force(op, N, C, H, W, M, R, U, E, F, bits, P, accounting, rule, single_row=False):
    """Every tiling in turn, straight from the equations. Returns (E mJ, L ms) of the best ones, or None."""
    S = R
    e_op, b, memory, cycles_per_tap = prices(op, bits, accounting)
    m, c = (1, 1) if bits == 32 else (2, 4)
    e_D, e_G, e_X = (memory * price * b / 16 for price in (200.0, 22.2, 7.4))
    e_Xp, e_Q, e_Qw = 3.7 * b / 16, 3.7 * b / 16, 7.4 * b / 16
    fc_like = op == "fc" or H == W == E == F == 1
    I, Wt, O = N * H * W * C, R * S * C * M, N * E * F * M
    found = []
    for (N0, N3), (M0, M1, M2, M3), (C0, C1, C2), (E1, E3) in itertools.product(
        splits(N, 2), splits(M, 4), splits(C, 3), splits(E, 2)
    ):
        if M0 > 16 * m or not M1 * C1 * E1 * R < P * c or not C0 * S < 12 * m or not M0 * C0 * S < 960 * m:
            continue
        if not N0 * C1 * C0 * ((E1 - 1) * U + R) * ((F - 1) * U + S) + N0 * M2 * M1 * M0 * E1 * F < 65536 * m:
            continue
        if E1 == 1 and not fc_like and not single_row:
            continue
        X_I = M3 * M2 * M1 * R * E / H * I
        energy = (
            O * R * S * C * e_op
            + (M3 * I + N3 * E3 * Wt + O) * e_D
            + (M3 * M2 * I + max(2 * (C2 - 1), 1) * O) * e_G
            + (X_I + N3 * E3 * E1 * Wt) * e_X
            + max(C2 * (C1 * R - 1), 1) * O * e_Xp
            + (X_I * M0 * S * F / W + max(2 * C2 * C1 * R * (C0 * S - 1), 1) * O) * e_Q
            + N3 * E3 * E1 * F * N0 * Wt * e_Qw
        ) * 1e-9
        cycles = N3 * N0 * M3 * M2 * M0 * C2 * C0 * E3 * F * S
        found.append((energy, cycles * cycles_per_tap / 250e6 * 1e3))
    if not found and accounting != "published" and not single_row:
        return brute_force(op, N, C, H, W, M, R, U, E, F, bits, P, accounting, rule, single_row=True)
    if not found:
        return None
    energies, latencies = zip(*found)
    score = {
        "combined": lambda t: (t[0] - min(energies)) / max(energies) + (t[1] - min(latencies)) / max(latencies),
        "energy": lambda t: t[0],
        "latency": lambda t: t[1],
    }[rule]
    best = min(map(score, found))
    return [t for t in found if score(t) <= best + 1e-12 * max(abs(best), 1e-3)]


SMALL = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 67])


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    op=st.sampled_from(["conv", "fc", "shift", "add"]),
    batch=st.sampled_from([1, 1, 2, 6]),
    channels=st.tuples(SMALL, st.sampled_from([1, 2, 3, 8, 10, 18, 20, 24, 34, 48])),
    out=st.tuples(SMALL, SMALL),
    kernel=st.sampled_from([1, 3, 5, 7]),
    stride=st.sampled_from([1, 2]),
    bits=st.sampled_from([32, 8]),
    limit=st.sampled_from([192, 168]),
    accounting=st.sampled_from(["published", "unbiased"]),
    rule=st.sampled_from(["combined", "combined", "energy", "latency"]),
)
def test_search_equals_the_equations(op, batch, channels, out, kernel, stride, bits, limit, accounting, rule):
    E, F = out
    H, W = E * stride, F * stride
    if op == "fc":
        E = F = H = W = kernel = stride = 1
    call = dict(
        batch=batch, in_channels=channels[0], height=H, width=W, out_channels=channels[1], kernel_size=kernel,
        stride=stride, out_height=E, out_width=F, bits=bits, pe_limit=limit, accounting=accounting, rule=rule,
    )  # fmt: skip
    expected = brute_force(
        op, batch, channels[0], H, W, channels[1], kernel, stride, E, F, bits, limit, accounting, rule
    )
    if expected is None:
        with pytest.raises(InputError):
            layer_cost(op, **call)
        return
    cost = layer_cost(op, **call)
    # Tilings that tie within rounding may differ in energy and latency; ours must be one of them.
    assert any(
        math.isclose(cost.energy_mj, energy, rel_tol=1e-9) and math.isclose(cost.latency_ms, latency, rel_tol=1e-9)
        for energy, latency in expected
    ), (cost, expected[:3])
    assert math.isclose(sum(cost.breakdown.by_level.values()), cost.energy_mj, rel_tol=1e-9)
    assert math.isclose(
        sum(cost.breakdown.by_tensor.values()), cost.energy_mj - cost.breakdown.compute_mj, abs_tol=1e-12
    )


STEM = dict(in_channels=3, height=160, width=160, kernel_size=3, stride=2, out_height=80, out_width=80)


@pytest.mark.parametrize(
    ("op", "sizes", "energy_mj", "latency_ms"),
    [
        ("conv", STEM | {"out_channels": 16}, 0.187494, 0.06144),
        ("shift", STEM | {"out_channels": 16}, 0.0557545, 0.0192),
        ("conv", STEM | {"out_channels": 8}, 0.111664, 0.03072),
        ("shift", STEM | {"out_channels": 8}, 0.0334764, 0.0096),
        ("fc", {"in_channels": 1280, "out_channels": 100}, 0.0585045, 0.0032),
        ("shift", {"in_channels": 1280, "out_channels": 100}, 0.0181513, 0.001),
        ("fc", {"in_channels": 448, "out_channels": 100}, 0.0205060, 0.00112),
        ("fc", {"in_channels": 160, "out_channels": 100}, 0.00734094, 0.0004),
    ],
)
def test_known_layers(op, sizes, energy_mj, latency_ms):
    cost = layer_cost(op, **sizes)
    assert cost.energy_mj == pytest.approx(energy_mj, rel=5e-6)
    assert cost.latency_ms == pytest.approx(latency_ms, rel=1e-9)


def test_walked_over_list_loses_tilings_at_8_bit_only():
    sizes = dict(in_channels=32, height=16, width=16, out_channels=32, kernel_size=3, out_height=16, out_width=16)
    assert layer_cost("conv", bits=8, **sizes).energy_mj == pytest.approx(0.02461, abs=5e-6)
    assert layer_cost("conv", bits=8, filtered_list=True, **sizes).energy_mj == pytest.approx(0.02479, abs=5e-6)
    assert layer_cost("conv", filtered_list=True, **sizes) == layer_cost("conv", **sizes)


def test_word_widths_scale_the_memory_energy_of_their_tensor_only():
    sizes = dict(in_channels=16, height=8, width=8, out_channels=16, kernel_size=3, out_height=8, out_width=8)
    plain = layer_cost("shift", accounting="unbiased", word_bits=(32, 32, 32), rule="latency", **sizes)
    narrow = layer_cost("shift", accounting="unbiased", word_bits=(32, 8, 32), rule="latency", **sizes)
    assert narrow.tiling == plain.tiling
    assert narrow.breakdown.by_tensor["weight"] == pytest.approx(plain.breakdown.by_tensor["weight"] / 4)
    assert narrow.breakdown.by_tensor["input"] == plain.breakdown.by_tensor["input"]


def test_unbiased_adder_pays_its_traffic_and_two_additions():
    sizes = dict(in_channels=16, height=8, width=8, out_channels=16, kernel_size=3, out_height=8, out_width=8)
    published, fair = (layer_cost("add", accounting=a, **sizes) for a in ("published", "unbiased"))
    assert published.breakdown.by_level["dram"] == 0 < fair.breakdown.by_level["dram"]
    assert fair.breakdown.compute_mj == pytest.approx(2 * published.breakdown.compute_mj)


@pytest.mark.parametrize(
    ("op", "change", "words"),
    [
        ("add", {"kernel_size": 15}, "does not fit"),
        ("conv", {"kernel_size": 13}, "kernel_size must be below 12"),
        ("conv", {"width": 40000, "out_width": 40000}, "65536 words of the on-chip buffer"),
        ("conv", {"height": 109, "out_height": 109}, "taken 109 at a time, which needs 327 PEs"),
        ("conv", {"out_height": 1}, "one output row"),
        ("conv", {"in_channels": 0}, "in_channels=0"),
        ("conv", {"pe_limit": 0}, "pe_limit=0"),
        ("conv", {"word_bits": (32, 0, 32)}, "three widths above 0"),
        ("conv", {"bits": 16}, "bits=16"),
        ("convolution", {}, "Did you mean 'conv'"),
        ("conv", {"rule": "best"}, "rule='best'"),
        ("conv", {"accounting": "fair"}, "accounting='fair'"),
    ],
)
def test_impossible_layers_are_refused_in_one_sentence(op, change, words):
    sizes = dict(in_channels=8, height=8, width=8, out_channels=8, kernel_size=3, out_height=8, out_width=8)
    with pytest.raises(InputError, match=words):
        layer_cost(op, **(sizes | change))


def test_other_hardware_changes_the_mapping():
    sizes = dict(in_channels=32, height=14, width=14, out_channels=64, kernel_size=3, out_height=14, out_width=14)
    large = layer_cost("conv", hardware=Hardware(pe_limit=1024), **sizes)
    assert large.pes > 191
    assert large.latency_ms < layer_cost("conv", **sizes).latency_ms
