"""Packed power-of-two weights: exact codes, exact fixed point, floating point equal to the library's convolution."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from repro.cpu import shift
from repro.errors import InputError
from tests.cpu.cpu_cases import CASES, output_shape, settings


def _weight(shape, weight_bits, seed=0):
    """Zeros and signed powers of two over the whole range of the format."""
    levels = 2 ** (weight_bits - 1) - 1
    generator = torch.Generator().manual_seed(seed)
    code = torch.randint(0, levels + 1, shape, generator=generator)
    sign = 1.0 - 2.0 * torch.randint(0, 2, shape, generator=generator)
    return torch.where(code == 0, 0.0, sign * torch.exp2((code - levels).double())).float()


def _shape(case):
    return case[4], case[1] // case[9], case[5], case[5]


def _options(case):
    return dict(zip(("stride", "padding", "dilation", "groups"), settings(case), strict=True))


@pytest.mark.parametrize("weight_bits", [4, 5])
@pytest.mark.parametrize("shape", [(1, 1), (3, 31), (5, 32), (7, 33, 3, 3)], ids=str)
def test_codes_give_back_the_very_weights(shape, weight_bits):
    weight = _weight(shape, weight_bits)
    packed = shift.pack_shift_weight(weight, weight_bits)
    assert torch.equal(shift.unpack_shift_weight(packed, shape, weight_bits), weight)
    columns = weight[0].numel()
    p_min = 2 - 2 ** (weight_bits - 1)
    assert torch.equal(shift._decode(packed, columns, weight_bits, p_min), weight.reshape(shape[0], columns))


@pytest.mark.parametrize("weight_bits", [4, 5])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_fixed_point_convolution_is_bit_exact(case, weight_bits):
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(-(2**20), 2**20, case[:4], generator=generator, dtype=torch.int32)
    weight = _weight(_shape(case), weight_bits)
    packed = shift.pack_shift_weight(weight, weight_bits)
    y = shift.shift_conv2d_fixed(x, packed, _shape(case), **_options(case), weight_bits=weight_bits)
    stride, padding, dilation, groups = settings(case)
    scaled = weight.double() * 2.0 ** (2 ** (weight_bits - 1) - 2)
    truth = functional.conv2d(x.double(), scaled, None, stride, padding, dilation, groups)  # whole, below 2^53
    assert y.dtype == torch.int64 and torch.equal(y, truth.long())
    assert tuple(y.shape) == output_shape(case)


def test_fixed_point_linear_holds_full_range_activations():
    x = torch.randint(-(2**31), 2**31 - 1, (9, 70), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    weight = _weight((11, 70), 5)
    y = shift.shift_linear_fixed(x, shift.pack_shift_weight(weight, 5))
    truth = (x.long()[:, None] * (weight.double() * 2.0**14).long()[None]).sum(2)
    assert torch.equal(y, truth)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", CASES[:4] + CASES[12:14], ids=str)
def test_packed_convolution_equals_the_librarys(case, dtype):
    x = torch.randn(case[:4], generator=torch.Generator().manual_seed(2)).to(dtype)
    weight = _weight(_shape(case), 5)
    y = shift.shift_conv2d_packed(x, shift.pack_shift_weight(weight, 5), _shape(case), **_options(case))
    stride, padding, dilation, groups = settings(case)
    truth = functional.conv2d(x.float(), weight, None, stride, padding, dilation, groups).to(dtype)
    torch.testing.assert_close(y, truth, rtol=0, atol=0)


def test_packed_linear_decodes_band_by_band(monkeypatch):
    monkeypatch.setattr(shift, "BAND_ELEMENTS", 150)
    x, weight, bias = torch.randn(4, 50), _weight((17, 50), 4), torch.randn(17)
    y = shift.shift_linear_packed(x, shift.pack_shift_weight(weight, 4), bias, weight_bits=4)
    torch.testing.assert_close(y, functional.linear(x, weight, bias), rtol=1e-5, atol=1e-5)


def test_weights_outside_the_range_and_wrong_types_are_refused():
    with pytest.raises(InputError, match=r"p from -6 to 0"):
        shift.pack_shift_weight(torch.full((1, 4), 2.0**-7), 4)
    with pytest.raises(InputError, match="weight_bits=3"):
        shift.pack_shift_weight(torch.ones(1, 4), 3)
    with pytest.raises(InputError, match="one of the types"):
        shift.shift_linear_fixed(torch.ones(1, 4), shift.pack_shift_weight(torch.ones(1, 4), 5))
