"""ACGhostNet figure 5 (Sec. 4.5): the searched models, block by block. Each seed is a search of its own."""

from __future__ import annotations

import pandas as pd

from repro.models.acghostnet import module_type
from repro.papers.acghostnet import found
from repro.papers.acghostnet.recipes import SCALE, SEARCH_SEEDS, SEARCHES, STAGE_LENGTHS
from repro.papers.table import Drawing, Table
from repro.report.figures import new_figure
from repro.report.palette import COLOURS

PLACES = tuple((stage, block) for stage, length in enumerate(STAGE_LENGTHS) for block in range(length))
"""(stage, block within it) of the sixteen blocks, both from 0 as in the paper: stages 1, 2, 3 and 5 have stride 2."""


def trained(recipe, seeds, run):
    """Models A to D of every search; `attrs["extra"]` has the frames of `found.frames`."""
    searches = run({seed: found.spec(recipe, seed) for seed in seeds})
    parts = [
        drawn_models({f"ACGhostNet-{name}": c.path for name, c in found.models(outcome).items()}).assign(seed=seed)
        for seed, outcome in searches.items()
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame.attrs["extra"] = found.frames(searches)
    return frame


def drawn_models(path_by_model) -> pd.DataFrame:
    """model, stage, block (see `PLACES`), first_op, second_op, groups, module_type: one row per model and block."""
    rows = []
    for model, path in path_by_model.items():
        for (stage, block), name in zip(PLACES, path, strict=True):
            kind = module_type(name)
            operators = {"first_op": kind.primary, "second_op": kind.cheap, "groups": {1: "N", 2: "N/2"}[kind.divide]}
            rows.append({"model": model, "stage": str(stage), "block": block, **operators, "module_type": name})
    columns = ["model", "stage", "block", "first_op", "second_op", "groups", "module_type"]
    return pd.DataFrame(rows, columns=columns)


def draw(ours):
    """The models of the first search, and (where its candidates are kept) the fronts that led to them."""
    first = ours[ours["seed"] == ours["seed"].min()]
    caption = "Searched models A to D of our first search, block by block; stages and blocks count from 0."
    drawings = [Drawing(searched_networks(first), caption)]
    kept = ours.attrs.get("extra", {})
    if "candidates" in kept:
        seed = kept["candidates"]["seed"].min()
        candidates, models = (kept[name][kept[name]["seed"] == seed] for name in ("candidates", "models"))
        caption = "Candidates of all generations, the survivors' front after some of them, and the four models picked."
        drawings.append(Drawing(generation_fronts(candidates, models), caption, "search"))
    return drawings


def searched_networks(frame):
    """One row per model, one cell per block; upper half the first operation, lower half the second.

    Hatched cells have groups N/2. Below each block: its stage and its place in it, and its index in the network.
    """
    from matplotlib.patches import Patch, Rectangle

    models = list(dict.fromkeys(frame["model"]))
    figure, panels = new_figure(width_in=7.2, height_in=0.6 * len(models) + 1.0)
    axis = panels[0, 0]
    for row, model in enumerate(models):
        for column, cell in enumerate(frame[frame["model"] == model].itertuples()):
            for top, operator in ((0.42, cell.first_op), (0.04, cell.second_op)):
                axis.add_patch(
                    Rectangle(
                        (column + 0.06, len(models) - 1 - row + top),
                        0.88,
                        0.38,
                        facecolor=COLOURS[operator],
                        edgecolor="white",
                        hatch="////" if cell.groups == "N/2" else None,
                        linewidth=0.5,
                    )
                )
    axis.set(xlim=(0, len(PLACES)), ylim=(0, len(models)), xlabel="stage.block, index of the block", ylabel="model")
    labels = [f"{stage}.{block}\n{index}" for index, (stage, block) in enumerate(PLACES)]
    axis.set_xticks([index + 0.5 for index in range(len(PLACES))], labels)
    letters = [model.removeprefix("ACGhostNet-") for model in models]
    axis.set_yticks([len(models) - 0.5 - i for i in range(len(models))], letters)
    axis.tick_params(length=0)
    axis.grid(False)
    handles = [Patch(facecolor=COLOURS["conv"], label="convolution"), Patch(facecolor=COLOURS["adder"], label="adder")]
    handles.append(Patch(facecolor=COLOURS["faint"], hatch="////", edgecolor="white", label="groups N/2"))
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=8)
    return figure


def generation_fronts(candidates, models, *, shown: int = 4):
    """Candidates of a search and the survivors' front after `shown` of its generations, the last one included."""
    numbers = sorted(candidates["generation"].unique())
    step = max(1, -(-(len(numbers) - 1) // max(1, shown - 1)))
    picked = sorted({*numbers[::step], numbers[-1]})
    figure, panels = new_figure(width_in=5.4, height_in=3.4)
    axis = panels[0, 0]
    axis.scatter(
        candidates["energy_uj"], candidates["accuracy_pct"], s=7, color=COLOURS["faint"], alpha=0.4, linewidths=0
    )
    for place, number in enumerate(picked):
        front = candidates[(candidates["generation"] == number) & candidates["on_front"]].sort_values("energy_uj")
        axis.plot(
            front["energy_uj"],
            front["accuracy_pct"],
            marker="o",
            markersize=4,
            linewidth=1.2,
            color=COLOURS["ours"],
            alpha=0.25 + 0.75 * (place + 1) / len(picked),
            label=f"generation {number}",
        )
    for row in models.itertuples():
        where = (row.energy_uj, row.inherited_accuracy_pct)
        axis.annotate(row.model[-1], where, textcoords="offset points", xytext=(3, 5), fontweight="bold")
    axis.set(xlabel="energy per image (µJ)", ylabel="accuracy with inherited weights (%)")
    axis.legend(fontsize=8)
    return figure


TABLE = Table(
    title="The searched models A to D, block by block",
    trained=trained,
    draw=draw,
    recipes=SEARCHES,
    seeds=SEARCH_SEEDS,
    scale=SCALE,
    keeps=("candidates", "models"),
    unit="search",
)
