"""ShiftAddNAS figure 6 (Sec. 4.3): accuracy against modelled energy, by family of methods.

The paper draws it and tabulates no energy. Ours: networks of table 11 that are known, trained small, and the networks
that our two searches of table 6 found, all on the images and for the epochs of the latter. Widths and image sizes are
those of our networks, so energies are too.
"""

from __future__ import annotations

import dataclasses

import pandas as pd

from repro.papers import jobs
from repro.papers.shiftaddnas import networks, recipes, sharing
from repro.papers.table import Drawing, Table
from repro.report.charts import energy_accuracy
from repro.report.published import published


@dataclasses.dataclass(frozen=True)
class FrontRecipe:
    """The networks of table 11, trained on the data and for the epochs of what the searches of table 6 find."""

    networks: networks.NetworksRecipe
    sharing: sharing.SharingRecipe

    def __post_init__(self):
        own = self.networks
        trainings = {
            name: dataclasses.replace(getattr(own, name), epochs=self.sharing.found.epochs)
            for name in ("train", "searched")
        }
        object.__setattr__(self, "networks", dataclasses.replace(own, data=self.sharing.data, **trainings))


def trained(recipe, seeds, run):
    """One row per network and seed: family, model, energy_mj and latency_ms per image, top1_pct.

    `attrs["extra"]`: examples.
    """
    searched = sharing.supernet_specs(recipe.sharing, sharing.PRINTED, seeds)
    done = run(searched | networks.trainings(recipe.networks, seeds))
    families = published("shiftaddnas_t11").set_index("model")["model_type"]
    priced = {row: networks.energy(recipe.networks.job(row)) for row in recipe.networks.rows}
    rows = [
        {
            "family": families[row],
            "model": row,
            "seed": seed,
            **priced[row],
            "top1_pct": jobs.accuracy_of(done[row, seed]),
        }
        for row in recipe.networks.rows
        for seed in seeds
    ]
    answers = [
        ({"family": families[row], "model": row}, seed, "top1_pct", done[row, seed], "top1_pct")
        for row in recipe.networks.rows
        for seed in seeds
    ]
    found = sharing.found_paths(seeds, done)
    retrained = run(sharing.found_specs(recipe.sharing, found))
    for row in found:
        outcome = retrained[row["method"], row["seed"]]
        cost = {"energy_mj": row["energy_uj"] / 1e3, "latency_ms": row["latency_us"] / 1e3}
        name = f"found {row['method']}"
        key = {"family": FOUND, "model": name}
        rows.append({**key, "seed": row["seed"], **cost, "top1_pct": jobs.accuracy_of(outcome)})
        answers.append((key, row["seed"], "top1_pct", outcome, "top1_pct"))
    frame = pd.DataFrame(rows)
    frame.attrs["extra"] = {"examples": jobs.answers_frame(answers)}
    return frame


FOUND = "searched here"


def draw(ours):
    """Mean accuracy over seeds against energy; a search's networks are points of their own."""
    key = ["family", "model", "energy_mj"]
    points = ours.groupby(key, sort=False, as_index=False)["top1_pct"].mean()
    figure = energy_accuracy(
        points.rename(columns={"family": "series", "model": "name"}),
        x="energy_mj",
        y="top1_pct",
        x_label="modelled energy per image (mJ)",
        y_label="top-1 accuracy (%)",
        log_x=True,
    )
    caption = (
        "Accuracy of small networks against their modelled energy, with the front of all points. All see the same "
        "images for as many epochs; residual networks by SGD, searched ones by AdamW."
    )
    return [Drawing(figure, caption)]


_NETWORKS = networks.recipes_of("shiftaddnas_t11")
RECIPES = {
    key: FrontRecipe(_NETWORKS["paper", "imagenet"] if key[0] == "paper" else _NETWORKS[key], recipe)
    for key, recipe in recipes.RECIPES.items()
}
_SAME = "Here the networks of table 11 see the images of the searched ones, for as many epochs."

TABLE = Table(
    "Accuracy against energy: searched networks and baselines",
    trained=trained,
    draw=draw,
    recipes=RECIPES,
    seeds=recipes.SEARCH_SEEDS,
    scale={
        **{
            preset: f"{networks.SCALE[preset]} {_SAME} {recipes.SCALE[preset]}"
            for preset in ("smoke", "quick", "study")
        },
        "paper": f"CIFAR-100 for all networks, where the paper has ImageNet. {_SAME} {recipes.SCALE['paper']}",
    },
    keeps=("examples",),
    unit="search",
)
