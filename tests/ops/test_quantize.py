"""Number formats of shift networks: the value set, exact rounding, straight-through gradients, fixed point."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.errors import InputError
from repro.ops import (
    compose_shift_weight,
    fixed_point_round,
    reference,
    round_to_power_of_two,
    shift_exponents,
    shift_values,
)
from repro.ops.quantize import check_fixed_point
from tests.ops.op_checks import BACKENDS, need_backend

ALL_BITS = range(2, 9)


@pytest.mark.parametrize("weight_bits", ALL_BITS)
def test_the_values_fit_in_the_bits(weight_bits):
    values = shift_values(weight_bits)
    assert len(values) == values.unique().numel() == 2**weight_bits - 1
    p_min, p_max = shift_exponents(weight_bits)
    assert p_max == 0 and values[values > 0].min() == 2.0**p_min and values.max() == 1
    assert torch.equal(values, -values.flip(0)) and (values == 0).sum() == 1


def test_five_bits_hold_31_values_not_the_33_of_the_paper():
    assert shift_exponents(5) == (-14, 0)
    assert len(shift_values(5)) == 31  # ternary sign and 16 exponents would be 33 > 2^5
    assert shift_exponents(6)[0] <= -15  # six bits hold the paper's range


@pytest.mark.parametrize("weight_bits", ALL_BITS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_rounding_is_exact_and_reaches_only_the_value_set(weight_bits, dtype):
    generator = torch.Generator().manual_seed(weight_bits)
    exponents = torch.randint(-20, 4, (4000,), generator=generator)
    weight = (torch.randn(4000, generator=generator) * torch.exp2(exponents.float())).to(dtype)
    weight[::50] = 0
    rounded = round_to_power_of_two(weight, weight_bits)
    assert rounded.dtype == dtype
    assert torch.equal(rounded, reference.round_to_power_of_two(weight, *shift_exponents(weight_bits)))
    # 2^-14 is float16's smallest normal number; below it, powers down to 2^-24 are exact subnormals
    representable = shift_values(weight_bits).to(dtype)
    assert torch.isin(rounded, representable).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_rounding_at_the_boundary_sqrt_two(dtype):
    below = torch.tensor(math.sqrt(2), dtype=torch.float64).to(dtype)
    while below.double() ** 2 > 2:
        below = torch.nextafter(below, below.new_zeros(()))
    above = torch.nextafter(below, below.new_full((), 2))
    for power in range(-14, -1):
        scale = 2.0**power
        weight = torch.stack([below * scale, above * scale, -below * scale])
        expected = torch.tensor([scale, 2 * scale, -scale], dtype=dtype)
        assert torch.equal(round_to_power_of_two(weight), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_weights_outside_the_range_go_to_its_ends_and_only_zero_is_zero(dtype):
    weight = torch.tensor([0.0, 1e-30, -1e-30, 1e-44, 3.0, -1e30, math.inf, -math.inf, math.nan], dtype=dtype)
    rounded = round_to_power_of_two(weight, 4)
    small = 2.0**-6
    assert rounded[:-1].tolist() == [0, small, -small, small, 1, -1, 1, -1]
    assert rounded[-1].isnan()


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20), st.integers(2, 8))
def test_rounding_is_idempotent_odd_and_nearest_in_the_exponent(values, weight_bits):
    weight = torch.tensor(values, dtype=torch.float32)
    rounded = round_to_power_of_two(weight, weight_bits)
    assert torch.equal(round_to_power_of_two(rounded, weight_bits), rounded)
    assert torch.equal(round_to_power_of_two(-weight, weight_bits), -rounded)
    assert torch.equal(rounded, reference.round_to_power_of_two(weight, *shift_exponents(weight_bits)))


def test_non_contiguous_and_empty_weights():
    weight = torch.randn(6, 4)
    assert torch.equal(round_to_power_of_two(weight.T), round_to_power_of_two(weight).T)
    assert round_to_power_of_two(torch.empty(0, 3)).shape == (0, 3)


def test_rounding_leaves_its_argument_alone_and_passes_the_gradient_through():
    weight = torch.tensor([0.0, 0.3, -5.0, 1e-9], requires_grad=True)
    before = weight.detach().clone()
    upstream = torch.tensor([1.0, -2.0, 3.0, 0.5])
    round_to_power_of_two(weight).backward(upstream)
    assert torch.equal(weight.grad, upstream) and torch.equal(weight.detach(), before)


def test_stochastic_rounding_is_unbiased_in_the_exponent_and_seeded():
    weight = torch.full((20000,), -(2.0**-2.3))
    draws = [
        round_to_power_of_two(weight, stochastic=True, generator=torch.Generator().manual_seed(3)) for _ in range(2)
    ]
    assert torch.equal(*draws)
    assert set(draws[0].tolist()) == {-(2.0**-2), -(2.0**-3)}
    # 30 % of exponents round down: standard error sqrt(0.3 * 0.7 / 20000) = 0.0032, five of them allowed
    assert torch.log2(-draws[0]).mean().item() == pytest.approx(-2.3, abs=0.0163)
    exact = shift_values(5).float()
    assert torch.equal(round_to_power_of_two(exact, stochastic=True), exact)


# --- trainable exponent and sign -------------------------------------------------------------------------------------


def test_ternary_sign_has_its_thresholds_at_one_half():
    sign = torch.tensor([-2.0, -0.5, -0.4999, 0.0, 0.4999, 0.5, 1.5])
    assert compose_shift_weight(torch.zeros(7), sign).tolist() == [-1, -1, 0, 0, 0, 1, 1]
    assert reference.ternary_sign(sign).tolist() == [-1, -1, 0, 0, 0, 1, 1]


@pytest.mark.parametrize("weight_bits", ALL_BITS)
def test_composed_weights_follow_equations_2_to_6(weight_bits):
    generator = torch.Generator().manual_seed(weight_bits)
    p_min, p_max = shift_exponents(weight_bits)
    shift = (torch.rand(500, generator=generator, dtype=torch.float64) * (p_max - p_min) + p_min).requires_grad_()
    sign = torch.randn(500, generator=generator, dtype=torch.float64).requires_grad_()
    upstream = torch.randn(500, generator=generator, dtype=torch.float64)
    weight = compose_shift_weight(shift, sign, weight_bits)
    assert torch.equal(weight, reference.shift_sign_fwd(shift, sign, p_min, p_max))
    assert torch.isin(weight, shift_values(weight_bits)).all()
    weight.backward(upstream)
    expected = reference.shift_sign_bwd(upstream, shift, sign, p_min, p_max)
    torch.testing.assert_close(shift.grad, expected[0], rtol=1e-14, atol=0)
    torch.testing.assert_close(sign.grad, expected[1], rtol=0, atol=0)


def test_gradient_of_the_exponent_worked_by_hand():
    shift = torch.tensor([-2.2], dtype=torch.float64, requires_grad=True)
    sign = torch.tensor([-0.9], dtype=torch.float64, requires_grad=True)
    compose_shift_weight(shift, sign).backward(torch.tensor([3.0], dtype=torch.float64))
    assert shift.grad.item() == pytest.approx(3 * (-0.25) * 0.25 * math.log(2))  # eq. 6: w * 2^P * ln 2
    assert sign.grad.item() == 3
    shift.grad = None
    compose_shift_weight(shift, sign, gradient="chain").backward(torch.tensor([3.0], dtype=torch.float64))
    assert shift.grad.item() == pytest.approx(3 * (-0.25) * math.log(2))


def test_an_exponent_outside_its_range_only_gets_gradients_that_lead_back():
    shift = torch.tensor([-9.0, -9.0, 2.0, 2.0], requires_grad=True)  # four bits: [-6, 0]
    sign = torch.ones(4)
    weight = compose_shift_weight(shift, sign, 4)
    assert weight.tolist() == [2.0**-6, 2.0**-6, 1, 1]
    weight.backward(torch.tensor([1.0, -1.0, 1.0, -1.0]))
    assert [bool(g) for g in shift.grad] == [False, True, True, False]
    assert shift.grad[1] < 0 < shift.grad[2]  # descent moves the first up, the second down


# --- fixed point -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bits", [(16, 16), (8, 8), (4, 2), (1, 7), (20, 0)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_fixed_point_is_the_nearest_number_of_the_grid(bits, dtype, backend):
    if backend == "triton" and dtype is torch.float64:
        pytest.skip("the Triton kernels serve float32 and half precision")
    need_backend(backend, "fixed_point" if backend == "cpu" else "shift")
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(3, 1001, generator=generator, dtype=torch.float64) * 2.0 ** (bits[0] / 2)).to(dtype)
    x[0, :9] = torch.tensor(
        [0.0, 1e9, -1e9, 2.5 * 2.0 ** -bits[1], math.inf, -math.inf, 1e-30, -0.0, -(2.0 ** (bits[0] - 1))]
    )
    ours = fixed_point_round(x, *bits, backend=backend)
    expected = reference.fixed_point_round(x, *bits)
    top = 2.0 ** (bits[0] - 1)
    if dtype is torch.float32 and sum(bits) > 24:  # the upper end has more bits than float32: the number below it
        expected = torch.where(expected >= top, torch.nextafter(torch.tensor(top), torch.tensor(0.0)), expected)
    assert torch.equal(ours, expected)
    assert ours.max() < top and ours.min() == -top
    assert torch.equal(fixed_point_round(ours, *bits, backend=backend), ours)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_fixed_point_takes_any_layout_and_size(backend):
    need_backend(backend, "fixed_point")
    x = torch.randn(2, 5, 7, 6) * 100
    layouts = {
        "channels last": x.contiguous(memory_format=torch.channels_last),
        "offset": x[1:],
        "strided": x[..., ::2],
        "turned": x.transpose(1, 3),
        "expanded": x[:, :1].expand(2, 5, 7, 6),
        "odd": x.flatten()[3:40],
        "tiny": x[0, 0, 0, :3],
        "empty": x[:0],
        "scalar": x[0, 0, 0, 0],
    }
    for name, tensor in layouts.items():
        ours = fixed_point_round(tensor, 8, 3, backend=backend)
        assert torch.equal(ours, reference.fixed_point_round(tensor, 8, 3)), name
    kept = fixed_point_round(layouts["channels last"], 8, 3, backend=backend)
    assert kept.is_contiguous(memory_format=torch.channels_last)


def test_fixed_point_of_a_large_tensor_on_all_threads():
    x = torch.randn(3_000_001)
    assert torch.equal(fixed_point_round(x, 8, 8, backend="auto"), reference.fixed_point_round(x, 8, 8))


def test_fixed_point_keeps_nan_and_passes_the_gradient_through():
    x = torch.tensor([0.3, math.nan, 1e9], requires_grad=True)
    y = fixed_point_round(x, 8, 8)
    assert y[1].isnan() and y[0] == round(0.3 * 256) / 256
    y.backward(torch.tensor([1.0, 2.0, 3.0]))
    assert x.grad.tolist() == [1, 2, 3]


def test_half_precision_keeps_its_type():
    x = torch.randn(100).half()
    assert torch.equal(fixed_point_round(x, 4, 4), reference.fixed_point_round(x, 4, 4))


def test_bit_counts_split_into_integer_and_fraction():
    assert check_fixed_point(32) == check_fixed_point((16, 16)) == (16, 16)
    assert check_fixed_point(16) == (8, 8) and check_fixed_point(9) == (5, 4) and check_fixed_point(None) is None


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: shift_exponents(1),
            "weight_bits=1 is not allowed; it must be a whole number at least 2 and at most 8",
        ),
        (lambda: shift_values(9), "weight_bits=9"),
        (lambda: round_to_power_of_two(torch.ones(2), 2.5), "weight_bits=2.5"),
        (lambda: round_to_power_of_two(torch.ones(2, dtype=torch.int32)), "weight.dtype=torch.int32"),
        (lambda: compose_shift_weight(torch.ones(2), torch.ones(3)), r"sign has shape \(3,\)"),
        (lambda: compose_shift_weight(torch.ones(2), torch.ones(2), gradient="papers"), "gradient='papers' .*'paper'"),
        (lambda: check_fixed_point(1), "activation_bits=1"),
        (lambda: check_fixed_point((0, 4)), r"activation_bits\[0\]=0"),
        (lambda: check_fixed_point((1, 2, 3)), "activation_bits=.*integer, fraction"),
        (lambda: fixed_point_round(torch.ones(2), 16, -1), "fraction_bits=-1"),
        (lambda: fixed_point_round(torch.ones(2), backend="gpu"), "backend='gpu'"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("gradient", ["paper", "chain"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_the_gradient_of_exponents_is_equation_6_of_every_type(dtype, gradient):
    """Also where 2^P times the weight has no place in the type although the gradient has: 4096 at P=-13."""
    generator = torch.Generator().manual_seed(0)
    shift = torch.cat([torch.tensor([-13.0]), -14 * torch.rand(600, generator=generator)]).to(dtype).requires_grad_()
    sign = torch.cat([torch.ones(1), 2 * torch.rand(600, generator=generator) - 1]).to(dtype)
    upstream = torch.cat([torch.tensor([4096.0]), torch.randn(600, generator=generator)]).to(dtype)
    compose_shift_weight(shift, sign, 5, gradient=gradient).backward(upstream)
    for p, s, g, found in zip(*(t.detach().double().tolist() for t in (shift, sign, upstream, shift.grad))):
        power = 2.0 ** round(max(-14.0, min(0.0, p)))
        ternary = (s >= 0.5) - (s <= -0.5)
        wanted = g * ternary * power * (power if gradient == "paper" else 1.0) * math.log(2)
        assert found == pytest.approx(wanted, rel=4 * torch.finfo(dtype).eps, abs=torch.finfo(dtype).smallest_normal)
