"""Selection: fronts worked by hand, invariants, NaN, pymoo's baselines, budgets."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.errors import InputError
from repro.search.pnsga import METHODS, merged_order, pareto_front, select

# Fronts of (accuracy, energy): {0, 1}, {2, 3}. Fronts of (accuracy, 1/energy): {1, 2}, {0, 3}.
ACCURACY = [60.0, 80.0, 70.0, 55.0]
ENERGY = [1.0, 2.0, 4.0, 3.0]


def test_both_sorts_are_merged_front_by_front():
    # Both members of a front of two are extremes, so the more accurate comes first: 1, 0, then 2 of the second sort.
    assert merged_order(np.array(ACCURACY), np.array(ENERGY)).tolist() == [1, 0, 2, 3]
    selection = select(ACCURACY, ENERGY, 3)
    assert selection.kept == [1, 0, 2] and selection.front == [0, 0, 1, 1] and selection.bad == []


def test_the_second_sort_keeps_a_large_network_that_the_first_would_drop():
    # 3 is large and still inaccurate; every other is on or near the ordinary front.
    accuracy, energy = [50.0, 60.0, 70.0, 69.0, 49.0], [1.0, 2.0, 3.0, 9.0, 1.5]
    assert 3 in select(accuracy, energy, 4).kept
    assert 3 not in select(accuracy, energy, 3, method="nsga2").kept


def brute_force_front(accuracy, energy):
    points = list(zip(accuracy, energy))
    return {
        i for i, (a, e) in enumerate(points) if not any((b >= a and f <= e) and (b > a or f < e) for b, f in points)
    }


VALUES = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 12)), min_size=1, max_size=40)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(VALUES, st.data())
def test_invariants_of_a_selection(values, data):
    accuracy, energy = [float(a) for a, _ in values], [float(e) for _, e in values]
    keep = data.draw(st.integers(1, len(values)))
    selection = select(accuracy, energy, keep)
    assert len(set(selection.kept)) == keep
    front = brute_force_front(accuracy, energy)
    assert {i for i, rank in enumerate(selection.front) if rank == 0} == front
    assert set(pareto_front(accuracy, energy)) == front
    if keep >= len(front):
        assert front <= set(selection.kept)
    assert select(accuracy, energy, keep) == selection
    # A longer selection starts with the shorter one: "the first n are reserved".
    assert select(accuracy, energy, len(values)).kept[:keep] == selection.kept


@pytest.mark.parametrize("method", METHODS)
def test_candidates_that_are_not_finite_rank_last_and_are_recorded(method):
    rng = np.random.default_rng(0)
    accuracy, energy = rng.random(20) * 100, rng.random(20) + 0.1
    accuracy[[3, 11]], energy[7] = math.nan, math.inf
    selection = select(accuracy, energy, 18, method=method)
    assert selection.bad == [3, 7, 11]
    assert selection.kept[-1] == 3 and not {7, 11} & set(selection.kept)
    assert [i for i, front in enumerate(selection.front) if front < 0] == [3, 7, 11]
    assert select([math.nan] * 4, [1.0] * 4, 2, method=method).kept == [0, 1]


@pytest.mark.parametrize("method", ["nsga2", "nsga3"])
def test_baselines_keep_the_front_and_repeat_with_the_seed(method):
    rng = np.random.default_rng(1)
    accuracy, energy = rng.random(60) * 100, rng.random(60) + 0.1
    first = select(accuracy, energy, 30, method=method, seed=5)
    np.random.seed(3)  # noqa: NPY002  the global generator must not matter
    assert select(accuracy, energy, 30, method=method, seed=5) == first
    assert brute_force_front(accuracy, energy) <= set(first.kept) and len(set(first.kept)) == 30


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: select(ACCURACY, ENERGY, 1, method="nsga3"), "keep=1"),
        (lambda: select(ACCURACY, ENERGY, 5), "keep=5"),
        (lambda: select(ACCURACY, ENERGY[:3], 2), "equally long"),
        (lambda: select(ACCURACY, [0.0, 1.0, 2.0, 3.0], 2), "energies must be positive"),
        (lambda: select(ACCURACY, ENERGY, 2, method="nsga-3"), "Did you mean 'nsga3'"),
    ],
)
def test_bad_selections_are_one_clear_sentence(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()
