"""Weight distributions in supernets: what figures 3 and 7 show of different settings."""

from __future__ import annotations

import pandas as pd

from repro.papers.shiftaddnas import sharing
from repro.papers.weight_distributions import draw_fits, fits_and_histogram
from repro.report.figures import new_figure


def of_supernets(recipe, seeds, run, settings, ops) -> pd.DataFrame:
    """One row per setting, operator, level and supernet: fits, excess kurtosis (Gaussian 0, Laplace 3), better fit.

    `attrs["extra"]["histograms"]` has the histograms.
    """
    done = run(sharing.supernet_specs(recipe, settings, seeds))
    rows, histograms = [], []
    for (setting, seed), outcome in done.items():
        for tensor in (outcome.value or {}).get("weights", []):
            if tensor["op"] in ops:
                fits, histogram = fits_and_histogram(tensor)
                key = {"setting": setting, "op": fits.pop("op"), "level": fits.pop("level"), "seed": seed}
                rows.append({**key, **fits})
                histograms.append(histogram.assign(**key)[[*key, "weight", "density"]])
    frame = pd.DataFrame(rows)
    frame.attrs["extra"] = {"histograms": pd.concat(histograms) if histograms else pd.DataFrame()}
    return frame


def histograms(ours, settings, ops, label):
    """Histogram and fits of the middle level's tensor of the first seed: a row per setting, a column per operator."""
    bars = ours.attrs["extra"]["histograms"]
    levels = sorted(set(ours["level"][ours["op"].isin(ops)]))
    level, seed = levels[len(levels) // 2], ours["seed"].min()
    figure, axes = new_figure(len(settings), len(ops), width_in=3.1, height_in=2.4)
    for setting, line in zip(settings, axes):
        for op, axis in zip(ops, line):
            key = {"setting": setting, "op": op, "level": level, "seed": seed}
            mine, fit = (part[(part[list(key)] == pd.Series(key)).all(axis=1)] for part in (bars, ours))
            if len(fit):
                draw_fits(axis, mine, fit.iloc[0], op)
                kurtosis, better = fit["excess_kurtosis"].iloc[0], fit["better_fit"].iloc[0]
                axis.set(title=label(setting, op) + f"{better}, excess kurtosis {kurtosis:z.1f}")
            axis.set(xlabel="weight", ylabel="density")
    axes.flat[0].legend(fontsize=8, frameon=False)
    return figure
