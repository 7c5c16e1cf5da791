"""Translation networks against the figures of ShiftAddNAS table 3 and the recorded sums."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from repro.cost.translation import translation_cost
from repro.errors import InputError
from repro.models import create
from repro.models.trace import trace
from repro.models.translation_configs import CONFIGS, TranslationConfig


@pytest.mark.parametrize(
    ("name", "params_m", "flops_g", "energy_mj", "latency_ms"),
    [
        ("transformer-big", 176.16, 10.636, 214.3, 130.2),
        ("hat-ende-28.2", 44.04, 2.70, 69.13, 41.70),
        ("hat-ende-27.6", 35.65, 2.19, 55.88, 33.72),
        ("hat-ende-25.8", 25.17, 1.52, 39.51, 23.83),
        ("hat-enfr-41.4", 51.38, 3.28, 80.64, 48.65),
        ("hat-enfr-41.1", 46.14, 2.89, 72.39, 43.67),
        ("hat-enfr-39.1", 30.41, 1.84, 47.62, 28.75),
    ],
)
def test_baselines(name, params_m, flops_g, energy_mj, latency_ms):
    cost = translation_cost(CONFIGS[name])
    assert cost.params / 1e6 == pytest.approx(params_m, abs=0.006)
    assert cost.flops / 1e9 == pytest.approx(flops_g, abs=0.006)
    assert cost.energy_mj == pytest.approx(energy_mj, abs=0.06)
    assert cost.latency_ms == pytest.approx(latency_ms, abs=0.06)


@pytest.mark.parametrize(
    ("name", "energy_mj", "latency_ms"),
    [
        ("350ms", 70.03, 43.11),
        ("250ms", 64.50, 39.75),
        ("200ms", 61.1, 37.7),
        ("180ms", 56.3, 34.5),
        ("150ms", 49.2, 30.2),
        ("120ms", 37.3, 22.8),
    ],
)
def test_searched_networks_match_their_records(name, energy_mj, latency_ms):
    cost = translation_cost(f"shiftaddnas-{name}")
    assert cost.energy_mj == pytest.approx(energy_mj, rel=1e-3)
    assert cost.latency_ms == pytest.approx(latency_ms, rel=2e-3)


def test_transformer_big_at_its_true_query_width():
    cost = translation_cost(CONFIGS["transformer-big"], accounting="corrected")
    assert (cost.energy_mj, cost.latency_ms) == pytest.approx((272.9, 166.2), abs=0.06)


def test_correcting_the_light_branches_costs_the_searched_network_its_lead():
    config = CONFIGS["shiftaddnas-250ms"]
    published, corrected = (translation_cost(config, accounting=a) for a in ("published", "corrected"))
    light = published.layers["light"] != ""
    assert corrected.layers["energy_mj"][light].sum() > 2 * published.layers["energy_mj"][light].sum()
    assert corrected.layers["energy_mj"][~light].sum() == pytest.approx(published.layers["energy_mj"][~light].sum())


def test_malformed_networks_are_refused():
    config = CONFIGS["hat-ende-25.8"]
    with pytest.raises(InputError, match="self_heads has 2 entries"):
        replace(config, self_heads=(8, 8))
    with pytest.raises(InputError, match="cross=3"):
        replace(config, cross=(3,))
    with pytest.raises(InputError, match="Did you mean 'attention'"):
        TranslationConfig("x", (1024,), (8,), (1024,), (8,), (8,), (-1,), encoder_types=("attentoin",))
    with pytest.raises(InputError, match="heads=7"):
        translation_cost(replace(config, self_heads=(7,)))


@pytest.mark.parametrize("name", ["transformer-big", "hat-enfr-41.4", "shiftaddnas-250ms", "shiftaddnas-120ms"])
def test_counts_equal_those_of_the_model(name):
    tokens = torch.ones(1, 30, dtype=torch.long)
    with torch.device("meta"):
        model = create("translation", config=name)
    layers = [layer for layer in trace(model, (tokens, tokens)) if layer.role != "classifier"]
    weights = sum(
        p.numel()
        for module_name, module in model.named_modules()
        if getattr(module, "cost_role", "") not in ("", "classifier")
        for parameter_name, p in module.named_parameters()
        if parameter_name != "bias"
    )
    cost = translation_cost(name, accounting="corrected")
    assert cost.macs == sum(layer.taps for layer in layers)
    assert cost.params == weights


@pytest.mark.parametrize("options", [{"tokens": -3}, {"tokens": "30"}, {"pe_limit": 0}], ids=str)
def test_impossible_numbers_are_refused(options):
    with pytest.raises(InputError, match=f"{next(iter(options))}="):
        translation_cost("transformer-big", **options)
