"""Frames of ours for tests of verdicts, made from means: spread over seeds, answers of test images, draws."""

import numpy as np
import pandas as pd
from scipy import stats

from repro.report.examples import pack

STRATEGIES = [(0, 0), (0, 1), (1, 0), (1, 1)]


def with_facts(frame, preset="study", dataset="digits", **extra):
    frame.attrs = {"preset": preset, "dataset": dataset, "extra": extra}
    return frame


def taus(*seeds, preset="study", dataset="digits", draws=None):
    """Table 6 of ACGhostNet: four taus a seed; draws (draws, 4) of the population's part."""
    rows = [
        {"adaptive_lr": a, "separate_warmup": w, "seed": seed, "kendall_tau": tau}
        for seed, values in enumerate(seeds)
        for (a, w), tau in zip(STRATEGIES, values)
    ]
    extra = {}
    if draws is not None:
        extra["draws"] = pd.DataFrame(
            {"adaptive_lr": a, "separate_warmup": w, "column": "kendall_tau", "draw": i, "value": values[place]}
            for i, values in enumerate(draws)
            for place, (a, w) in enumerate(STRATEGIES)
        )
    return {"acghostnet_t06": with_facts(pd.DataFrame(rows), preset, dataset, **extra)}


def answers(accuracy_pct, seeds, images, generator, seed_sd_pct=0.0):
    """Which images each seed got right (seeds, images); images differ in difficulty, the same for all methods."""
    difficulty = np.random.default_rng(7).standard_normal(images)
    share = np.clip(accuracy_pct + seed_sd_pct * generator.standard_normal(seeds), 1, 99) / 100
    latent = (difficulty + generator.standard_normal((seeds, images))) / np.sqrt(2)
    return latent <= stats.norm.ppf(share)[:, None]


def from_answers(table_id, columns, right, preset="study", dataset="digits", keep=True, **more):
    """A table of ours from answers: (key..., column) -> bools (seeds, images). `columns` names the key."""
    rows, packed = {}, []
    for (*key, column), outcomes in right.items():
        named = dict(zip(columns, key))
        for seed, outcome in enumerate(outcomes):
            row = rows.setdefault((*key, seed), {**named, "seed": seed})
            row[column] = 100 * outcome.mean()
            packed.append({**named, "seed": seed, "column": column, "examples": len(outcome), "correct": pack(outcome)})
    extra = {"examples": pd.DataFrame(packed)} if keep else {}
    return {table_id: with_facts(pd.DataFrame(rows.values()).assign(**more), preset, dataset, **extra)}


def widths(gaps_pct, seeds=3, images=2000, sd=0.5, base=60.0, seed=0, **facts):
    """Table 1 of ACGhostNet: convolutions at `base` per cent, adders `gaps_pct` below."""
    generator = np.random.default_rng(seed)
    right = {}
    for width, gap in zip(("1.0", "0.5", "0.25"), gaps_pct):
        for column, accuracy in (("cnn_accuracy_pct", base), ("addernet_accuracy_pct", base - gap)):
            right[f"GhostNet-{width}x", column] = answers(accuracy, seeds, images, generator, sd)
    return from_answers("acghostnet_t01", ["model"], right, **facts)


MODELS = ["GhostNet-1.0x", "Adder-GhostNet-1.0x", *(f"ACGhostNet-{name}" for name in "ABCD")]


def models(accuracies, energies=(196, 88, 135, 157, 165, 185), seeds=3, sd=0.05, paper_size=True, **facts):
    """Table 4 of ACGhostNet, six rows: accuracies and energies at the paper's size, one or (seeds, 6) of them."""
    accuracies = np.broadcast_to(accuracies, (seeds, 6)) + sd * np.linspace(-1, 1, seeds)[:, None]
    energies = np.broadcast_to(energies, (seeds, 6)).astype(float)
    cells = [(seed, place, name) for seed in range(seeds) for place, name in enumerate(MODELS)]
    frame = pd.DataFrame(
        {"model": name, "seed": seed, "accuracy_pct": accuracies[seed, place], "energy_uj": energies[seed, place] / 100}
        for seed, place, name in cells
    )
    sized = pd.DataFrame(
        {"model": name, "seed": seed, "energy_uj": energies[seed, place]} for seed, place, name in cells
    )
    return {"acghostnet_t04": with_facts(frame, **facts, **({"paper_size": sized} if paper_size else {}))}
