"""Whole models on the accelerator: ShiftAddAug's table 3 and ShiftAddNAS's recorded sums."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from repro.cost import Hardware, model_cost
from repro.cost.eyeriss import layer_cost
from repro.errors import InputError
from repro.models import create


def on_meta(name, **options):
    with torch.device("meta"):
        return create(name, **options)


# model, options, then (mJ, ms) of Shift as published and corrected, and mJ of conv, shift, adder unbiased.
TINY = [
    ("mobilenet_v2", {"width": 0.35}, (0.7399, 0.2465), (0.7022, 0.2283), (2.372, 2.265, 2.301), 0.730),
    ("mobilenet_v3_large", {"width": 0.35}, (0.5358, 0.1601), (0.5205, 0.1515), (1.742, 1.677, 1.701), 0.485),
    ("mcunet_in3", {}, (1.3235, 0.5448), (1.2700, 0.5257), (4.339, 4.104, 4.213), 1.682),
    ("proxylessnas_mobile", {"width": 0.35}, (0.7742, 0.2940), (0.7366, 0.2758), (2.502, 2.378, 2.430), 0.883),
    ("mobilenet_v2_tiny", {}, (0.6967, 0.2283), (0.6473, 0.2094), (2.186, 2.088, 2.122), 0.670),
]


@pytest.mark.parametrize(("name", "options", "slip", "correct", "fair", "latency"), TINY, ids=lambda v: str(v)[:12])
def test_three_accountings_of_the_tiny_models(name, options, slip, correct, fair, latency):
    shift = on_meta(name, num_classes=100, op="shift", **options)
    published, corrected = model_cost(shift, 160), model_cost(shift, 160, "corrected")
    assert (published.energy_mj, published.latency_ms) == pytest.approx(slip, abs=6e-5)
    assert (corrected.energy_mj, corrected.latency_ms) == pytest.approx(correct, abs=6e-5)
    assert published.notes and not corrected.notes
    for op, energy in zip(("conv", "shift", "adder"), fair):
        unbiased = model_cost(on_meta(name, num_classes=100, op=op, **options), 160, "unbiased")
        assert unbiased.energy_mj == pytest.approx(energy, abs=6e-4)
        assert unbiased.latency_ms == pytest.approx(latency, abs=6e-4)


@pytest.mark.parametrize(
    ("name", "resolution", "pe_limit", "energy_mj", "latency_ms"),
    [
        ("shiftaddnas_t1", 224, 192, 413.23, 252.70),
        ("shiftaddnas_t1", 256, 192, 543.01, 428.35),
        ("shiftaddnas_t1_rank2", 224, 168, 440.62, 387.66),
        ("shiftaddnas_t1_rank2", 224, 192, 435.62, 270.39),
        ("shiftaddnas_t0", 224, 168, 219.81, 181.06),
        ("shiftaddnas_t0", 224, 192, 216.99, 126.49),
        ("shiftaddnas_t0_rank2", 224, 168, 242.26, 206.40),
        ("shiftaddnas_t0_rank2", 224, 192, 239.38, 144.18),
        ("shiftaddnas_t0_rank2", 256, 168, 310.45, 255.60),
        ("shiftaddnas_t0_rank2", 256, 192, 310.34, 253.76),
        ("shiftaddnas_t0", 256, 192, 281.07, 219.16),
        ("shiftaddnas_t1_rank2", 256, 168, 572.40, 464.79),
        ("shiftaddnas_t1_rank2", 256, 192, 572.28, 462.96),
    ],
)
def test_recorded_sums_of_the_searched_networks(name, resolution, pe_limit, energy_mj, latency_ms):
    cost = model_cost(on_meta(name), resolution, depthwise="ungrouped", pe_limit=pe_limit)
    assert (cost.energy_mj, cost.latency_ms) == pytest.approx((energy_mj, latency_ms), abs=6e-3)


def test_totals_are_the_sums_of_levels_tensors_and_layers():
    cost = model_cost(on_meta("mobilenet_v2_tiny", num_classes=100), 160)
    assert sum(cost.by_level.values()) == pytest.approx(cost.energy_mj)
    assert sum(cost.by_tensor.values()) == pytest.approx(cost.energy_mj - cost.by_level["compute"])
    assert cost.layers["energy_mj"].sum() == pytest.approx(cost.energy_mj)


def test_depthwise_feedings():
    depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
    sizes = dict(height=16, width=16, kernel_size=3, out_height=16, out_width=16)
    energy = {name: model_cost(depthwise, (32, 16, 16), depthwise=name).energy_mj for name in ("single", "ungrouped")}
    assert energy["single"] == layer_cost("conv", in_channels=1, out_channels=32, **sizes).energy_mj
    assert energy["ungrouped"] == layer_cost("conv", in_channels=32, out_channels=32, **sizes).energy_mj
    one = layer_cost("conv", in_channels=1, out_channels=1, **sizes)
    separate = model_cost(depthwise, (32, 16, 16), depthwise="separate")
    assert separate.energy_mj == pytest.approx(32 * one.energy_mj)
    assert separate.latency_ms == pytest.approx(32 * one.latency_ms)


def test_8_bit_convolutions_are_cheaper_than_published_shift_layers():
    conv, shift, adder = (
        model_cost(on_meta("mobilenet_v2", width=0.35, num_classes=100, op=op), 160, "corrected", bits=8).energy_mj
        for op in ("conv", "shift", "adder")
    )
    assert (conv, shift, adder) == pytest.approx((0.546, 0.676, 0.264), abs=6e-4)


def test_what_does_not_fit_names_its_layer():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 13, padding=6))
    with pytest.raises(InputError, match=r"in 1: layer .* does not fit"):
        model_cost(model, 32)
    with pytest.raises(InputError, match=r"kernel 1x3; the accelerator model takes square ones only"):
        model_cost(nn.Conv2d(3, 8, (1, 3)), 8)
    with pytest.raises(InputError, match="Did you mean 'single'"):
        model_cost(nn.Conv2d(3, 8, 3), 8, depthwise="singel")
    roomy = model_cost(nn.Conv2d(8, 8, 13, padding=6), (8, 32, 32), hardware=Hardware(input_words=24))
    assert roomy.energy_mj > 0
