"""Conversion of ordinary models: what is replaced, what is kept and why, and the way back."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from repro.errors import InputError
from repro.layers import AdderConv2d, AdderLinear, ShiftConv2d, ShiftLinear, convert, to_conv

pytestmark = pytest.mark.filterwarnings("ignore:adder layers without:UserWarning")


class Special(nn.Linear):
    """A subclass that computes something else."""

    def forward(self, x):
        return super().forward(x) + 1


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        shared = nn.Conv2d(8, 8, 1)
        self.body = nn.Sequential(shared, nn.BatchNorm2d(8), nn.ReLU(), shared, nn.Conv2d(8, 8, 3, groups=8))
        self.mirror = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")
        self.special = Special(8, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.mirror(self.body(self.stem(x))).mean((2, 3))
        return self.head(self.special(x))


@pytest.mark.parametrize("to", ["adder", "shift", "shiftadd"])
def test_converted_model_trains_and_original_is_untouched(to):
    net = Net()
    before = copy.deepcopy(net.state_dict())
    converted = convert(net, to, skip="head")
    converted(torch.randn(2, 3, 8, 8)).sum().backward()
    assert type(converted.stem) is not nn.Conv2d and type(net.stem) is nn.Conv2d
    assert converted.body[0] is converted.body[3]
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert converted.conversion_report.converted == ("stem", "body.0", "body.4")
    copy.deepcopy(converted)


def test_report_says_why_layers_were_kept():
    report = convert(Net(), "adder", skip="head").conversion_report
    reasons = {row.name: row.reason for row in report.rows if row.target is None}
    assert reasons["head"] == "skipped"
    assert "padding_mode='reflect'" in reasons["mirror"]
    assert "Special is a subclass" in reasons["special"]
    assert report.kept == ("mirror", "special", "head")
    assert str(report).splitlines()[0] == "converted 3 of 6 layers to adder"


def test_layers_without_a_form_are_reported():
    net = nn.Sequential(nn.Conv1d(2, 2, 1), nn.ConvTranspose2d(2, 2, 1), nn.Embedding(3, 4))
    report = convert(net, "shift").conversion_report
    assert not report.converted
    assert [row.reason for row in report.rows] == [
        f"{kind} has no shift form here" for kind in ("Conv1d", "ConvTranspose2d", "Embedding")
    ]


def test_weights_are_carried_over():
    net = Net()
    assert torch.equal(convert(net, "adder").stem.weight, net.stem.weight)
    assert not torch.equal(convert(net, "adder", copy_weight=False).stem.weight, net.stem.weight)
    shift = convert(net, "shift", weight_bits=4, mode="ps")
    assert isinstance(shift.head, ShiftLinear) and shift.head.weight_bits == 4
    assert torch.equal(convert(net, "shiftadd").stem.shift.weight, net.stem.weight)


def test_skip_takes_patterns_classes_and_functions():
    def kept(skip):
        return set(convert(Net(), "adder", skip=skip).conversion_report.kept) - {"mirror", "special"}

    assert kept("body.*") == {"body.0", "body.4"}
    assert kept(nn.Linear) == {"head"}
    assert kept(lambda name, module: getattr(module, "groups", 1) > 1) == {"body.4"}
    assert kept(["stem", nn.Linear]) == {"stem", "head"}


def test_a_bare_layer_is_converted_and_inplace_changes_the_model():
    assert isinstance(convert(nn.Conv2d(2, 2, 1), "adder"), AdderConv2d)
    assert isinstance(convert(nn.Linear(2, 2), "adder"), AdderLinear)
    net = Net()
    assert convert(net, "shift", inplace=True) is net and isinstance(net.stem, ShiftConv2d)


@pytest.mark.parametrize("mode", ["q", "ps"])
def test_shift_models_go_back_to_ordinary_layers(mode):
    net = Net().eval()
    shift = convert(net, "shift", mode=mode)
    back = to_conv(shift)
    assert not any(isinstance(m, (ShiftConv2d, ShiftLinear)) for m in back.modules())
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(back(x), shift(x), rtol=1e-3, atol=1e-3)
    assert isinstance(shift.stem, ShiftConv2d)  # a copy went back
    report = to_conv(convert(net, "adder", skip="head")).conversion_report
    assert {row.reason for row in report.rows if row.name == "stem"} == {"an adder layer has no equivalent product"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: convert(Net(), "adde"), "to='adde' .*'adder'"),
        (lambda: convert(Net(), "adder", skip="stemm"), "skip='stemm' matches no layer .*'stem'"),
        (lambda: convert(Net(), "adder", skip=3), "skip=3 is not allowed"),
        (lambda: convert(Net(), "adder", skip=[3]), "skip=3 is not allowed"),
        (lambda: convert(Net(), "adder", weight_bits=4), "option 'weight_bits'"),
        (lambda: convert(Net(), "conv", weight_bits=4), "option 'weight_bits' is not known to to='conv'"),
        (lambda: convert("net", "adder"), "model is a str"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("lazy", [nn.LazyConv2d(4, 3), nn.LazyLinear(4)], ids=["convolution", "linear"])
def test_lazy_layers_are_reported_until_their_sizes_are_known(lazy):
    model = nn.Sequential(lazy)
    (row,) = convert(model, "shift").conversion_report.rows
    assert row.target is None and "run the model once, then convert" in row.reason
    model(torch.randn(2, 3, 6, 6))
    assert len(convert(model, "shift").conversion_report.converted) == 1
