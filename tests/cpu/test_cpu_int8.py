"""8-bit adder inference: exact, with and without the machine's byte-difference instruction."""

from __future__ import annotations

import pytest
import torch

from repro.cpu import adder_int8
from repro.errors import InputError
from tests.cpu.cpu_cases import CASES, exact, output_shape, settings


def _bytes(shape, seed):
    return torch.randint(-128, 128, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.int8)


@pytest.mark.parametrize("portable", [False, True], ids=["native", "portable"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_int8_sums_are_exact(case, portable):
    n, channels, height, width, filters, kernel, *_, groups = case
    x, weight = _bytes((n, channels, height, width), 0), _bytes((filters, channels // groups, kernel, kernel), 1)
    truth = exact(x, weight, torch.zeros(output_shape(case)), *settings(case))[0]
    for layout in (torch.contiguous_format, torch.channels_last):
        y = adder_int8.adder_conv2d_int8(x.contiguous(memory_format=layout), weight, *settings(case), portable=portable)
        assert y.dtype == torch.int32 and torch.equal(y.double(), truth)


def test_extreme_bytes_do_not_wrap():
    x, weight = torch.full((1, 64, 6, 6), -128, dtype=torch.int8), torch.full((2, 64, 3, 3), 127, dtype=torch.int8)
    y = adder_int8.adder_conv2d_int8(x, weight)
    assert (y == -255 * 576).all()


@pytest.mark.parametrize("n,features,outputs", [(1, 1, 1), (37, 50, 11), (0, 8, 3)])
def test_int8_linear_is_exact(n, features, outputs):
    x, weight = _bytes((n, features), 0), _bytes((outputs, features), 1)
    truth = -(x.long()[:, None] - weight.long()[None]).abs().sum(2)
    assert torch.equal(adder_int8.adder_linear_int8(x, weight).long(), truth)


def test_floats_are_refused():
    with pytest.raises(InputError, match="int8"):
        adder_int8.adder_conv2d_int8(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 1, 1))
