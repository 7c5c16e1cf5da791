"""Sizes of every published network against values worked out elsewhere, counted by `counting`, not by the package."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from repro.cost import count
from repro.models import create, list_models, summary
from repro.models.translation_configs import CONFIGS
from tests.models.counting import build_on_meta, image, parameters, taps

GHOST_CIFAR = {"form": "cifar", "num_classes": 10}
CIFAR10 = {"form": "cifar", "num_classes": 10}
CIFAR100 = {"form": "cifar", "num_classes": 100}
IMAGENET_CELLS = {"form": "imagenet", "num_classes": 1000}

# model, options, side, parameters, taps
EXACT = [
    ("mobilenet_v2", {}, 160, 524_228, 29_722_800),
    ("mobilenet_v2_tiny", {}, 160, 346_180, 27_310_000),
    ("mobilenet_v3_large", {}, 160, 956_940, 18_343_688),
    ("mcunet_in3", {}, 160, 592_508, 65_719_200),
    ("proxylessnas_mobile", {}, 160, 628_444, 34_564_800),
]

# the same in millions, to the digits known; None where only the parameters are
ROUNDED = [
    ("ghostnet", {"width": 0.5}, 224, "2.58729", "42.3282"),
    ("ghostnet", {}, 224, "5.18251", "141.151"),
    ("ghostnet", {"width": 1.3}, 224, "7.35882", "227.003"),
    ("ghostnet", {"width": 1.55}, 224, "9.52299", "314.956"),
    ("ghostnet", {"width": 0.8}, 224, "3.99", "93.9"),
    ("ghostnet", {"width": 1.1}, 224, "5.86", "167.0"),
    ("ghostnet", {}, 240, "5.183", "168.26"),
    ("ghostnet", GHOST_CIFAR, 32, "3.91379", "42.6804"),
    ("acghostnet", {"choices": "CCg2", **GHOST_CIFAR}, 32, "3.951", "45.62"),
    ("acghostnet", {"choices": "CCg2"}, 224, "5.220", "153.54"),
    ("mobilenet_v3_large", {"width": 1.0, "num_classes": 1000}, 224, "5.483", "216.59"),
    ("mobilenet_v3_large", {"width": 0.75, "num_classes": 1000, "expansion": "ratio"}, 224, "3.99", "155"),
    ("mobilenet_v2", {"width": 1.0, "num_classes": 1000}, 224, "3.505", "300.8"),
    ("mobilenet_v2", {"width": 1.0, **CIFAR10}, 32, "2.29692", "91.2"),
    ("mobilenet_v2", {"width": 1.0, **CIFAR100}, 32, "2.41221", None),
    ("resnet20", {}, 32, "0.269722", "40.55"),
    ("resnet20", {"num_classes": 100}, 32, "0.275572", None),
    ("resnet56", {}, 32, "0.853018", "125.5"),
    ("resnet56", {"num_classes": 100}, 32, "0.858868", "125.5"),
    ("resnet18", {**CIFAR10, "shortcut": "pad"}, 32, "11.0001", None),
    ("resnet18", CIFAR10, 32, "11.1740", "555.4"),
    ("resnet50", CIFAR10, 32, "23.5208", "1297.8"),
    ("resnet50", CIFAR100, 32, "23.7053", None),
    ("resnet101", CIFAR10, 32, "42.513", None),
    ("resnet101", CIFAR100, 32, "42.697", None),
    ("resnet152", CIFAR10, 32, "58.157", None),
    ("resnet18", {}, 224, "11.690", "1814.1"),
    ("resnet50", {"version": "v1"}, 224, "25.557", "3858"),
    ("resnet50", {}, 224, "25.557", "4089"),
    ("resnet101", {"version": "v1"}, 224, "44.549", "7570"),
    ("resnet101", {}, 224, "44.549", "7801"),
    ("vgg16", {}, 224, "138.358", "15470.3"),
    ("vgg19", CIFAR10, 32, "20.035", "398.1"),
    ("vgg19", CIFAR100, 32, "20.0812", None),
    ("googlenet", {}, 224, "6.625", "1498.4"),
    ("shufflenet_v2", {"width": 2.0}, 224, "7.394", "583.3"),
    ("shufflenet_v2", {"width": 0.5, **CIFAR10}, 32, "0.352042", None),
    ("shufflenet_v2", {"width": 0.5, **CIFAR100}, 32, "0.444", None),
    ("squeezenet", {}, 224, "1.248", "818.9"),
    ("cells", {}, 32, "3.66103", "564.2"),
    ("cells", {"genotype": "autoshiftnet_cifar100", "num_classes": 100}, 32, "3.93479", "600.0"),
    ("cells", IMAGENET_CELLS, 224, "4.85122", "528.289"),
    ("cells", {"genotype": "autoshiftnet_cifar100", **IMAGENET_CELLS}, 224, "5.08637", "556.726"),
    ("cells", {"channels": 34}, 32, "3.279", "505.9"),
    ("cells", {"genotype": "darts_v1"}, 32, "3.16941", "501"),
    ("cells", {"genotype": "darts_v2"}, 32, "3.34934", "528"),
    ("cells", {"genotype": "nasnet", "channels": 33}, 32, "3.24599", None),
    ("cells", {"genotype": "amoebanet"}, 32, "3.14508", None),
    ("cells", {"genotype": "darts_v2", "channels": 48, **IMAGENET_CELLS}, 224, "4.71875", "529.912"),
    ("shiftaddnas_t0", {}, 224, "29.909", "3747.19"),
    ("shiftaddnas_t0", {}, 256, "29.909", "4904.47"),
    ("shiftaddnas_t1", {}, 224, "29.909", "6402.88"),
    ("shiftaddnas_t1", {}, 256, "29.909", "8432.11"),
    ("shiftaddnas_t1_rank2", {}, 256, "29.9085", "8432.11"),
    ("bossnas_t0", {}, 224, "38.416", "3442.98"),
    ("bossnas_t1", {}, 224, "38.416", "7944.44"),
]


def name_of(case) -> str:
    name, options, side = case[:3]
    return "-".join([name, *(f"{key}={value}" for key, value in options.items() if key != "num_classes"), str(side)])


def agrees(value: int, millions: str) -> bool:
    """Whether `value` rounds to the digits of `millions`."""
    digits = len(millions.partition(".")[2])
    return f"{value / 1e6:.{digits}f}" == millions


@pytest.mark.parametrize("case", EXACT, ids=name_of)
def test_tiny_models_match_to_the_last_digit(case):
    name, options, side, expected_params, expected_taps = case
    model = build_on_meta(create, name, **options)
    assert parameters(model) == expected_params
    assert taps(model, image(side)).total() == expected_taps


@pytest.mark.parametrize("case", ROUNDED, ids=name_of)
def test_sizes_match_the_known_values(case):
    name, options, side, expected_params, expected_taps = case
    model = build_on_meta(create, name, **options)
    assert agrees(parameters(model), expected_params), parameters(model)
    if expected_taps is not None:
        counted = taps(model, image(side)).total()
        assert agrees(counted, expected_taps), counted


def test_depthwise_stem_and_classifier_parts_of_mobilenet_v2():
    table = summary(build_on_meta(create, "mobilenet_v2"), 160)
    parts = table.groupby("role")["macs"].sum()
    assert parts["depthwise"] == 4_388_400
    assert parts["stem"] == 2_764_800
    assert parts["classifier"] == 128_000
    assert parts["pointwise"] + parts["head"] == 22_441_600


@pytest.mark.parametrize(
    "name, depthwise, se",
    [("mobilenet_v3_large", 3_376_200, 187_008), ("mcunet_in3", 20_890_400, 0), ("proxylessnas_mobile", 8_683_200, 0)],
)
def test_roles_split_the_tiny_models_as_published(name, depthwise, se):
    parts = summary(build_on_meta(create, name), 160).groupby("role")["macs"].sum()
    assert parts["depthwise"] == depthwise
    assert parts.get("se", 0) == se


@pytest.mark.parametrize(
    "name, side, mult, add, shift",
    [
        ("shiftaddnas_t0", 224, "2.71733", "3.74719", "1.02986"),
        ("shiftaddnas_t0", 256, "3.55934", "4.90447", "1.34513"),
        ("shiftaddnas_t1", 224, "5.37302", "6.40288", "1.02986"),
        ("shiftaddnas_t1", 256, "7.08698", "8.43211", "1.34513"),
        ("shiftaddnas_t1_rank2", 256, "7.37337", "9.00371", "0.487129"),
    ],
)
def test_operator_totals_of_the_searched_vision_networks(name, side, mult, add, shift):
    counted = taps(build_on_meta(create, name), image(side))
    assert agrees(counted["conv"] / 1e3, mult)
    assert agrees(counted["shift"] / 1e3, shift)
    assert agrees((counted["conv"] + counted["shift"] + 2 * counted["adder"]) / 1e3, add)


@pytest.mark.parametrize(
    "options, side, kept",
    [(GHOST_CIFAR, 32, "4.142"), ({}, 224, "15.454"), ({"width": 1.55}, 224, "29.395")],
    ids=["cifar", "imagenet", "imagenet-1.55"],
)
def test_adder_ghostnet_keeps_only_stem_head_and_classifier(options, side, kept):
    counted = taps(build_on_meta(create, "adder_ghostnet", **options), image(side))
    assert agrees(counted["conv"], kept)


def test_deepshift_resnet50_keeps_stem_and_classifier():
    counted = taps(build_on_meta(create, "resnet50", version="v1", op="shift"), image(224))
    assert agrees(counted["shift"], "3738")


TRANSLATION = {
    "transformer-big": ("176.16", "10636"),
    "hat-ende-28.2": ("44.04", "2702"),
    "hat-ende-27.6": ("35.65", "2191"),
    "hat-ende-25.8": ("25.17", "1525"),
    "hat-enfr-41.4": ("51.38", "3279"),
    "hat-enfr-41.1": ("46.14", "2894"),
    "hat-enfr-39.1": ("30.41", "1839"),
}


@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize("name", TRANSLATION)
def test_translation_baselines_match_their_published_sizes(name, shared):
    model = build_on_meta(create, "translation", config=name, share_embeddings=shared)
    layers = [m for path, m in model.named_modules() if hasattr(m, "in_features") and path != "classifier"]
    weights = sum(m.weight.numel() for m in layers)
    tokens = torch.zeros(1, 30, dtype=torch.long, device="meta")
    scored = 0 if shared else 30 * model.classifier.weight.numel()  # an embedding's product is no layer's
    flops = 2 * (taps(model, tokens, tokens).total() - scored)
    assert agrees(weights, TRANSLATION[name][0])
    assert agrees(flops, TRANSLATION[name][1])


def test_configurations_cover_every_recorded_network():
    evolved = {name for name in CONFIGS if name.startswith("evolved")}
    assert len(CONFIGS) == len(TRANSLATION) + 6 + len(evolved)
    assert all(len(config.encoder_ffn) == 6 for name, config in CONFIGS.items() if name not in evolved)


MULTIPLICATIVE = [name for name in list_models() if name != "translation"]


@pytest.mark.parametrize("name", MULTIPLICATIVE)
def test_summary_agrees_with_torchs_flop_counter_and_with_cost_count(name):
    searched = {"choices": "CCg2"} if name == "acghostnet" else {}
    if name.startswith(("shiftaddnas", "bossnas")):
        searched = {"stages": ("C", "AC", "CA", "A")}
    model = build_on_meta(create, name, op="adder" if name == "acghostnet" else "conv", **searched)
    side = 64 if "seg" in name or model.recipe.get("form") != "cifar" else 32
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        model.eval()(image(side))
    table = summary(model, side)
    assert table.attrs["macs"] == flops.get_total_flops() // 2
    assert table.attrs["params"] == parameters(model)
    counted = count(model, side)
    assert counted.macs == table.attrs["macs"]
    assert counted.params == table.attrs["params"]


def test_batch_multiplies_the_counts():
    model = build_on_meta(create, "resnet20")
    one, four = summary(model, 32), summary(model, (4, 3, 32, 32))
    assert np.array_equal(4 * one["macs"], four["macs"])
