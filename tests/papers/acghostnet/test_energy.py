"""The lookup equals the full model to the last digit, and Pareto utilities agree with a plain definition."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.cost import count, operation_energy_pj, pareto
from repro.errors import InputError
from repro.models import create
from repro.models.acghostnet import MODULE_TYPES
from repro.papers.acghostnet.energy import EnergyLookup


@functools.cache
def small_lookup():
    return EnergyLookup(blocks="toy")


@pytest.mark.parametrize(
    ("resolution", "classes", "width", "form"), [(32, 10, 1.0, "cifar"), (224, 1000, 1.1, "imagenet")]
)
def test_lookup_equals_the_full_model(resolution, classes, width, form):
    lookup = EnergyLookup(resolution, classes, width)
    choices = np.random.default_rng(0).integers(0, 8, (4, 16))
    scores = lookup.score(choices)
    for row, score in zip(choices, scores.itertuples()):
        with torch.device("meta"):
            model = create("acghostnet", choices=row.tolist(), num_classes=classes, width=width, form=form)
        full = count(model, resolution, "acghostnet")
        assert (score.params, score.fadd, score.fmul) == (full.params, full.adds, full.mults)
        assert score.energy_pj == operation_energy_pj(full.adds, full.mults)


def test_lookup_takes_names_and_knows_its_range():
    lookup = small_lookup()
    assert lookup.num_blocks == 6
    by_name = lookup.score(["AAg1", "CCg2", "CAG1", "ACg2", "CCg1", "AAg2"])
    by_index = lookup.score([0, 7, 4, 3, 6, 1])
    pd.testing.assert_frame_equal(by_name, by_index)
    low, high = lookup.energy_range_pj()
    assert low == lookup.score(["AAg1"] * 6)["energy_pj"][0] and high == lookup.score(["CCg2"] * 6)["energy_pj"][0]
    assert len(lookup.table) == 6 * len(MODULE_TYPES)


@pytest.mark.parametrize(
    ("choices", "words"),
    [([[0] * 5], "shape"), ([[8] * 6], "0 to 7"), ([[0.5] * 6], "whole numbers"), ([["AAg3"] * 6], "AAg2")],
)
def test_lookup_refuses_what_is_not_an_architecture(choices, words):
    with pytest.raises(InputError, match=words):
        small_lookup().score(choices)


AIMS = {"energy": "min", "accuracy": "max"}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=15))
def test_front_is_the_undominated_rows(values):
    points = pd.DataFrame(values, columns=["energy", "accuracy"])
    expected = [
        not any((e <= energy and a >= accuracy) and (e < energy or a > accuracy) for e, a in values)
        for energy, accuracy in values
    ]
    assert (pareto.ranks(points, AIMS) == 0).tolist() == expected
    assert pareto.front(points, AIMS)["energy"].is_monotonic_increasing


def test_objectives_are_checked():
    points = pd.DataFrame({"energy": [1.0, np.nan], "accuracy": [1.0, 3.0]})
    with pytest.raises(InputError, match="missing or infinite"):
        pareto.front(points, AIMS)
    with pytest.raises(InputError, match="allowed are: min, max"):
        pareto.front(points, {"accuracy": "up"})
    with pytest.raises(InputError, match="Did you mean 'energy'"):
        pareto.front(points, {"enrgy": "min"})
