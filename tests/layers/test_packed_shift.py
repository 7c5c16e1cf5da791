"""Shift layers on packed codes: same numbers as the layers they come from, exact integers, files of codes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from repro.errors import InputError
from repro.layers import (
    PackedShiftConv2d,
    PackedShiftLinear,
    ShiftConv2d,
    ShiftLinear,
    quantize_shifts,
)
from tests.ops.op_checks import backend_params, need_backend

GEOMETRIES = {
    "plain": dict(kernel_size=3, padding=1),
    "strided, grouped": dict(kernel_size=(3, 2), stride=2, padding=(1, 0), groups=2),
    "uneven same": dict(kernel_size=(2, 3), padding="same", dilation=2),
    "depthwise": dict(kernel_size=3, padding=1, groups=4),
}


def shift_conv(geometry, **options):
    torch.manual_seed(0)
    layer = ShiftConv2d(4, 8, **geometry, **options)
    with torch.no_grad():
        layer.bias.mul_(3)
    return layer.eval()


@backend_params()
@pytest.mark.parametrize("weight_bits", [4, 5])
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_packed_conv2d_computes_what_the_shift_layer_does(geometry, weight_bits, backend):
    need_backend(backend, "shift")
    layer = shift_conv(geometry, weight_bits=weight_bits, backend=backend)
    packed, x = layer.quantize(), torch.randn(2, 4, 6, 7)
    assert isinstance(packed, PackedShiftConv2d) and packed.packed.dtype == torch.int32
    assert torch.equal(packed.unpacked_weight(), layer.quantized_weight())
    torch.testing.assert_close(packed(x), layer(x).detach())


@pytest.mark.parametrize("arithmetic", ["product", "fixed"])
def test_a_bias_of_nan_stays_nan(arithmetic):
    for layer, x in ((ShiftLinear(3, 2), torch.ones(1, 3)), (ShiftConv2d(3, 2, 1), torch.ones(1, 3, 2, 2))):
        with torch.no_grad():
            layer.bias[0] = torch.nan
        y, known = layer.quantize(arithmetic)(x), layer(x).detach()
        assert y[:, 0].isnan().all()
        torch.testing.assert_close(y[:, 1], known[:, 1])


@backend_params()
@pytest.mark.parametrize("mode", ["q", "ps"])
def test_packed_linear_computes_what_the_shift_layer_does(mode, backend):
    need_backend(backend, "shift")
    torch.manual_seed(1)
    layer, x = ShiftLinear(37, 5, mode=mode, backend=backend).eval(), torch.randn(2, 3, 37)
    for arithmetic in ("product", "fixed"):
        packed = layer.quantize(arithmetic)
        assert isinstance(packed, PackedShiftLinear)
        torch.testing.assert_close(packed(x), layer(x).detach())
        assert packed(x[0, 0]).shape == (5,)


@backend_params()
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_the_integer_path_is_the_exact_sum_rounded_once(geometry, backend):
    need_backend(backend, "shift")
    layer = shift_conv(geometry, backend=backend)
    x = torch.randn(2, 4, 6, 7)
    y = layer.quantize("fixed")(x)
    exact = copy.deepcopy(layer).double()
    exact.backend = "reference"
    assert torch.equal(y, exact(x.double()).float())  # every product and sum fits float64


def test_the_integer_path_keeps_every_bit_of_large_activations():
    layer = ShiftLinear(3, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0**-14, -1.0]]))
    x = torch.tensor([[30000.0, 2.0**-16, 30000.0]])
    expected = torch.tensor([[2.0**-30]])  # 30000 + 2^-30 needs 45 bits
    for backend in ("reference", "cpu"):
        need_backend(backend, "shift")
        layer.backend = backend
        assert torch.equal(layer.quantize("fixed")(x), expected)


def test_inputs_beyond_the_fixed_point_range_saturate():
    layer = ShiftLinear(1, 1, bias=False, activation_bits=8)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    for arithmetic in ("product", "fixed"):
        y = layer.quantize(arithmetic)(torch.tensor([[100.0], [-100.0]]))
        assert y.flatten().tolist() == [7.9375, -8.0]


def test_codes_survive_a_file_and_a_round_trip(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), shift_conv(GEOMETRIES["plain"]), nn.Flatten(), ShiftLinear(128, 3))
    x = torch.randn(2, 3, 6, 6)
    expected = model.eval()(x).detach()
    packed = quantize_shifts(copy.deepcopy(model))
    torch.testing.assert_close(packed(x), expected)
    assert type(packed[0]) is nn.Conv2d and not packed[1].training
    torch.save(packed.state_dict(), tmp_path / "codes.pt")
    twin = nn.Sequential(nn.Conv2d(3, 4, 3), ShiftConv2d(4, 8, 3, padding=1), nn.Flatten(), ShiftLinear(128, 3))
    twin = quantize_shifts(twin)
    twin.load_state_dict(torch.load(tmp_path / "codes.pt", weights_only=True))
    assert torch.equal(twin(x), packed(x))
    assert packed[3].packed.numel() * 32 == 3 * 128 * 5  # five bits a weight
    assert quantize_shifts(model[3]).packed.equal(packed[3].packed)


def test_from_float_rounds_and_packs():
    conv, linear = nn.Conv2d(3, 4, 3, stride=2), nn.Linear(5, 2, bias=False)
    packed = PackedShiftConv2d.from_float(conv, weight_bits=4)
    assert torch.equal(packed.unpacked_weight(), ShiftConv2d.from_float(conv, weight_bits=4).quantized_weight())
    assert "stride=(2, 2)" in repr(packed) and "weight_bits=4" in repr(packed)
    packed = PackedShiftLinear.from_float(linear, arithmetic="fixed", backend="cpu")
    assert packed.bias is None and "arithmetic='fixed'" in repr(packed)
    x = torch.randn(4, 5)
    torch.testing.assert_close(packed(x), ShiftLinear.from_float(linear)(x).detach())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_the_type_of_the_input_is_kept(dtype):
    conv, linear = shift_conv(GEOMETRIES["plain"]), ShiftLinear(6, 3)
    x = torch.randn(1, 4, 5, 5).to(dtype)
    for arithmetic in ("product", "fixed"):
        assert conv.quantize(arithmetic)(x).dtype == dtype
        assert linear.quantize(arithmetic)(x.new_ones(2, 6)).dtype == dtype


def test_empty_batch():
    assert shift_conv(GEOMETRIES["plain"]).quantize()(torch.empty(0, 4, 5, 5)).shape == (0, 8, 5, 5)
    assert ShiftLinear(6, 3).quantize("fixed")(torch.empty(0, 6)).shape == (0, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ShiftLinear(3, 2, weight_bits=6).quantize(), "weight_bits=6 is not allowed; .* 4 or 5 bits"),
        (lambda: ShiftLinear(3, 2).quantize("fixd"), "arithmetic='fixd' .*Did you mean 'fixed'"),
        (lambda: ShiftLinear(3, 2, activation_bits=None).quantize("fixed"), "activation_bits=None is not allowed"),
        (lambda: ShiftLinear(3, 2, activation_bits=(20, 20)).quantize("fixed"), r"activation_bits=\(20, 20\)"),
        (lambda: ShiftLinear(3, 2).quantize()(torch.ones(1, 4)), "its last axis must have 3 entries"),
        (lambda: ShiftLinear(3, 2).quantize()(torch.ones(1, 3).int()), "x.dtype=torch.int32 is not supported"),
        (lambda: ShiftConv2d(3, 2, 1).quantize()(torch.ones(1, 4, 2, 2)), r"it must be \(N, 3, H, W\)"),
        (lambda: ShiftConv2d(3, 2, 3).quantize()(torch.ones(1, 3, 2, 2)), "smaller than the filter"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert str(caught.value).count("\n") == 0
