"""Weight distributions in supernets: what figures 3, 7 and 8 show of different settings and layers."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from repro.papers.shiftaddnas import sharing
from repro.papers.weight_distributions import draw_fits, fits_and_histogram
from repro.report.figures import legend_below, new_figure


def of_supernets(recipe, seeds, run, settings, ops) -> pd.DataFrame:
    """One row per setting, operator, level and supernet: fits, excess kurtosis (Gaussian 0, Laplace 3), better fit, and
    the correlation of the weights with those before training.

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


def _shown(frame, ours):
    """Rows of a frame about the tensors that are drawn: the middle level's of the first seed."""
    levels = sorted(set(ours["level"]))
    return frame[(frame["level"] == levels[len(levels) // 2]) & (frame["seed"] == ours["seed"].min())]


def correlations(ours) -> str:
    """A sentence for the caption: how far the drawn weights have moved from their start."""
    drawn = _shown(ours, ours)
    return _correlations(f"{row.setting}, {row.op} {row.correlation_with_start:.2f}" for row in drawn.itertuples())


def correlations_by_layer(ours) -> str:
    """As `correlations`, of every layer."""
    drawn = ours[ours["seed"] == ours["seed"].min()]
    return _correlations(f"layer {row.layer}, {row.op} {row.correlation_with_start:.2f}" for row in drawn.itertuples())


def _correlations(told: Iterable[str]) -> str:
    return f"Correlation with the weights before training (above 0.5 a histogram shows the start): {'; '.join(told)}."


def histograms(ours, settings, ops, label):
    """Histogram and fits of the middle level's tensor of the first seed: a row per setting, a column per operator."""
    bars, fits = (_shown(frame, ours) for frame in (ours.attrs["extra"]["histograms"], ours))
    figure, axes = new_figure(len(settings), len(ops), width_in=3.1, height_in=2.4)
    for setting, line in zip(settings, axes):
        for op, axis in zip(ops, line):
            mine, fit = (part[(part["setting"] == setting) & (part["op"] == op)] for part in (bars, fits))
            _panel(axis, mine, fit, op, label(setting, op))
    legend_below(figure, axes.flat[0], columns=2)
    return figure


def layers(ours, ops):
    """Histogram and fits of every layer's tensors of the first seed: a row per layer, a column per operator."""
    numbers = sorted(set(ours["layer"]))
    figure, axes = new_figure(len(numbers), len(ops), width_in=3.1, height_in=2.4)
    for layer, line in zip(numbers, axes):
        for op, axis in zip(ops, line):
            bars, fits = (
                part[(part["layer"] == layer) & (part["op"] == op) & (part["seed"] == ours["seed"].min())]
                for part in (ours.attrs["extra"]["histograms"], ours)
            )
            _panel(axis, bars, fits, op, f"layer {layer}, {op}:\n")
    legend_below(figure, axes.flat[0], columns=2)
    return figure


def _panel(axis, bars, fits, op: str, label: str) -> None:
    """One tensor, of which there may be none: a resolution without the operator."""
    if len(fits):
        draw_fits(axis, bars, fits.iloc[0], op)
        kurtosis, better = fits["excess_kurtosis"].iloc[0], fits["better_fit"].iloc[0]
        axis.set(title=f"{label}{better}, excess kurtosis {kurtosis:z.1f}")
    axis.set(xlabel="weight", ylabel="density")
