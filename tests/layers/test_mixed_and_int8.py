"""ShiftAddAug's pairs against their equation, and 8-bit adders against the integer reference."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from repro.errors import InputError
from repro.layers import (
    OPERATORS,
    AdderConv2d,
    AdderLinear,
    MixedConv2d,
    MixedLinear,
    ShiftConv2d,
    quantize_adders,
    quantize_shifts,
)
from repro.ops import reference

every_op = pytest.mark.parametrize("op", OPERATORS)


@every_op
@pytest.mark.parametrize("bias", [False, True])
def test_dense_pair_follows_equation_4(op, bias):
    layer = MixedConv2d(op, (3, 4), (5, 2), 3, stride=2, padding=1, bias=bias)
    x = torch.randn(2, 7, 8, 9, requires_grad=True)
    own = functional.conv2d(x[:, 3:], layer.cross, None, 2, 1)
    expected = torch.cat([layer.target(x[:, :3]) + own, functional.conv2d(x, layer.augmented, None, 2, 1)], 1)
    y = layer(x)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
    upstream = torch.randn_like(y)
    tensors = [x, *layer.parameters()]
    for ours, plain in zip(torch.autograd.grad(y, tensors, upstream), torch.autograd.grad(expected, tensors, upstream)):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-3)


@every_op
def test_depthwise_pair_follows_equation_4(op):
    layer = MixedConv2d(op, (3, 4), (3, 4), 5, padding=2, depthwise=True)
    x = torch.randn(2, 7, 6, 6)
    expected = torch.cat([layer.target(x[:, :3]), functional.conv2d(x[:, 3:], layer.augmented, None, 1, 2, 1, 4)], 1)
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)
    assert layer.cross is None


@every_op
def test_classifier_adds_both_parts(op):
    layer, x = MixedLinear(op, (3, 4), 5), torch.randn(2, 7)
    expected = layer.target(x[:, :3]) + functional.linear(x[:, 3:], layer.cross)
    torch.testing.assert_close(layer(x), expected)


@every_op
def test_without_an_augmented_part_the_target_is_all(op):
    layer, x = MixedConv2d(op, (3, 0), (5, 0), 3), torch.randn(1, 3, 6, 6)
    assert torch.equal(layer(x), layer.target(x))
    assert set(layer.state_dict()) == {f"target.{name}" for name in layer.target.state_dict()}
    for augmented in ((3, 2), (5, 0)), ((3, 0), (5, 2)):
        assert MixedConv2d(op, *augmented, 3)(torch.randn(1, sum(augmented[0]), 6, 6)).shape[1] == sum(augmented[1])


def test_mixed_layers_refuse_what_does_not_fit():
    with pytest.raises(InputError, match=r"in_channels=3 is not allowed; it must be \(target, augmented\)"):
        MixedConv2d("shift", 3, (1, 1), 3)
    with pytest.raises(InputError, match=r"in_channels\[0\]=0"):
        MixedConv2d("shift", (0, 3), (1, 1), 3)
    with pytest.raises(InputError, match="must equal in_channels"):
        MixedConv2d("shift", (3, 2), (3, 3), 3, depthwise=True)
    with pytest.raises(InputError, match=r"x has shape .* it must be \(N, 5, H, W\)"):
        MixedConv2d("shift", (3, 2), (3, 3), 3)(torch.randn(1, 4, 5, 5))


# --- 8-bit adders ----------------------------------------------------------------------------------------------------


def test_int8_layer_is_exact_in_its_integers():
    layer = AdderConv2d(4, 6, (3, 2), stride=2, padding=(1, 0), groups=2)
    x = torch.randn(2, 4, 7, 8)
    quantized = layer.quantize(sample=x)
    scale = max(x.abs().max(), layer.weight.abs().max()) / 127
    torch.testing.assert_close(quantized.scale, scale.detach())
    codes = (x / quantized.scale).round().clamp(-127, 127).to(torch.int8)
    assert codes.abs().max() == 127 or quantized.weight.abs().max() == 127
    y = reference.adder_conv2d_int8(codes, quantized.weight, (2, 2), (1, 0), (1, 1), 2)
    torch.testing.assert_close(quantized(x), y * quantized.scale + layer.bias.detach().view(-1, 1, 1))


def test_int8_error_is_within_one_step_per_term():
    torch.manual_seed(0)
    layer, x = AdderConv2d(8, 4, 3, padding="same", dilation=2), torch.randn(2, 8, 9, 9)
    quantized = layer.quantize(sample=x)
    terms = layer.weight[0].numel()
    assert (quantized(x) - layer(x)).abs().max() <= terms * quantized.scale
    linear, rows = AdderLinear(20, 3, bias=False), torch.randn(2, 5, 20)
    quantized = linear.quantize(float(rows.abs().max()))
    assert quantized(rows).shape == (2, 5, 3)
    assert (quantized(rows) - linear(rows)).abs().max() <= 20 * quantized.scale


def test_inputs_beyond_the_range_saturate():
    linear = AdderLinear(1, 1, bias=False)
    nn.init.constant_(linear.weight, 1.0)
    quantized = linear.quantize(2.0)
    assert quantized(torch.tensor([[50.0]])).item() == pytest.approx(-1.0, abs=0.02)


def test_a_model_is_calibrated_replaced_saved_and_loaded():
    torch.manual_seed(0)
    net = nn.Sequential(
        AdderConv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), AdderLinear(8 * 36, 5)
    )
    batches = [torch.randn(16, 3, 6, 6) for _ in range(3)]
    net(batches[0])
    statistics = copy.deepcopy(net[1].running_mean)
    expected = net.eval()(batches[1])
    quantized = quantize_adders(copy.deepcopy(net), batches)
    assert torch.equal(quantized[1].running_mean, statistics)  # calibration did not train
    y = quantized(batches[1])
    assert (y - expected).abs().max() < 0.02 * expected.abs().max()
    twin = quantize_adders(copy.deepcopy(net), batches[:1])
    twin.load_state_dict(quantized.state_dict())
    assert torch.equal(twin(batches[1]), y)
    assert quantized[0].weight.dtype == torch.int8


def of_both_kinds():
    return nn.Sequential(
        AdderConv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        ShiftConv2d(8, 8, 3, padding=1, weight_bits=5), nn.BatchNorm2d(8), nn.Flatten(), AdderLinear(8 * 36, 5),
    )  # fmt: skip


@pytest.mark.parametrize("first", ["cast", "quantise"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_a_quantised_model_of_another_dtype_runs_and_keeps_it(dtype, first):
    torch.manual_seed(0)
    net, x = of_both_kinds(), torch.randn(16, 3, 6, 6)
    net(x)
    plain = quantize_shifts(quantize_adders(copy.deepcopy(net.eval()), [x]))
    if first == "cast":
        cast = quantize_shifts(quantize_adders(net.to(dtype), [x.to(dtype)]))
    else:
        cast = copy.deepcopy(plain).to(dtype)
        assert torch.equal(cast[0].scale, plain[0].scale) and cast[0].scale.dtype is torch.float32
    with torch.no_grad():
        y, expected = cast(x.to(dtype)), plain(x)
    assert y.dtype is dtype and expected.dtype is torch.float32
    steps = {torch.float16: 2e-3, torch.bfloat16: 2e-2, torch.float64: 1e-6}[dtype]
    assert (y - expected).abs().max() <= steps * expected.abs().max()


def test_quantisation_refuses_what_it_cannot_do():
    layer = AdderLinear(3, 2)
    for call in (lambda: layer.quantize(), lambda: layer.quantize(1.0, sample=torch.ones(1, 3))):
        with pytest.raises(InputError, match="exactly one of input_abs_max and sample"):
            call()
    with pytest.raises(InputError, match=r"input_abs_max=-1\.0"):
        layer.quantize(-1.0)
    with pytest.raises(InputError, match="layer '0' saw no input"):
        quantize_adders(nn.Sequential(layer), [])
