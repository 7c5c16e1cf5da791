"""Weights of exponents and signs in one pass: bit-equal to plain PyTorch whatever the size, the layout, the number."""

from __future__ import annotations

import pytest
import torch

from repro.cpu import shift_sign
from repro.ops import compose_shift_weight, quantize, shift_exponents
from repro.ops.reference import shift_sign_bwd

NAN, INF = float("nan"), float("inf")
ODD = torch.tensor(
    [
        (NAN, 1.0), (-3.0, NAN), (INF, 1.0), (-INF, -1.0), (-3.0, INF), (-2.5, 0.5), (-3.5, -0.5), (-0.5, 0.4999),
        (-1.5, -0.4999), (0.5, 2.0), (5.0, -1.0), (-99.0, 1.0), (-3.0, -0.0), (-0.0, 0.0), (NAN, 0.0), (-7.0, -INF),
    ]
)  # fmt: skip
"""P and S at ties, thresholds and ends of the range."""


def _drawn(shape, bits, seed=0):
    low, high = shift_exponents(bits)
    draw = torch.Generator().manual_seed(seed)
    shift = torch.rand(shape, generator=draw) * (high - low + 6) + low - 3  # some lie outside
    return shift, torch.randn(shape, generator=draw), torch.randn(shape, generator=draw)


def _bits(x):
    return torch.where(x.isnan(), torch.tensor(NAN), x).view(torch.int32)


def _same(found, expected):
    return torch.equal(_bits(found), _bits(expected))


@pytest.mark.parametrize("bits", [2, 5, 8])
@pytest.mark.parametrize("count", [1, 15, 16, 17, 100, 40_003])
def test_both_passes_equal_plain_torch_bit_for_bit(count, bits):
    low, high = shift_exponents(bits)
    shift, sign, grad = _drawn((count,), bits)
    few = min(count, len(ODD))
    shift[:few], sign[:few] = ODD[:few].T
    weight = quantize.shift_sign(shift, sign, low, high)
    assert _same(shift_sign.compose(shift, sign, low, high), weight)
    for exact in (False, True):
        expected = quantize._exponent_gradient(grad, shift, weight, low, high, exact)
        assert _same(shift_sign.exponent_gradient(grad, shift, weight, low, high, exact), expected)


def test_threads_and_an_odd_start_in_memory_change_nothing():
    shift, sign, grad = (x[3:] for x in _drawn((700_003,), 5))
    before = torch.get_num_threads()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        weight = shift_sign.compose(shift, sign, -14, 0)
        found.append((weight, shift_sign.exponent_gradient(grad, shift, weight, -14, 0, False)))
    torch.set_num_threads(before)
    assert all(map(torch.equal, *found)) and torch.equal(found[0][0], quantize.shift_sign(shift, sign, -14, 0))


@pytest.mark.parametrize("layout", ["channels_last", "columns", "every other", "gradient only"])
@pytest.mark.parametrize("shape", [(6, 5, 3, 3), (2, 3, 1, 1), (4, 1, 3, 3)], ids=str)
def test_layers_compose_through_it_in_any_layout(shape, layout, monkeypatch):
    def laid(x):
        if layout == "channels_last":
            return x.contiguous(memory_format=torch.channels_last)
        if layout == "columns":
            return x.transpose(0, 1).contiguous().transpose(0, 1)
        return torch.stack([x, x], -1)[..., 0] if layout == "every other" else x

    shift, sign, grad = _drawn(shape, 5)
    grad = grad.contiguous(memory_format=torch.channels_last) if layout == "gradient only" else grad
    calls = []
    for name in ("compose", "exponent_gradient"):
        kernel = getattr(shift_sign, name)
        counted = lambda *args, kernel=kernel: calls.append(kernel) or kernel(*args)  # noqa: E731
        monkeypatch.setattr(shift_sign, name, counted)
    quantize.dispatch.optional_kernel.cache_clear()
    ours = [laid(x).requires_grad_() for x in (shift, sign)]
    weight = compose_shift_weight(*ours)
    weight.backward(grad)
    quantize.dispatch.optional_kernel.cache_clear()
    assert len(calls) == (0 if layout == "every other" else 2)
    truth = shift_sign_bwd(*(x.double() for x in (grad, shift, sign)), -14, 0)
    inside = (shift >= -14) & (shift <= 0)
    assert torch.equal(weight, quantize.shift_sign(shift, sign, -14, 0))
    assert torch.allclose(ours[0].grad.double()[inside], truth[0][inside], rtol=1e-6, atol=0)
    assert torch.equal(ours[1].grad, grad)


@pytest.mark.parametrize("shape", [(40, 1, 3, 3), (4, 30, 1, 1), (2, 3, 1, 1), (6, 5, 3, 3)], ids=str)
@pytest.mark.parametrize("mixed", [False, True])
def test_weights_lie_in_memory_as_those_of_plain_torch(shape, mixed):
    odd = [torch.empty(shape, memory_format=torch.channels_last).copy_(x) for x in _drawn(shape, 5)]
    shift, sign, grad = odd
    sign = sign.contiguous() if mixed else sign
    shift.requires_grad_()
    weight = compose_shift_weight(shift, sign)
    plain = quantize.shift_sign(shift.detach(), sign, -14, 0)
    assert weight.stride() == plain.stride() and torch.equal(weight, plain)
    (found,) = torch.autograd.grad(weight, shift, grad)
    assert torch.equal(found, quantize._exponent_gradient(grad, shift.detach(), plain, -14, 0, False))
