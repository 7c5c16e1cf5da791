"""Adder, shift and shiftadd layers: construction, state, equality with the operators, factories."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval, fuse_linear_bn_eval

from repro.errors import InputError
from repro.layers import (
    OPERATORS,
    AdderConv2d,
    AdderLinear,
    ShiftAddConv2d,
    ShiftAddLinear,
    ShiftConv2d,
    ShiftLinear,
    convert,
    make_conv2d,
    make_linear,
    quantize_adders,
    quantize_shifts,
)
from repro.ops import (
    adder_conv2d,
    adder_linear,
    round_to_power_of_two,
    shift_conv2d,
    shift_linear,
    shift_values,
)

GEOMETRY = {"stride": 2, "padding": (1, 0), "dilation": (1, 2), "groups": 2}
LAYERS = {
    "adder conv": lambda: AdderConv2d(4, 6, (3, 2), **GEOMETRY),
    "shift conv q": lambda: ShiftConv2d(4, 6, (3, 2), **GEOMETRY),
    "shift conv ps": lambda: ShiftConv2d(4, 6, (3, 2), mode="ps", weight_bits=4, **GEOMETRY),
    "shiftadd conv": lambda: ShiftAddConv2d(4, 6, (3, 2), **GEOMETRY),
    "adder linear": lambda: AdderLinear(9, 6),
    "shift linear q": lambda: ShiftLinear(9, 6, weight_bits=3, activation_bits=10),
    "shift linear ps": lambda: ShiftLinear(9, 6, mode="ps"),
    "shiftadd linear": lambda: ShiftAddLinear(9, 6, mode="ps"),
}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


def inputs() -> torch.Tensor:
    return torch.randn(3, 4, 7, 9)


@every_layer
def test_state_dict_round_trip_evaluates_identically(make):
    torch.manual_seed(0)
    layer, x = make(), inputs()
    with torch.no_grad():  # away from the start, where nothing is special
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    expected = layer.eval()(x)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    loaded = make().eval()
    assert not torch.equal(loaded(x), expected)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(loaded(x), expected)
    assert torch.equal(copy.deepcopy(layer)(x), expected)


@every_layer
def test_every_parameter_gets_a_gradient_and_double_works(make):
    layer = make().double()
    y = layer(inputs().double())
    assert y.dtype == torch.float64
    y.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())


def test_parameter_names_and_shapes():
    assert {k: tuple(v.shape) for k, v in LAYERS["adder conv"]().state_dict().items()} == {
        "bias": (6,), "weight": (6, 2, 3, 2),
    }  # fmt: skip
    assert set(LAYERS["shift conv q"]().state_dict()) == {"weight", "bias"}
    assert set(LAYERS["shift conv ps"]().state_dict()) == {"shift", "sign", "bias"}
    assert set(LAYERS["shiftadd conv"]().state_dict()) == {"shift.weight", "add.weight", "add.bias"}
    assert set(AdderLinear(3, 2, bias=False).state_dict()) == {"weight"}


def test_layers_compute_their_operators():
    x = inputs()
    adder, shift = LAYERS["adder conv"](), LAYERS["shift conv q"]()
    assert torch.equal(adder(x), adder_conv2d(x, adder.weight, adder.bias, **GEOMETRY))
    assert torch.equal(shift(x), shift_conv2d(x, shift.weight, shift.bias, **GEOMETRY))
    adder, shift = LAYERS["adder linear"](), LAYERS["shift linear q"]()
    assert torch.equal(adder(x), adder_linear(x, adder.weight, adder.bias))
    assert torch.equal(shift(x), shift_linear(x, shift.weight, shift.bias, weight_bits=3, activation_bits=(5, 5)))


@pytest.mark.parametrize("mode", ["q", "ps"])
@pytest.mark.parametrize("weight_bits", [2, 5, 8])
def test_quantized_weight_lies_in_the_value_set(mode, weight_bits):
    layer = ShiftConv2d(3, 8, 3, mode=mode, weight_bits=weight_bits)
    assert torch.isin(layer.quantized_weight(), shift_values(weight_bits).float()).all()


def test_stochastic_rounding_is_for_training_only():
    layer, x = ShiftConv2d(3, 8, 3, stochastic=True), torch.randn(1, 3, 5, 5)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))


def test_shiftadd_is_a_shift_layer_then_an_adder_layer_of_the_same_extent():
    layer, x = LAYERS["shiftadd conv"](), inputs()
    assert torch.equal(layer(x), layer.add(layer.shift(x)))
    assert layer.add.kernel_size == layer.shift.kernel_size and layer.add.stride == (1, 1)
    assert layer(x).shape == layer.shift(x).shape
    depthwise = ShiftAddConv2d(6, 6, 5, padding=2, groups=6)
    assert depthwise.add.weight.shape == (6, 1, 5, 5)


def test_printed_form_names_what_differs_from_the_default():
    assert "kernel_size=(3, 2), stride=(2, 2), padding=(1, 0), dilation=(1, 2), groups=2" in repr(
        LAYERS["adder conv"]()
    )
    text = repr(ShiftConv2d(3, 4, 1, bias=False, mode="ps", weight_bits=4, activation_bits=16))
    assert text == (
        "ShiftConv2d(3, 4, kernel_size=(1, 1), stride=(1, 1), bias=False, "
        "mode='ps', weight_bits=4, activation_bits=(8, 8))"
    )
    assert repr(AdderLinear(3, 4)) == "AdderLinear(in_features=3, out_features=4, bias=True)"


# --- from and to ordinary layers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["q", "ps"])
def test_from_float_then_to_conv_gives_the_rounded_weights(mode):
    conv = nn.Conv2d(4, 6, (3, 2), **GEOMETRY)
    with torch.no_grad():
        conv.weight[0, 0, 0, 0] = 0
    layer = ShiftConv2d.from_float(conv, mode=mode, weight_bits=4)
    back = layer.to_conv()
    assert torch.equal(back.weight, layer.quantized_weight()) and back.weight[0, 0, 0, 0] == 0
    assert torch.equal(back.weight, ShiftConv2d.from_float(conv, weight_bits=4).quantized_weight())
    x = inputs()
    torch.testing.assert_close(back(x), layer(x), rtol=1e-4, atol=1e-4)
    exact = ShiftConv2d.from_float(back, mode=mode, weight_bits=4)
    assert torch.equal(exact.quantized_weight(), layer.quantized_weight())


def test_from_float_keeps_type_bias_and_mode_of_use():
    linear = nn.Linear(5, 3, bias=False, dtype=torch.float64).eval()
    for layer in (AdderLinear.from_float(linear), ShiftLinear.from_float(linear), ShiftAddLinear.from_float(linear)):
        assert next(layer.parameters()).dtype == torch.float64 and not layer.training
        assert not any("bias" in name for name, _ in layer.named_parameters())
    assert torch.equal(AdderLinear.from_float(linear).weight, linear.weight)
    assert not torch.equal(AdderLinear.from_float(linear, copy_weight=False).weight, linear.weight)


# --- factories -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", OPERATORS)
def test_factories_make_every_operator(op):
    conv = make_conv2d(op, 4, 6, 3, stride=2, padding=1, groups=2)
    assert conv(torch.randn(1, 4, 8, 8)).shape == (1, 6, 4, 4)
    assert not any("bias" in name for name, _ in conv.named_parameters())
    assert make_linear(op, 4, 3)(torch.randn(2, 4)).shape == (2, 3)
    y = make_conv2d(op, 4, 6, 3, device="meta")(torch.empty(1, 4, 8, 8, device="meta"))
    assert y.shape == (1, 6, 6, 6)


def test_factories_pass_options_on():
    assert make_conv2d("shift", 2, 2, 1, mode="ps", weight_bits=3).weight_bits == 3
    assert make_conv2d("shiftadd", 2, 2, 1, weight_bits=3, backend="reference").shift.weight_bits == 3
    assert make_conv2d("adder", 2, 2, 1, backend="reference").backend == "reference"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_conv2d("ader", 1, 1, 1), "op='ader' .*'adder'"),
        (lambda: make_conv2d("shift", 1, 1, 1, weight_bit=4), "option 'weight_bit' .*'weight_bits'"),
        (lambda: make_conv2d("adder", 1, 1, 1, weight_bits=4), "option 'weight_bits' is not known to op='adder'"),
        (lambda: make_linear("conv", 1, 1, mode="q"), "option 'mode' is not known to op='conv'"),
        (lambda: ShiftConv2d(1, 1, 1, weight_bits=9), "weight_bits=9 is not allowed"),
        (lambda: ShiftConv2d(1, 1, 1, mode="sp"), "mode='sp' .*'ps'"),
        (lambda: ShiftLinear(1, 1, backend="cuda"), "backend='cuda'"),
        (lambda: AdderConv2d(3, 4, 3, groups=2), "in_channels=3 is not allowed with groups=2"),
        (lambda: AdderConv2d(4, 3, 3, groups=2), "out_channels=3 is not allowed with groups=2"),
        (lambda: AdderConv2d(0, 3, 3), "in_channels=0"),
        (lambda: AdderConv2d(1, 1, 3, padding="full"), "padding='full'"),
        *(
            (
                lambda cls=cls: cls(3, 4, 3, stride=(1, 2), padding="same"),
                r"padding='same' needs stride=1, not \(1, 2\)",
            )
            for cls in (AdderConv2d, ShiftConv2d, ShiftAddConv2d)
        ),
        (lambda: AdderLinear(1.5, 1), "in_features=1.5"),
        (lambda: AdderConv2d(3, 4, 3, bias="no"), "bias='no' .*True or False"),
        (lambda: ShiftLinear(3, 4, stochastic="no"), "stochastic='no' .*True or False"),
        (lambda: AdderConv2d.from_float(nn.Conv2d(1, 1, 1), copy_weight="no"), "copy_weight='no'"),
        (lambda: convert(nn.Conv2d(1, 1, 1), "shift", inplace="no"), "inplace='no' .*True or False"),
        (lambda: AdderLinear(2, 2).quantize("3"), "input_abs_max='3' .*finite number at least 0"),
        (lambda: AdderLinear(2, 2).quantize(True), "input_abs_max=True"),
        (lambda: quantize_adders(nn.Linear, [torch.ones(1)]), "model=Linear is not allowed; .*built"),
        (lambda: quantize_shifts(None), "model=NoneType"),
        (lambda: AdderConv2d(1, 1, 1, stride=10**20), "stride=1000.* at most 1048576"),
        (lambda: ShiftConv2d(1, 1, 1, padding=(0, 2**31)), r"padding\[1\]=2147483648"),
        (lambda: adder_conv2d(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 1, 1), 0.5), "bias is a float; .*torch.Tensor"),
        (lambda: adder_linear(torch.nested.nested_tensor([torch.ones(2)]), torch.ones(1, 2)), "x is a nested tensor"),
        (lambda: round_to_power_of_two(torch.ones(2), stochastic="no"), "stochastic='no'"),
        (lambda: round_to_power_of_two(torch.ones(2), stochastic=True, generator=5), "generator is a int"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()


# --- what torch offers for multiplying layers ------------------------------------------------------------------------


def test_a_batch_norm_is_not_fused_into_a_weight_that_is_not_multiplied():
    conv, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    for op in ("adder", "shift"):
        layer = make_conv2d(op, 3, 4, 3).eval()
        before = layer.weight.detach().clone()
        quantised = layer.quantize(1.0) if op == "adder" else layer
        for each in (layer, quantised):
            with pytest.raises(InputError, match=f"cannot be fused into a {type(each).__name__}, .* keep it behind"):
                fuse_conv_bn_eval(each, norm.eval())
        with pytest.raises(InputError, match=r"cannot be fused into a \w+Linear, "):
            fuse_linear_bn_eval(make_linear(op, 3, 4).eval(), nn.BatchNorm1d(4).eval())
        assert torch.equal(layer.weight, before)
        layer.weight = nn.Parameter(before * 2)  # anyone else may set it
        assert torch.equal(layer.weight, before * 2)
    x = torch.randn(1, 3, 5, 5)
    torch.testing.assert_close(fuse_conv_bn_eval(conv.eval(), norm)(x), norm(conv(x)))


# --- export ----------------------------------------------------------------------------------------------------------


@every_layer
@pytest.mark.parametrize("strict", [False, True])
def test_layers_export_with_a_free_batch_size(make, strict):
    layer, x = make().eval(), inputs()
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: batch},), strict=strict)
    other = torch.randn(5, *x.shape[1:])
    torch.testing.assert_close(program.module()(other), layer(other))
