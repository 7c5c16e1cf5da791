"""Counters against hand counts, and tracing of modules, functions and products without data."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from repro import layers as operators
from repro.cost import count, operation_energy_pj
from repro.errors import InputError
from repro.models.trace import trace


class Toy(nn.Module):
    """3x3 s2 stem, norm, grouped 5x5, global pool, biased 1x1, attention product, classifier."""

    def __init__(self, op="conv"):
        super().__init__()
        self.stem = operators.make_conv2d(op, 3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.grouped = operators.make_conv2d(op, 8, 16, 5, padding=2, groups=4)
        self.squeeze = operators.make_conv2d(op, 16, 4, 1, bias=True)
        self.classifier = operators.make_linear(op, 4, 10)

    def forward(self, x):
        x = self.grouped(F.relu(self.norm(self.stem(x))))
        tokens = x.flatten(2)
        mixed = tokens.transpose(1, 2) @ tokens  # (N, HW, HW), taps HW * C * HW
        pooled = x.mean((2, 3), keepdim=True) + mixed.mean()
        return self.classifier(self.squeeze(pooled).flatten(1))


STEM, GROUPED, SQUEEZE, CLASSIFIER = 8 * 8 * 8 * 27, 16 * 64 * 25 * 2, 64, 40
PRODUCT = 64 * 16 * 64
TAPS = STEM + GROUPED + SQUEEZE + CLASSIFIER
PARAMS = 8 * 27 + 16 + 16 * 2 * 25 + 4 * 16 + 4 + 10 * 4 + 10


def test_convolution_counts_by_hand():
    result = count(Toy(), 16)
    assert result.params == PARAMS
    assert result.macs == result.mults == result.adds == TAPS + PRODUCT
    assert result.shifts == 0
    assert result.layers["name"].tolist() == ["stem", "grouped", "", "squeeze", "classifier"]
    assert result.layers["role"].tolist() == ["stem", "conv", "matmul", "se", "classifier"]


@pytest.mark.parametrize(("op", "kind"), [("shift", "shifts"), ("adder", "adds")])
def test_operators_count_what_they_do(op, kind):
    result = count(Toy(op), 16)
    assert result.mults == PRODUCT
    assert result.macs == TAPS + PRODUCT
    expected = {"shift": (TAPS, TAPS + PRODUCT), "adder": (0, 2 * TAPS + PRODUCT)}[op]
    assert (result.shifts, result.adds) == expected


def test_shiftaddaug_counts_biases_and_unfoldable_norms():
    assert count(Toy(), 16, "shiftaddaug").mults == TAPS + PRODUCT + 4 + 10
    norm_elements = 8 * 8 * 8  # only the stem is followed by a normalisation
    assert count(Toy("adder"), 16, "shiftaddaug").adds == 2 * TAPS + PRODUCT + 2 * norm_elements


def test_halved_additions_and_the_honest_count():
    assert count(Toy("shift"), 16, "autoshiftnet").adds == (TAPS + PRODUCT) / 2
    assert count(Toy("shift"), 16, "autoshiftnet-honest").adds == TAPS + PRODUCT


def test_separate_shift_and_sign_are_two_parameters():
    single = operators.ShiftConv2d(4, 4, 3, bias=False)
    double = operators.ShiftConv2d(4, 4, 3, bias=False, mode="ps")
    assert count(double, (4, 8, 8)).params == 2 * count(single, (4, 8, 8)).params


def test_shiftadd_is_a_shift_and_an_adder_layer():
    layer = operators.make_conv2d("shiftadd", 4, 6, 3, padding=1)
    result = count(layer, (4, 5, 5))
    assert result.layers["op"].tolist() == ["shift", "adder"]
    assert result.shifts == 6 * 25 * 36 and result.adds == 6 * 25 * 36 + 2 * 6 * 25 * 54


def test_functional_operators_are_seen():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(6, 2, 3, 3))
            self.out = nn.Parameter(torch.zeros(5, 6))

        def forward(self, x):
            x = F.conv2d(x, self.weight, stride=2, padding=1, groups=2).mean((2, 3))
            return F.linear(x, self.out)

    result = count(Functional(), (4, 9, 9))
    assert result.macs == 6 * 25 * 2 * 9 + 30
    assert result.layers["kind"].tolist() == ["conv", "linear"]


def test_attention_through_scaled_dot_product():
    class Attention(nn.Module):
        def forward(self, x):
            return F.scaled_dot_product_attention(x, x, x)

    result = count(Attention(), torch.zeros(1, 2, 7, 4))
    assert result.macs == 2 * (2 * 7 * 4 * 7)


def test_auxiliary_heads_do_not_count():
    class WithAuxiliary(Toy):
        def __init__(self):
            super().__init__()
            head = nn.Linear(4, 10)
            head.cost_role = "auxiliary"
            self.auxiliary = nn.Sequential(nn.BatchNorm1d(4), head)

    assert count(WithAuxiliary(), 16).params == PARAMS


def test_tracing_leaves_the_model_as_it_was():
    model = Toy("adder").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trace(model, 16)
    assert model.training and all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert "forward" not in model.stem.__dict__ and not model._forward_hooks
    assert all(parameter.device.type == "cpu" for parameter in model.parameters())


def test_models_on_the_meta_device_need_no_memory():
    with torch.device("meta"):
        model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 200_000), nn.Linear(200_000, 100_000))
    assert count(model, 64).params == (12288 + 1) * 200_000 + (200_000 + 1) * 100_000


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "whole numbers"),
        ((3, 8), "input_size="),
        ("big", "input_size="),
        ((4, 16, 16), "takes 3 channels"),
        ((3, 16, -1), "whole numbers"),
    ],
)
def test_impossible_inputs_are_named(size, words):
    with pytest.raises(InputError, match=words):
        count(Toy(), size)


def test_too_small_maps_and_unknown_conventions_are_named():
    with pytest.raises(InputError, match="too small"):
        count(nn.Conv2d(3, 4, 7), 5)
    with pytest.raises(InputError, match="Did you mean 'shiftaddaug'"):
        count(Toy(), 16, "shiftaddaugg")
    with pytest.raises(InputError, match="runs no convolution"):
        count(nn.ReLU(), 16)


def test_operation_energy_is_acghostnets():
    assert operation_energy_pj(1, 1) == pytest.approx(4.6)  # a MAC
    assert operation_energy_pj(2, 0) == pytest.approx(1.8)  # an adder tap
