"""The adder operators on every back end: values, gradients, shapes, types, registration and refusals."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint

from repro.errors import BackendError, InputError
from repro.ops import adder_conv2d, adder_linear
from repro.ops.adder import AdderConv2dFunction
from tests.ops.op_checks import assert_error_within, backend_params, conv_inputs, forward_and_grads, need_backend

# batch, channels, (height, width), filters, (kernel height, width), stride, padding, dilation, groups
SHAPES = {
    "plain": (2, 3, (5, 6), 4, (3, 3), 1, 1, 1, 1),
    "pointwise": (2, 5, (4, 3), 7, (1, 1), 1, 0, 1, 1),
    "strided": (1, 4, (7, 9), 3, (3, 3), 2, 1, 1, 1),
    "uneven": (2, 2, (8, 5), 3, (2, 3), (1, 2), (1, 0), (2, 1), 1),
    "grouped": (1, 6, (5, 5), 4, (3, 3), 1, 1, 1, 2),
    "depthwise": (2, 5, (6, 5), 5, (3, 3), 1, 1, 1, 5),
    "depthwise multiplier": (1, 3, (5, 7), 6, (3, 3), 2, 1, 1, 3),
    "whole image": (2, 2, (3, 3), 2, (3, 3), 1, 0, 1, 1),
}
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def conv_case(shape, **inputs):
    batch, channels, size, filters, kernel_size, stride, padding, dilation, groups = shape
    x, weight = conv_inputs(batch, channels, size, filters, kernel_size, groups, **inputs)
    return x, weight, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


def compare(op, x, weight, bias=None, *, backend, **options) -> None:
    """`op` on `backend` against the reference at the same precision and in float64, output and every gradient.

    Three draws are pooled (one under Triton's slow interpreter): the given tensors and two with their entries rotated.
    """
    ours, plain, exact = [], [], []
    for turn in range(1 if backend == "triton" else 3):
        given = [None if t is None else t.roll(turn) for t in (x, weight, bias)]
        ours.append(forward_and_grads(op, *given, backend=backend, **options))
        plain.append(forward_and_grads(op, *given, backend="reference", **options))
        wide = [None if t is None else t.double() for t in given]
        exact.append(forward_and_grads(op, *wide, backend="reference", **options))
    for name in ours[0]:
        assert_error_within(*([draw[name] for draw in draws] for draws in (ours, plain, exact)), name=name)
        assert ours[0][name].dtype == x.dtype


@backend_params("cpu", "triton")
@shapes
def test_adder_conv2d_matches_reference(shape, backend):
    need_backend(backend)
    x, weight, options = conv_case(shape)
    compare(adder_conv2d, x, weight, torch.randn(weight.shape[0]), backend=backend, **options)


@backend_params("cpu", "triton")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_keeps_its_type_and_sums_wide(dtype, backend):
    need_backend(backend)
    x, weight, options = conv_case(SHAPES["plain"], dtype=dtype)
    compare(adder_conv2d, x, weight, backend=backend, **options)


def test_double_precision_on_the_cpu():
    need_backend("cpu")
    x, weight, options = conv_case(SHAPES["plain"], dtype=torch.float64)
    ours = forward_and_grads(adder_conv2d, x, weight, backend="cpu", **options)
    plain = forward_and_grads(adder_conv2d, x, weight, backend="reference", **options)
    for name in plain:
        torch.testing.assert_close(ours[name], plain[name], rtol=1e-13, atol=1e-13, msg=name)


def test_half_precision_is_summed_in_float32():
    # counting by ones stops at 2048 in float16: 2048 + 1 rounds back
    x, weight = torch.zeros(1, 4096, dtype=torch.float16), torch.ones(1, 4096, dtype=torch.float16)
    assert adder_linear(x, weight, backend="reference").item() == -4096


@backend_params("cpu", "triton")
@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 33, 5), (17, 4, 1)], ids=str)
def test_adder_linear_matches_reference(shape, backend):
    need_backend(backend)
    rows, c_in, c_out = shape
    compare(adder_linear, torch.randn(rows, c_in), torch.randn(c_out, c_in), torch.randn(c_out), backend=backend)


@backend_params()
def test_linear_takes_leading_axes(backend):
    need_backend(backend)
    x, weight = torch.randn(2, 3, 4), torch.randn(5, 4)
    y = adder_linear(x, weight, backend=backend)
    torch.testing.assert_close(y.reshape(6, 5), adder_linear(x.reshape(6, 4), weight, backend=backend))
    assert adder_linear(x[0, 0], weight, backend=backend).shape == (5,)


@backend_params("cpu", "triton")
@pytest.mark.parametrize("offset", [1e3, 1e6])
def test_large_equal_values_cancel_as_well_as_in_plain_pytorch(offset, backend):
    need_backend(backend)
    x, weight, options = conv_case(SHAPES["plain"])
    compare(adder_conv2d, x + offset, weight + offset, backend=backend, **options)
    compare(adder_conv2d, x + offset, weight, backend=backend, **options)


@backend_params("cpu", "triton")
def test_a_common_offset_does_not_cost_the_weight_gradient_its_digits(backend):
    """x - w is small and exact in float32 here; a product of the offsets would leave nothing of it."""
    need_backend(backend)
    x, weight, options = conv_case((2, 3, (5, 4), 4, (2, 2), 1, 0, 1, 1))
    compare(adder_conv2d, x + 1e4, weight + 1e4, backend=backend, **options)
    compare(adder_linear, torch.randn(9, 5) - 1e4, torch.randn(3, 5) - 1e4, backend=backend)


# batch, channels, size, filters, kernel size, stride, padding, dilation, groups of layers in known networks
LAYERS = {
    "resnet first stage": (8, 16, (32, 32), 16, (3, 3), 1, 1, 1, 1),
    "resnet stride": (16, 32, (16, 16), 64, (3, 3), 2, 1, 1, 1),
    "resnet last stage": (32, 64, (8, 8), 64, (3, 3), 1, 1, 1, 1),
    "mobilenet project": (16, 96, (14, 14), 24, (1, 1), 1, 0, 1, 1),
    "ghostnet depthwise": (16, 40, (14, 14), 40, (5, 5), 2, 2, 1, 40),
}


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("shape", LAYERS.values(), ids=LAYERS)
def test_long_sums_keep_the_accuracy_of_plain_pytorch(shape, offset):
    """At the sizes of real layers: thousands of terms a sum, with and without cancellation, padding included."""
    need_backend("cpu")
    x, weight, options = conv_case(shape)
    ours, plain = (
        forward_and_grads(adder_conv2d, x + offset, weight + offset, backend=backend, **options)
        for backend in ("cpu", "reference")
    )
    exact = forward_and_grads(
        adder_conv2d, (x + offset).double(), (weight + offset).double(), backend="reference", **options
    )
    for name in ours:
        assert_error_within(ours[name], plain[name], exact[name], name=name)


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_long_sums_of_the_linear_layer_keep_the_accuracy_of_plain_pytorch(offset):
    need_backend("cpu")
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(shape, generator=generator) + offset for shape in ((8192, 48), (40, 48)))
    ours, plain = (forward_and_grads(adder_linear, x, weight, backend=b) for b in ("cpu", "reference"))
    exact = forward_and_grads(adder_linear, x.double(), weight.double(), backend="reference")
    for name in ours:
        assert_error_within(ours[name], plain[name], exact[name], name=name)


@backend_params()
def test_empty_batch(backend):
    need_backend(backend)
    x, weight, options = conv_case((0, *SHAPES["plain"][1:]))
    grads = forward_and_grads(adder_conv2d, x, weight, backend=backend, **options)
    assert grads["y"].shape == (0, 4, 5, 6) and grads["dx"].shape == x.shape
    assert torch.equal(grads["dweight"], torch.zeros_like(weight))
    rows = forward_and_grads(adder_linear, torch.empty(0, 4), torch.randn(3, 4), backend=backend)
    assert rows["y"].shape == (0, 3) and not rows["dweight"].any()


@backend_params()
def test_channels_last_and_strided_views_give_the_same_numbers(backend):
    need_backend(backend)
    x, weight, options = conv_case(SHAPES["plain"])
    expected = adder_conv2d(x, weight, backend=backend, **options)
    last = adder_conv2d(x.contiguous(memory_format=torch.channels_last), weight, backend=backend, **options)
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last, expected)
    wide = torch.randn(2, 6, 5, 12)
    wide[:, ::2, :, ::2] = x
    torch.testing.assert_close(adder_conv2d(wide[:, ::2, :, ::2], weight, backend=backend, **options), expected)
    turned = weight.transpose(2, 3).contiguous().transpose(2, 3)
    torch.testing.assert_close(adder_conv2d(x, turned, backend=backend, **options), expected)
    ours = forward_and_grads(adder_conv2d, x.contiguous(memory_format=torch.channels_last), weight, backend=backend)
    plain = forward_and_grads(adder_conv2d, x, weight, backend=backend)
    for name in ours:
        torch.testing.assert_close(ours[name], plain[name], msg=name)


def test_expanded_upstream_gradient():
    x, weight, options = conv_case(SHAPES["grouped"])
    x.requires_grad_(), weight.requires_grad_()
    adder_conv2d(x, weight, **options).sum().backward()  # sum's gradient is one number expanded, strides 0
    expected = x.grad.clone()
    x.grad = None
    y = adder_conv2d(x, weight, **options)
    y.backward(torch.ones_like(y))
    torch.testing.assert_close(x.grad, expected)


def test_only_the_needed_gradient_is_computed():
    x, weight, options = conv_case(SHAPES["plain"])
    adder_conv2d(x, weight.requires_grad_(), **options).sum().backward()
    assert weight.grad is not None and x.grad is None


def test_two_calls_give_the_same_bits():
    x, weight, options = conv_case(SHAPES["strided"])
    first, second = (forward_and_grads(adder_conv2d, x, weight, **options) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_nan_is_not_hidden_by_the_clip():
    x, weight = torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 1, 1)
    x[0, 0, 1, 1] = torch.nan
    grads = forward_and_grads(adder_conv2d, x, weight)
    assert grads["y"].isnan().sum() == 1 and grads["dx"].isnan().sum() == 1 and grads["dweight"].isnan().all()


sizes = st.integers(1, 9)
small = st.integers(1, 3)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    size=st.tuples(sizes, sizes),
    kernel_size=st.tuples(small, small),
    stride=st.tuples(small, small),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.tuples(small, small),
    groups=small,
    per_group=st.tuples(small, small),
)
def test_shapes_are_those_of_conv2d_or_both_refuse(size, kernel_size, stride, padding, dilation, groups, per_group):
    x = torch.randn(2, per_group[0] * groups, *size)
    weight = torch.randn(per_group[1] * groups, per_group[0], *kernel_size)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    try:
        expected = torch.nn.functional.conv2d(x, weight, **options)
    except RuntimeError:
        with pytest.raises(InputError, match="smaller than the filter"):
            adder_conv2d(x, weight, **options)
        return
    ours = forward_and_grads(adder_conv2d, x, weight, **options)
    assert ours["y"].shape == expected.shape
    assert (ours["y"] <= 0).all()
    plain = forward_and_grads(adder_conv2d, x, weight, backend="reference", **options)
    for name in ours:
        torch.testing.assert_close(ours[name], plain[name], rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("kernel_size", [(3, 3), (2, 4), (1, 2)], ids=str)
def test_named_padding_is_that_of_conv2d(kernel_size):
    x, weight = torch.randn(1, 2, 6, 7), torch.randn(3, 2, *kernel_size)
    for padding in ("same", "valid"):
        expected = torch.nn.functional.conv2d(x, weight, padding=padding, dilation=2)
        assert adder_conv2d(x, weight, padding=padding, dilation=2).shape == expected.shape
    # the extra zero of an uneven "same" comes last, as in torch: compare where each impulse lands
    x = torch.zeros(1, 1, 4, 4)
    weight = torch.zeros(1, 1, *kernel_size)
    x[0, 0, 1, 1] = weight[0, 0, 0, 0] = 1
    conv = torch.nn.functional.conv2d(x, weight, padding="same")
    y = adder_conv2d(x, weight, padding="same")
    assert y.argmax() == conv.argmax() and y.max() == 0


# --- registration ----------------------------------------------------------------------------------------------------


def registered_cases():
    x, weight, _ = conv_case(SHAPES["grouped"])
    conv = ((1, 1), (1, 1), (1, 1), 2, "auto")
    rows, matrix = torch.randn(3, 4), torch.randn(2, 4)
    grad, grad_rows = torch.randn(1, 4, 5, 5), torch.randn(3, 2)
    ops = torch.ops.repro
    yield ops.adder_conv2d, (x.clone().requires_grad_(), weight.clone().requires_grad_(), *conv)
    yield ops.adder_conv2d, (x.contiguous(memory_format=torch.channels_last), weight, *conv)
    yield ops.adder_conv2d_bwd_input, (grad, x, weight, *conv)
    yield ops.adder_conv2d_bwd_weight, (grad, x, weight, *conv)
    yield ops.adder_linear, (rows.clone().requires_grad_(), matrix.clone().requires_grad_(), "auto")
    yield ops.adder_linear_bwd_input, (grad_rows, rows, matrix, "auto")
    yield ops.adder_linear_bwd_weight, (grad_rows, rows, matrix, "auto")
    yield ops.round_to_power_of_two, (weight.clone().requires_grad_(), -14, 0)
    yield ops.fixed_point_round, (x.clone().requires_grad_(), 16, 16, "auto")


@pytest.mark.parametrize("case", range(9))
def test_opcheck(case):
    op, args = list(registered_cases())[case]
    torch.library.opcheck(op.default, args)


@pytest.mark.parametrize("compiler", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_equals_eager_and_has_no_graph_break(compiler, cxx_compiler):
    if compiler == "inductor" and cxx_compiler is None:
        pytest.skip("inductor needs a C++ compiler and there is none on this machine")
    x, weight, options = conv_case(SHAPES["plain"])

    def op(x, weight, bias):
        return adder_conv2d(x.relu(), weight, bias, **options).sigmoid()

    bias = torch.randn(weight.shape[0])
    expected = forward_and_grads(op, x, weight, bias)
    ours = forward_and_grads(torch.compile(op, fullgraph=True, backend=compiler), x, weight, bias)
    for name in ours:
        torch.testing.assert_close(ours[name], expected[name], msg=name)


def test_meta_tensors_give_shapes_without_computing():
    x, weight, options = conv_case(SHAPES["uneven"])
    y = adder_conv2d(x, weight, **options)
    meta = adder_conv2d(x.to("meta"), weight.to("meta"), **options)
    assert meta.shape == y.shape and meta.device.type == "meta"
    assert adder_linear(torch.empty(2, 3, 4, device="meta"), torch.empty(5, 4, device="meta")).shape == (2, 3, 5)


@pytest.mark.parametrize("registered", [False, True])
def test_double_backward_is_refused_in_words(registered):
    x, weight, options = conv_case(SHAPES["plain"])
    x.requires_grad_(), weight.requires_grad_()
    if registered:
        y = torch.ops.repro.adder_conv2d(x, weight, (1, 1), (1, 1), (1, 1), 1, "auto")
    else:
        y = adder_conv2d(x, weight, **options)
    (grad,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"double backward .* is not defined"):
        grad.sum().backward()


def test_autocast_runs_in_float32():
    x, weight, options = conv_case(SHAPES["plain"])
    with torch.autocast("cpu", torch.bfloat16):
        hidden = torch.nn.functional.conv2d(x, torch.randn(3, 3, 1, 1))
        assert hidden.dtype == torch.bfloat16
        y = adder_conv2d(hidden, weight, torch.zeros(4), **options)
        direct = torch.ops.repro.adder_conv2d(hidden, weight, (1, 1), (1, 1), (1, 1), 1, "auto")
    assert y.dtype == direct.dtype == torch.float32
    torch.testing.assert_close(y, adder_conv2d(hidden.float(), weight, **options))


def test_only_what_backward_needs_is_saved():
    x, weight, options = conv_case(SHAPES["plain"])
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        adder_conv2d(x.requires_grad_(), weight.requires_grad_(), **options)
    assert sorted(t.data_ptr() for t in saved) == sorted(t.data_ptr() for t in (x, weight))
    assert AdderConv2dFunction.__name__.endswith("Function")


# --- refusals --------------------------------------------------------------------------------------------------------

X, W = torch.zeros(1, 4, 5, 5), torch.zeros(6, 4, 3, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: adder_conv2d(X[0], W), r"x has shape \(4, 5, 5\); it must be \(N, C, H, W\)"),
        (lambda: adder_conv2d(X, W[0]), r"weight has shape \(4, 3, 3\)"),
        (lambda: adder_conv2d(X, W, groups=2), "groups=2 does not fit: x has 4 channels"),
        (lambda: adder_conv2d(X, W, groups=0), "groups=0 is not allowed"),
        (lambda: adder_conv2d(X, W, stride=0), "stride=0 is not allowed"),
        (lambda: adder_conv2d(X, W, stride=(1, 2, 3)), "stride=.* one whole number or two"),
        (lambda: adder_conv2d(X, W, padding=-1), "padding=-1 is not allowed"),
        (lambda: adder_conv2d(X, W, padding="sam"), "padding='sam' .*'same'"),
        (lambda: adder_conv2d(X, W, padding="same", stride=2), "padding='same' needs stride=1"),
        (lambda: adder_conv2d(X, W, dilation=3), "smaller than the filter"),
        (lambda: adder_conv2d(X.int(), W), "x.dtype=torch.int32 is not supported"),
        (lambda: adder_conv2d(X, W.half()), "weight is torch.float16 on cpu, x is torch.float32 on cpu"),
        (lambda: adder_conv2d(X, W.to("meta")), "weight is torch.float32 on meta"),
        (lambda: adder_conv2d(X, W, torch.zeros(4)), r"bias has shape \(4,\); it must be \(6,\)"),
        (lambda: adder_conv2d([1.0], W), "x is a list; it must be a torch.Tensor"),
        (lambda: adder_conv2d(X, W, backend="triten"), "backend='triten' .*'triton'"),
        (lambda: adder_linear(X[0, 0], W[0, 0]), r"x has shape \(5, 5\); its last axis must have 3 entries"),
        (lambda: adder_linear(X, W), r"weight has shape .* it must be \(C_out, C_in\)"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert str(caught.value).count("\n") == 0


def test_a_named_back_end_is_refused_not_replaced(monkeypatch):
    from repro.ops import dispatch

    monkeypatch.setattr(dispatch, "triton_status", lambda: (False, "no CUDA device"))
    dispatch._choose.cache_clear()
    try:
        with pytest.raises(
            BackendError, match="backend='triton' cannot run adder_conv2d on cpu tensors: no CUDA device"
        ):
            adder_conv2d(X, W, backend="triton")
    finally:
        dispatch._choose.cache_clear()


def test_falling_back_to_the_reference_warns_once(monkeypatch):
    from repro.ops import dispatch
    from repro.runtime import warn_once

    def missing(backend, family):
        raise ImportError("No module named 'numba'")

    monkeypatch.setattr(dispatch, "kernels", lambda b, f: missing(b, f) if b == "cpu" else dispatch_reference)
    from repro.ops import reference as dispatch_reference

    dispatch._choose.cache_clear()
    warn_once.cache_clear()
    try:
        with pytest.warns(
            RuntimeWarning, match="adder_conv2d runs on the slow reference for cpu tensors: .*numba"
        ) as seen:
            adder_conv2d(X, W)
            adder_conv2d(X, W)
        assert len(seen) == 1
    finally:
        dispatch._choose.cache_clear()
        warn_once.cache_clear()


@pytest.mark.parametrize("free", ["both", "weight", "input"])
@pytest.mark.parametrize("layer", ["linear", "conv"])
def test_checkpoints_without_reentry_give_the_same_gradients(layer, free):
    """Such a checkpoint hands out what was saved once; an image or a frozen filter needs no gradient."""
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(4, 5, generator=generator), torch.randn(3, 5, generator=generator)
    if layer == "conv":
        x, weight = x.view(4, 5, 1, 1).repeat(1, 1, 4, 4), weight.view(3, 5, 1, 1).repeat(1, 1, 3, 3)
    run = adder_linear if layer == "linear" else adder_conv2d

    def gradients(checkpointed):
        own = [x.clone().requires_grad_(free != "weight"), weight.clone().requires_grad_(free != "input")]
        out = checkpoint(run, *own, use_reentrant=False) if checkpointed else run(*own)
        out.square().sum().backward()
        return [tensor.grad for tensor in own]

    for mine, wanted in zip(gradients(True), gradients(False)):
        assert (mine is None) == (wanted is None) and (mine is None or torch.equal(mine, wanted))
