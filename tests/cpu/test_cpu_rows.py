"""Rows kernels and layouts: linear layers, one-pixel images, channels-last pixels, byte rows, filter counts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from repro.cpu import adder, adder_int8, layout
from tests.cpu.cpu_cases import exact

POINT = (1, 1), (0, 0), (1, 1), 1


def _normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _gradients(grad_out, x, weight, *options):
    return (
        adder.adder_conv2d_bwd_input(grad_out, x, weight, *options),
        adder.adder_conv2d_bwd_weight(grad_out, x, weight, *options),
    )


@pytest.mark.parametrize("filters", [1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 16, 19])
def test_every_number_of_filters_is_covered_by_tiles(filters):
    x, weight = _normal(2, 5, 6, 9), _normal(filters, 5, 3, 3, seed=1)
    grad_out = _normal(2, filters, 6, 9, seed=2)
    options = (1, 1), (1, 1), (1, 1), 1
    truth = exact(x, weight, grad_out, *options)
    ours = adder.adder_conv2d_fwd(x, weight, *options), *_gradients(grad_out, x, weight, *options)
    for a, b in zip(ours, truth, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("images", [1, 3, 37, 300])
def test_images_of_one_pixel_equal_the_definition(images):
    x, weight, grad_out = _normal(images, 21, 1, 1), _normal(10, 21, 1, 1, seed=1), _normal(images, 10, 1, 1, seed=2)
    truth = exact(x, weight, grad_out, *POINT)
    ours = adder.adder_conv2d_fwd(x, weight, *POINT), *_gradients(grad_out, x, weight, *POINT)
    for a, b in zip(ours, truth, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=5e-5)


@pytest.mark.parametrize("case", [(1, 1), (0, 0)], ids=["larger filter", "1x1"])
def test_both_gradients_at_once_equal_each_alone(case):
    kernel = 1 + 2 * case[0]
    x = _normal(2, 12, 9, 11).contiguous(memory_format=torch.channels_last)
    weight, options = _normal(9, 12, kernel, kernel, seed=1), ((1, 1), case, (1, 1), 1)
    grad_out = _normal(2, 9, 9, 11, seed=2).contiguous(memory_format=torch.channels_last)
    for tensor in (x, x.contiguous()):
        both = adder.adder_conv2d_bwd(grad_out, tensor, weight, *options)
        for a, b in zip(both, _gradients(grad_out, tensor, weight, *options), strict=True):
            assert torch.equal(a, b)
        assert both[0].stride() == tensor.stride()


@pytest.mark.parametrize("rows", [5, 70])
@pytest.mark.parametrize("where", ["x", "weight"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=str)
def test_what_is_not_finite_reaches_its_row_or_column_of_a_linear_layer(rows, where, value):
    x, weight, grad_out = _normal(rows, 40), _normal(6, 40, seed=1), _normal(rows, 6, seed=2)
    {"x": x, "weight": weight}[where][2, 33] = value
    difference = x.double()[:, None] - weight.double()[None]
    y = adder.adder_linear_fwd(x, weight)
    assert torch.equal(y.isfinite(), (-difference.abs().sum(2)).isfinite())
    grad_x = adder.adder_linear_bwd_input(grad_out, x, weight)
    truth = (grad_out.double()[..., None] * (-difference).clamp(-1, 1)).sum(1)
    torch.testing.assert_close(grad_x.double(), truth, rtol=1e-5, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_linear_errors_are_at_most_twice_those_of_plain_pytorch(offset):
    x, weight, grad_out = _normal(60, 150) + offset, _normal(20, 150, seed=1) + offset, _normal(60, 20, seed=2)
    plain, truth = x[:, None] - weight[None], x.double()[:, None] - weight.double()[None]
    upstream = grad_out[..., None], grad_out.double()[..., None]
    cases = [
        (adder.adder_linear_fwd(x, weight), *(-d.abs().sum(2) for d in (plain, truth))),
        (
            adder.adder_linear_bwd_input(grad_out, x, weight),
            *((g * (-d).clamp(-1, 1)).sum(1) for g, d in zip(upstream, (plain, truth), strict=True)),
        ),
        (
            adder.adder_linear_bwd_weight(grad_out, x, weight),
            *((g * d).sum(0) for g, d in zip(upstream, (plain, truth), strict=True)),
        ),
    ]
    for ours, theirs, right in cases:
        ulp = torch.finfo(torch.float32).eps * right.abs().max()
        assert (ours - right).abs().max() <= 2 * (theirs - right).abs().max() + ulp


@pytest.mark.parametrize("threads", [2, 5])
def test_rows_do_not_depend_on_the_number_of_threads(threads, monkeypatch):
    monkeypatch.setattr("repro.cpu.runner.WORK_PER_THREAD", 1)
    x, weight, grad_out = _normal(90, 130), _normal(33, 130, seed=1), _normal(90, 33, seed=2)
    before = torch.get_num_threads()
    results = []
    try:
        for count in (1, threads):
            torch.set_num_threads(count)
            results.append(
                (
                    adder.adder_linear_fwd(x, weight),
                    adder.adder_linear_bwd_input(grad_out, x, weight),
                    adder.adder_linear_bwd_weight(grad_out, x, weight),
                )
            )
    finally:
        torch.set_num_threads(before)
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [(2, 8, 3, 3), (3, 13, 7, 9), (2, 300, 17, 31), (2, 3, 9, 9), (0, 9, 4, 4)], ids=str)
def test_layouts_are_exchanged_exactly(shape, dtype):
    x = _normal(*shape).to(dtype)
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(layout.to_nchw(last), x) and layout.to_nchw(last).is_contiguous()
    back = layout.to_channels_last(x)
    assert torch.equal(back, x) and back.is_contiguous(memory_format=torch.channels_last)


@hypothesis_settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_8_bit_sums_of_any_small_layer_are_exact(data):
    images, filters = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 21))
    pointwise = data.draw(st.booleans())
    channels = data.draw(st.integers(1, 40 if pointwise else 7))
    kernel = (1, 1) if pointwise else (data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4)))
    stride, padding, dilation = (
        ((1, 1), (0, 0), (1, 1))
        if pointwise
        else tuple(tuple(data.draw(st.integers(low, 2)) for _ in range(2)) for low in (1, 0, 1))
    )
    size = tuple(data.draw(st.integers(dilation[i] * (kernel[i] - 1) + 1, 70 if i else 12)) for i in range(2))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 9)))
    x = torch.randint(-128, 128, (images, channels, *size), generator=generator, dtype=torch.int8)
    weight = torch.randint(-128, 128, (filters, channels, *kernel), generator=generator, dtype=torch.int8)
    options = stride, padding, dilation, 1
    y = adder_int8.adder_conv2d_int8(x, weight, *options)
    truth = exact(x, weight, torch.zeros(y.shape), *options)[0]
    assert torch.equal(y.double(), truth)
