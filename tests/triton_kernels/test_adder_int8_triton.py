"""8-bit adder inference: equal, to the last unit, to sums of int64 differences."""

from __future__ import annotations

import pytest
import torch

from repro.errors import BackendError, InputError
from repro.triton.adder_int8 import adder_conv2d_int8, adder_linear_int8

from .exact_adder import windows


def exact(x, weight, *window):
    filters = weight.long().unflatten(0, (window[-1], -1))[None, :, :, :, None, None]
    patches = windows(x.long(), weight.shape[2:], *window).unsqueeze(2)
    return -(patches - filters).abs().sum((3, 6, 7)).flatten(1, 2)


def random_bytes(*shape, seed=0):
    return torch.randint(-128, 128, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.int8)


@pytest.mark.parametrize(
    ("shape", "filters", "window"),
    [
        ((2, 5, 6, 7), (7, 5, 3, 3), ((1, 1), (1, 1), (1, 1), 1)),
        ((2, 6, 9, 8), (4, 3, 3, 2), ((2, 1), (0, 1), (1, 2), 2)),
        ((1, 8, 5, 5), (9, 8, 1, 1), ((1, 1), (0, 0), (1, 1), 1)),
        ((1, 4, 6, 5), (4, 1, 3, 3), ((1, 1), (1, 1), (1, 1), 4)),
        ((0, 4, 6, 5), (4, 4, 3, 3), ((1, 1), (1, 1), (1, 1), 1)),
    ],
    ids=["3x3", "uneven-groups", "1x1", "depthwise", "empty-batch"],
)
def test_conv2d_is_exact(shape, filters, window, device):
    x, weight = random_bytes(*shape), random_bytes(*filters, seed=1)
    y = adder_conv2d_int8(x.to(device), weight.to(device), *window)
    assert y.dtype == torch.int32 and torch.equal(y.cpu().long(), exact(x, weight, *window))


def test_linear_is_exact_at_the_extremes(device):
    x = torch.tensor([[-128, 127, -128, 0, 5], [127, 127, -1, 1, -5]], dtype=torch.int8)
    weight = torch.tensor([[127, -128, -128, 0, -5], [0, 0, 0, 0, 0], [-128, 127, -1, 1, 5]], dtype=torch.int8)
    expected = -(x.long()[:, None] - weight.long()).abs().sum(2)
    assert expected.min() < -400
    assert torch.equal(adder_linear_int8(x.to(device), weight.to(device)).cpu().long(), expected)


def test_wrong_types_and_channels_are_refused(device):
    x = random_bytes(1, 4, 3, 3).to(device)
    with pytest.raises(BackendError, match="float32 is not served"):
        adder_conv2d_int8(x, x.float(), (1, 1), (0, 0), (1, 1), 1)
    with pytest.raises(InputError, match="groups=1 does not fit"):
        adder_conv2d_int8(x, random_bytes(2, 3, 1, 1).to(device), (1, 1), (0, 0), (1, 1), 1)


@pytest.mark.gpu
@pytest.mark.parametrize("groups", [1, 4, 96])
def test_gpu_conv2d_is_exact_at_real_sizes(groups, device):
    x, weight = random_bytes(16, 96, 19, 17), random_bytes(192, 96 // groups, 3, 3, seed=1)
    window = ((2, 1), (1, 1), (1, 1), groups)
    y = adder_conv2d_int8(x.to(device), weight.to(device), *window).cpu()
    from repro.ops import reference

    assert torch.equal(y.double(), reference.adder_conv2d_fwd(x.double(), weight.double(), *window))
