"""ShiftAddAug figure 7 (Sec. 4.6): weights without sharing, in memory with sharing, and after remapping."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy import stats

from repro.ops import round_to_power_of_two
from repro.papers.shiftaddaug.comparing import train_all
from repro.papers.shiftaddaug.methods import CONTROLS, MAIN
from repro.papers.shiftaddaug.recipes import SCALE, SEEDS, presets
from repro.papers.shiftaddaug.training import unpack, wide_network
from repro.papers.table import Drawing, Table
from repro.papers.weight_distributions import fit_distributions
from repro.report.figures import new_figure
from repro.report.palette import COLOURS

METHODS = {row: MAIN[row] for row in ("Base", "Shift", "Add", "AugShift", "AugAdd")}
IN_MEMORY = (
    "AugShift",
    "AugShift, r with even steps",
    "AugAdd",
    "AugAdd, r with even steps",
    "AugAdd, b of adders' start",
)
"""Trainings of table 3 and of its controls whose weights in memory are looked at for what runs off."""
STATES = {
    ("without sharing", "conv"): ("Base", "computed"),
    ("without sharing", "shift"): ("Shift", "computed"),
    ("without sharing", "adder"): ("Add", "computed"),
    ("in memory", "shift"): ("AugShift", "saved"),
    ("in memory", "adder"): ("AugAdd", "saved"),
    ("remapped", "shift"): ("AugShift", "computed"),
    ("remapped", "adder"): ("AugAdd", "computed"),
}
"""(state, operator) -> the training of table 3 that shows it, and which of its weights."""


def trained(recipe, seeds, run):
    """Fits of a Gaussian and a Laplace distribution to the 1x1 layers' weights, and how far they are from their start.

    One row per state, operator, layer and seed. In memory is the whole wide weight, by whose mean and deviation R goes;
    the other states are what the target computes with, shift weights rounded to powers of two. The rank correlation
    with the start follows channels that have changed places. `extra`: histograms of all layers together, each in its
    own deviations, and memory (`_memory`).
    """
    done = train_all(recipe, seeds, run, METHODS | {row: (MAIN | CONTROLS)[row] for row in IN_MEMORY})
    rows, histograms = [], []
    for (state, op), (row, which) in STATES.items():
        for seed in seeds:
            value = done[recipe.models[0], row, seed].value or {}
            weights = value.get("weights", {}).get(which, {})
            start = dict(wide_network(recipe.job(recipe.models[0], METHODS[row]), seed, None).wide_layers())
            pooled = []
            for name in (name for name in weights if name.endswith(("expand.conv", "project.conv"))):
                weight = unpack(weights[name]).astype(float)
                if op == "shift" and which == "computed":
                    weight = round_to_power_of_two(torch.from_numpy(weight), 5).numpy()
                fits = fit_distributions(weight)
                better = max(("gaussian", "laplace"), key=lambda kind: fits[f"{kind}_log_likelihood"])
                begun = _start(start[name], value.get("channels", {}).get(name), whole=which == "saved")
                moved = float(stats.spearmanr(begun, weight).statistic)
                key = {"state": state, "op": op, "layer": name.removesuffix(".conv"), "seed": seed}
                rows.append({**key, "better_fit": better, **fits, "rank_correlation_with_start": moved})
                pooled.append((weight - weight.mean()) / max(weight.std(), 1e-12))
            if pooled:
                density, edges = np.histogram(np.concatenate(pooled), bins=61, range=(-4, 4), density=True)
                about = {"state": state, "op": op, "seed": seed}
                histograms.append(pd.DataFrame({**about, "weight": (edges[1:] + edges[:-1]) / 2, "density": density}))
    frame = pd.DataFrame(rows)
    frame.attrs["extra"] = {
        "histograms": pd.concat(histograms, ignore_index=True) if histograms else pd.DataFrame(),
        "memory": _memory({(row, s): outcome for (m, row, s), outcome in done.items() if m == recipe.models[0]}),
    }
    return frame


def _memory(done) -> pd.DataFrame:
    """How far the farthest weight in memory is off, of every layer, by whose mean and deviation R goes.

    Columns: row, layer, seed; largest_share, of the sum of squared deviations; deviations, its distance from the
    median in robust standard deviations, 1.4826 times the median distance.
    """
    rows = []
    for (row, seed), outcome in done.items():
        for name, text in (outcome.value or {}).get("weights", {}).get("saved", {}).items() if row in IN_MEMORY else ():
            weight = unpack(text).astype(float)
            squares, far = (weight - weight.mean()) ** 2, abs(weight - np.median(weight))
            share = squares.max() / max(squares.sum(), 1e-24)
            robust = max(1.4826 * np.median(far), 1e-12)
            key = {"row": row, "layer": name.removesuffix(".conv"), "seed": seed}
            rows.append({**key, "largest_share": share, "deviations": far.max() / robust})
    return pd.DataFrame(rows, columns=["row", "layer", "seed", "largest_share", "deviations"])


def outliers(memory: pd.DataFrame) -> pd.DataFrame:
    """The frame `memory` by row: its layers and seeds, in how many one weight is most of the variance, and how far off
    the farthest weight is, in robust deviations: of half the layers, and of all."""
    by_row = memory.groupby("row", sort=False)
    return pd.DataFrame(
        {
            "layers": by_row.size(),
            "one weight is most": by_row["largest_share"].agg(lambda shares: int((shares > 0.5).sum())),
            "farthest, median": by_row["deviations"].median().map("{:.3g}".format),
            "farthest, most": by_row["deviations"].max().map("{:.3g}".format),
        }
    ).reset_index()


def _start(layer, channels, *, whole: bool) -> np.ndarray:
    """Weights of a wide layer before the training, flat: those that are now in its places, or in the target's."""
    weight = layer.weight.detach().double()
    if channels is not None:
        rows, columns = map(torch.as_tensor, channels)
        weight = weight[rows][:, columns]
    return (weight if whole else layer.of_target(weight)).numpy().ravel()


def draw(ours):
    """A histogram per state and operator, weights in deviations of their layer (first seed)."""
    histograms = ours.attrs.get("extra", {}).get("histograms")
    if histograms is None or not len(histograms):
        return []
    states, ops = ("without sharing", "in memory", "remapped"), ("conv", "shift", "adder")
    figure, panels = new_figure(len(states), len(ops), width_in=2.5, height_in=1.9, share_x=True)
    first = histograms["seed"].min()
    for line, state in zip(panels, states):
        for axes, op in zip(line, ops):
            mine = histograms[(histograms["state"] == state) & (histograms["op"] == op) & (histograms["seed"] == first)]
            if mine.empty:
                axes.set_axis_off()
                continue
            axes.bar(mine["weight"], mine["density"], width=8 / 61, color=COLOURS[op])
            fits = ours.loc[(ours["state"] == state) & (ours["op"] == op), "better_fit"]
            share = 100 * (fits == "laplace").mean()
            axes.set_title(f"{op}, {state}: Laplace fits {share:.0f} %", fontsize=7)
            axes.set(xlabel="weight (deviations)", ylabel="density")
    caption = (
        "Weights of the 1x1 layers of the small MobileNetV2, each layer in its own deviations; titles say in how many "
        "layers and seeds a Laplace distribution fits better than a Gaussian."
    )
    memory = ours.attrs["extra"].get("memory")
    if memory is not None and len(memory):
        found = outliers(memory).itertuples(index=False)
        told = ", ".join(f"{row} {most} of {layers}" for row, layers, most, *_ in found)
        caption += f" Layers and seeds in which one weight in memory is most of the variance by which R goes: {told}."
    return [Drawing(figure, caption)]


TABLE = Table(
    title="Weights without sharing, in memory with sharing, and after remapping",
    trained=trained,
    draw=draw,
    recipes=presets(("MobileNetV2-w0.35",)),
    seeds=SEEDS,
    scale=SCALE,
    keeps=("histograms", "memory"),
)
