"""Packed power-of-two weights: exact packing, products against float64, bit-exact fixed point."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro import codes
from repro.errors import InputError
from repro.triton import shift

from .exact_adder import check_error, windows

WINDOW = dict(stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2)


def random_weight(shape, weight_bits, seed=0):
    """(values, sign, magnitude code); zero, the smallest and the largest exponent occur."""
    generator = torch.Generator().manual_seed(seed)
    magnitude = torch.randint(0, 2 ** (weight_bits - 1), shape, generator=generator)
    sign = torch.randint(0, 2, shape, generator=generator) * 2 - 1
    p_min = 2 - 2 ** (weight_bits - 1)
    values = torch.where(magnitude == 0, 0.0, torch.pow(2.0, (magnitude - 1 + p_min).double()) * sign)
    return values.float(), sign, magnitude


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(1, 5), columns=st.integers(1, 70), weight_bits=st.sampled_from([4, 5]), seed=st.integers(0, 99))
def test_unpacking_gives_back_every_bit(rows, columns, weight_bits, seed):
    values, *_ = random_weight((rows, columns), weight_bits, seed)
    packed = shift.pack_shift_weight(values, weight_bits)
    assert packed.shape == (rows, codes.words_per_row(columns, weight_bits)) and packed.dtype == torch.int32
    assert torch.equal(shift.unpack_shift_weight(packed, values.shape, weight_bits), values)


def test_packed_layout_is_the_documented_one():
    weight = torch.zeros(1, 40)
    weight[0, 0], weight[0, 9], weight[0, 39] = 1.0, -(2.0**-14), -0.5
    words = codes.pack_shift_weight(weight, 5)[0].tolist()
    assert words[0] == 15 and words[1] == 1 << 4 and words[4] == 14 - 16 << 28  # nibbles; the last as signed word
    assert words[8] == 1 << 9 and words[9] == 1 << 7 and sum(map(bool, words)) == 5  # signs
    assert codes.pack_shift_weight(torch.tensor([[1.0, -(2.0**-6)]]), 4)[0].tolist() == [7 | (8 + 1) << 4, 0, 0, 0]


@pytest.mark.parametrize("value", [0.75, 2.0, 2.0**-15, float("nan"), float("inf")])
def test_a_weight_outside_the_format_is_refused(value):
    with pytest.raises(InputError, match="every weight must be 0 or"):
        shift.pack_shift_weight(torch.tensor([[1.0, value]]))


@pytest.mark.parametrize("weight_bits", [3, 6, "5"])
def test_a_wrong_bit_width_is_refused(weight_bits):
    with pytest.raises(InputError, match="weight_bits"):
        shift.pack_shift_weight(torch.ones(1, 1), weight_bits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("weight_bits", [4, 5])
def test_conv2d_matches_float64(weight_bits, dtype, device):
    weight, *_ = random_weight((10, 3, 3, 2), weight_bits)
    x = torch.randn(2, 6, 7, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    bias = torch.linspace(-1, 1, 10).to(dtype)
    packed = shift.pack_shift_weight(weight.to(device), weight_bits)
    y = shift.shift_conv2d_packed(
        x.to(device), packed, tuple(weight.shape), bias.to(device), **WINDOW, weight_bits=weight_bits
    )
    exact = torch.nn.functional.conv2d(x.double(), weight.double(), bias.double(), *WINDOW.values())
    plain = torch.nn.functional.conv2d(x.float(), weight, bias.float(), *WINDOW.values())
    check_error(y.cpu(), plain, exact, "y")


@pytest.mark.parametrize("batch", [0, 1, 3, 16, 17])
@pytest.mark.parametrize("weight_bits", [4, 5])
def test_linear_matches_float64(weight_bits, batch, device):
    weight, *_ = random_weight((37, 300), weight_bits)
    x = torch.randn(batch, 300, generator=torch.Generator().manual_seed(2))
    bias = torch.linspace(-1, 1, 37)
    packed = shift.pack_shift_weight(weight.to(device), weight_bits)
    y = shift.shift_linear_packed(x.to(device), packed, bias.to(device), weight_bits=weight_bits)
    exact = x.double() @ weight.double().T + bias.double()
    check_error(y.cpu(), torch.nn.functional.linear(x, weight, bias), exact, "y")


@pytest.mark.parametrize("weight_bits", [4, 5])
def test_fixed_point_is_bit_exact(weight_bits, device):
    """Against integer shifts written out in torch, over the full range of int32."""
    _, sign, magnitude = weight_parts = random_weight((4, 3, 3, 2), weight_bits)
    low, high = -(2**31), 2**31
    x = torch.randint(low, high, (2, 6, 7, 8), generator=torch.Generator().manual_seed(3), dtype=torch.int32)
    x[0, 0, 0, :2] = torch.tensor([low, high - 1], dtype=torch.int32)
    packed = shift.pack_shift_weight(weight_parts[0].to(device), weight_bits)
    y = shift.shift_conv2d_fixed(x.to(device), packed, (4, 3, 3, 2), **WINDOW, weight_bits=weight_bits)
    patches = windows(x.long(), (3, 2), *WINDOW.values()).unsqueeze(2)
    places = (magnitude - 1).clamp_min(0).unflatten(0, (2, 2))[None, :, :, :, None, None]
    factor = torch.where(magnitude == 0, 0, sign).unflatten(0, (2, 2))[None, :, :, :, None, None]
    expected = ((patches << places) * factor).sum((3, 6, 7)).flatten(1, 2)
    assert y.dtype == torch.int64 and torch.equal(y.cpu(), expected)


def test_fixed_point_linear_is_bit_exact(device):
    weight, *_ = random_weight((9, 45), 5)
    x = torch.randint(-(2**20), 2**20, (6, 45), generator=torch.Generator().manual_seed(4), dtype=torch.int32)
    y = shift.shift_linear_fixed(x.to(device), shift.pack_shift_weight(weight.to(device)))
    assert torch.equal(y.cpu(), (x.double() @ (weight.double() * 2**14).T).long())


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("weight_bits", [4, 5])
@pytest.mark.parametrize("batch", [1, 4, 16, 500])
def test_gpu_linear_matches_float64_at_real_sizes(batch, weight_bits, dtype, device):
    weight, *_ = random_weight((4096, 4096 + 32), weight_bits)
    x = torch.randn(batch, weight.shape[1], generator=torch.Generator().manual_seed(5)).to(dtype)
    packed = shift.pack_shift_weight(weight.to(device), weight_bits)
    y = shift.shift_linear_packed(x.to(device), packed, weight_bits=weight_bits)
    check_error(y.cpu(), x.float() @ weight.T, x.double() @ weight.double().T, "y")


@pytest.mark.gpu
def test_gpu_fixed_point_is_exact_at_real_sizes(device):
    weight, *_ = random_weight((64, 32, 3, 3), 5)
    x = torch.randint(-(2**15), 2**15, (8, 32, 28, 28), generator=torch.Generator().manual_seed(6), dtype=torch.int32)
    packed = shift.pack_shift_weight(weight.to(device))
    y = shift.shift_conv2d_fixed(x.to(device), packed, tuple(weight.shape), padding=(1, 1))
    expected = torch.nn.functional.conv2d(x.double(), weight.double() * 2**14, padding=1)
    assert torch.equal(y.cpu(), expected.long())


@pytest.mark.parametrize("weight_bits", [4, 5])
def test_both_back_ends_share_codes_and_fixed_point_results(weight_bits, device):
    """One file of packed weights serves both, and fixed point is equal to the last bit."""
    from repro.cpu import shift as cpu_shift

    weight, *_ = random_weight((4, 3, 3, 2), weight_bits)
    packed = cpu_shift.pack_shift_weight(weight, weight_bits)
    assert torch.equal(packed, shift.pack_shift_weight(weight, weight_bits))
    x = torch.randint(-(2**31), 2**31, (1, 6, 7, 8), generator=torch.Generator().manual_seed(7), dtype=torch.int32)
    ours = shift.shift_conv2d_fixed(x.to(device), packed.to(device), (4, 3, 3, 2), **WINDOW, weight_bits=weight_bits)
    theirs = cpu_shift.shift_conv2d_fixed(x, packed, (4, 3, 3, 2), **WINDOW, weight_bits=weight_bits)
    assert torch.equal(ours.cpu(), theirs)
