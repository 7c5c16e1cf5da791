"""ShiftAddAug figure 5 (Sec. 4.3): accuracy against energy beside ResNets of DeepShift and AdderNet.

The paper names neither the reference networks nor their energies. Ours are ResNets-20 with every layer but those that
the operator's paper keeps as shift or adder layers, trained by themselves. Below `paper` they have a quarter of the
width, chosen by cost alone: against the small MobileNetV2 the energies saved are then near those of the text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pandas as pd

from repro.cost.skeleton import skeleton
from repro.papers import jobs
from repro.papers.shiftaddaug.comparing import network_costs, target_costs, train_all
from repro.papers.shiftaddaug.methods import MAIN
from repro.papers.shiftaddaug.recipes import SCALE, SEEDS, MethodsRecipe, presets
from repro.papers.table import Drawing, Table
from repro.report.figures import legend_below, new_figure, plain_ticks
from repro.report.palette import COLOURS
from repro.report.published import claim, published

TINY = {row: MAIN[row] for row in ("Base", "AugShift", "AugAdd")}
REFERENCES = {"DeepShift": "shift", "AdderNet": "adder"}
MODELS = ("MobileNetV2-w0.35", "MCUNet-in3")
RESNET = "resnet20"

RATES = {f"rate {rate:g}": {"lr": rate} for rate in (0.0125, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8)}
"""Peak rates that `repro tune shiftaddaug_resnets` compares for each reference network, on held-out training images."""
TUNED = {
    "cifar10": {"shift": "rate 0.2", "adder": "rate 0.05"},
    "glyphs": {"shift": "rate 0.2", "adder": "rate 0.05"},  # CIFAR-10's choice
}
"""Data set -> operator -> the rate with which its ResNet does best by itself."""


@dataclasses.dataclass(frozen=True)
class FrontRecipe:
    """The tiny networks' trainings, and the options of the reference networks.

    References train for as many epochs; their norms and biases are decayed with the rest.

    Attributes:
        settings: operator -> the fields of its reference's training that are its own.
    """

    methods: MethodsRecipe
    reference: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    def reference_job(self, op: str) -> jobs.Job:
        """The training of a reference network by itself."""
        train = dataclasses.replace(self.methods.train, **self.settings.get(op, {}))
        options = {"op": op, **self.reference}
        return jobs.Job(RESNET, options, self.methods.data, train, self.methods.calibration_images)


def trained(recipe, seeds, run):
    """One row per network and seed: method, model, dataset, energy_mj (of one image), accuracy_pct, seed, note,
    and test_loss in nats where the run measured it; `attrs["extra"]["examples"]`."""
    done = train_all(recipe.methods, seeds, run, TINY)
    known = {op: recipe.reference_job(op) for op in REFERENCES.values()}
    beside = run(jobs.specs({method: known[op] for method, op in REFERENCES.items()}, seeds))
    rows, answers = [], []
    dataset = recipe.methods.data.dataset

    def tested(method, model, seed, energy_mj, outcome):
        key = {"method": method, "model": model, "dataset": dataset, "note": jobs.note_of(outcome)}
        measured = {"accuracy_pct": jobs.accuracy_of(outcome), "test_loss": jobs.accuracy_of(outcome, "test_loss")}
        rows.append({**key, "energy_mj": energy_mj, "seed": seed, **measured})
        answers.append((key, seed, "accuracy_pct", outcome, "top1_pct"))

    for (model, method, seed), outcome in done.items():
        energy = target_costs(recipe.methods, model, TINY[method].op)["energy_mj"]
        tested(method, model, seed, energy, outcome)
    for (method, seed), outcome in beside.items():
        job = known[REFERENCES[method]]
        energy = network_costs(skeleton(job.model, **job.model_options), job.data)["energy_mj"]
        tested(method, RESNET, seed, energy, outcome)
    frame = pd.DataFrame(rows)
    frame.attrs["extra"] = {"examples": jobs.answers_frame(answers)}
    return frame


def draw(ours):
    """Our networks, the mean over seeds with each training beside it, and the printed tiny networks of table 3."""
    ours = ours.dropna(subset=["accuracy_pct"])
    if ours.empty:
        return []
    figure, panels = new_figure(1, 2, width_in=3.7, height_in=3.2)
    left, right = panels[0]
    for method, mine in ours.groupby("method", sort=False):
        colour, marker = _look(method)
        left.scatter(1000 * mine["energy_mj"], mine["accuracy_pct"], s=9, color=colour, alpha=0.5, linewidths=0)
        mean = mine.groupby("model", sort=False)[["energy_mj", "accuracy_pct"]].mean()
        points = (1000 * mean["energy_mj"], mean["accuracy_pct"])
        left.scatter(*points, s=42, marker=marker, color=colour, label=method)
    title = f"ours ({ours['dataset'].iloc[0]})"
    left.set(xscale="log", xlabel="energy per image (µJ)", ylabel="test accuracy (%)", title=title)
    printed = published("shiftaddaug_t03")
    for method in TINY:
        mine, (colour, marker) = printed[printed["method"] == method], _look(method)
        right.scatter(mine["energy_mj"], mine["accuracy_pct"], s=42, marker=marker, color=colour)
    right.set(
        xscale="log", xlabel="energy per image (mJ)", ylabel="CIFAR-100 accuracy (%)", title="published (table 3)"
    )
    for axes in (left, right):
        plain_ticks(axes.xaxis)
    legend_below(figure, left, columns=5)
    caption = (
        "Accuracy against modelled energy. Left: our trainings (small) and their means; circles are tiny networks, "
        "squares ResNets. Right: the tiny networks as published, five models. Published and not run here: "
        f"{claim('shiftaddaug-c69')['claim']}"
    )
    return [Drawing(figure, caption)]


def _look(method):
    op = REFERENCES.get(method) or TINY[method].op
    return COLOURS[op], "s" if method in REFERENCES else "o"


def _recipe(preset: str, dataset: str, methods: MethodsRecipe) -> FrontRecipe:
    if preset == "paper":
        return FrontRecipe(methods, settings=methods.settings)
    tuned = {op: RATES[choice] for op, choice in TUNED[dataset].items()}
    return FrontRecipe(methods, {"width": 0.25}, tuned)


TABLE = Table(
    title="Accuracy against energy beside ResNets of shift and of adder layers",
    trained=trained,
    draw=draw,
    recipes={key: _recipe(*key, methods) for key, methods in presets(MODELS, paper=("cifar100", "cifar10")).items()},
    seeds=SEEDS,
    scale=SCALE
    | {
        preset: f"{SCALE[preset]} ResNets-20 of a quarter of the width, at rates chosen on held-out images of CIFAR-10."
        for preset in ("quick", "study")
    },
    keeps=("examples",),
)
