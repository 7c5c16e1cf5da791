"""ShiftAddAug figure 4 (Sec. 3.4): the two-stage search and its augmentation, drawn from searches of our own.

The supplement (sec. 2) says of this search that networks whose first three convolutions add, not multiply, are more
accurate. It has no table of it; here what each search found is trained with both.
"""

from __future__ import annotations

import pandas as pd

from repro.papers import jobs
from repro.papers.shiftaddaug import found, searched
from repro.papers.shiftaddaug.comparing import measured_scales
from repro.papers.shiftaddaug.searches import FOUND, FOUND_SCALE, SEARCH_SEEDS
from repro.papers.table import Drawing, Table
from repro.report.figures import legend_below, new_figure
from repro.report.palette import COLOURS, lighter

STAGES = ("SubNet", "TargetNet")
FIRST = ("conv", "adder")
SCORES = ["first_convolutions", "seed", "accuracy_pct", "energy_mj"]
COLUMNS = ["stage", "round", "genome", "accuracy_pct", "energy_mj", "origin", "place", "seed"]


def trained(recipe, seeds, run):
    """Every genome of every round of both stages.

    `attrs["extra"]`: the frames of `found.frames`; scores, accuracy_pct (test) and energy_mj of each TargetNet trained
    in its SubNet with `first_convolutions` of either operator, all other layers as found; examples of these trainings.
    """
    searches = run({seed: found.spec(recipe.free, seed) for seed in seeds})
    frames = found.frames(searches)
    candidates = frames["candidates"].reindex(columns=COLUMNS)
    candidates.attrs["extra"] = frames | _first_convolutions(recipe, searches, run)
    return candidates


def _first_convolutions(recipe, searches, run):
    """The frames `scores` and `examples`; b of adder layers is measured on the TargetNet by itself, as in table 6."""
    pairs = {seed: found.networks(outcome) for seed, outcome in searches.items()}
    networks = {
        (op, seed): (pair[0], searched.with_first_convolutions(pair[1], op))
        for seed, pair in pairs.items()
        if pair is not None
        for op in FIRST
    }

    def spec(key, **options):
        return found.found_spec(searched.job(recipe.free, recipe.train, *networks[key], **options), key[1])

    alone = run({key: spec(key, augmented=False) for key in networks})
    done = run({key: spec(key, adder_scale=measured_scales(alone[key])) for key in networks})
    rows = [
        {
            "first_convolutions": op,
            "seed": seed,
            "accuracy_pct": jobs.accuracy_of(outcome),
            "energy_mj": searched.costs(recipe.free, networks[op, seed][1])["energy_mj"],
        }
        for (op, seed), outcome in done.items()
    ]
    answers = (
        ({"first_convolutions": op}, seed, "accuracy_pct", outcome, "top1_pct") for (op, seed), outcome in done.items()
    )
    return {"scores": pd.DataFrame(rows, columns=SCORES), "examples": jobs.answers_frame(answers)}


def draw(ours):
    """Candidates of the first search by round, and (where they are kept) the two networks that it found."""
    seed = ours["seed"].min()
    caption = (
        "Both stages of our first search: held-out accuracy against energy, later rounds darker; the ring is the "
        "network that was chosen."
    )
    drawings = [Drawing(rounds(ours[ours["seed"] == seed]), caption, "search")]
    blocks = ours.attrs.get("extra", {}).get("blocks", pd.DataFrame())
    if len(blocks):
        caption = (
            "The TargetNet inside its SubNet, block by block: what is pale or hatched takes part in the training only. "
            "Depthwise layers of adder blocks and extra blocks multiply."
        )
        drawings.append(Drawing(networks(blocks[blocks["seed"] == seed]), caption))
    return drawings


def rounds(candidates):
    """Accuracy against energy, a panel for each stage."""
    figure, panels = new_figure(1, 2, width_in=3.6, height_in=3.0)
    for axes, stage in zip(panels[0], STAGES):
        mine = candidates[candidates["stage"] == stage]
        last = mine["round"].max()
        for number, population in mine[mine["origin"] != "parent"].groupby("round"):
            colour = lighter(COLOURS["ours"], 0.8 * (1 - number / max(1, last)))
            points = (1000 * population["energy_mj"], population["accuracy_pct"])
            axes.scatter(*points, s=14, color=colour, linewidths=0, label=f"round {number}")
        best = mine[(mine["round"] == last) & (mine["place"] == 0)]
        ring = {"s": 70, "facecolors": "none", "edgecolors": COLOURS["chosen"], "linewidths": 1.3}
        axes.scatter(1000 * best["energy_mj"], best["accuracy_pct"], label="chosen", **ring)
        axes.set(xlabel="energy per image (µJ)", ylabel="held-out accuracy (%)", title=stage)
    longest = max(panels[0], key=lambda axes: len(axes.get_legend_handles_labels()[1]))
    legend_below(figure, longest, columns=6)
    return figure


def networks(blocks):
    """A bar for the expanded and the output channels of every block: the SubNet's, and in it the TargetNet's."""
    from matplotlib.patches import Patch

    wide, narrow = (blocks[blocks["network"] == name].sort_values("block") for name in STAGES)
    figure, panels = new_figure(width_in=7.2, height_in=3.0)
    axes = panels[0, 0]
    pale = lighter(COLOURS["conv"], 0.75)
    for outer, inner in zip(wide.itertuples(), narrow.itertuples(), strict=True):
        hatch = None if inner.kept else "////"
        colour = COLOURS[inner.op] if inner.kept else lighter(COLOURS["conv"], 0.4)
        for shift, width in (("mid", 0.4), ("out", 0.4)):
            x = outer.block + (-0.22 if shift == "mid" else 0.22)
            axes.bar(x, getattr(outer, shift), width, color=pale, edgecolor="white", hatch=hatch)
            axes.bar(x, getattr(inner, shift), width, color=colour, edgecolor="white", hatch=hatch)
    labels = [f"{row.stage}.{row.block}\n{row.kernel}x{row.kernel}, s{row.stride}" for row in wide.itertuples()]
    axes.set_xticks(wide["block"], labels)
    axes.tick_params(axis="x", length=0)
    axes.grid(False, axis="x")
    axes.set(xlabel="stage.block, kernel and stride; left bar expanded, right bar output channels", ylabel="channels")
    names = {"conv": "convolution", "shift": "shift", "adder": "adder"}
    used = dict.fromkeys(narrow[narrow["kept"]]["op"])
    handles = [Patch(facecolor=COLOURS[op], label=f"TargetNet: {names[op]}") for op in used]
    handles.append(Patch(facecolor=pale, label="width and expansion augmentation"))
    if not narrow["kept"].all():
        extra = {"facecolor": lighter(COLOURS["conv"], 0.4), "edgecolor": "white", "hatch": "////"}
        handles.append(Patch(**extra, label="depth augmentation"))
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=8)
    return figure


TABLE = Table(
    title="The two-stage search and what it found",
    trained=trained,
    draw=draw,
    recipes=FOUND,
    seeds=SEARCH_SEEDS,
    scale=FOUND_SCALE,
    keeps=("blocks", "scores", "examples"),
    unit="search",
)
