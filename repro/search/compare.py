"""The same candidates under other selections: what pNSGA-III keeps that NSGA-II and NSGA-III would drop."""

from __future__ import annotations

import pandas as pd

from repro.search.pnsga import METHODS, select

_MEASURES = ("mean_energy_uj", "largest_energy_uj", "mean_accuracy_pct", "best_accuracy_pct")


def compare_selections(candidates: pd.DataFrame) -> pd.DataFrame:
    """Which survivors each method picks from every generation of a finished search.

    The candidates are those that pNSGA-III's own search bred, so this compares one step of selection, not whole
    searches (ACGhostNet Sec. 3.4 argues that the ordinary sort drops large networks, which train slowly).

    Args:
        candidates: one row per candidate with columns seed, generation, accuracy_pct, energy_uj, kept (as in the
            frame `candidates` of the search's experiments).
    Returns:
        one row per method, means over generations and seeds: candidates kept, the share of them (percent) that
        pNSGA-III keeps too, mean and largest energy (uJ), mean and best accuracy (percent) of what is kept.
    """
    rows = []
    for (seed, number), group in candidates.groupby(["seed", "generation"], sort=True):
        accuracy, energy, kept = group["accuracy_pct"], group["energy_uj"], int(group["kept"].sum())
        chosen = {
            method: group.iloc[select(accuracy, energy, kept, method=method, seed=int(seed)).kept] for method in METHODS
        }
        for method, mine in chosen.items():
            shared = mine.index.isin(chosen["pnsga3"].index).mean()
            rows.append(
                {
                    "method": method,
                    "generation": number,
                    "kept": kept,
                    "also_kept_by_pnsga3_pct": 100 * shared,
                    "mean_energy_uj": mine["energy_uj"].mean(),
                    "largest_energy_uj": mine["energy_uj"].max(),
                    "mean_accuracy_pct": mine["accuracy_pct"].mean(),
                    "best_accuracy_pct": mine["accuracy_pct"].max(),
                }
            )
    frame = pd.DataFrame(rows, columns=["method", "generation", "kept", "also_kept_by_pnsga3_pct", *_MEASURES])
    return frame.drop(columns="generation").groupby("method", sort=False).mean().reset_index()
