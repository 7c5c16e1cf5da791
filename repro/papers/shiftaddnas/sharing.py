"""Supernets under every way of sharing weights, and the paths that they are asked to rank (Sec. 3.2 and 4.5).

Two kinds of run: a supernet with the scores of fixed random paths, and one path's network by itself. Table 6 and
figures 3, 4, 7 and 8 share them.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import nn

from repro.models.shiftaddnas import BLOCKS, COUNTS, HEADS
from repro.ops import round_to_power_of_two
from repro.papers import jobs
from repro.papers.data import DataRecipe, device, load_splits
from repro.papers.kinds import spec_of
from repro.papers.shiftaddnas.path_search import COSTS, Search, check_limits, form_of, search_paths
from repro.papers.weight_distributions import fit_distributions
from repro.papers.weights import keep_weights
from repro.runs import RunContext, RunSpec
from repro.search.hybrid_space import HybridSpace, Level
from repro.search.hybrid_supernet import HybridNetwork, HybridSupernet, fit_paths
from repro.search.inherit import evaluate_paths
from repro.search.weight_sharing import WeightSharing
from repro.train import History, TrainRecipe
from repro.train.data import generator_for, prepare
from repro.train.evaluate import evaluate, reestimate_batch_norm

_PLAIN = {"remap": "none", "divergence": "none"}
MODES = {
    "w/o WS": WeightSharing(shared=False),
    "w/ Naive WS": WeightSharing(start="he", **_PLAIN),
    "naive, N(0, 1)": WeightSharing(start="unit", **_PLAIN),
    "one factor": WeightSharing(start="he", remap="constant", divergence="none"),
    "T from 1": WeightSharing(start="he", factors="ones", divergence="none"),
    "T fitted": WeightSharing(start="he", divergence="none"),
    "T fitted, KL": WeightSharing(start="he"),
    "HWS w/o KL": WeightSharing(divergence="none"),
    "w/ HWS": WeightSharing(),
    "w/ HWS, weight 0.1": WeightSharing(weight=0.1),
    "w/ HWS, lambda 2": WeightSharing(scale=2.0),
    "HWS, closed KL": WeightSharing(divergence="closed"),
    "T and KL as released": WeightSharing(
        remap="released", factors="random", pieces=100, divergence="softmax", weight=10.0, scale=2.0
    ),
    "w/o WS, last gamma 1": WeightSharing(shared=False),
    "T fitted, last gamma 1": WeightSharing(start="he", divergence="none"),
}
"""Ways of sharing. The two of table 6 have its names: naive sharing is one pool at He's scale; HWS is equations 7 and 8
as `WeightSharing` reads them, on a pool at unit scale. The others tell T from its scale: a naive pool at unit scale,
one learnt factor in place of T's 200, T on a pool at He's scale; or they change the divergence: its weight, lambda (2
in the public code), its form. "T and KL as released" takes these two from the public code and nothing else: see
`repro.search.hybrid_supernet`. The two of `LAST_GAMMAS` share as those without it in their names."""
LAST_GAMMAS = {"w/o WS, last gamma 1": 1.0, "T fitted, last gamma 1": 1.0}
"""Way of sharing -> what the last norm of every block starts with where it is not 0."""
PRINTED = ("w/ Naive WS", "w/ HWS")
"""Those of table 6, which a search goes by too."""
PLAIN = {"own weights": "w/o WS", "He's scale": "w/ Naive WS", "unit scale": "naive, N(0, 1)"}
"""Kind of weights that a supernet starts with -> the plain way of sharing that has them."""
PAPER_SPACE = HybridSpace(
    tuple(
        Level(planes, fewest, most, operators, stride, heads)
        for planes, (fewest, most), operators, stride, heads in zip(
            (32, 64, 128, 256), COUNTS.values(), ("CS+", "CS+", "ACS+", "AC"), (1, 2, 2, 2), HEADS
        )
    ),
    layers=16,
)
"""Table 2 with the operators that the public code draws paths from: 66 ways to divide 16 layers, 1.3e9 paths. Channels
are those of the table; the retrained networks are twice as wide."""


def rate_kind(way: WeightSharing) -> str:
    """Of `PLAIN`. How far a step of Adam moves a weight against its size depends on the scale that weights start at."""
    if not way.shared:
        return "own weights"
    return {"he": "He's scale", "unit": "unit scale"}[way.start]


@dataclasses.dataclass(frozen=True)
class SharingRecipe:
    """What all runs of a preset have in common.

    Attributes:
        supernet, alone, found: trainings of a supernet, of a ranked path's network by itself, and of a found one.
        rates: kind of weights (`rate_kind`) -> peak rate of the supernets that start with them.
        search: what the two ways of table 6 search with.
        paths: how many random paths are ranked; the same for every way of sharing and every seed.
        modes: which ways of sharing.
        conv_shortcuts: those that are tried, too, with convolutions on adder blocks' shortcuts.
        projection: as `HybridSupernet`, of supernets and of paths by themselves.
    """

    data: DataRecipe
    space: HybridSpace
    supernet: TrainRecipe
    alone: TrainRecipe
    found: TrainRecipe
    rates: Mapping[str, float]
    search: Search
    paths: int = 24
    modes: tuple[str, ...] = tuple(MODES)
    conv_shortcuts: tuple[str, ...] = ()
    projection: str = "operator"

    def training(self, mode: str) -> TrainRecipe:
        """The training of a supernet that shares in this way."""
        return dataclasses.replace(self.supernet, lr=self.rates[rate_kind(MODES[mode])])

    def with_conv_shortcuts(self) -> SharingRecipe:
        """The same with convolutions on adder blocks' shortcuts, and nothing to search."""
        return dataclasses.replace(self, modes=self.conv_shortcuts, conv_shortcuts=(), projection="conv")

    def ranked(self) -> list[tuple[str, ...]]:
        """The paths that are ranked."""
        return self.space.sample_distinct(self.paths, generator_for("ranked paths"))


@dataclasses.dataclass(frozen=True)
class SupernetRun:
    """One supernet, the paths that it scores, and the search that it serves if there is one.

    `last_gamma`, `projection`: as `HybridSupernet`.
    """

    data: DataRecipe
    space: HybridSpace
    sharing: WeightSharing
    train: TrainRecipe
    paths: tuple[tuple[str, ...], ...]
    search: Search | None = None
    last_gamma: float = 0.0
    projection: str = "operator"


@dataclasses.dataclass(frozen=True)
class PathRun:
    """One path's network by itself; `projection` as `HybridNetwork`."""

    data: DataRecipe
    space: HybridSpace
    path: tuple[str, ...]
    train: TrainRecipe
    projection: str = "operator"


def supernet_specs(recipe: SharingRecipe, modes: Iterable[str], seeds) -> dict[tuple[str, int], RunSpec]:
    """{(mode, seed): one supernet training}."""
    ranked = tuple(recipe.ranked())
    runs = {
        mode: SupernetRun(
            recipe.data,
            recipe.space,
            MODES[mode],
            recipe.training(mode),
            ranked,
            search=recipe.search if mode in PRINTED and recipe.projection == "operator" else None,
            last_gamma=LAST_GAMMAS.get(mode, 0.0),
            projection=recipe.projection,
        )
        for mode in modes
    }
    return {(mode, seed): supernet_spec(run, seed) for mode, run in runs.items() for seed in seeds}


def supernet_spec(run: SupernetRun, seed: int) -> RunSpec:
    """One supernet training with what it serves."""
    return spec_of("shiftaddnas_supernet", run, seed, parallel=True)


def path_specs(recipe: SharingRecipe, seeds) -> dict[tuple[tuple[str, ...], int], RunSpec]:
    """{(path, seed): one training of a ranked path's network}."""
    return {(path, seed): path_spec(recipe, path, recipe.alone, seed) for path in recipe.ranked() for seed in seeds}


def path_spec(recipe: SharingRecipe, path: tuple[str, ...], train: TrainRecipe, seed: int) -> RunSpec:
    """One training of a path's network by itself."""
    adders = any(BLOCKS[block[-1]] == "adder" for block in path)
    run = PathRun(recipe.data, recipe.space, path, train, recipe.projection if adders else "operator")
    return spec_of("shiftaddnas_path", run, seed, parallel=True)


def found_paths(seeds, done, methods=PRINTED) -> list[dict]:
    """What each search found: method, seed, path, held-out loss, costs and limits.

    Args:
        methods: names of what was searched with.
        done: {(method, seed): outcome} of its supernet.
    """
    rows = []
    for mode in methods:
        for seed in seeds:
            best = (done[mode, seed].value or {}).get("found")
            if best is not None:
                costs = {name: best[name] for name in COSTS}
                limits = {f"{name}_limit": value for name, value in best["limits"].items()}
                path = tuple(best["path"])
                rows.append({"method": mode, "seed": seed, "path": path, "loss": best["loss"], **costs, **limits})
    return rows


def found_specs(recipe: SharingRecipe, found: list[dict]) -> dict[tuple[str, int], RunSpec]:
    """{(method, seed): one training of the network that a search found}."""
    return {(row["method"], row["seed"]): path_spec(recipe, row["path"], recipe.found, row["seed"]) for row in found}


_CALIBRATION = {"calibration_batches": 2}
"""Batches of 256 training images that re-estimate batch norm before any network is judged."""


def fit_logged(network: nn.Module, train, recipe: TrainRecipe, seed: int, context: RunContext) -> History:
    """`fit_paths` inside a run: it logs every epoch and goes on from the run's checkpoint."""
    checkpoint = context.checkpoint / "training"
    return fit_paths(network, train, recipe, seed=seed, on_epoch=lambda row: context.log(**row), checkpoint=checkpoint)


def train_supernet(run: SupernetRun, seed: int, context: RunContext) -> dict:
    """Run function: scores of the paths with inherited weights, and the distributions of the weights.

    Its top1_pct is the mean over the paths, on held-out images.

    A search sees the held-out training images only. Test images are looked at for the record: `test_loss` and
    `test_accuracy_pct` choose nothing.
    """
    if run.search is not None:
        check_limits(run.space, run.data, run.search)
    splits = load_splits(run.data)
    train, held_out, test = (prepare(part, device()) for part in (splits.train, splits.held_out, splits.test))
    torch.manual_seed(seed)
    shape = {**form_of(run.data), "last_gamma": run.last_gamma, "projection": run.projection}
    supernet = HybridSupernet(run.space, run.sharing, **shape).to(device())
    begun = shown_weights(supernet)
    history = fit_logged(supernet, train, run.train, seed, context)
    value = {"detail": history.detail, "params": sum(p.numel() for p in supernet.parameters())}
    if history.diverged:
        return {"outcome": "diverged", **value, "top1_pct": None, "scores": {}, "weights": [], "kernels": []}
    started = time.perf_counter()
    options = {"calibration": train, **_CALIBRATION, "batch_size": run.train.eval_batch_size}
    inherited, tested = (evaluate_paths(supernet, run.paths, part, **options) for part in (held_out, test))
    scores = {
        "-".join(mine["path"]): _finite(
            loss=mine["loss"],
            accuracy_pct=mine["accuracy_pct"],
            test_loss=theirs["loss"],
            test_accuracy_pct=theirs["accuracy_pct"],
        )
        for mine, theirs in zip(inherited, tested)
    }
    value |= _finite(top1_pct=float(np.mean([mine["accuracy_pct"] for mine in inherited] or [math.nan])))
    scored = time.perf_counter()
    if run.search is not None:

        def loss(paths):
            return [each["loss"] for each in evaluate_paths(supernet, paths, held_out, **options)]

        value["found"] = search_paths(
            run.space, run.data, run.search, loss, seed=seed, checkpoint=context.checkpoint / "search.json"
        )
    seconds = {"train": sum(row["seconds"] for row in history.rows)}  # of all epochs, also those before a resume
    seconds |= {"score": scored - started, "search": time.perf_counter() - scored}
    return {
        "outcome": "done",
        **value,
        "scores": scores,
        "weights": described_weights(supernet, begun),
        "kernels": kernels_of(supernet),
        "seconds": {name: round(each, 2) for name, each in seconds.items()},
    }


def _finite(**numbers: float) -> dict[str, float | None]:
    return {name: number if math.isfinite(number) else None for name, number in numbers.items()}


def train_path(run: PathRun, seed: int, context: RunContext) -> dict:
    """Run function: test loss and accuracy of a path's network trained by itself, as `jobs.train_and_test` says it."""
    splits = load_splits(run.data)
    train, test = (prepare(part, device()) for part in (splits.train, splits.test))
    torch.manual_seed(seed)
    network = HybridNetwork(run.space, run.path, **form_of(run.data), projection=run.projection).to(device())
    history = fit_logged(network, train, run.train, seed, context)
    if history.diverged:
        return {"outcome": "diverged", "detail": history.detail, "top1_pct": None, "loss": None}
    reestimate_batch_norm(network, train.input_batches(256, limit=256 * _CALIBRATION["calibration_batches"]))
    size = run.train.eval_batch_size
    value = jobs.tested(network, test, classes=run.data.facts["num_classes"], batch_size=size)
    keep_weights(context, network, run, seed, value)
    return value | _finite(loss=evaluate(network, test, batch_size=size)["loss"])


# ------------------------------------------------------------------ weights of a supernet

SHOWN = {"C": "conv", "S": "shift", "+": "adder"}


def middle_cells(space: HybridSpace) -> list[tuple[int, int]]:
    """(layer, level) whose 3x3 filters are shown: of each level the middle one of the layers that may have it."""
    having = {level: [i for i in range(space.layers) if level in space.places(i)] for level in range(len(space.levels))}
    return [(layers[len(layers) // 2], level) for level, layers in having.items()]


def _shown_filters(supernet: HybridSupernet):
    """(layer, level, operator, cell) of every operator shown."""
    for layer, level in middle_cells(supernet.space):
        for letter in supernet.space.levels[level].operators:
            if letter in SHOWN:
                cell, operator = supernet.cell(layer, f"{level}{letter}")
                yield layer, level, operator, cell


@torch.no_grad()
def shown_weights(supernet: HybridSupernet) -> dict[tuple[int, int, str], np.ndarray]:
    """{(layer, level, operator): the flat 3x3 filters that it computes with} of the middle cells."""
    found = {}
    for layer, level, operator, cell in _shown_filters(supernet):
        weight = cell.filters(operator)["conv.conv"]
        if operator == "shift":
            weight = round_to_power_of_two(weight, cell.choices[operator].conv.conv.weight_bits)
        found[layer, level, operator] = weight.cpu().flatten().double().numpy()
    return found


def described_weights(supernet: HybridSupernet, begun: Mapping[tuple[int, int, str], np.ndarray]) -> list[dict]:
    """Fits (`fit_distributions`) and histogram of `shown_weights`, and how each correlates with what it began as.

    Args:
        begun: `shown_weights` before training.
    """
    rows = []
    for (layer, level, operator), flat in shown_weights(supernet).items():
        largest = np.abs(flat).max()
        counts, edges = np.histogram(flat, bins=61, range=(-largest, largest))
        histogram = {"histogram": counts.tolist(), "edges": edges.round(6).tolist()}
        moved = {"correlation_with_start": float(np.corrcoef(begun[layer, level, operator], flat)[0, 1])}
        about = {"layer": layer, "level": level, "op": operator}
        rows.append({**about, **fit_distributions(flat), **moved, **histogram})
    return rows


POINTS = 201
"""Places, evenly spaced among a tensor's sorted weights, at which T is kept."""


@torch.no_grad()
def kernels_of(supernet: HybridSupernet) -> list[dict]:
    """T of the middle cells' 3x3 filters as it acts: the pool's weights and T of them, by falling weight."""
    rows = []
    for layer, level, operator, cell in _shown_filters(supernet):
        key = "conv_conv"
        if operator != "adder" or key not in cell.kernels:
            continue
        pool, mapped = cell.pool[key].flatten(), cell.kernels[key](cell.pool[key]).flatten()
        order = pool.argsort(descending=True, stable=True)
        places = torch.linspace(0, len(order) - 1, min(POINTS, len(order))).round().long().to(order.device)
        kept = order[places]
        curve = {"pool": pool[kept].tolist(), "remapped": mapped[kept].tolist()}
        rows.append({"layer": layer, "level": level, "share": (places / (len(order) - 1)).tolist(), **curve})
    return rows
