"""The tracer sees what a layer computes, however it is called, subclassed, packed or quantised."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from repro.cost import count, model_cost
from repro.errors import InputError
from repro.layers import AdderConv2d, AdderLinear, ShiftConv2d, ShiftLinear, quantize_adders, quantize_shifts
from repro.models import summary
from repro.ops import adder_conv2d, adder_linear, shift_conv2d, shift_linear

BOTH_COUNT = {
    "transposed 1-d": (lambda: nn.ConvTranspose1d(4, 6, 3, stride=2), (2, 4, 7)),
    "transposed 2-d, groups": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (2, 4, 7, 6)),
    "transposed 3-d": (lambda: nn.ConvTranspose3d(4, 6, 3), (1, 4, 5, 6, 7)),
    "1-d": (lambda: nn.Conv1d(4, 6, 3), (2, 4, 9)),
    "3-d, groups": (lambda: nn.Conv3d(4, 6, 3, stride=2, groups=2), (2, 4, 5, 6, 7)),
    "recurrent": (lambda: nn.GRU(3, 4), (2, 5, 3)),
    "same": (lambda: nn.Conv2d(3, 4, 3, padding="same"), (2, 3, 6, 6)),
}


@pytest.mark.parametrize("name", BOTH_COUNT)
def test_macs_are_half_of_torchs_flops(name):
    make, shape = BOTH_COUNT[name]
    model, x = make().eval(), torch.randn(shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    assert 2 * count(model, (x,)).macs == 2 * summary(model, (x,)).attrs["macs"] == counter.get_total_flops() > 0


def test_bilinear_products():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.product = nn.Bilinear(5, 6, 7)

        def forward(self, x):
            return self.product(x, x.repeat(1, 2)[:, :6])

    assert count(Pair(), (torch.empty(3, 5),)).macs == 3 * 7 * 5 * (6 + 1)


class Functional(nn.Module):
    """All four operators as functions in a forward, with normalisations as functions too."""

    def __init__(self):
        super().__init__()
        self.filters, self.rows = nn.Parameter(torch.randn(4, 3, 3, 3)), nn.Parameter(torch.randn(5, 4))

    def forward(self, x):
        y = adder_conv2d(x, self.filters)
        y = nn.functional.batch_norm(y, y.new_zeros(4), y.new_ones(4))
        y = shift_conv2d(y, self.filters.new_ones(4, 4, 1, 1)).mean((2, 3))
        return adder_linear(shift_linear(y, self.rows), self.rows.new_ones(2, 5))


def test_functional_operators_count_as_layers_do():
    found = count(Functional(), (torch.empty(1, 3, 6, 6),))
    assert list(found.layers["op"]) == ["adder", "shift", "shift", "adder"]
    assert list(found.layers["macs"]) == [16 * 4 * 27, 16 * 16, 20, 10]
    assert list(found.layers["normed"]) == [True, False, False, False]
    assert found.mults == 0 and found.shifts == 16 * 16 + 20
    table = summary(Functional(), (torch.empty(1, 3, 6, 6),))
    assert list(table["op"]) == list(found.layers["op"]) and list(table["macs"]) == list(found.layers["macs"])
    assert list(table["out_shape"]) == [(1, 4, 4, 4), (1, 4, 4, 4), (1, 5), (1, 2)]


@pytest.mark.parametrize(("base", "adds", "shifts"), [(AdderLinear, 2 * 72, 0), (ShiftLinear, 72, 72)])
def test_a_subclass_is_counted_with_what_it_adds(base, adds, shifts):
    class LowRank(base):
        def __init__(self):
            super().__init__(6, 4)
            self.down, self.up = nn.Parameter(torch.randn(6, 2)), nn.Parameter(torch.randn(2, 4))

        def forward(self, x):
            return super().forward(x) + x @ self.down @ self.up

    found, extra = count(LowRank(), (torch.empty(3, 6),)), 3 * (6 * 2 + 2 * 4)
    assert (found.adds, found.shifts, found.mults) == (adds + extra, shifts, extra)


def test_a_layer_with_a_forward_of_its_own_is_counted_with_what_it_adds():
    layer, down, up = nn.Linear(6, 4), torch.randn(6, 2), torch.randn(2, 4)
    plain = layer.forward
    layer.forward = lambda x: plain(x) + x @ down @ up
    assert count(layer, (torch.empty(3, 6),)).macs == 3 * (6 * 4 + 6 * 2 + 2 * 4)


@pytest.mark.parametrize(("kind", "size"), [(nn.Conv1d, (6,)), (nn.Conv2d, (6, 7)), (nn.Conv3d, (6, 7, 8))])
def test_one_image_without_a_batch_counts_as_a_batch_of_one(kind, size):
    layer = nn.Sequential(kind(3, 4, 3), nn.ReLU())
    alone, batch = (count(layer, (torch.empty(*shape, *size),)) for shape in ((3,), (1, 3)))
    assert alone.macs == batch.macs > 0


def test_trainable_exponents_in_a_subclass_are_shifts():
    class Same(ShiftConv2d):
        def forward(self, x):
            return super().forward(x)

    found = count(Same(3, 4, 3, mode="ps"), 6)
    assert found.shifts == 16 * 4 * 27 and found.mults == 0


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.act = AdderConv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()

    def forward(self, x):
        return self.act(input=self.norm(input=self.conv(x=x)))


def test_layers_called_by_keyword():
    found = count(Named(), 8)
    assert found.macs == 36 * 4 * 27 and bool(found.layers["normed"][0])
    assert summary(Named(), 8).attrs["macs"] == found.macs


def test_packed_and_quantised_layers_count_as_before():
    model = nn.Sequential(AdderConv2d(3, 4, 3), nn.BatchNorm2d(4), ShiftConv2d(4, 5, 3), nn.Flatten())
    model += nn.Sequential(ShiftLinear(5 * 16, 6), AdderLinear(6, 2))
    before, energy = count(model, 8, "shiftaddaug"), model_cost(model, 8).energy_mj
    macs = summary(model, 8).attrs["macs"]
    quantize_shifts(quantize_adders(model, [torch.randn(1, 3, 8, 8)]))
    after = count(model, 8, "shiftaddaug")
    assert before.layers.equals(after.layers) and before.params == after.params
    assert model_cost(model, 8).energy_mj == energy and summary(model, 8).attrs["macs"] == macs


def test_the_accelerator_model_has_no_transposed_convolution():
    with pytest.raises(InputError, match="transposed convolution"):
        model_cost(nn.Sequential(nn.ConvTranspose2d(3, 4, 3)), 8)
