"""Latency of a network from features of its path: a small neural network in place of a measurement for each candidate.

    predictor = LatencyPredictor().fit([path_features(config) for config in known], latencies_ms)
    predictor.predict([path_features(candidate)])

What it learns is what it is given: measured times, or those that `repro.cost` models.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike

from repro.errors import InputError, check_choice, check_int
from repro.models.translation_configs import ATTENTION, BLOCK_TYPES, CROSS_LAYERS, TranslationConfig, translation_config


def path_features(config: str | TranslationConfig | dict, *, layers: int = 6) -> np.ndarray:
    """The path of a translation network as 10 + 14 x `layers` numbers.

    Width, depth and means over the layers of feed-forward width and heads of encoder and decoder, mean heads of the
    decoder's attention to the encoder and mean encoder layers that it sees; then a one for the block type of each layer
    (Wang et al. 2020, HAT; ShiftAddNAS's code adds the block types).
    Raises: InputError for a network deeper than `layers`, or of a block type outside the space.
    """
    config, layers = translation_config(config), check_int("layers", layers, minimum=1)
    sides = (
        (config.encoder_embed, config.encoder_ffn, config.encoder_heads, config.encoder_types),
        (config.decoder_embed, config.decoder_ffn, config.self_heads, config.decoder_types),
    )
    numbers, types = [], np.zeros((2, layers, len(BLOCK_TYPES)))
    for side, (embed, ffn, heads, blocks) in enumerate(sides):
        if len(ffn) > layers:
            raise InputError(f"the network has {len(ffn)} layers; features are made for at most layers={layers}.")
        numbers += [embed, len(ffn), np.mean(ffn), np.mean(heads)]
        for layer, block in enumerate(blocks or (ATTENTION,) * len(ffn)):
            types[side, layer, BLOCK_TYPES.index(check_choice("block type", block, BLOCK_TYPES))] = 1
    numbers += [np.mean(config.cross_heads), np.mean([CROSS_LAYERS[code] for code in config.cross])]
    return np.concatenate([numbers, types.ravel()])


class LatencyPredictor:
    """A network of three hidden layers from features to latency, fitted to relative errors.

    Args:
        width: units of each hidden layer (ShiftAddNAS's code: 400).
        seed: of its weights at the start; the same data and seed give the same predictor.
    """

    def __init__(self, *, width: int = 100, seed: int = 0):
        self.width, self.seed = (
            check_int("width", width, minimum=1),
            check_int("seed", seed, minimum=0, maximum=2**32 - 1),
        )
        self._model = None

    def fit(self, features: ArrayLike, latencies: ArrayLike) -> LatencyPredictor:
        """Learn from networks of known latency and return itself.

        Args:
            features: (networks, features).  latencies: (networks,), above 0, in any unit; predictions have it too.
        Raises: InputError for shapes that do not fit, or numbers that are not finite or no latency.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        features, latencies = _checked(features), _checked_latencies(features, latencies)
        network = MLPRegressor(
            hidden_layer_sizes=(self.width,) * 3,
            activation="tanh",
            alpha=1.0,  # with less it learns the known networks by heart
            solver="lbfgs",
            max_iter=400,
            random_state=self.seed,
        )
        model = make_pipeline(StandardScaler(), network)
        self._mean, self._spread = np.log(latencies).mean(), np.log(latencies).std() or 1.0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # stopped early, it is good enough or its error shows
            self._model = model.fit(features, (np.log(latencies) - self._mean) / self._spread)
        return self

    def predict(self, features: ArrayLike) -> np.ndarray:
        """Latencies (networks,) of features (networks, features). Raises: InputError before `fit` or for other ones."""
        features = _checked(features)
        if self._model is None:
            raise InputError("this predictor knows no latency yet; call fit first.")
        if features.shape[1] != self._model.n_features_in_:
            raise InputError(
                f"features have {features.shape[1]} columns; this predictor was fitted to {self._model.n_features_in_}."
            )
        return np.exp(self._model.predict(features) * self._spread + self._mean)

    def error_pct(self, features: ArrayLike, latencies: ArrayLike) -> float:
        """Mean of |predicted - true| / true in percent; for networks that `fit` did not see."""
        true = _checked_latencies(features, latencies)
        return float(100 * np.mean(np.abs(self.predict(features) - true) / true))


def _checked(features) -> np.ndarray:
    array = _numbers("features", features)
    if array.ndim != 2 or not array.size:
        raise InputError(f"features have shape {array.shape}; they must be (networks, features), at least one of each.")
    return array


def _checked_latencies(features, latencies) -> np.ndarray:
    array, rows = _numbers("latencies", latencies), len(_checked(features))
    if array.shape != (rows,):
        raise InputError(f"latencies have shape {array.shape}; {rows} networks need one each.")
    if array.min() <= 0:
        raise InputError(f"a latency is {array.min():g}; it must be above 0.")
    return array


def _numbers(name: str, values) -> np.ndarray:
    try:
        if np.iscomplexobj(values):
            raise TypeError("complex")
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} are not numbers of one shape ({error}).") from error
    if not np.isfinite(array).all():
        raise InputError(f"{name} hold a value that is not finite.")
    return array
