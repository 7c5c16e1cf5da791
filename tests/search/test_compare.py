"""One step of selection under the three methods, on candidates whose outcome can be seen."""

import pandas as pd
import pytest

from repro.search.compare import compare_selections


def candidates(accuracies, energies, kept):
    return pd.DataFrame({"seed": 0, "generation": 1, "accuracy_pct": accuracies, "energy_uj": energies, "kept": kept})


def test_large_slow_networks_survive_only_under_pnsga3():
    # Cheap networks lead; the dear ones are less accurate so far, so that the ordinary sort puts them last.
    frame = compare_selections(
        candidates([86, 84, 82, 80, 60, 50], [1, 2, 3, 4, 8, 9], [True, True, True, False, False, True])
    )
    by = frame.set_index("method")
    assert list(by.index) == ["pnsga3", "nsga2", "nsga3"] and (by["kept"] == 4).all()
    assert by.loc["pnsga3", "largest_energy_uj"] == 9
    assert by.loc["nsga2", "largest_energy_uj"] == by.loc["nsga3", "largest_energy_uj"] == 4
    assert by.loc["pnsga3", "also_kept_by_pnsga3_pct"] == 100 > by.loc["nsga2", "also_kept_by_pnsga3_pct"]
    assert by.loc["nsga2", "mean_accuracy_pct"] == pytest.approx((80 + 82 + 84 + 86) / 4)


def test_seeds_and_generations_are_averaged():
    one = candidates([80, 70, 60], [1, 2, 3], [True, True, False])
    two = one.assign(generation=2, energy_uj=[3.0, 6.0, 9.0])
    by = compare_selections(pd.concat([one, two], ignore_index=True)).set_index("method")
    assert by.loc["nsga2", "mean_energy_uj"] == pytest.approx((1.5 + 4.5) / 2)
