"""Equation 4 with active slices against float64 sums that are written another way."""

import numpy as np
import pytest
import torch
from torch import nn

from repro.augment.layers import WideBatchNorm2d, WideConv2d, WideLinear
from repro.augment.remapping import LaplaceRemap
from repro.errors import InputError


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


def target_part(op, x, w):
    return {
        "conv": lambda: product(x, w),
        "shift": lambda: product(fixed(x), powers(w)),
        "adder": lambda: adder(x, w),
    }[op]()


def equation_4(op, x, w, target, outputs, bias):
    """Y_t = MF(X_t) + M(X_a), Y_a = M(X) of rows of inputs (positions, inputs); w (outputs, inputs)."""
    inputs, rows = target
    y_t = target_part(op, x[:, :inputs], w[:rows, :inputs]) + product(x[:, inputs:], w[:rows, inputs : x.shape[1]])
    # A shift layer is fused: its augmented rows see the target's inputs rounded to the fixed-point grid, 2^-17 away.
    seen = np.concatenate([fixed(x[:, :inputs]), x[:, inputs:]], 1) if op == "shift" else x
    y_a = product(seen, w[rows:outputs, : x.shape[1]])
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


@pytest.mark.parametrize("op", ["conv", "shift", "adder"])
@pytest.mark.parametrize(("inputs", "outputs"), [(3, 4), (5, 4), (3, 7), (5, 9), (6, 9)])
def test_dense_layers(op, inputs, outputs):
    layer = randomised(WideConv2d(nn.Conv2d(3, 4, 1), op, (6, 9)))
    layer.active = outputs
    x = torch.randn(2, inputs, 3, 2, dtype=torch.float64)
    rows = x.permute(0, 2, 3, 1).reshape(-1, inputs).numpy()
    wanted = equation_4(
        op, rows, layer.weight[..., 0, 0].detach().numpy(), (3, 4), outputs, layer.bias.detach().numpy()
    )
    y = layer(x).permute(0, 2, 3, 1).reshape(-1, outputs).detach().numpy()
    np.testing.assert_allclose(y, wanted, atol=1e-9)


@pytest.mark.parametrize("op", ["conv", "shift", "adder"])
@pytest.mark.parametrize(("inputs", "outputs"), [(3, 4), (5, 4), (6, 9)])
def test_linear_layers(op, inputs, outputs):
    layer = randomised(WideLinear(nn.Linear(3, 4), op, (6, 9)))
    layer.active = outputs
    x = torch.randn(5, inputs, dtype=torch.float64)
    wanted = equation_4(op, x.numpy(), layer.weight.detach().numpy(), (3, 4), outputs, layer.bias.detach().numpy())
    np.testing.assert_allclose(layer(x).detach().numpy(), wanted, atol=1e-9)


@pytest.mark.parametrize("op", ["conv", "shift", "adder"])
@pytest.mark.parametrize("channels", [3, 4, 7])
def test_depthwise_layers(op, channels):
    layer = randomised(WideConv2d(nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False), op, (7, 7)))
    x = torch.randn(2, channels, 5, 4, dtype=torch.float64)
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    y = layer(x).detach().numpy()
    for channel in range(channels):
        patches = np.stack([padded[:, channel, i : i + 5, j : j + 4] for i in range(3) for j in range(3)], -1)
        weight = layer.weight[channel, 0].detach().numpy().reshape(1, 9)
        wanted = target_part(op if channel < 3 else "conv", patches.reshape(-1, 9), weight)
        np.testing.assert_allclose(y[:, channel].reshape(-1), wanted[:, 0], atol=1e-9)


def test_the_same_operator_around_computes_the_whole_layer():
    layer = randomised(WideConv2d(nn.Conv2d(3, 4, 1, bias=False), "shift", (5, 6), around="shift"))
    x = torch.randn(2, 5, 2, 2, dtype=torch.float64)
    rows = x.permute(0, 2, 3, 1).reshape(-1, 5).numpy()
    wanted = product(fixed(rows), powers(layer.weight[..., 0, 0].detach().numpy()))
    np.testing.assert_allclose(layer(x).permute(0, 2, 3, 1).reshape(-1, 6).detach().numpy(), wanted, atol=1e-9)


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


def test_grouped_convolutions_that_are_not_depthwise_are_refused():
    with pytest.raises(InputError, match="groups=2"):
        WideConv2d(nn.Conv2d(4, 4, 3, groups=2), "shift", (8, 8))
