"""The shift operators: exact against shifts of integers, gradients straight through, types, registration."""

from __future__ import annotations

import pytest
import torch

from repro.errors import InputError
from repro.ops import (
    compose_shift_weight,
    fixed_point_round,
    reference,
    round_to_power_of_two,
    shift_conv2d,
    shift_linear,
)
from tests.ops.op_checks import assert_error_within, conv_inputs, forward_and_grads

OPTIONS = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": 2}


def case(**inputs):
    return (*conv_inputs(2, 4, (7, 8), 6, (3, 2), 2, **inputs), torch.randn(6, dtype=inputs.get("dtype")))


def test_shift_linear_is_exact_for_powers_of_two():
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(-500, 500, (5, 12), generator=generator)
    shifts, signs = (
        torch.randint(0, 5, (3, 12), generator=generator),
        torch.randint(-1, 2, (3, 12), generator=generator),
    )
    weight = signs * torch.exp2(-shifts.double())
    # the same sum with integers: activations carry 4 extra fraction bits, so that shifting right loses nothing
    shifted = (codes[:, None, :] << 4) >> shifts[None]
    expected = (shifted * signs).sum(-1).double() / 16
    y = shift_linear(codes.float(), weight.float(), backend="reference")
    assert torch.equal(y.double(), expected)


def test_shift_conv2d_matches_reference():
    x, weight, bias = case()
    y = shift_conv2d(x, weight, bias, **OPTIONS)
    settings = ((2, 1), (1, 2), (1, 2), 2, (-14, 0), (16, 16))
    plain = reference.shift_conv2d_fwd(x, weight, bias, *settings)
    exact = reference.shift_conv2d_fwd(*(t.double() for t in (x, weight, bias)), *settings)
    assert_error_within(y, plain, exact, name="y")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("weight_bits", [2, 4, 5, 8])
def test_gradients_are_the_convolutions_at_the_rounded_values(weight_bits, dtype):
    x, weight, bias = (t.to(dtype) for t in case())
    ours = forward_and_grads(shift_conv2d, x, weight, bias, weight_bits=weight_bits, activation_bits=12, **OPTIONS)
    rounded = fixed_point_round(x, 6, 6), round_to_power_of_two(weight, weight_bits), fixed_point_round(bias, 6, 6)
    plain = forward_and_grads(torch.nn.functional.conv2d, *rounded, **OPTIONS)
    for name in plain:
        torch.testing.assert_close(ours[name], plain[name], msg=name)


def test_arguments_are_not_changed_in_place():
    x, weight, bias = case()
    copies = [t.clone() for t in (x, weight, bias)]
    shift_conv2d(x, weight, bias, activation_bits=6, **OPTIONS)
    assert all(torch.equal(a, b) for a, b in zip((x, weight, bias), copies))


def test_composed_weights_are_used_as_they_are():
    x, _, bias = case()
    shift, sign = torch.randn(6, 2, 3, 2) * 3 - 4, torch.randn(6, 2, 3, 2)
    weight = compose_shift_weight(shift, sign, 4)
    assert torch.equal(
        shift_conv2d(x, weight, bias, weight_bits=None, **OPTIONS),
        shift_conv2d(x, weight, bias, weight_bits=4, **OPTIONS),
    )


def test_empty_batch_leading_axes_and_layouts():
    x, weight, bias = case()
    assert shift_conv2d(x[:0], weight, bias, **OPTIONS).shape[0] == 0
    assert shift_linear(torch.randn(2, 3, 4), torch.randn(5, 4)).shape == (2, 3, 5)
    expected = shift_conv2d(x, weight, bias, **OPTIONS)
    last = shift_conv2d(x.contiguous(memory_format=torch.channels_last), weight, bias, **OPTIONS)
    torch.testing.assert_close(last, expected)
    view = torch.randn(2, 4, 7, 16)
    view[..., ::2] = x
    torch.testing.assert_close(shift_conv2d(view[..., ::2], weight, bias, **OPTIONS), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_keeps_its_type(dtype):
    x, weight, bias = (t.to(dtype) for t in case())
    y = shift_conv2d(x, weight, bias, **OPTIONS)
    wide = shift_conv2d(x.float(), weight.float(), bias.float(), **OPTIONS)
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), wide, rtol=2 * torch.finfo(dtype).eps, atol=2 * torch.finfo(dtype).eps * 10)


def test_autocast_is_that_of_conv2d():
    x, weight, bias = case()
    with torch.autocast("cpu", torch.bfloat16):
        y = shift_conv2d(x.bfloat16(), weight, bias, **OPTIONS)
        assert shift_linear(torch.randn(2, 4), torch.randn(3, 4)).dtype == torch.bfloat16
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), shift_conv2d(x, weight, bias, **OPTIONS), rtol=0.05, atol=0.1)


def test_compiled_equals_eager_and_has_no_graph_break():
    x, weight, bias = case()

    def op(x, weight, bias):
        return shift_conv2d(x, weight, bias, **OPTIONS).relu()

    expected = forward_and_grads(op, x, weight, bias)
    ours = forward_and_grads(torch.compile(op, fullgraph=True, backend="aot_eager"), x, weight, bias)
    for name in ours:
        torch.testing.assert_close(ours[name], expected[name], msg=name)


def test_compiled_composition_of_exponent_and_sign():
    def op(shift, sign, bias):
        return compose_shift_weight(shift, sign, 4).square()

    shift, sign = torch.randn(5, 6) - 3, torch.randn(5, 6)
    expected = forward_and_grads(op, shift, sign)
    ours = forward_and_grads(torch.compile(op, fullgraph=True, backend="aot_eager"), shift, sign)
    for name in ours:
        torch.testing.assert_close(ours[name], expected[name], msg=name)


def test_meta_tensors_give_shapes_without_computing():
    x, weight, bias = (t.to("meta") for t in case())
    assert shift_conv2d(x, weight, bias, **OPTIONS).shape == (2, 6, 4, 10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: shift_conv2d(torch.ones(1, 2, 3, 3), torch.ones(1, 3, 1, 1)), "groups=1 does not fit"),
        (lambda: shift_conv2d(torch.ones(1, 2, 3, 3), torch.ones(1, 2, 1, 1), weight_bits=12), "weight_bits=12"),
        (lambda: shift_conv2d(torch.ones(1, 2, 3, 3), torch.ones(1, 2, 1, 1), activation_bits=1), "activation_bits=1"),
        (lambda: shift_linear(torch.ones(3), torch.ones(2, 4)), "last axis must have 4 entries"),
        (lambda: shift_linear(torch.ones(4), torch.ones(2, 4), backend="numba"), "backend='numba'"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()
