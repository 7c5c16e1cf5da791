"""The two forms of a sum, an addition or a multiply-add by one, give the same bits in every sum of |x - w|."""

from __future__ import annotations

import numba
import numpy as np
import pytest
import torch

from repro.cpu import adder, depthwise, l1, linear, simd
from repro.cpu.l1 import SOME
from repro.cpu.simd import PIECE, PIXELS

TAPS = 37  # more than two blocks
STEP = 4 * PIECE


def _compiled():
    """The loops as they are now: of `SOME` filters (maximum, plain), of linear layers, and of depthwise rows."""

    @numba.njit
    def loops(x, w, offsets, weight_sums, scratch, out):
        unit, row = np.float32(0), 4 * PIXELS
        a, o, taps = x, out, TAPS
        x0, x1, x2, x3 = a, a + STEP, a + 2 * STEP, a + 3 * STEP
        o0, o1, o2, o3 = o, o + STEP, o + 2 * STEP, o + 3 * STEP
        l1.max_tile_some(
            unit, x0, x1, x2, x3, offsets, w, 4 * taps, taps, scratch, weight_sums, 1, o0, o1, o2, o3, row, x
        )
        down = SOME * row
        p0, p1, p2, p3 = o0 + down, o1 + down, o2 + down, o3 + down
        l1.plain_tile_some(unit, x0, x1, x2, x3, offsets, w, 4 * taps, taps, p0, p1, p2, p3, row)
        down += SOME * row
        linear._distances(unit, x, 4 * taps, SOME, w, 4 * taps, SOME, taps, out + down, row, 4)
        depthwise._l1_row(unit, x, x, out + down + SOME * row, PIXELS, offsets, w, taps)

    return loops


def _run(loops, x, w):
    offsets = np.arange(TAPS, dtype=np.int64) * 4 * PIXELS
    sums = np.stack([w.sum(1), np.abs(w).sum(1)], 1).astype(np.float32)
    scratch, out = np.zeros(PIXELS, np.float32), np.zeros((3 * SOME + 1, PIXELS), np.float32)
    loops(*(array.ctypes.data for array in (x, w, offsets, sums, scratch, out)))
    return out


@pytest.fixture(scope="module")
def both():
    """Loops compiled in the form "add" and in the form "fma"."""
    before, made = simd.SUM, {}
    rng = np.random.default_rng(0)
    try:
        for simd.SUM in ("add", "fma"):
            made[simd.SUM] = _compiled()
            _run(made[simd.SUM], *_data(rng, 1.0))
    finally:
        simd.SUM = before
    return made


def _data(rng, scale):
    return tuple((scale * rng.standard_normal(size)).astype(np.float32) for size in ((TAPS, PIXELS), (SOME, TAPS)))


@pytest.mark.parametrize("special", ["ordinary", "tiny", "huge", "not finite"])
def test_both_forms_give_the_same_bits(both, special):
    rng = np.random.default_rng(1)
    x, w = _data(rng, {"tiny": 1e-39, "huge": 1e36}.get(special, 1.0))
    if special == "not finite":
        x[3, 5], x[4, 6], w[0, 7] = np.inf, np.nan, -np.inf
    added, fused = _run(both["add"], x, w), _run(both["fma"], x, w)
    exact = -np.abs(x.T[None].astype(np.float64) - w[:, None]).sum(2)
    if special == "ordinary":
        for tile in (added[:SOME], added[SOME : 2 * SOME]):
            np.testing.assert_allclose(tile, exact, rtol=1e-5)
        np.testing.assert_allclose(added[-1], exact[0], rtol=1e-5)
        assert (added[2 * SOME : 3 * SOME, :SOME] < 0).all()
    missing = np.isnan(added)
    assert np.array_equal(missing, np.isnan(fused)) and missing.any() == (special == "not finite")
    assert np.array_equal(added.view(np.int32)[~missing], fused.view(np.int32)[~missing])


def test_the_compiler_does_not_turn_one_form_into_the_other(both):
    for form, loops in both.items():
        (code,) = loops.inspect_llvm().values()
        assert ("@llvm.arithmetic.fence" in code) == (form == "fma")


def test_the_form_of_a_layer_is_named():
    layer = dict(stride=(1, 1), padding=(0, 0), groups=1)
    x, weight = torch.ones(1, 4, 6, 6), torch.ones(4, 4, 1, 1)
    assert adder.forward_form(x, weight, **layer) == f"max+{simd.SUM}"
    assert adder.forward_form(x.to(memory_format=torch.channels_last), weight, **layer) == f"sub+and+{simd.SUM}"
    assert adder.forward_form(x, torch.ones(4, 1, 3, 3), **layer | {"groups": 4}) == f"sub+and+{simd.SUM}"
    assert adder.forward_form(x.double(), weight.double(), **layer) == f"sub+and+{simd.SUM}"
