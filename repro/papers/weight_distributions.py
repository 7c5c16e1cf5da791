"""Weight distributions of convolution, shift and adder layers (ShiftAddAug figure 2).

The paper shows histograms and says: convolution weights look Gaussian, adder weights Laplacian, shift weights spiked at
powers of two. One small network is trained with each operator; for every inner layer a Gaussian and a Laplace
distribution are fitted by maximum likelihood and compared by log-likelihood and by Kolmogorov-Smirnov distance.

Weights begin Gaussian or uniform, so that a short training at a small rate shows the initialisation: after 12 epochs at
rate 0.05 they still correlate with it at 0.65 to 0.8. The short presets train longer, at a larger rate and decay, and
every row says how far the weights have moved (`correlation_with_start`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import nn

from repro.layers import ShiftConv2d, make_conv2d
from repro.ops import round_to_power_of_two
from repro.papers import jobs
from repro.papers.data import DataRecipe
from repro.papers.kinds import spec_of
from repro.papers.presets import SHORT, cifar_subset
from repro.papers.table import Drawing, Table
from repro.report.figures import legend_below, new_figure
from repro.report.palette import COLOURS
from repro.runs import RunContext, RunSpec
from repro.train import TrainRecipe

OPS = ("conv", "shift", "adder")
LAYERS = (1, 2, 3)
"""Inner layers of the network; stem and classifier multiply in every variant."""


@dataclasses.dataclass(frozen=True)
class WeightsRecipe:
    """A stem, three 3x3 layers of `op`, a classifier; the paper shows layers of far larger networks."""

    data: DataRecipe
    train: TrainRecipe
    width: int = 32
    op: str = "conv"
    calibration_images: int = 0


def network_of(op: str, *, width: int, in_channels: int, num_classes: int) -> nn.Sequential:
    """Convolution stem, three 3x3 layers of `op` with batch norm and ReLU (the second halves the map), classifier."""
    parts = [nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    for stride in (1, 2, 1):
        layer = make_conv2d(op, width, width, 3, stride=stride, padding=1, bias=False)
        parts += [layer, nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))


def effective_weight(layer: nn.Module) -> torch.Tensor:
    """The weights that the layer computes with: powers of two for a shift layer."""
    weight = layer.weight.detach()
    return round_to_power_of_two(weight, layer.weight_bits) if isinstance(layer, ShiftConv2d) else weight


def fit_distributions(weight: np.ndarray) -> dict[str, float]:
    """Maximum-likelihood Gaussian and Laplace fits of a flat array, with their goodness.

    Returns:
        location and scale (standard deviation, Laplace scale), mean log-likelihood per weight and Kolmogorov-Smirnov
        distance of each, share of the 15 most frequent values (1 if all weights are powers of two with a common sign,
        about 0 for continuous weights), excess kurtosis (Gaussian 0, Laplace 3).
    """
    result = {}
    for name, distribution in (("gaussian", stats.norm), ("laplace", stats.laplace)):
        location, scale = distribution.fit(weight)
        fitted = distribution(location, scale)
        result |= {
            f"{name}_location": float(location),
            f"{name}_scale": float(scale),
            f"{name}_log_likelihood": float(fitted.logpdf(weight).mean()),
            f"{name}_ks": float(stats.kstest(weight, fitted.cdf).statistic),
        }
    counts = np.unique(weight, return_counts=True)[1]
    result["top15_share"] = float(np.sort(counts)[-15:].sum() / weight.size)
    result["excess_kurtosis"] = float(stats.kurtosis(weight))
    return result


def train_and_fit(recipe: WeightsRecipe, seed: int, context: RunContext) -> dict:
    """Run function: trains the network; accuracy, and the fits and the histogram of every inner layer."""
    facts = recipe.data.facts
    options = {"width": recipe.width, "in_channels": facts["in_channels"], "num_classes": facts["num_classes"]}
    begun: list[np.ndarray] = []

    def build() -> nn.Module:
        network = network_of(recipe.op, **options)
        begun.extend(_flat(network[3 * i]) for i in LAYERS)
        return network

    network, _, value = jobs.train_and_test(build, recipe, seed, context)
    layers = []
    for i, start in zip(LAYERS, begun) if value["outcome"] != "diverged" else ():
        weight = _flat(network[3 * i])
        counts, edges = np.histogram(weight, bins=61, range=(-np.abs(weight).max(), np.abs(weight).max()))
        histogram = {"histogram": counts.tolist(), "edges": edges.round(6).tolist()}
        moved = {"correlation_with_start": float(np.corrcoef(start, weight)[0, 1])}
        layers.append({"layer": i, **fit_distributions(weight), **moved, **histogram})
    return {**value, "layers": layers}


def _flat(layer: nn.Module) -> np.ndarray:
    return effective_weight(layer).cpu().flatten().double().numpy()


def _spec(recipe: WeightsRecipe, op: str, seed: int) -> RunSpec:
    return spec_of("weights", dataclasses.replace(recipe, op=op), seed)


def trained(recipe, seeds, run):
    """One row per operator, layer and seed: the fits and which of the two is more likely. `extra`: the histograms."""
    done = run({(op, seed): _spec(recipe, op, seed) for op in OPS for seed in seeds})
    rows, histograms = [], []
    for (op, seed), outcome in done.items():
        for layer in (outcome.value or {}).get("layers", []):
            fits, histogram = fits_and_histogram(layer)
            key = {"op": op, "layer": fits.pop("layer"), "seed": seed}
            rows.append({**key, "accuracy_pct": jobs.accuracy_of(outcome), **fits})
            histograms.append(histogram.assign(**key)[[*key, "weight", "density"]])
    frame = pd.DataFrame(rows)
    frame.attrs["extra"] = {"histograms": pd.concat(histograms) if histograms else pd.DataFrame()}
    return frame


def fits_and_histogram(layer: Mapping) -> tuple[dict, pd.DataFrame]:
    """Of one tensor of a run: its fits with `better_fit` first, and its histogram (weight, density)."""
    fits = {name: value for name, value in layer.items() if name not in ("histogram", "edges")}
    better = max(("gaussian", "laplace"), key=lambda name: fits[f"{name}_log_likelihood"])
    edges = np.asarray(layer["edges"])
    density = np.asarray(layer["histogram"]) / (sum(layer["histogram"]) * np.diff(edges))
    histogram = pd.DataFrame({"weight": (edges[1:] + edges[:-1]) / 2, "density": density})
    return {"better_fit": better, **fits}, histogram


def draw(ours):
    """Histogram of the second inner layer's weights per operator, with both fitted densities (first seed).

    Other seeds are outlines over the bars of the first.
    """
    histograms = ours.attrs.get("extra", {}).get("histograms")
    if histograms is None:
        return []
    figure, axes = new_figure(1, len(OPS), width_in=3.1)
    for axis, op in zip(axes.flat, OPS):
        mine = histograms[(histograms["op"] == op) & (histograms["layer"] == 2)]
        first, *others = [group for _, group in mine.groupby("seed")]
        fit = ours[(ours["op"] == op) & (ours["layer"] == 2)].sort_values("seed").iloc[0]
        draw_fits(axis, first, fit, op)
        for i, other in enumerate(others):
            steps = {"where": "mid", "color": COLOURS["ink"], "linewidth": 0.7, "alpha": 0.6}
            axis.step(other["weight"], other["density"], **steps, label="" if i else "other seeds")
        axis.set(title=f"{op}: better fit {fit['better_fit']}", xlabel="weight", ylabel="density")
    legend_below(figure, axes.flat[0], columns=3)
    told = (
        "Weights of the second inner layer after training (bars: first seed; outlines: others), with both fits to the "
    )
    return [Drawing(figure, f"{told}first seed; shift on a logarithmic scale above 1.")]


def draw_fits(axis, histogram: pd.DataFrame, fit: pd.Series, op: str) -> None:
    """One histogram (columns weight, density) with both fitted densities; an operator's colour."""
    width = np.diff(histogram["weight"]).mean()
    axis.bar(histogram["weight"], histogram["density"], width=width, color=COLOURS[op], alpha=0.55)
    grid = np.linspace(histogram["weight"].min(), histogram["weight"].max(), 400)
    for name, distribution, style in (("Gaussian", stats.norm, "-"), ("Laplace", stats.laplace, "--")):
        fitted = distribution(fit[f"{name.lower()}_location"], fit[f"{name.lower()}_scale"])
        axis.plot(grid, fitted.pdf(grid), color=COLOURS["ink"], linewidth=1, ls=style, label=f"{name} fit")
    if op == "shift":  # spikes at powers of two would hide everything else
        axis.set_yscale("symlog", linthresh=1)


_MOVING = {**SHORT, "lr": 0.2, "weight_decay": 3e-3}
_DIGITS = WeightsRecipe(DataRecipe("digits"), TrainRecipe(epochs=40, **_MOVING))
_SCALED = "Three inner layers of a small network on small images, eta 0.5; the paper shows far larger ones."

TABLE = Table(
    title="Weight distributions of convolution, shift and adder layers",
    trained=trained,
    draw=draw,
    recipes={
        ("smoke", "digits"): WeightsRecipe(
            DataRecipe("digits", train_images=300, test_images=200), TrainRecipe(epochs=1, **SHORT), 8
        ),
        ("quick", "digits"): _DIGITS,
        ("study", "cifar10"): WeightsRecipe(cifar_subset(), TrainRecipe(epochs=20, **_MOVING)),
        ("study", "digits"): _DIGITS,
        ("paper", "cifar10"): WeightsRecipe(
            DataRecipe("cifar10"), TrainRecipe(epochs=200, batch_size=128, crop_padding=4, flip=True), 64
        ),
    },
    seeds={"smoke": (0,), "quick": (0, 1), "study": (0, 1, 2), "paper": (0, 1, 2)},
    scale={
        "smoke": "One epoch on 300 images: checks that everything runs.",
        "quick": _SCALED,
        "study": _SCALED,
        "paper": "The same small network on CIFAR-10 at full size; the paper's networks come with their own tables.",
    },
    keeps=("histograms",),
)
