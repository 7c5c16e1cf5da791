"""ACGhostNet table 5: the searched models and GhostNets on ImageNet, with the scaled models A-S to D-S2.

Networks of other papers (MobileNetV3, SkipblockNet, MUXNet) are not trained here. At `quick` the same models are
trained on the chosen data set instead of ImageNet: widths keep their ratio to the base width, input sizes theirs to 224
(rounded to whole pixels). The recipe for all models is the one of Sec. 4.1, Training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pandas as pd

from repro.papers.acghostnet.found import RECIPES as SEARCHES
from repro.papers.acghostnet.found import SCALE, GhostShape, search_spec
from repro.papers.acghostnet.models import frames
from repro.papers.acghostnet.networks import IMAGENET, NetworkRun, input_facts, network_counts, trained
from repro.papers.acghostnet.scale import MODEL_NAMES, TABLE_5_SCALINGS
from repro.papers.acghostnet.t04 import RECIPES as TABLE_4
from repro.papers.acghostnet.t04 import ModelsRecipe, found_paths, specs_of, train_recipe
from repro.papers.data import DataRecipe
from repro.papers.registry import Experiment
from repro.runs import Outcome, RunSpec
from repro.train import ACGHOST_IMAGENET

PAPER_SIDE = 224
BASELINES = {
    "GhostNet-0.5x": ("CNNs", "ghostnet", 0.5),
    "GhostNet-1.0x": ("CNNs", "ghostnet", 1.0),
    "GhostNet-1.3x": ("CNNs", "ghostnet", 1.3),
    "Adder-GhostNet-1.0x": ("AdderNets", "adder_ghostnet", 1.0),
    "Adder-GhostNet-1.55x": ("AdderNets", "adder_ghostnet", 1.55),
}
HYBRID = "Hybrid Add-Convolution Networks"


def _scaled(recipe: ModelsRecipe, network: str, path: str, width: float, side: int) -> NetworkRun:
    """A network at `width` times the base width and `side`/224 times the base input size."""
    data = recipe.data
    if side != PAPER_SIDE:
        base = data.size or input_facts(data)[0]
        data = dataclasses.replace(data, size=round(base * side / PAPER_SIDE))
    shape = dataclasses.replace(recipe.shape, width=round(width * recipe.shape.width, 6))
    return NetworkRun(network, path, data, shape, train_recipe(recipe, network), recipe.calibration_images)


def baseline_runs(recipe: ModelsRecipe) -> dict[str, NetworkRun]:
    """GhostNets and their adder versions by row."""
    return {name: _scaled(recipe, net, "", width, PAPER_SIDE) for name, (_, net, width) in BASELINES.items()}


def searched_runs(recipe: ModelsRecipe, outcomes: Sequence[Outcome]) -> dict[str, NetworkRun]:
    """Models A to D and the scaled ones by row; those whose base the search did not find are absent."""
    paths = found_paths(outcomes)
    sizes = {name: (name, 1.0, PAPER_SIDE) for name in MODEL_NAMES}
    sizes |= {name: (scaling.base, scaling.width, scaling.resolution) for name, scaling in TABLE_5_SCALINGS.items()}
    return {
        f"ACGhostNet-{name}": _scaled(recipe, "acghostnet", paths[f"ACGhostNet-{base}"], width, side)
        for name, (base, width, side) in sizes.items()
        if f"ACGhostNet-{base}" in paths
    }


def plan(recipe: ModelsRecipe, seeds: Sequence[int]) -> list[RunSpec]:
    """The search and the baselines."""
    return [search_spec(recipe.search, recipe.search_seed), *specs_of(baseline_runs(recipe), seeds, recipe.estimate_s)]


def follow(recipe: ModelsRecipe, seeds: Sequence[int], outcomes: Sequence[Outcome]) -> list[RunSpec]:
    """The searched networks, as they are and scaled."""
    return specs_of(searched_runs(recipe, outcomes), seeds, recipe.estimate_s)


def tabulate(recipe: ModelsRecipe, outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """One row per model and seed, counts and energy of the network as it was trained here."""
    results = trained(outcomes)
    rows = []
    for model, run in {**baseline_runs(recipe), **searched_runs(recipe, outcomes)}.items():
        counts = network_counts(run)
        about = {
            "group": BASELINES[model][0] if model in BASELINES else HYBRID,
            "model": model,
            "ours": int(model not in BASELINES),
            "dataset": recipe.data.dataset,
            **{name: counts[name] for name in ("params_m", "fadd_m", "fmul_m")},
            "resolution_px": input_facts(run.data)[0],
            "energy_mj": counts["energy_uj"] / 1000,
        }
        for mine in results[results["run"] == run].itertuples():
            note = "; ".join(filter(None, [f"width {run.shape.width:g}", mine.note]))
            accuracies = {"top1_pct": mine.top1_pct, "top5_pct": mine.top5_pct}
            rows.append({**about, **accuracies, "seed": mine.seed, "note": note})
    frame = pd.DataFrame(rows)
    frame.attrs["extra"] = frames(recipe.search, outcomes)
    return frame


# Below `paper` these are the recipes of table 4, so that the networks that both tables have are trained once.
RECIPES = {key: recipe for key, recipe in TABLE_4.items() if key[0] != "paper"}
RECIPES["paper", IMAGENET] = ModelsRecipe(
    SEARCHES["paper", "cifar10"],
    DataRecipe(IMAGENET, size=PAPER_SIDE),
    GhostShape(),
    dataclasses.replace(ACGHOST_IMAGENET, flip=False),  # the folder's reader mirrors its crops itself
    estimate_s=800 * 3600.0,
)

EXPERIMENT = Experiment(
    table_id="acghostnet_t05",
    title="Accuracy and energy of GhostNets, searched models and their scaled versions",
    recipes=RECIPES,
    seeds={"smoke": (0,), "quick": (0,), "paper": (0,)},
    plan=plan,
    follow=follow,
    tabulate=tabulate,
    scale={
        "smoke": SCALE["smoke"],
        "quick": f"Not ImageNet: the same models on the named data set, sizes in proportion. {SCALE['quick']}",
        "paper": SCALE["paper"],
    },
)
