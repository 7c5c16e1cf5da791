"""Fits of weights: the family that they were drawn from fits better, and shape, scale and place are told."""

import numpy as np
import pytest
from scipy import stats

from repro.papers.weight_distributions import fit_distributions, fits_and_histogram

PLACES = (np.arange(5000) + 0.5) / 5000


@pytest.mark.parametrize(
    ("name", "family", "kurtosis"), [("gaussian", stats.norm, 0.0), ("laplace", stats.laplace, 3.0)]
)
def test_the_family_of_the_weights_fits_better_and_kurtosis_tells_their_tails(name, family, kurtosis):
    weight = family(0.2, 1.5).ppf(PLACES)
    found = fit_distributions(weight)
    other = {"gaussian": "laplace", "laplace": "gaussian"}[name]
    assert found[f"{name}_ks"] < 0.01 < found[f"{other}_ks"]
    assert found[f"{name}_log_likelihood"] > found[f"{other}_log_likelihood"]
    assert found[f"{name}_location"] == pytest.approx(0.2, abs=1e-3)
    assert found[f"{name}_scale"] == pytest.approx(1.5, rel=0.01)
    assert found["excess_kurtosis"] == pytest.approx(kurtosis, abs=0.15)
    counts, edges = np.histogram(weight, bins=61)
    row, histogram = fits_and_histogram({**found, "op": "conv", "histogram": counts.tolist(), "edges": edges.tolist()})
    assert row["better_fit"] == name and "histogram" not in row
    assert (histogram["density"] * np.diff(edges)).sum() == pytest.approx(1)


def test_powers_of_two_are_few_values():
    weight = np.exp2(np.random.default_rng(0).integers(-7, 1, size=1000))
    assert fit_distributions(weight)["top15_share"] == 1.0
    assert fit_distributions(stats.norm.ppf(PLACES))["top15_share"] == pytest.approx(15 / 5000)
