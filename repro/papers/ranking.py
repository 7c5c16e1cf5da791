"""How well one ranking of networks predicts another: Kendall's tau, Pearson's r, Spearman's rho, and their spread."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

STATISTICS = {"kendall_tau": stats.kendalltau, "pearson_r": stats.pearsonr, "spearman_rho": stats.spearmanr}
FEWEST = 10
"""Networks below which a resample says nothing."""


def correlations(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Every statistic of two rows of numbers (n,); NaN with fewer than three, or where one of them is constant."""
    if len(true) < 3 or np.ptp(predicted) == 0 or np.ptp(true) == 0:
        return dict.fromkeys(STATISTICS, math.nan)
    return {name: float(statistic(predicted, true).statistic) for name, statistic in STATISTICS.items()}


def ceiling(true: np.ndarray) -> dict[str, float]:
    """Mean statistics between the rankings of two trainings (networks, trainings): the most a prediction can reach."""
    pairs = [correlations(true[:, a], true[:, b]) for a, b in itertools.combinations(range(true.shape[1]), 2)]
    return {name: float(np.mean([pair[name] for pair in pairs])) if pairs else math.nan for name in STATISTICS}


def resampled(predicted: Mapping[str, np.ndarray], true: np.ndarray, *, count: int = 200) -> pd.DataFrame:
    """Statistics with other networks and other trainings of them, mean over predictors of a name.

    Args:
        predicted: name -> (networks, predictors), e.g. the supernets of one way of training.
        true: (networks, trainings); the mean over trainings is what is predicted.
    Returns: name, column (the statistic), draw, value. The same resamples serve every name, so that differences can be
        judged. Empty with fewer than ten networks.
    """
    generator, rows = np.random.default_rng(0), []
    for draw in range(count if len(true) >= FEWEST else 0):
        networks = generator.integers(len(true), size=len(true))
        trainings = generator.integers(true.shape[1], size=true.shape[1])
        truth = true[np.ix_(networks, trainings)].mean(axis=1)
        for name, columns in predicted.items():
            each = pd.DataFrame([correlations(column, truth) for column in columns[networks].T])
            rows += [(name, statistic, draw, value) for statistic, value in each.mean().items()]
    return pd.DataFrame(rows, columns=["name", "column", "draw", "value"])


def intervals(draws: pd.DataFrame) -> pd.DataFrame:
    """95 % percentile intervals of `resampled`: name, column, low, high."""
    spread = draws.astype({"value": float}).groupby(["name", "column"], sort=False)["value"]
    return pd.DataFrame({"low": spread.quantile(0.025), "high": spread.quantile(0.975)}).reset_index()
