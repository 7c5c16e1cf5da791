"""How well one ranking of networks predicts another: Kendall's tau-b, Pearson's r, Spearman's rho, and their spread.

The truth is one training of every network. A mean over several would be easier to predict than a further training is:
against it, a prediction without any error would lie above `ceiling`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping

import numpy as np
import pandas as pd
from scipy.stats import rankdata

STATISTICS = ("kendall_tau", "pearson_r", "spearman_rho")
FEWEST = 10
"""Networks below which a resample says nothing."""


def correlations(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Every statistic of two rows of numbers (n,); NaN with fewer than three, or where one of them is constant."""
    return agreement(predicted, true[:, None])


def agreement(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Every statistic of a prediction (networks,) with one training of each, mean over (networks, trainings)."""
    return {name: float(found[0]) for name, found in _agreements(predicted[:, None], true).items()}


def ceiling(true: np.ndarray) -> dict[str, float]:
    """Mean statistics between two of (networks, trainings): the `agreement` that one more training would have."""
    pairs = np.triu_indices(true.shape[1], 1)
    return {
        name: float(np.mean(found[pairs])) if len(pairs[0]) else math.nan for name, found in _every(true, true).items()
    }


def repeatability(true: np.ndarray) -> pd.DataFrame:
    """One row: seeds, networks and `ceiling` of (networks, trainings). Kept with a record, it gates verdicts on tau.

    Each statistic has its 95 % interval over networks beside it, `<statistic>_low` and `_high`.
    """
    spans = ceiling_intervals(true)
    return pd.DataFrame([{"seeds": true.shape[1], "networks": len(true), **ceiling(true), **spans}])


def ceiling_intervals(true: np.ndarray, *, count: int = 200) -> dict[str, float]:
    """95 % percentile intervals of `ceiling` with other networks: {"<statistic>_low", "<statistic>_high"}.

    NaN with fewer than ten networks. The trainings are not drawn anew: one drawn twice would agree with itself.
    """
    generator = np.random.default_rng(0)
    draws = [
        ceiling(true[generator.integers(len(true), size=len(true))])
        for _ in range(count if len(true) >= FEWEST and true.shape[1] > 1 else 0)
    ]
    values = pd.DataFrame(draws, columns=list(STATISTICS), dtype=float)
    ends = {"low": values.quantile(0.025), "high": values.quantile(0.975)}
    return {f"{name}_{end}": float(found[name]) for name in STATISTICS for end, found in ends.items()}


def _agreements(predicted: np.ndarray, true: np.ndarray, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """{statistic: (predictors,)}, the mean over trainings; `weights`: how often each training counts."""
    return {name: np.average(found, axis=1, weights=weights) for name, found in _every(predicted, true).items()}


def _every(predicted: np.ndarray, true: np.ndarray) -> dict[str, np.ndarray]:
    """{statistic: (predictors, trainings)} of (networks, predictors) and (networks, trainings), all pairs at once.

    Each statistic is a cosine: of deviations from the mean, of those of the ranks, and of the signs of all differences.
    """
    if len(true) < 3:
        return dict.fromkeys(STATISTICS, np.full((predicted.shape[1], max(1, true.shape[1])), math.nan))
    above, below = np.triu_indices(len(true), 1)
    forms = {
        "kendall_tau": lambda columns: np.sign(columns[above] - columns[below]),
        "pearson_r": lambda columns: columns - columns.mean(axis=0),
        "spearman_rho": lambda columns: rankdata(columns, axis=0) - (len(columns) + 1) / 2,
    }
    return {name: _units(predicted, form).T @ _units(true, form) for name, form in forms.items()}


def _units(columns: np.ndarray, form) -> np.ndarray:
    """`form` of columns, each scaled to length 1; NaN where a column is constant."""
    formed = form(columns)
    lengths = np.where(np.ptp(columns, axis=0) > 0, np.linalg.norm(formed, axis=0), math.nan)
    return formed / lengths


def resampled(predicted: Mapping[Hashable, np.ndarray], true: np.ndarray, *, count: int = 200) -> pd.DataFrame:
    """`agreement` with other networks and other trainings of them, mean over predictors of a name.

    Args:
        predicted: name -> (networks, predictors), e.g. the supernets of one way of training.
        true: (networks, trainings); each is predicted, and the statistics are averaged.
    Returns: name, column (the statistic), draw, value. The same resamples serve every name, so that differences can be
        judged. Empty with fewer than ten networks.
    """
    generator, rows = np.random.default_rng(0), []
    for draw in range(count if len(true) >= FEWEST else 0):
        networks = generator.integers(len(true), size=len(true))
        trainings = generator.integers(true.shape[1], size=true.shape[1])
        often = np.bincount(trainings, minlength=true.shape[1])
        drawn = often > 0
        for name, columns in predicted.items():
            found = _agreements(columns[networks], true[networks][:, drawn], often[drawn])
            rows += [(name, statistic, draw, float(each.mean())) for statistic, each in found.items()]
    return pd.DataFrame(rows, columns=["name", "column", "draw", "value"])


def intervals(draws: pd.DataFrame) -> pd.DataFrame:
    """95 % percentile intervals of `resampled`: name, column, low, high."""
    spread = draws.astype({"value": float}).groupby(["name", "column"], sort=False)["value"]
    return pd.DataFrame({"low": spread.quantile(0.025), "high": spread.quantile(0.975)}).reset_index()
