"""What the tables of ShiftAddAug have in common: methods in rows, one training each, accuracies in one column.

Runs are shared: a method on a model is one training, whichever tables show it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import pandas as pd
from torch import nn

from repro.cost import count, layers_cost
from repro.cost.skeleton import skeleton
from repro.models.trace import trace
from repro.papers import jobs
from repro.papers.data import DataRecipe
from repro.papers.shiftaddaug.counts import MODELS
from repro.papers.shiftaddaug.methods import ADD, Method
from repro.papers.shiftaddaug.networks import SMALL
from repro.papers.shiftaddaug.recipes import SCALE, SEEDS, MethodsRecipe, presets
from repro.papers.shiftaddaug.training import spec
from repro.papers.table import Table
from repro.report.figures import new_figure
from repro.report.palette import COLOURS
from repro.runs import Outcome, RunSpec

Outcomes = dict[tuple[str, str, int], Outcome]
"""(model, row, seed) -> its training."""


def train_all(
    recipe: MethodsRecipe,
    seeds: Sequence[int],
    run,
    methods: Mapping[str, Method],
    spec: Callable[..., RunSpec] = spec,
) -> Outcomes:
    """Train every model with every method and seed. `spec`: (job, seed) -> the run of a job of the recipe.

    Adders with R and no scale of their own come second: b of each layer's Laplace distribution is measured on the
    adder network that the same seed trained by itself (the paper's "prior knowledge").
    """
    second = [
        row
        for row, method in methods.items()
        if method.op == "adder" and method.remap is not None and method.adder_scale is None
    ]
    known = run(
        {
            (model, row, seed): spec(recipe.job(model, method), seed)
            for model in recipe.models
            for row, method in methods.items()
            for seed in seeds
            if row not in second
        }
    )
    if not second:
        return known
    alone = run({(model, seed): spec(recipe.job(model, ADD), seed) for model in recipe.models for seed in seeds})
    later = {}
    for model, seed in alone:
        scales = measured_scales(alone[model, seed])
        for row in second:
            method = dataclasses.replace(methods[row], adder_scale=scales)
            later[model, row, seed] = spec(recipe.job(model, method), seed)
    return known | run(later)


def measured_scales(outcome: Outcome) -> dict[str, float] | None:
    """b of every adder layer that a training ended with, to three digits; None where there is none."""
    scales = (outcome.value or {}).get("laplace_scales", {})
    return {layer: round(scale, 3) for layer, scale in scales.items()} or None


def accuracy(outcome: Outcome) -> float:
    """Test accuracy in percent; NaN for a network that is dead, as the paper prints no number for one."""
    return jobs.accuracy_of(outcome) if status(outcome) == "ok" else float("nan")


def status(outcome: Outcome) -> str | None:
    """ "ok", or "diverged" for a loss that is not finite or an accuracy at chance.

    None for a run that failed or crashed: no claim about divergence may rest on it.
    """
    ended = (outcome.value or {}).get("outcome")
    if ended is None:
        return None
    return "ok" if ended == "done" else "diverged"


def method_rows(
    recipe: MethodsRecipe, done: Outcomes, key: Callable[[str, str], dict], *, statuses: bool = False
) -> pd.DataFrame:
    """One row per training: key columns, accuracy_pct, seed and a note; `statuses` adds the column status.

    Args:
        key: (model, row) -> the columns by which the table knows it.
        statuses: the paper prints a status, and no number for a network that does not train.
    Returns: the frame; `attrs["extra"]` has examples, curves (accuracies by epoch) and losses (test loss, nats).
    """
    rows, curves, losses = [], [], []
    for (model, row, seed), outcome in done.items():
        measured = accuracy(outcome) if statuses else jobs.accuracy_of(outcome)
        mine = {**key(model, row), "accuracy_pct": measured, "seed": seed, "note": jobs.note_of(outcome)}
        rows.append({**mine, "status": status(outcome)} if statuses else mine)
        value = outcome.value or {}
        about = {"model": model, "row": row, "seed": seed}
        curves += [{**about, **epoch} for epoch in value.get("curve", [])]
        losses.append({**about, "test_loss": value.get("test_loss"), "top1_pct": value.get("top1_pct")})
    answers = (
        (key(model, row), seed, "accuracy_pct", outcome, "top1_pct")
        for (model, row, seed), outcome in done.items()
        if not statuses or status(outcome) == "ok"
    )
    frame = pd.DataFrame(rows)
    frame.attrs["extra"] = {
        "examples": jobs.answers_frame(answers),
        "curves": pd.DataFrame(curves),
        "losses": pd.DataFrame(losses),
    }
    return frame


def add_beside(
    frame: pd.DataFrame, recipe: MethodsRecipe, seeds, run, methods: Mapping[str, Method], name: str
) -> None:
    """Train the recipe's first model with methods that the paper's table does not have.

    Their rows (`method_rows` by model and row) become the extra frame `name`; their curves and losses join the frame's.
    """
    one = dataclasses.replace(recipe, models=recipe.models[:1])
    rows = method_rows(one, train_all(one, seeds, run, methods), lambda model, row: {"model": model, "row": row})
    extra, own = frame.attrs["extra"], rows.attrs.pop("extra")
    joined = {kind: pd.concat([extra[kind], own[kind]], ignore_index=True) for kind in ("curves", "losses")}
    frame.attrs["extra"] = {**extra, **joined, name: rows}


def target_costs(recipe: MethodsRecipe, model: str, op: str) -> dict[str, float]:
    """Counts (millions), energy (mJ) and latency (ms) of a deployed network at the size at which it is trained."""
    facts = recipe.data.facts
    name, options = MODELS[model]
    options = {"spec": SMALL[model]} if recipe.size == "small" else options
    network = skeleton(name, op=op, num_classes=facts["num_classes"], in_channels=facts["in_channels"], **options)
    return network_costs(network, recipe.data)


def network_costs(network: nn.Module, data: DataRecipe) -> dict[str, float]:
    """Counts (millions), energy (mJ) and latency (ms) of a network for one of the recipe's images."""
    layers = trace(network, (data.facts["in_channels"], data.facts["side"], data.facts["side"]))
    counted, cost = count(network, convention="shiftaddaug", layers=layers), layers_cost(layers, accounting="published")
    return {
        "params_m": counted.params / 1e6,
        "mult_m": counted.mults / 1e6,
        "shift_m": counted.shifts / 1e6,
        "add_m": counted.adds / 1e6,
        "energy_mj": cost.energy_mj,
        "latency_ms": cost.latency_ms,
    }


def method_dots(ours: pd.DataFrame, methods: Mapping[str, Method], column: str, label: str):
    """A figure of one column by method, a panel for each model: a dot is a training, the bar their mean."""
    models = list(dict.fromkeys(ours["model"]))
    figure, panels = new_figure(1, len(models), width_in=2.2, height_in=2.9, share_y=True)
    for axes, model in zip(panels.flat, models):
        mine = ours[ours["model"] == model]
        for place, (row, method) in enumerate(methods.items()):
            values = mine.loc[mine["method"] == row, column].dropna()
            colour = COLOURS[method.op]
            axes.scatter([place] * len(values), values, s=16, color=colour)
            if len(values):
                axes.hlines(values.mean(), place - 0.3, place + 0.3, color=colour)
        axes.set_xticks(range(len(methods)), methods, rotation=60, ha="right")
        axes.set(title=model, xlabel="method", ylabel=label)
    return figure


def comparison(
    title: str,
    methods: Mapping[str, Method],
    models: Sequence[str],
    *,
    flags: Callable[[Method], dict[str, int]] | None = None,
    statuses: bool = False,
    stands_for: Mapping[str, str] | None = None,
    beside: Mapping[str, Method] | None = None,
    paper: Sequence[str] = ("cifar100",),
) -> Table:
    """The entry of a table that shows some methods on some models, known by method, model and data set.

    Args:
        flags: method -> what the table says of it in columns of its own.
        statuses: as `method_rows`.
        stands_for: data set of ours -> the printed one in whose rows it is read.
        beside: methods that the paper does not have, for the extra frame `beside`; see `add_beside`.
        paper: data sets of the preset `paper`; each is a record of its own.
    """

    def trained(recipe, seeds, run):
        """One row per model, method and seed."""

        def key(model, row):
            own = {} if flags is None else flags(methods[row])
            return {"method": row, **own, "model": model, "dataset": recipe.data.dataset}

        frame = method_rows(recipe, train_all(recipe, seeds, run, methods), key, statuses=statuses)
        frame.attrs["stands_for"] = dict(stands_for or {})
        if beside is not None:
            add_beside(frame, recipe, seeds, run, beside, "beside")
        return frame

    return Table(
        title=title,
        trained=trained,
        recipes=presets(models, paper=paper),
        seeds=SEEDS,
        scale=SCALE,
        stands_for=stands_for,
        keeps=("examples", "losses") if beside is None else ("examples", "losses", "beside"),
    )
