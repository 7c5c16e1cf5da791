"""ShiftAddAug table 6 (Sec. 4.5): searched networks. None of the seven architectures is published.

Our rows are networks of our own searches: one whose blocks shift or add ("Mult-free"), one whose blocks may multiply
too. Networks of other papers stay as printed, so the column that compares with them has no value of ours.
"""

from __future__ import annotations

import pandas as pd

from repro.papers import jobs
from repro.papers.analytic import analytic_frame, from_printed
from repro.papers.shiftaddaug import found, searched
from repro.papers.shiftaddaug.comparing import measured_scales
from repro.papers.shiftaddaug.searches import FOUND, FOUND_SCALE, SEARCH_SEEDS
from repro.papers.table import Drawing, Table
from repro.report.figures import legend_below, new_figure
from repro.report.palette import COLOURS

ALONE, INSIDE = "by itself", "in its SubNet"
WITHOUT_ROW = {("cifar10", 1)}
"""(data set, mult_free) for which the paper has no row: only the extra frame has our network."""


def trained(recipe, seeds, run):
    """Two searches per seed, then the TargetNet of each trained by itself and inside its SubNet (the row), there with b
    of its adder layers as measured on the former.

    Adder blocks keep depthwise layers and the classifier multiplying, as in table 3, also where `mult_free` is 1.
    `attrs["extra"]["trainings"]`: both accuracies and test losses of every network, with its energy and latency. A
    search that found nothing leaves its row empty.
    """
    searches = {1: recipe.free, 0: recipe.hybrid}
    ran = run({(free, seed): found.spec(searches[free], seed) for free in searches for seed in seeds})
    networks = {key: found.networks(outcome) for key, outcome in ran.items()}
    networks = {key: pair for key, pair in networks.items() if pair is not None}

    def spec(key, **options):
        return found.found_spec(searched.job(searches[key[0]], recipe.train, *networks[key], **options), key[1])

    alone = run({(*key, ALONE): spec(key, augmented=False) for key in networks})
    scales = {key: measured_scales(alone[*key, ALONE]) for key in networks}
    done = alone | run({(*key, INSIDE): spec(key, adder_scale=scales[key]) for key in networks})
    rows, trainings = [], []
    for (free, seed), search in ran.items():
        mine = {**_key(recipe, free), "res_px": searches[free].data.facts["side"]}
        if (free, seed) not in networks:
            rows.append({**mine, "seed": seed, "note": searched.note(search)})
            continue
        costs = searched.costs(searches[free], networks[free, seed][1])
        outcomes = {how: done[free, seed, how] for how in (INSIDE, ALONE)}
        counts = {name: costs[name] for name in ("mult_m", "shift_m", "add_m")}
        accuracies = {how: jobs.accuracy_of(outcome) for how, outcome in outcomes.items()}
        row = {**mine, **counts, "accuracy_pct": accuracies[INSIDE], "seed": seed}
        rows.append({**row, "note": searched.note(search, outcomes[INSIDE])})
        for how, outcome in outcomes.items():
            tested = {"accuracy_pct": accuracies[how], "test_loss": (outcome.value or {}).get("test_loss")}
            priced = {name: costs[name] for name in ("energy_mj", "latency_ms")}
            trainings.append({"mult_free": free, "trained": how, **tested, **priced, "seed": seed})
    answers = (
        (_key(recipe, free), seed, "accuracy_pct", outcome, "top1_pct")
        for (free, seed, how), outcome in done.items()
        if how == INSIDE and (recipe.free.data.dataset, free) not in WITHOUT_ROW
    )
    frame = pd.DataFrame(row for row in rows if (row["dataset"], row["mult_free"]) not in WITHOUT_ROW)
    frame.attrs["extra"] = {"trainings": pd.DataFrame(trainings), "examples": jobs.answers_frame(answers)}
    return frame


def _key(recipe, free):
    return {"dataset": recipe.free.data.dataset, "method": "ShiftAddAug", "mult_free": free}


def draw(ours):
    """Accuracy against energy of every network that was found, trained inside its SubNet and by itself."""
    trainings = ours.attrs.get("extra", {}).get("trainings", pd.DataFrame())
    if trainings.empty:
        return []
    figure, panels = new_figure(width_in=4.6, height_in=3.2)
    axes = panels[0, 0]
    names = {1: ("multiplication-free", COLOURS["shift"]), 0: ("hybrid", COLOURS["hybrid"])}
    for (free, how), mine in trainings.groupby(["mult_free", "trained"], sort=False):
        name, colour = names[free]
        face = colour if how == INSIDE else "none"
        points = (1000 * mine["energy_mj"], mine["accuracy_pct"])
        axes.scatter(*points, s=26, facecolors=face, edgecolors=colour, label=f"{name}, {how}")
    axes.set(xlabel="energy per image (µJ)", ylabel="test accuracy (%)")
    legend_below(figure, axes, columns=2)
    return [Drawing(figure, "Networks of our searches: what training inside the SubNet adds, and what it costs.")]


def _ratio(frame):
    """Operations of each row over those of ShiftAddAug's row of the same data set and kind."""
    operations = frame[["mult_m", "shift_m", "add_m"]].sum(axis=1)
    base = operations.where(frame["method"] == "ShiftAddAug").groupby([frame["dataset"], frame["mult_free"]])
    return operations / base.transform("max")


def computed():
    """Empty rows; `attrs["extra"]["from_printed"]` says whether the printed ratios follow from the printed counts."""
    formula = "(multiplications + shifts + additions) over those of ShiftAddAug, printed counts"
    columns = ["mult_m", "shift_m", "add_m"]
    return analytic_frame(
        "shiftaddaug_t06",
        {},
        convention="ratio of the summed operator counts to those of the ShiftAddAug row of the same data set and kind",
        unknown="searched architecture not published; the ratio of its printed counts is in the frame `from_printed`",
        extra={"from_printed": from_printed("shiftaddaug_t06", "macs_compare_x", formula, _ratio, columns)},
    )


TABLE = Table(
    "Searched networks beside other searches",
    trained=trained,
    computed=computed,
    draw=draw,
    recipes=FOUND,
    seeds=SEARCH_SEEDS,
    scale=FOUND_SCALE,
    fills="method == 'ShiftAddAug'",
    stands_for={},
    keeps=("trainings", "examples"),
    unit="search",
    layout="wide",
    shown=("mult_m", "shift_m", "add_m", "macs_compare_x", "accuracy_pct"),
)
