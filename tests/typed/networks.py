"""Operators, layers and models."""

from pathlib import Path
from typing import assert_type

import torch
from torch import nn

from repro import layers, models, ops
from repro.layers import AdderConv2d, ConversionReport, ConversionRow, ShiftConv2d, convert, make_conv2d, to_conv
from repro.models import Builder, create, list_models, load_weights, save_weights


def operators(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    ops.adder_conv2d(x, weight, padding=1, stride=(1, 2), backend="auto")
    ops.adder_conv2d(x, weight, None, groups="1")  # type: ignore[arg-type]
    ops.adder_linear(x, weight, bias=None)
    ops.shift_conv2d(x, weight, weight_bits=None, activation_bits=(16, 16), generator=torch.Generator())
    ops.shift_conv2d(x, weight, weight_bits="5")  # type: ignore[arg-type]
    ops.shift_linear(x, weight, activation_bits=16, stochastic=True)
    ops.shift_linear(x, weight, None, 5)  # type: ignore[call-arg]
    ops.fixed_point_round(x, 16, fraction_bits=16)
    ops.compose_shift_weight(x, x.sign(), weight_bits=4, gradient="paper")
    assert_type(ops.shift_exponents(5), tuple[int, int])
    return ops.round_to_power_of_two(weight) + ops.shift_values(5).sum()


def single_layers() -> nn.Module:
    model = nn.Sequential(AdderConv2d(3, 16, 3, padding=1), ShiftConv2d(16, 8, (3, 3), weight_bits=5))
    AdderConv2d(3, 16, "3")  # type: ignore[arg-type]
    ShiftConv2d(16, 8, 3, weight_bits="5")  # type: ignore[arg-type]
    assert_type(layers.AdderLinear(8, 4, bias=False), layers.AdderLinear)
    assert_type(layers.ShiftLinear(8, 4, mode="q", activation_bits=(16, 16)), layers.ShiftLinear)
    layers.ShiftAddConv2d(3, 8, 3, padding="same", weight_bits=5)
    layers.ShiftAddLinear(8, 4, "no")  # type: ignore[arg-type]
    layers.MixedConv2d("adder", (3, 6), (8, 16), 3, depthwise=False)
    layers.MixedConv2d("adder", 3, (8, 16), 3)  # type: ignore[arg-type]
    layers.MixedLinear("shift", (8, 16), 4, bias=True)
    layers.PackedShiftConv2d(ShiftConv2d(16, 8, 3), "product")
    layers.PackedShiftLinear(layers.ShiftLinear(8, 4), arithmetic="shift")
    layers.QuantizedAdderConv2d(AdderConv2d(3, 16, 3), 0.5)
    layers.QuantizedAdderLinear(layers.AdderLinear(8, 4), scale="0.5")  # type: ignore[arg-type]
    make_conv2d("adder", 3, 16, 3)
    layers.make_linear(layers.OPERATORS[0], 8, 4)
    return model


def converted(model: nn.Module, batches: list[torch.Tensor]) -> list[str]:
    found = convert(model, to="adder", skip=["0", nn.Linear, lambda name, layer: name.endswith("head")])
    convert(model, "adder", skip=0)  # type: ignore[arg-type]
    layers.quantize_adders(found, batches)
    layers.quantize_shifts(found, arithmetic="product")
    to_conv(found, inplace=True)
    report: ConversionReport = found.conversion_report
    row: ConversionRow = report.rows[0]
    assert_type(row.target, str | None)
    return [row.name, row.reason]


def networks(folder: Path) -> int:
    network = create("ghostnet", width=0.5, num_classes=10, op="adder", keep=["stem"])
    create("ghostnet", num_classes="10")  # type: ignore[arg-type]
    create("resnet20", op={"conv": "shift"}, op_options={"shift": {"weight_bits": 4}}, weights=None)
    card: dict[str, object] = load_weights(network, save_weights(network, folder / "weights.safetensors"))
    models.load_model(str(folder))
    models.describe("ghostnet")
    models.summary(network, (3, 32, 32))
    models.summary(network, [torch.ones(1, 3), torch.ones(1, 4)])
    assert_type(models.list_weights(), list[str])
    assert_type(models.ROLES["stem"], str)
    build = Builder(models.OPERATORS[1], keep=("stem",))
    Builder(5)  # type: ignore[arg-type]
    build.conv("head", "pointwise", 3, 8, 1)
    build.conv("pointwise", 3, 8, 1)  # type: ignore[call-arg, arg-type]
    return len(card) + len(list_models())
