"""How high an energy-accuracy curve lies (figure 3): one number per search, and how it varies with the test images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

CURVE = ["panel", "setting", "seed"]
COLUMN = "front_score"


def chosen_models(points: pd.DataFrame) -> dict[tuple, list[int]]:
    """Which model of each curve one would take within each energy of a grid: the one that the search holds for best.

    The choice goes by the accuracy with inherited weights, on held-out training images; the accuracy of a network
    trained alone is measured on the test images and must not choose.

    Args:
        points: long table with panel, setting, seed, energy_uj, inherited_accuracy_pct, accuracy_pct; rows without
            one of the three numbers are left out.
    Returns: {(panel, setting, seed): row label of the chosen model at every energy}. The grid of a panel holds the
        energies (of any curve) from which on every curve has a model, so that all curves are judged at the same ones.
    """
    whole = points.dropna(subset=["energy_uj", "inherited_accuracy_pct", "accuracy_pct"])
    chosen = {}
    for _, group in whole.groupby("panel", sort=False):
        curves = dict(list(group.groupby(CURVE, sort=False)))
        start = max(curve["energy_uj"].min() for curve in curves.values())
        grid = np.unique(group.loc[group["energy_uj"] >= start, "energy_uj"])
        for key, curve in curves.items():
            ranked = curve.sort_values(["inherited_accuracy_pct", "energy_uj"], ascending=[False, True], kind="stable")
            chosen[key] = [ranked.index[ranked["energy_uj"] <= energy][0] for energy in grid]
    return chosen


def front_scores(points: pd.DataFrame) -> pd.DataFrame:
    """Height of each curve: the mean accuracy (percent) of its chosen models (`chosen_models`) over the energy grid.

    Returns: panel, setting, seed, front_score, one row per curve.
    """
    rows = [(*key, points.loc[rows, "accuracy_pct"].mean()) for key, rows in chosen_models(points).items()]
    return pd.DataFrame(rows, columns=[*CURVE, COLUMN])


def score_draws(points: pd.DataFrame, answers: Mapping[int, np.ndarray], *, count: int = 200) -> pd.DataFrame:
    """Scores of the settings, averaged over seeds, for resampled test images; the same resamples serve every setting.

    Args:
        points: as in `front_scores`.
        answers: row label of a point -> which test images (N,) its network got right.
    Returns: panel, setting, column ("front_score"), draw, value.
    """
    right_by_setting: dict[tuple, list[np.ndarray]] = {}
    for (panel, setting, _), rows in chosen_models(points).items():
        right = np.mean([answers[row] for row in rows], axis=0)
        right_by_setting.setdefault((panel, setting), []).append(right)
    generator = np.random.default_rng(0)
    rows = []
    examples = {len(right) for curves in right_by_setting.values() for right in curves}
    if len(examples) == 1:
        (size,) = examples
        mean = {key: np.mean(curves, axis=0) for key, curves in right_by_setting.items()}
        for draw in range(count):
            weights = np.bincount(generator.integers(size, size=size), minlength=size) / size
            rows += [(*key, COLUMN, draw, 100 * float(weights @ right)) for key, right in mean.items()]
    return pd.DataFrame(rows, columns=["panel", "setting", "column", "draw", "value"])
