"""Adder convolution and linear layer: outputs and both gradients against float64, on shapes that fill no tile."""

from __future__ import annotations

import pytest
import torch

from repro.triton import adder

from .exact_adder import adder_exact, check_error

POINT = ((1, 1), (0, 0), (1, 1))
# (N, C_in, H, W), (C_out, K_h, K_w), stride, padding, dilation, groups
SHAPES = {
    "3x3": ((2, 3, 7, 9), (5, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    "1x1": ((2, 9, 5, 7), (19, 1, 1), *POINT, 1),
    "1x1-stride2": ((1, 5, 7, 6), (4, 1, 1), (2, 2), (0, 0), (1, 1), 1),
    "uneven-everything": ((2, 4, 9, 8), (6, 3, 2), (2, 3), (2, 1), (1, 2), 2),
    "stride-over-filter": ((1, 3, 11, 10), (4, 2, 2), (3, 4), (0, 1), (1, 1), 1),
    "dilated-stride2": ((1, 2, 11, 10), (3, 3, 3), (2, 2), (2, 2), (2, 3), 1),
    "groups": ((1, 6, 6, 5), (9, 3, 3), (1, 1), (1, 1), (1, 1), 3),
    "depthwise": ((2, 5, 7, 6), (5, 3, 3), (1, 1), (1, 1), (1, 1), 5),
    "depthwise-stride2": ((2, 3, 7, 8), (3, 5, 3), (2, 2), (2, 1), (1, 1), 3),
    "depthwise-multiplier": ((1, 3, 6, 7), (6, 3, 3), (2, 1), (1, 1), (1, 2), 3),
}
GPU_SHAPES = {  # layers of ResNet-20 and MobileNetV2-w0.35, and sizes that fill no tile
    "resnet20-16": ((128, 16, 32, 32), (16, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    "resnet20-down": ((128, 16, 32, 32), (32, 3, 3), (2, 2), (1, 1), (1, 1), 1),
    "resnet20-64": ((128, 64, 8, 8), (64, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    "mobilenet-expand": ((32, 32, 20, 20), (192, 1, 1), *POINT, 1),
    "mobilenet-depthwise": ((32, 192, 20, 20), (192, 3, 3), (2, 2), (1, 1), (1, 1), 192),
    "grouped": ((16, 48, 15, 13), (96, 3, 3), (1, 1), (1, 1), (1, 1), 4),
    "odd": ((7, 37, 19, 23), (53, 3, 3), (2, 1), (1, 1), (1, 2), 1),
}


def make(shape, dtype, device, *, channels_last=False, offset=0.0):
    (n, c, h, w), (o, kh, kw), *window = shape
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(n, c, h, w, generator=generator) + offset).to(dtype)
    weight = (torch.randn(o, c // window[-1], kh, kw, generator=generator) + offset).to(dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    out = torch.nn.functional.conv2d(x.float(), weight.float(), None, *window)
    grad_out = torch.randn(out.shape, generator=generator).to(dtype)
    return x.to(device), weight.to(device), grad_out.to(device), window


def check_all(x, weight, grad_out, window):
    """All three programs against float64, judged by the plain formulation's error at the tensors' own precision."""
    exact = adder_exact(x, weight, grad_out, *window, torch.float64)
    plain = adder_exact(x, weight, grad_out, *window, x.dtype if x.is_cuda else torch.float32)
    y = adder.adder_conv2d_fwd(x, weight, *window)
    dx = adder.adder_conv2d_bwd_input(grad_out, x, weight, *window)
    dw = adder.adder_conv2d_bwd_weight(grad_out, x, weight, *window)
    for what, ours, rough, right in zip(("y", "dx", "dw"), (y, dx, dw), plain, exact):
        assert ours.dtype == x.dtype
        check_error(ours, rough, right, what)
    return y, dx, dw


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_float32_programs_match_float64(shape, device):
    check_all(*make(shape, torch.float32, device))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["1x1", "uneven-everything", "depthwise"])
def test_half_precision_programs_match_float64(name, dtype, device):
    check_all(*make(SHAPES[name], dtype, device))


@pytest.mark.parametrize("name", ["1x1", "depthwise", "uneven-everything"])
def test_channels_last_in_channels_last_out(name, device):
    x, weight, grad_out, window = make(SHAPES[name], torch.float32, device, channels_last=True)
    grad_out = grad_out.contiguous(memory_format=torch.channels_last)
    y, dx, _ = check_all(x, weight, grad_out, window)
    for result in (y, dx):
        assert result.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ["1x1", "depthwise"])
def test_strided_views_are_read_in_place(name, device):
    x, weight, grad_out, window = make(SHAPES[name], torch.float32, device)
    wide = torch.zeros(x.shape[0], x.shape[1] * 2, x.shape[2], x.shape[3] + 3, device=device)
    view = wide[:, ::2, :, 1 : 1 + x.shape[3]]
    view.copy_(x)
    assert not view.is_contiguous()
    check_all(view, weight, grad_out.transpose(2, 3).contiguous().transpose(2, 3), window)


def test_offset_of_x_and_w_does_not_cancel_digits(device):
    """|x| and |w| near 1000, their difference near 1: sums of products alone would lose three digits in dw."""
    check_all(*make(SHAPES["3x3"], torch.float32, device, offset=1000.0))


@pytest.mark.parametrize("name", ["3x3", "depthwise"])
def test_empty_batch(name, device):
    shape = ((0, *SHAPES[name][0][1:]), *SHAPES[name][1:])
    x, weight, grad_out, window = make(shape, torch.float32, device)
    y, dx, dw = check_all(x, weight, grad_out, window)
    assert y.shape[0] == dx.shape[0] == 0 and bool((dw == 0).all())


@pytest.mark.parametrize("name", ["3x3", "depthwise"])
def test_nan_is_kept(name, device):
    x, weight, grad_out, window = make(SHAPES[name], torch.float32, device)
    x[0, 0, 3, 3] = float("nan")
    y = adder.adder_conv2d_fwd(x, weight, *window)
    dx = adder.adder_conv2d_bwd_input(grad_out, x, weight, *window)
    dw = adder.adder_conv2d_bwd_weight(grad_out, x, weight, *window)
    right_y, _, right_dw = adder_exact(x, weight, grad_out, *window, torch.float64)
    assert torch.equal(y.isnan(), right_y.isnan()) and torch.equal(dw.isnan(), right_dw.isnan())
    assert bool(dx[0, 0, 3, 3].isnan()) and int(dx.isnan().sum()) == 1
    x[0, 0, 3, 3], weight[0, 0, 1, 1] = 0.0, float("nan")
    assert bool(adder.adder_conv2d_bwd_input(grad_out, x, weight, *window)[:, 0].isnan().all())


def test_results_are_bitwise_repeatable(device):
    x, weight, grad_out, window = make(SHAPES["1x1"], torch.float32, device)
    for kernel in (adder.adder_conv2d_bwd_input, adder.adder_conv2d_bwd_weight):
        assert torch.equal(kernel(grad_out, x, weight, *window), kernel(grad_out, x, weight, *window))


@pytest.mark.parametrize("batch", [0, 1, 5, 32])
def test_linear_matches_float64(batch, device):
    generator = torch.Generator().manual_seed(1)
    x, weight = torch.randn(batch, 21, generator=generator), torch.randn(11, 21, generator=generator)
    grad_out = torch.randn(batch, 11, generator=generator)
    x, weight, grad_out = x.to(device), weight.to(device), grad_out.to(device)
    as_image = (x[:, :, None, None], weight[:, :, None, None], grad_out[:, :, None, None], *POINT, 1)
    exact, plain = adder_exact(*as_image, torch.float64), adder_exact(*as_image, torch.float32)
    ours = (
        adder.adder_linear_fwd(x, weight),
        adder.adder_linear_bwd_input(grad_out, x, weight),
        adder.adder_linear_bwd_weight(grad_out, x, weight),
    )
    for what, result, rough, right in zip(("y", "dx", "dw"), ours, plain, exact):
        check_error(result, rough.flatten(1), right.flatten(1), what)


def test_long_sums_round_no_worse_than_twice_torch(device):
    """1500 terms: one chain of additions would be several times off."""
    generator = torch.Generator().manual_seed(2)
    x, weight = torch.randn(32, 1500, generator=generator), torch.randn(8, 1500, generator=generator)
    grad_out = torch.randn(32, 8, generator=generator)
    as_image = (x[:, :, None, None], weight[:, :, None, None], grad_out[:, :, None, None], *POINT, 1)
    exact, plain = adder_exact(*as_image, torch.float64), adder_exact(*as_image, torch.float32)
    y = adder.adder_linear_fwd(x.to(device), weight.to(device))
    check_error(y.cpu(), plain[0].flatten(1), exact[0].flatten(1), "y")


def test_residue_classes_cover_every_tap_once():
    """Every (position, tap) pair that a stride allows lies in exactly one class."""
    for size, kernel_size, stride, padding, dilation in [
        (7, 3, 2, 1, 1),
        (9, 3, 2, 2, 2),
        (8, 2, 3, 0, 1),
        (10, 5, 4, 3, 6),
    ]:
        pairs = {
            (p, tap): (p + padding - tap * dilation) // stride
            for p in range(size)
            for tap in range(kernel_size)
            if (p + padding - tap * dilation) % stride == 0
        }
        found = {}
        for c in adder._residues(size, kernel_size, stride, padding, dilation):
            for a in range(c["count"]):
                for nth, tap in enumerate(c["taps"]):
                    found[c["first"] + a * stride, tap] = c["i"] + a - nth * c["step"]
        assert found == pairs


@pytest.mark.gpu
@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "channels-last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", GPU_SHAPES.values(), ids=GPU_SHAPES)
def test_gpu_programs_match_the_reference_at_real_sizes(shape, dtype, channels_last, device):
    """The reference in float64 stands for exact, in the tensors' own type for plain; both work filter by filter."""
    from repro.ops import reference

    x, weight, grad_out, window = make(shape, dtype, device, channels_last=channels_last)
    for name in ("fwd", "bwd_input", "bwd_weight"):
        tensors = (x, weight) if name == "fwd" else (grad_out, x, weight)
        call = getattr(reference, f"adder_conv2d_{name}")
        exact = call(*(t.double() for t in tensors), *window)
        check_error(getattr(adder, f"adder_conv2d_{name}")(*tensors, *window), call(*tensors, *window), exact, name)


@pytest.mark.gpu
def test_gpu_training_step_agrees_with_the_cpu_back_end(device):
    from repro.ops import adder_conv2d

    x, weight, grad_out, _ = make(GPU_SHAPES["resnet20-64"], torch.float32, device)
    results = []
    for place in (device, torch.device("cpu")):
        inputs = [t.to(place).detach().requires_grad_() for t in (x, weight)]
        y = adder_conv2d(*inputs, padding=1)
        y.backward(grad_out.to(place))
        results.append([t.detach().cpu().double() for t in (y, *(i.grad for i in inputs))])
    for ours, theirs in zip(*results):
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()
    torch.library.opcheck(
        torch.ops.repro.adder_conv2d.default,
        (x[:2].requires_grad_(), weight.requires_grad_(), (1, 1), (1, 1), (1, 1), 1, "triton"),
    )
