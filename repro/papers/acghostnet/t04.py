"""ACGhostNet table 4 (Sec. 4.2): GhostNet, Adder-GhostNet and the four searched models A to D on CIFAR-10.

Every model is trained by itself for 600 epochs, batch 256, rate 0.025 with a cosine schedule. All six have the same
epochs, batches and rate; `recipes.MODELS` says where the adaptive rate is on. Each seed is a search of its own, which
finds models A to D, and the training of all six.
"""

from __future__ import annotations

import pandas as pd

from repro.cost import ACCOUNTINGS, model_cost, skeleton
from repro.errors import check_choice
from repro.models.acghostnet import MODULE_TYPES
from repro.papers import jobs
from repro.papers.acghostnet import counts, found
from repro.papers.acghostnet.networks import at_papers_size, model_job, network_counts
from repro.papers.acghostnet.recipes import MODELS, SCALE, SEARCH_SEEDS
from repro.papers.analytic import analytic_frame
from repro.papers.table import Drawing, Table, is_computed
from repro.report.charts import layer_breakdown

BASELINES = {"GhostNet-1.0x": "ghostnet", "Adder-GhostNet-1.0x": "adder_ghostnet"}
PROPOSED = tuple(f"ACGhostNet-{name}" for name in "ABCD")


def trained(recipe, seeds, run):
    """The searches and the baselines, then what they found; counts and energy are of the networks as trained.

    `attrs["extra"]`: examples, the frames of `found.frames`, and paper_size, the same rows counted at the printed size.
    """
    rows = {(name, seed): model_job(recipe, model) for name, model in BASELINES.items() for seed in seeds}
    searches = run({seed: found.spec(recipe.search, seed) for seed in seeds})
    rows |= {
        (f"ACGhostNet-{name}", seed): model_job(recipe, "acghostnet", network.path)
        for seed, search in searches.items()
        for name, network in found.models(search).items()
    }
    done = run({(name, seed): jobs.spec(job, seed) for (name, seed), job in rows.items()})
    frame = pd.DataFrame(
        {
            **_key(name, recipe.data.dataset),
            **network_counts(job),
            "accuracy_pct": jobs.accuracy_of(done[name, seed]),
            "seed": seed,
            "note": "; ".join(filter(None, ["-".join(job.options.get("choices", [])), jobs.note_of(done[name, seed])])),
        }
        for (name, seed), job in rows.items()
    )
    answers = (
        (_key(name, recipe.data.dataset), seed, "accuracy_pct", outcome, "top1_pct")
        for (name, seed), outcome in done.items()
    )
    printed = pd.DataFrame(
        {**_key(name, "cifar10"), **network_counts(at_papers_size(job, 1.0, 32)), "seed": seed}
        for (name, seed), job in rows.items()
    )
    frame.attrs["extra"] = {
        "examples": jobs.answers_frame(answers),
        "paper_size": printed,
        **found.frames(searches),
    }
    return frame


def _key(name, dataset):
    return {"model": name, "ours": int(name in PROPOSED), "dataset": dataset}


def computed(accounting: str = "published"):
    """GhostNet and its adder version in the CIFAR form (stem and first 24-channel block at stride 1).

    Args:
        accounting: "published" and "corrected" are the paper's operation energies; "unbiased" adds data movement.
    """
    check_choice("accounting", accounting, ACCOUNTINGS)
    options = {"num_classes": 10, "form": "cifar", "accounting": accounting}
    adder = "stem, the 1x1 160-960, the 1x1 960-1280 and the classifier multiply, all else adds"
    return analytic_frame(
        "acghostnet_t04",
        {
            "GhostNet-1.0x": counts.network_row("ghostnet", 32, "energy_uj", **options),
            "Adder-GhostNet-1.0x": counts.network_row("adder_ghostnet", 32, "energy_uj", adder, **options),
        },
        convention=counts.convention(accounting),
        unknown=counts.FIGURE_5,
        extra={"bounds": counts.energy_bounds().copy(), "from_printed": counts.from_printed_counts("acghostnet_t04")},
    )


def draw(ours):
    """Energy by layer of the two networks whose architecture is published; the trained rows have no picture here."""
    if not is_computed(ours):
        return []
    layers = {f"{name}, CIFAR-10": cost.layers for name, cost in unbiased_costs().items()}
    caption = (
        "Energy of every layer by level of the memory hierarchy; equal word widths, every operator pays its traffic."
    )
    return [Drawing(layer_breakdown(layers), caption, "layers")]


def unbiased_costs():
    """Row -> cost with data movement, every operator paying its own."""
    return {
        name: model_cost(skeleton(model, num_classes=10, form="cifar"), 32, "unbiased")
        for name, model in BASELINES.items()
    }


def timed_networks(preset: str, dataset: str):
    """The two baselines and a network that takes each of the eight module types in turn, as this preset trains them."""
    recipe = MODELS[preset, dataset]
    rows = {name: model_job(recipe, model) for name, model in BASELINES.items()}
    return rows | {"all eight types": model_job(recipe, "acghostnet", MODULE_TYPES * 2)}


TABLE = Table(
    title="Accuracy and energy of GhostNet, Adder-GhostNet and the searched models A to D",
    trained=trained,
    computed=computed,
    draw=draw,
    recipes=MODELS,
    seeds=SEARCH_SEEDS,
    scale=SCALE,
    keeps=("examples", "paper_size"),
    unit="search",
    layout="wide",
    shown=("params_m", "fadd_m", "fmul_m", "energy_uj", "accuracy_pct"),
    models=("ghostnet", "adder_ghostnet", "acghostnet"),
)
