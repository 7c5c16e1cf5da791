"""Equation 4 with active slices against float64 sums that are written another way."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from repro.augment.layers import WideBatchNorm2d, WideConv2d, WideLinear
from repro.augment.network import OPS
from repro.augment.remapping import LaplaceRemap
from repro.errors import InputError
from repro.layers import MixedConv2d


def powers(weight):
    """5-bit powers of two: sign times 2^round(log2|w|), exponents -14 to 0."""
    exponent = np.clip(np.round(np.log2(np.abs(weight))), -14, 0)
    return np.sign(weight) * 2.0**exponent


def fixed(x):
    return np.round(x * 65536) / 65536


def product(x, w):
    return (x[:, None, :] * w[None]).sum(-1)


def adder(x, w):
    return -np.abs(x[:, None, :] - w[None]).sum(-1)


def target_part(op, x, w, second=None):
    return {
        "conv": lambda: product(x, w),
        "shift": lambda: product(fixed(x), powers(w)),
        "adder": lambda: adder(x, w),
        "shiftadd": lambda: adder(product(fixed(x), powers(w)), second),
    }[op]()


def equation_4(op, x, layer, outputs):
    """Y_t = MF(X_t) + M(X_a), Y_a = M(X) of rows of inputs (positions, inputs)."""
    w, bias = layer.weight.detach().flatten(1).numpy(), layer.bias.detach().numpy()
    second = None if layer.add is None else layer.add.weight.detach().flatten(1).numpy()
    inputs, rows = layer.target
    y_t = target_part(op, x[:, :inputs], w[:rows, :inputs], second)
    y_t = y_t + product(x[:, inputs:], w[:rows, inputs : x.shape[1]])
    y_a = product(x, w[rows:outputs, : x.shape[1]])
    return np.concatenate([y_t, y_a], 1) + bias[:outputs]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(3)


def randomised(layer):
    layer.double()
    with torch.no_grad():
        layer.weight.normal_(0, 0.4)
        if layer.bias is not None:
            layer.bias.copy_(torch.randint(-9, 9, layer.bias.shape) / 8)  # on the fixed-point grid
    return layer


def inputs_of(*shape, alone):
    """Where the target is inside a wider network, inputs lie on the fixed-point grid; alone it rounds any by itself."""
    x = torch.randn(*shape, dtype=torch.float64)
    return x if alone else (x * 65536).round() / 65536


every_op = pytest.mark.parametrize("op", OPS)


@every_op
@pytest.mark.parametrize(("inputs", "outputs"), [(3, 4), (5, 4), (3, 7), (5, 9), (6, 9)])
def test_dense_layers(op, inputs, outputs):
    layer = randomised(WideConv2d(nn.Conv2d(3, 4, 1), op, (6, 9)))
    layer.active = outputs
    x = inputs_of(2, inputs, 3, 2, alone=(inputs, outputs) == (3, 4))
    wanted = equation_4(op, x.permute(0, 2, 3, 1).reshape(-1, inputs).numpy(), layer, outputs)
    y = layer(x).permute(0, 2, 3, 1).reshape(-1, outputs).detach().numpy()
    np.testing.assert_allclose(y, wanted, atol=1e-9)


@every_op
@pytest.mark.parametrize(("inputs", "outputs"), [(3, 4), (5, 4), (6, 9)])
def test_linear_layers(op, inputs, outputs):
    layer = randomised(WideLinear(nn.Linear(3, 4), op, (6, 9)))
    layer.active = outputs
    x = inputs_of(5, inputs, alone=(inputs, outputs) == (3, 4))
    wanted = equation_4(op, x.numpy(), layer, outputs)
    np.testing.assert_allclose(layer(x).detach().numpy(), wanted, atol=1e-9)


@pytest.mark.parametrize("op", ["conv", "shift", "adder"])
@pytest.mark.parametrize("channels", [3, 4, 7])
def test_depthwise_layers(op, channels):
    layer = randomised(WideConv2d(nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False), op, (7, 7)))
    x = inputs_of(2, channels, 5, 4, alone=channels == 3)
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    y = layer(x).detach().numpy()
    for channel in range(channels):
        patches = np.stack([padded[:, channel, i : i + 5, j : j + 4] for i in range(3) for j in range(3)], -1)
        weight = layer.weight[channel, 0].detach().numpy().reshape(1, 9)
        wanted = target_part(op if channel < 3 else "conv", patches.reshape(-1, 9), weight)
        np.testing.assert_allclose(y[:, channel].reshape(-1), wanted[:, 0], atol=1e-9)


@pytest.mark.parametrize("op", ["shift", "adder", "shiftadd"])
def test_gradients_of_a_wide_layer_are_those_of_its_parts(op):
    """Each part by itself, with torch's own slices and joins around the project's operators."""
    layer = randomised(WideConv2d(nn.Conv2d(3, 4, 3, padding=1), op, (6, 9)))
    layer.active = 8
    x = inputs_of(2, 5, 4, 4, alone=False).contiguous(memory_format=torch.channels_last).requires_grad_()
    target, bias = layer.deployed(), layer.bias
    t, w = x[:, :3], layer.weight
    y_t = target(t) + functional.conv2d(x[:, 3:], w[:4, 3:5], padding=1)
    y_a = functional.conv2d(x, w[4:8, :5], bias[4:8], padding=1)
    upstream = torch.randn(2, 8, 4, 4, dtype=torch.float64)
    own = (target.shift if op == "shiftadd" else target).weight
    wanted = torch.autograd.grad(torch.cat([y_t, y_a], 1), (x, w, own), upstream)
    found = torch.autograd.grad(layer(x), (x, w), upstream)
    close = {"rtol": 1e-5, "atol": 1e-5} if op != "shift" else {}  # the adder sums its gradients in float32
    torch.testing.assert_close(found[0], wanted[0], **close)
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    whole = wanted[1].clone()
    whole[:4, :3] += wanted[2]
    torch.testing.assert_close(found[1], whole, **close)


def test_the_same_operator_around_computes_the_whole_layer():
    layer = randomised(WideConv2d(nn.Conv2d(3, 4, 1, bias=False), "shift", (5, 6), around="shift"))
    x = torch.randn(2, 5, 2, 2, dtype=torch.float64)
    rows = x.permute(0, 2, 3, 1).reshape(-1, 5).numpy()
    wanted = product(fixed(rows), powers(layer.weight[..., 0, 0].detach().numpy()))
    np.testing.assert_allclose(layer(x).permute(0, 2, 3, 1).reshape(-1, 6).detach().numpy(), wanted, atol=1e-9)


def test_shift_filters_and_ordinary_ones_are_one_convolution(monkeypatch):
    """The fused path of `MixedConv2d`, whatever the active slices, and its numbers at full width."""
    mixed = MixedConv2d("shift", (3, 2), (4, 5), 3, padding=1, bias=True, weight_bits=5).double()
    layer = WideConv2d(nn.Conv2d(3, 4, 3, padding=1), "shift", (5, 9)).double()
    with torch.no_grad():
        layer.weight[:4, :3], layer.weight[:4, 3:], layer.weight[4:] = mixed.target.weight, mixed.cross, mixed.augmented
        layer.bias.zero_()[:4] = mixed.target.bias.uniform_()
    x = inputs_of(2, 5, 6, 6, alone=False)
    calls, original = [], functional.conv2d
    monkeypatch.setattr(functional, "conv2d", lambda *args, **options: calls.append(1) or original(*args, **options))
    for inputs, outputs in ((5, 9), (4, 6), (5, 4), (3, 9)):
        layer.active = outputs
        calls.clear()
        y = layer(x[:, :inputs])
        assert len(calls) == 1 and y.shape[1] == outputs
    monkeypatch.undo()
    layer.active = 9
    torch.testing.assert_close(layer(x), mixed(x), rtol=0, atol=1e-12)


def test_both_parts_start_by_the_fan_in_of_the_widest_layer():
    torch.manual_seed(3)
    layer = WideConv2d(nn.Conv2d(30, 40, 3), "shift", (90, 80))
    bound = (90 * 9) ** -0.5
    own, rest = layer.raw_target_weight(), layer.weight[40:]
    for part in (own, rest):
        assert 0.999 * bound < part.abs().max() <= bound and abs(part.std() / bound - 3**-0.5) < 0.01


def test_gradients_reach_every_active_weight_and_no_other():
    layer = randomised(WideConv2d(nn.Conv2d(3, 4, 1), "shift", (6, 9)))
    layer.active = 7
    layer(torch.randn(2, 5, 2, 2, dtype=torch.float64)).square().sum().backward()
    used = layer.weight.grad[..., 0, 0] != 0
    assert used[:7, :5].all() and not used[7:].any() and not used[:, 5:].any()


def test_remapped_weights_go_by_the_whole_tensor_which_no_exchange_of_channels_changes():
    layer = randomised(WideConv2d(nn.Conv2d(3, 4, 1, bias=False), "shift", (6, 9), remap=LaplaceRemap()))
    before = layer.target_weight()[1, 2]
    order = torch.arange(9)
    order[[1, 3]] = order[[3, 1]]
    layer.permute_(order, outputs=True, inputs=False)
    torch.testing.assert_close(layer.target_weight()[3, 2], before)


def test_a_wide_norm_uses_and_tracks_the_channels_that_are_there():
    norm, plain = WideBatchNorm2d(nn.BatchNorm2d(3), 5), nn.BatchNorm2d(4)
    x = torch.randn(6, 4, 3, 3)
    torch.testing.assert_close(norm(x), plain(x))
    torch.testing.assert_close(norm.running_var[:4], plain.running_var)
    assert (norm.running_var[4:] == 1).all() and len(norm.deployed().running_mean) == 3


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("tracked", [False, True])
def test_a_wide_norm_without_some_of_its_tensors(affine, tracked):
    norm = nn.BatchNorm2d(3, affine=affine, track_running_stats=tracked).double().eval()
    wide, x = WideBatchNorm2d(norm, 5), torch.randn(6, 3, 3, 3, dtype=torch.float64)
    deployed = wide.deployed()
    assert torch.equal(deployed(x), norm(x)) and torch.equal(wide(x), norm(x))
    assert {name: v.dtype for name, v in deployed.state_dict().items()} == {
        name: v.dtype for name, v in norm.state_dict().items()
    }


def test_grouped_convolutions_that_are_not_depthwise_are_refused():
    with pytest.raises(InputError, match="groups=2"):
        WideConv2d(nn.Conv2d(4, 4, 3, groups=2), "shift", (8, 8))
