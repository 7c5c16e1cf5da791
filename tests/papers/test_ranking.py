"""Correlations of rankings, their ceiling, and resamples that every predictor shares."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from repro.papers import entry, ranking


def test_correlations_of_hand_made_rankings():
    true = np.array([1.0, 2.0, 3.0, 4.0])
    assert ranking.correlations(true[::-1], true) == dict.fromkeys(ranking.STATISTICS, pytest.approx(-1.0))
    swapped = ranking.correlations(np.array([1.0, 2.0, 4.0, 3.0]), true)
    assert swapped["kendall_tau"] == pytest.approx(4 / 6) and swapped["spearman_rho"] == pytest.approx(0.8)
    assert np.isnan(ranking.agreement(true[:0], np.zeros((0, 0)))["kendall_tau"])
    for bad in (np.ones(4), true[:0]):
        assert np.isnan(list(ranking.correlations(bad, true[: len(bad)]).values())).all()


def test_correlations_are_scipys_ties_included():
    predicted, true = np.random.default_rng(0).integers(4, size=(2, 20)).astype(float)
    found = ranking.correlations(predicted, true)
    for name, known in zip(ranking.STATISTICS, (stats.kendalltau, stats.pearsonr, stats.spearmanr), strict=True):
        assert found[name] == pytest.approx(known(predicted, true).statistic)


def test_a_prediction_without_error_lies_at_the_quality_and_a_further_training_at_the_ceiling():
    """Networks of known quality, trainings with noise of the same size: simulated, 40 times."""
    generator = np.random.default_rng(0)
    quality = generator.normal(size=(40, 60, 1))
    trainings = quality + generator.normal(size=(40, 60, 3))
    further = quality + generator.normal(size=(40, 60, 1))
    top = np.mean([ranking.ceiling(true)["kendall_tau"] for true in trainings])
    again = np.mean([ranking.agreement(new[:, 0], true)["kendall_tau"] for new, true in zip(further, trainings)])
    assert top == pytest.approx(1 / 3, abs=0.02)  # tau of normal numbers with r = 1/2 is 2/pi asin(r)
    assert again == pytest.approx(top, abs=0.02)
    draws = [
        ranking.resampled({"new": new}, true, count=4).query("column == 'pearson_r'")["value"].mean()
        for new, true in zip(further, trainings)
    ]
    assert np.mean(draws) == pytest.approx(0.5, abs=0.03)
    against_the_mean = [stats.pearsonr(new[:, 0], true.mean(axis=1)).statistic for new, true in zip(further, trainings)]
    assert np.mean(against_the_mean) > 0.58  # what would exceed the ceiling of 0.5


def test_the_ceiling_is_the_mean_over_pairs_of_trainings():
    rows = np.array([[1, 1, 3], [2, 2, 2], [3, 3, 1]], dtype=float)
    assert ranking.ceiling(rows)["kendall_tau"] == pytest.approx((1 - 1 - 1) / 3)
    assert np.isnan(ranking.ceiling(rows[:, :1])["kendall_tau"])
    known = ranking.repeatability(rows).iloc[0]
    assert (known["seeds"], known["networks"]) == rows.shape[::-1]
    assert known["kendall_tau"] == pytest.approx((1 - 1 - 1) / 3)


def test_resamples_are_shared_and_few_networks_have_none():
    true = np.random.default_rng(0).normal(size=(12, 2))
    good = true.mean(axis=1, keepdims=True)
    draws = ranking.resampled({"a": good, "b": good.copy(), "c": -good}, true, count=8)
    values = {name: group["value"].to_numpy() for name, group in draws.groupby("name")}
    assert len(draws) == 3 * 3 * 8 and np.array_equal(values["a"], values["b"])
    np.testing.assert_allclose(values["a"], -values["c"])
    span = ranking.intervals(draws).set_index(["name", "column"])
    assert span.loc[("c", "kendall_tau"), "high"] < 0 < span.loc[("a", "kendall_tau"), "low"]
    none = ranking.resampled({"a": good[:9]}, true[:9])
    assert none.empty and isinstance(ranking.intervals(none), pd.DataFrame)


def test_records_of_rankings_keep_every_prediction_and_every_truth():
    assert {"points", "standalone"} <= set(entry("acghostnet_t06").keeps)
    assert "points" in entry("shiftaddnas_t06").keeps  # which has inherited and stand-alone losses


def test_the_ceiling_has_an_interval_over_networks():
    draw = np.random.default_rng(1)
    quality = draw.normal(size=(40, 1))
    true = quality + 0.5 * draw.normal(size=(40, 3))
    row = ranking.repeatability(true).iloc[0]
    for name in ranking.STATISTICS:
        assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]
        assert row[f"{name}_high"] - row[f"{name}_low"] < 0.5
    for few in (true[:9], true[:, :1]):
        assert np.isnan(ranking.repeatability(few).iloc[0]["kendall_tau_low"])
