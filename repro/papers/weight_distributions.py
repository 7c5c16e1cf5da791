"""Weight distributions of convolution, shift and adder layers (ShiftAddAug figure 2, ShiftAddNAS figure 8).

Both papers show histograms and say: convolution weights look Gaussian, adder weights Laplacian, shift weights spiked at
powers of two. One small network is trained with each operator; for every inner layer a Gaussian and a Laplace
distribution are fitted by maximum likelihood and compared by log-likelihood and by Kolmogorov-Smirnov distance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from scipy import stats

from repro.papers.data import DataRecipe, data_fingerprint, load_splits
from repro.papers.registry import Experiment
from repro.paths import atomic_path
from repro.runs import Outcome, RunContext, RunSpec
from repro.train import TrainRecipe, fit

OPS = ("conv", "shift", "adder")
LAYERS = (1, 2, 3)
"""Inner layers of the network; stem and classifier multiply in every variant."""


@dataclasses.dataclass(frozen=True)
class WeightsRecipe:
    """A stem, three 3x3 layers of `op`, a classifier; the papers show layers of far larger networks."""

    data: DataRecipe
    train: TrainRecipe
    width: int = 32
    op: str = "conv"
    estimate_s: float | None = None


def network_of(op: str, *, width: int, in_channels: int, num_classes: int) -> torch.nn.Sequential:
    """Convolution stem, three 3x3 layers of `op` with batch norm and ReLU (the second halves the map), classifier."""
    from repro.layers import make_conv2d

    parts = [
        torch.nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
        torch.nn.BatchNorm2d(width),
        torch.nn.ReLU(),
    ]
    for stride in (1, 2, 1):
        layer = make_conv2d(op, width, width, 3, stride=stride, padding=1, bias=False)
        parts += [layer, torch.nn.BatchNorm2d(width), torch.nn.ReLU()]
    parts += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(width, num_classes)]
    return torch.nn.Sequential(*parts)


def inner_layers(network: torch.nn.Sequential) -> list[torch.nn.Module]:
    """The three layers whose weights are looked at."""
    return [network[3 * i] for i in LAYERS]


def effective_weight(layer: torch.nn.Module) -> torch.Tensor:
    """The weights that the layer computes with: powers of two for a shift layer."""
    from repro.layers import ShiftConv2d
    from repro.ops import round_to_power_of_two

    weight = layer.weight.detach()
    return round_to_power_of_two(weight, layer.weight_bits) if isinstance(layer, ShiftConv2d) else weight


def fit_distributions(weight: np.ndarray) -> dict[str, float]:
    """Maximum-likelihood Gaussian and Laplace fits of a flat array, with their goodness.

    Returns:
        standard deviation and Laplace scale, mean log-likelihood per weight and Kolmogorov-Smirnov distance of each,
        excess kurtosis (Gaussian 0, Laplace 3), share of the 15 most frequent values (1 if all weights are powers of
        two with a common sign, about 0 for continuous weights).
    """
    result = {}
    for name, distribution in (("gaussian", stats.norm), ("laplace", stats.laplace)):
        location, scale = distribution.fit(weight)
        fitted = distribution(location, scale)
        result |= {
            f"{name}_scale": float(scale),
            f"{name}_log_likelihood": float(fitted.logpdf(weight).mean()),
            f"{name}_ks": float(stats.kstest(weight, fitted.cdf).statistic),
        }
    counts = np.unique(weight, return_counts=True)[1]
    result["top15_share"] = float(np.sort(counts)[-15:].sum() / weight.size)
    result["excess_kurtosis"] = float(stats.kurtosis(weight))
    return result


def train_and_fit(recipe: WeightsRecipe, seed: int, context: RunContext) -> dict:
    """Run function: trains the network, saves its weights, returns accuracy and the fits of every inner layer."""
    splits = load_splits(recipe.data)
    torch.manual_seed(seed)
    network = network_of(recipe.op, width=recipe.width, in_channels=splits.in_channels, num_classes=splits.num_classes)
    history = fit(
        network,
        splits.train,
        splits.test,
        recipe.train,
        seed=seed,
        evaluate_every=recipe.train.epochs,
        on_epoch=lambda row: context.log(**row),
        checkpoint=context.checkpoint / "training",
    )
    if history.diverged:
        return {"outcome": "diverged", "detail": history.detail, "layers": []}
    weights = [effective_weight(layer).contiguous() for layer in inner_layers(network)]
    with atomic_path(context.folder / "weights.safetensors") as partial:
        save_file({f"layer{i}": weight for i, weight in zip(LAYERS, weights)}, partial)
    rows = []
    for i, weight in zip(LAYERS, weights):
        flat = weight.flatten().double().numpy()
        counts, edges = np.histogram(flat, bins=61, range=(-np.abs(flat).max(), np.abs(flat).max()))
        fits = fit_distributions(flat)
        rows.append({"layer": i, **fits, "histogram": counts.tolist(), "edges": edges.round(6).tolist()})
    return {"outcome": "done", "accuracy_pct": history.accuracy_pct, "layers": rows}


def plan(recipe: WeightsRecipe, seeds: Sequence[int]) -> list[RunSpec]:
    """One network per operator and seed."""
    data = data_fingerprint(recipe.data)
    function = "repro.papers.weight_distributions:train_and_fit"
    return [
        RunSpec("weight_distributions", function, dataclasses.replace(recipe, op=op), seed, data, recipe.estimate_s)
        for op in OPS
        for seed in seeds
    ]


def tabulate(recipe: WeightsRecipe, outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """One row per operator, layer and seed: the fits and which of the two is more likely. `extra`: the histograms."""
    rows, histograms = [], []
    for outcome in outcomes:
        for layer in (outcome.value or {}).get("layers", []):
            key = {"op": outcome.spec.recipe.op, "layer": layer["layer"], "seed": outcome.spec.seed}
            fits = {name: value for name, value in layer.items() if name not in ("layer", "histogram", "edges")}
            better = max(("gaussian", "laplace"), key=lambda name: fits[f"{name}_log_likelihood"])
            rows.append({**key, "accuracy_pct": outcome.value["accuracy_pct"], "better_fit": better, **fits})
            edges = np.asarray(layer["edges"])
            density = np.asarray(layer["histogram"]) / (sum(layer["histogram"]) * np.diff(edges))
            centres = (edges[1:] + edges[:-1]) / 2
            histograms.append(pd.DataFrame({**key, "weight": centres, "density": density}))
    frame = pd.DataFrame(rows)
    frame.attrs["extra"] = {"histograms": pd.concat(histograms) if histograms else pd.DataFrame()}
    return frame


_SETTINGS = {"batch_size": 64, "lr": 0.05, "weight_decay": 3e-4, "adaptive": "adder", "eta": 1 / 15}

RECIPES = {
    ("smoke", "digits"): WeightsRecipe(
        DataRecipe("digits", train_images=300, test_images=200), TrainRecipe(epochs=1, **_SETTINGS), 8, estimate_s=1
    ),
    ("quick", "digits"): WeightsRecipe(DataRecipe("digits"), TrainRecipe(epochs=12, **_SETTINGS), 32, estimate_s=15),
    ("quick", "cifar10"): WeightsRecipe(
        DataRecipe("cifar10", train_images=4000, test_images=2000, size=16),
        TrainRecipe(epochs=12, **_SETTINGS),
        32,
        estimate_s=90,
    ),
    ("paper", "cifar10"): WeightsRecipe(
        DataRecipe("cifar10"),
        TrainRecipe(epochs=200, batch_size=128, lr=0.1, adaptive="adder", crop_padding=4, flip=True),
        64,
        estimate_s=200 * 120.0,
    ),
}

EXPERIMENT = Experiment(
    table_id="shiftaddaug_f02",
    title="Weight distributions of convolution, shift and adder layers",
    recipes=RECIPES,
    seeds={"smoke": (0,), "quick": (0, 1), "paper": (0, 1, 2)},
    plan=plan,
    tabulate=tabulate,
    scale={
        "smoke": "One epoch on 300 images: checks that everything runs.",
        "quick": "Three inner layers of a small network on small images; the papers show MobileNetV2 and supernets.",
        "paper": "The same small network on CIFAR-10 at full size; the papers' networks come with their own tables.",
    },
)
