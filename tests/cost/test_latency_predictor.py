"""Features of paths, and a predictor that is right on networks that it has not seen."""

from __future__ import annotations

import random

import numpy as np
import pytest

from repro.cost import LatencyPredictor, path_features, translation_cost
from repro.errors import InputError
from repro.search import TranslationSpace

SPACE = TranslationSpace(
    embed=(64, 32), ffn=(128, 64), heads=(4, 2), encoder_layers=(2,), decoder_layers=(3, 2, 1), cross=(-1, 1), qkv=32
)


@pytest.fixture(scope="module")
def networks():
    draw = random.Random(0)
    configs = [SPACE.config(genome) for genome in dict.fromkeys(SPACE.sample(draw) for _ in range(220))]
    latencies = [translation_cost(config, accounting="corrected", tokens=8).latency_ms for config in configs]
    return np.array([path_features(config, layers=3) for config in configs]), np.array(latencies)


def test_features_of_a_network_counted_by_hand():
    config = {
        "encoder_ffn": (8, 4),
        "encoder_heads": (2, 4),
        "encoder_types": ("conv", "attention+add"),
        "decoder_ffn": (16,),
        "self_heads": (4,),
        "cross_heads": (2,),
        "cross": (1,),
        "encoder_embed": 32,
        "decoder_embed": 64,
    }
    features = path_features(config, layers=2)
    assert features[:10].tolist() == [32, 2, 6, 3, 64, 1, 16, 4, 2, 2]
    # encoder: conv is the second type, attention+add the sixth; the decoder's only layer is attention, the first
    assert np.flatnonzero(features[10:]).tolist() == [1, 7 + 5, 14] and features.size == 10 + 14 * 2
    assert path_features("transformer-big").size == 94
    with pytest.raises(InputError, match="the network has 6 layers; features are made for at most layers=5"):
        path_features("transformer-big", layers=5)


def test_it_is_within_five_percent_on_networks_it_has_not_seen(networks):
    features, latencies = networks
    predictor = LatencyPredictor(width=40).fit(features[:-40], latencies[:-40])
    error = predictor.error_pct(features[-40:], latencies[-40:])
    assert error < 5
    guess = latencies[:-40].mean()
    assert error < 0.2 * 100 * np.mean(np.abs(guess - latencies[-40:]) / latencies[-40:])
    predicted = predictor.predict(features[-40:])
    assert error == pytest.approx(100 * np.mean(np.abs(predicted / latencies[-40:] - 1)))


def test_it_has_three_hidden_layers_of_the_width_that_is_asked_for(networks):
    predictor = LatencyPredictor(width=3).fit(networks[0][:12], networks[1][:12])
    shapes = [weights.shape for weights in predictor._model[-1].coefs_]
    assert shapes == [(networks[0].shape[1], 3), (3, 3), (3, 3), (3, 1)]


def test_unit_and_seed_decide_what_they_say(networks):
    features, latencies = networks[0][:30], networks[1][:30]
    first, same = (LatencyPredictor(width=4).fit(features, latencies).predict(features) for _ in range(2))
    micro = LatencyPredictor(width=4).fit(features, 1000 * latencies).predict(features)
    assert np.array_equal(first, same) and np.allclose(micro, 1000 * first, rtol=1e-3)
    other = LatencyPredictor(width=4, seed=1).fit(features, latencies).predict(features)
    assert not np.allclose(other, first, rtol=1e-6)


@pytest.mark.parametrize(
    "features, latencies, message",
    [
        ([[1.0, 2.0]], [1.0, 2.0], r"latencies have shape \(2,\); 1 networks need one each"),
        ([1.0, 2.0], [1.0, 2.0], r"features have shape \(2,\)"),
        ([], [], r"features have shape \(0,\)"),
        ([[1.0], [2.0]], [1.0, 0.0], "a latency is 0; it must be above 0"),
        ([[1.0], [np.nan]], [1.0, 2.0], "features hold a value that is not finite"),
        ([[1.0], [2.0, 3.0]], [1.0, 2.0], "features are not numbers of one shape"),
        ([["a"]], [1.0], "features are not numbers"),
    ],
)
def test_what_cannot_be_learned_from_is_one_sentence(features, latencies, message):
    with pytest.raises(InputError, match=message):
        LatencyPredictor().fit(features, latencies)


def test_it_predicts_nothing_before_it_is_fitted_and_nothing_for_other_features(networks):
    with pytest.raises(InputError, match="call fit first"):
        LatencyPredictor().predict([[1.0]])
    predictor = LatencyPredictor(width=2).fit(networks[0][:10], networks[1][:10])
    with pytest.raises(InputError, match="features have 1 columns; this predictor was fitted to 52"):
        predictor.predict([[1.0]])
