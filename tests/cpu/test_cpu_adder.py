"""Adder kernels against an independent float64 formulation: shapes, dtypes, layouts, threads, numerics, errors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from repro.cpu import adder, dense
from repro.cpu.geometry import pairs
from repro.cpu.simd import HAS_AVX512
from repro.errors import BackendError, InputError
from repro.ops import reference
from tests.cpu.cpu_cases import CASES, exact, inputs, output_shape, settings


def _all(x, weight, grad_out, *options):
    return (
        adder.adder_conv2d_fwd(x, weight, *options),
        adder.adder_conv2d_bwd_input(grad_out, x, weight, *options),
        adder.adder_conv2d_bwd_weight(grad_out, x, weight, *options),
    )


def _grad(case, dtype=torch.float32, seed=1):
    return torch.randn(output_shape(case), generator=torch.Generator().manual_seed(seed)).to(dtype)


def _assert_close(ours, truth, tolerance):
    for name, a, b in zip(("y", "grad_x", "grad_weight"), ours, truth, strict=True):
        worst = (a.double() - b).abs().max() / b.abs().max().clamp(min=1e-30)
        assert worst <= tolerance, f"{name}: {worst:.2e}"


@pytest.fixture(autouse=True)
def fresh_buffers_hold_nan(monkeypatch):
    """An output element that no kernel writes must show."""
    plain = torch.empty

    def poisoned(*args, **kwargs):
        tensor = plain(*args, **kwargs)
        return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor.fill_(-1)

    monkeypatch.setattr(adder.torch, "empty", poisoned)


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_adder_conv2d_equals_the_definition(case, dtype, channels_last):
    x, weight = inputs(case, dtype)
    grad_out = _grad(case, dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    ours = _all(x, weight, grad_out, *settings(case))
    _assert_close(ours, exact(x, weight, grad_out, *settings(case)), 3e-6 if dtype == torch.float32 else 1e-14)
    for tensor in ours[:2]:
        assert tensor.is_contiguous(memory_format=torch.channels_last) or not channels_last


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", CASES[:4] + CASES[12:14], ids=str)
def test_half_precision_is_summed_in_float32_and_rounded_once(case, dtype):
    x, weight = inputs(case, dtype)
    grad_out = _grad(case, dtype)
    ours = _all(x, weight, grad_out, *settings(case))
    wide = _all(x.float(), weight.float(), grad_out.float(), *settings(case))
    for a, b in zip(ours, wide, strict=True):
        assert a.dtype == dtype and torch.equal(a, b.to(dtype))


@pytest.mark.parametrize("case", CASES[:2] + CASES[11:13], ids=str)
def test_strided_views_give_the_same_result_as_their_copies(case):
    x, weight = inputs(case)
    grad_out = _grad(case)
    wide = torch.full((*x.shape[:3], 2 * x.shape[3]), 7.0)
    wide[..., ::2] = x
    views = wide[..., ::2], weight.transpose(2, 3).contiguous().transpose(2, 3), grad_out.flip(0).flip(0)
    for a, b in zip(_all(*views, *settings(case)), _all(x, weight, grad_out, *settings(case)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_results_do_not_depend_on_the_number_of_threads(case, monkeypatch):
    monkeypatch.setattr("repro.cpu.runner.WORK_PER_THREAD", 1)
    x, weight = inputs(case)
    grad_out = _grad(case)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            y = adder.adder_conv2d_fwd(x, weight, *settings(case))
            results.append((y, adder.adder_conv2d_bwd_input(grad_out, x, weight, *settings(case))))
    finally:
        torch.set_num_threads(before)
    for y, grad_x in results[1:]:
        assert torch.equal(y, results[0][0]) and torch.equal(grad_x, results[0][1])


def test_empty_batch_gives_empty_outputs_and_a_zero_weight_gradient():
    x, weight = torch.empty(0, 4, 6, 6), torch.ones(5, 4, 3, 3)
    y, grad_x, grad_weight = _all(x, weight, torch.empty(0, 5, 4, 4), (1, 1), (0, 0), (1, 1), 1)
    assert y.shape == (0, 5, 4, 4) and grad_x.shape == x.shape
    assert torch.equal(grad_weight, torch.zeros_like(weight))


def test_equal_patch_and_filter_give_exactly_zero_and_nothing_is_positive():
    x, weight = inputs(CASES[9])
    weight[3] = x[0, :, 1:4, 2:5]
    y = adder.adder_conv2d_fwd(x, weight, (1, 1), (0, 0), (1, 1), 1)
    assert y[0, 3, 1, 2] == 0 and (y <= 0).all()


@pytest.mark.parametrize("offset", [0.0, 30.0, 1000.0, 1e6])
@pytest.mark.parametrize("case", [CASES[1], CASES[9], (2, 40, 7, 7, 24, 1, 1, 0, 1, 1)], ids=str)
def test_forward_error_is_at_most_twice_that_of_plain_pytorch_under_cancellation(case, offset):
    x, weight = inputs(case)
    x, weight = x + offset, weight + offset
    options = ((case[6],) * 2, (0, 0), (1, 1), 1)
    patches = torch.nn.functional.unfold(x, weight.shape[2:], stride=case[6])
    y = adder.adder_conv2d_fwd(x, weight, *options)
    truth = -(patches.double()[:, None] - weight.double().flatten(1)[None, :, :, None]).abs().sum(2).reshape(y.shape)
    plain = -(patches[:, None] - weight.flatten(1)[None, :, :, None]).abs().sum(2).reshape(y.shape)
    ulp = torch.finfo(torch.float32).eps * truth.abs().max()
    assert (y - truth).abs().max() <= 2 * (plain - truth).abs().max() + ulp


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("case", [CASES[1], CASES[9], CASES[12]], ids=str)
def test_input_gradient_error_is_at_most_twice_that_of_plain_pytorch(case, scale):
    x, weight = inputs(case, scale=scale)
    grad_out = _grad(case)
    truth = exact(x, weight, grad_out, *settings(case))[1]
    ours = adder.adder_conv2d_bwd_input(grad_out, x, weight, *settings(case))
    (n, channels), filters, groups = x.shape[:2], weight.shape[0], case[9]
    parts = []
    for group in range(groups):
        w = weight[group * filters // groups : (group + 1) * filters // groups]
        part = x[:, group * channels // groups : (group + 1) * channels // groups]
        g = grad_out[:, group * filters // groups : (group + 1) * filters // groups].reshape(n, len(w), 1, -1)
        patches = torch.nn.functional.unfold(part, w.shape[2:], padding=case[7])
        clipped = (g * (w.reshape(1, len(w), -1, 1) - patches[:, None]).clamp(-1, 1)).sum(1)
        parts.append(torch.nn.functional.fold(clipped, x.shape[2:], w.shape[2:], padding=case[7]))
    plain = torch.cat(parts, 1)
    ulp = torch.finfo(torch.float32).eps * truth.abs().max()
    assert (ours - truth).abs().max() <= 2 * (plain - truth).abs().max() + ulp


@pytest.mark.parametrize("case", [CASES[1], CASES[12], CASES[14]], ids=str)
@pytest.mark.parametrize("where", ["x", "weight", "grad_out"])
def test_nan_goes_through_and_reaches_exactly_what_it_should(case, where):
    x, weight = inputs(case)
    grad_out = _grad(case)
    chosen = {"x": x, "weight": weight, "grad_out": grad_out}[where]
    chosen[0, 0, 1, 1] = float("nan")
    truth = exact(x, weight, grad_out, *settings(case))
    y = adder.adder_conv2d_fwd(x, weight, *settings(case))
    grad_x = adder.adder_conv2d_bwd_input(grad_out, x, weight, *settings(case))
    if where != "grad_out":
        assert y.isnan().any() and torch.equal(y.isnan(), truth[0].isnan())
    assert grad_x.isnan().any()
    if where == "weight":  # the float64 formulation spreads a NaN by folding, ours by what a pixel takes part in
        assert torch.equal(grad_x[:, 1:].isnan(), truth[1][:, 1:].isnan())
    else:
        assert torch.equal(grad_x.isnan(), truth[1].isnan())


def test_infinite_activations_give_minus_infinity():
    x, weight = inputs(CASES[1])
    x[0, 0, 4, 4] = float("inf")
    y = adder.adder_conv2d_fwd(x, weight, *settings(CASES[1]))
    assert y[0, :, 4, 4].isneginf().all() and not y.isnan().any()


@pytest.mark.parametrize("n,features,outputs", [(1, 1, 1), (37, 50, 11), (130, 5, 70), (0, 4, 3)])
def test_adder_linear_equals_the_definition(n, features, outputs):
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(n, features, generator=generator), torch.randn(outputs, features, generator=generator)
    grad_out = torch.randn(n, outputs, generator=generator)
    difference = x.double()[:, None] - weight.double()[None]
    truth = (
        -difference.abs().sum(2),
        (grad_out.double()[..., None] * (-difference).clamp(-1, 1)).sum(1),
        (grad_out.double()[..., None] * difference).sum(0),
    )
    ours = (
        adder.adder_linear_fwd(x, weight),
        adder.adder_linear_bwd_input(grad_out, x, weight),
        adder.adder_linear_bwd_weight(grad_out, x, weight),
    )
    for a, b in zip(ours, truth, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a.double(), b, rtol=2e-6, atol=2e-5)


@hypothesis_settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_any_shape_equals_the_definition(data):
    groups = data.draw(st.integers(1, 3), "groups")
    inputs_per_group, filters = data.draw(st.integers(1, 5)), groups * data.draw(st.integers(1, 6))
    kernel, dilation = (
        (data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))),
        (
            data.draw(st.integers(1, 2)),
            data.draw(st.integers(1, 2)),
        ),
    )
    stride = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    padding = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))
    size = tuple(data.draw(st.integers(dilation[i] * (kernel[i] - 1) + 1, 24)) for i in range(2))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 9)))
    x = torch.randn((data.draw(st.integers(1, 3)), groups * inputs_per_group, *size), generator=generator)
    weight = torch.randn((filters, inputs_per_group, *kernel), generator=generator)
    options = (stride, padding, dilation, groups)
    y = adder.adder_conv2d_fwd(x, weight, *options)
    grad_out = torch.randn(y.shape, generator=generator)
    truth = exact(x, weight, grad_out, *options)
    ours = (y, *_all(x, weight, grad_out, *options)[1:])
    for a, b in zip(ours, truth, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(
    "change,error,words",
    [
        (dict(x=torch.ones(1, 4, 5, 5, dtype=torch.int32)), InputError, "dtype"),
        (dict(weight=torch.ones(2, 4, 3, 3, dtype=torch.float64)), InputError, "the same"),
        (dict(weight=torch.ones(2, 3, 3, 3)), InputError, "channels"),
        (dict(x=torch.ones(4, 5, 5)), InputError, "four dimensions"),
        (dict(x=torch.ones(1, 4, 2, 2)), InputError, "smaller than the filter"),
        (dict(x=torch.ones(1, 4, 5, 5, device="meta")), BackendError, "on the CPU only"),
    ],
)
def test_unusable_input_is_refused_in_one_sentence(change, error, words):
    tensors = dict(x=torch.ones(1, 4, 5, 5), weight=torch.ones(2, 4, 3, 3)) | change
    with pytest.raises(error, match=words) as caught:
        adder.adder_conv2d_fwd(tensors["x"], tensors["weight"], (1, 1), (0, 0), (1, 1), 1)
    assert str(caught.value).count("\n") == 0


def test_forward_needs_little_memory_beside_input_and_output():
    """The scratch of a thread stays below a fixed size while the input grows."""
    from repro.cpu.geometry import Walk, plan

    for images in (1, 32, 512):
        walk = Walk((-1, 0, 1), (-1, 0, 1), (1, 1), 64, 64, 1, images, (56, 56), (56, 56))
        assert plan(walk, False, 56 * 56 * 4, 4)[2] <= 512 * 1024


@pytest.mark.parametrize("images", [1, 2, 3, 8])
@pytest.mark.parametrize(
    "size, filters, kernel, stride, padding, dilation, groups",
    [
        ((8, 8), 20, (3, 3), (1, 1), (1, 1), (1, 1), 1),
        ((5, 10), 16, (3, 3), (1, 1), (0, 0), (1, 1), 1),
        ((9, 12), 32, (3, 5), (1, 1), (1, 2), (2, 2), 2),
        ((7, 8), 17, (1, 1), (1, 1), (0, 0), (1, 1), 1),
        ((17, 8), 17, (3, 3), (2, 1), (1, 1), (1, 1), 1),
        ((3, 8), 16, (5, 7), (1, 1), (3, 3), (1, 1), 1),
    ],
)
def test_images_of_one_piece_a_row_lie_in_pairs(images, size, filters, kernel, stride, padding, dilation, groups):
    geometry = (stride, padding, dilation, groups)
    draw = torch.Generator().manual_seed(images)
    x = torch.randn(images, 4, *size, generator=draw)
    weight = torch.randn(filters, 4 // groups, *kernel, generator=draw)
    x[-1, 0, 0, 0], weight[-1, 0, 0, 0] = float("nan"), float("inf")
    y = adder.adder_conv2d_fwd(x, weight, *geometry)
    walk = dense.forward_walk(weight.shape, *geometry, images, x.shape[2:], y.shape[2:])
    assert y.shape[3] == 8 and bool(pairs(walk)) == (images > 1 and HAS_AVX512)
    truth = reference.adder_conv2d_fwd(x.double(), weight.double(), *geometry)
    torch.testing.assert_close(y.double(), truth, rtol=1e-5, atol=1e-4, equal_nan=True)
    shifted = x.transpose(2, 3).contiguous().transpose(2, 3)  # columns are not neighbours
    torch.testing.assert_close(adder.adder_conv2d_fwd(shifted, weight, *geometry), y, equal_nan=True)


def test_images_too_large_for_a_pair_in_the_cache_lie_alone():
    walk = dense.forward_walk((64, 1024, 3, 3), (1, 1), (1, 1), (1, 1), 1, 4, (8, 8), (8, 8))
    assert pairs(walk) == 0
