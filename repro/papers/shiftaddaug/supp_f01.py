"""ShiftAddAug supplement figure 1: accuracy of the target and of the network around it, epoch by epoch.

The paper's curve is 250 epochs long, our trainings 12. A long run of four methods beside it asks what is missing at our
scale. Augmentation is said to help networks that lack capacity, which shows only where more epochs no longer help the
network by itself: so each method is trained at half the longest length, too.
"""

from __future__ import annotations

import dataclasses
import math

import pandas as pd

from repro.papers import jobs
from repro.papers.shiftaddaug.comparing import train_all
from repro.papers.shiftaddaug.explained import gained
from repro.papers.shiftaddaug.methods import AUGSHIFT, MAIN
from repro.papers.shiftaddaug.recipes import SCALE, SEEDS, MethodsRecipe, presets
from repro.papers.table import Drawing, Table
from repro.report.figures import legend_below, new_figure
from repro.report.palette import COLOURS, lighter

LONG = {row: MAIN[row] for row in ("Base", "NetAug", "Shift", "AugShift")}
DIRECT = {"NetAug": "Base", "AugShift": "Shift"}
"""Augmented method -> the same operator by itself."""


@dataclasses.dataclass(frozen=True)
class CurvesRecipe(MethodsRecipe):
    """`long_epochs`: length of the long run, 0 for none; half of it is trained, too."""

    long_epochs: int = 0


def trained(recipe, seeds, run):
    """Runs of table 3, one row per epoch and seed: accuracies of both networks on training batches, in percent.

    Where the recipe asks for a long run, `attrs["extra"]` has `long` (method, epochs, train_accuracy_pct of the last
    epoch, test accuracy_pct, test_loss in nats, seed; the short and the long training) and `long_curves`.
    """
    done = train_all(recipe, seeds, run, {"AugShift": AUGSHIFT})
    rows = [
        {
            "epoch": row["epoch"],
            "target_accuracy_pct": row["train_accuracy_pct"],
            "augmented_accuracy_pct": row["augmented_accuracy_pct"],
            "seed": seed,
        }
        for (_, _, seed), outcome in done.items()
        for row in (outcome.value or {}).get("curve", [])
    ]
    frame = pd.DataFrame(rows, columns=["epoch", "target_accuracy_pct", "augmented_accuracy_pct", "seed"])
    if recipe.long_epochs:
        frame.attrs["extra"] = _long_run(recipe, seeds, run)
    return frame


def _long_run(recipe, seeds, run):
    """{"long", "long_curves"}: the four methods at the recipe's number of epochs, at half and at all `long_epochs`."""
    rows, curves = [], []
    for epochs in (recipe.train.epochs, recipe.long_epochs // 2, recipe.long_epochs):
        asked = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, epochs=epochs))
        for (_, method, seed), outcome in train_all(asked, seeds, run, LONG).items():
            value = outcome.value or {}
            key = {"method": method, "epochs": epochs}
            learnt = [
                {"epoch": each["epoch"], "train_accuracy_pct": each["train_accuracy_pct"]}
                for each in value.get("curve", [])
            ]
            last = learnt[-1]["train_accuracy_pct"] if learnt else None
            tested = {"accuracy_pct": jobs.accuracy_of(outcome), "test_loss": value.get("test_loss")}
            rows.append({**key, "train_accuracy_pct": last, **tested, "seed": seed})
            curves += [{**key, **each, "seed": seed} for each in learnt]
    return {"long": pd.DataFrame(rows), "long_curves": pd.DataFrame(curves)}


SMALL_GAIN = 1.0
"""Points of test accuracy: what is shown to be less counts as no gain. Fixed before any long run."""


def _shown(interval) -> str:
    """ "gain" where a 95 % interval lies above 0, "none" where it lies below SMALL_GAIN, else "open"."""
    low, high = interval
    return "gain" if low > 0 else "none" if high < SMALL_GAIN else "open"


MISSING = {
    (
        "gain",
        "gain",
    ): "length is missing: more epochs still help; whether capacity is, too, shows only once they do not",
    ("gain", "none"): "length is missing: more epochs still help, and augmentation does not",
    ("gain", "open"): "length is missing: more epochs still help",
    ("none", "gain"): "capacity is missing, not length: more epochs no longer help, and augmentation does",
    ("none", "none"): "neither is missing: more epochs no longer help, nor does augmentation",
    ("none", "open"): "length is not missing; whether capacity is stays open",
    ("open", "gain"): "whether more epochs still help stays open; augmentation helps",
    ("open", "none"): "whether more epochs still help stays open; augmentation does not help",
    ("open", "open"): "both stay open",
}
"""(what the last doubling of the epochs gives, what augmentation gives after the most) -> what our scale lacks."""


def missing_sentences(long):
    """For each operator whether length or capacity is missing, by 95 % intervals over seeds of the two gains."""
    half, longest = sorted(long["epochs"].unique())[-2:]
    trained = long.dropna(subset="accuracy_pct").groupby(["method", "epochs"])["accuracy_pct"]
    accuracies = {key: values.to_numpy() for key, values in trained}
    sentences = []
    for augmented, direct in DIRECT.items():
        gains = {
            f"{longest} epochs for {half}": gained(accuracies, (direct, longest), (direct, half)),
            f"augmentation at {longest}": gained(accuracies, (augmented, longest), (direct, longest)),
        }
        text = ", ".join(f"{what} {low:+.1f} to {high:+.1f} points" for what, (low, high) in gains.items())
        if any(math.isnan(low) for low, _ in gains.values()):
            sentences.append(f"{direct}: too few trainings to say what is missing.")
        else:
            verdict = MISSING[tuple(map(_shown, gains.values()))]
            sentences.append(
                f"{direct}: {verdict} ({text}; 95 % intervals over seeds; below {SMALL_GAIN:g} point is none)."
            )
    return sentences


def long_sentences(long):
    """What length gives, what augmentation gives, and how far training images are ahead; means over seeds."""
    mean = long.groupby(["method", "epochs"])[["train_accuracy_pct", "accuracy_pct"]].mean()
    short, *_, longest = sorted(long["epochs"].unique())
    tested, learnt = mean["accuracy_pct"], mean["train_accuracy_pct"]
    sentences = []
    for augmented, direct in DIRECT.items():
        length = tested[direct, longest] - tested[direct, short]
        gains = [tested[augmented, epochs] - tested[direct, epochs] for epochs in (short, longest)]
        gap = learnt[direct, longest] - tested[direct, longest]
        sentences.append(
            f"{direct}: {longest} epochs for {short} give {length:+.1f} points; augmentation gives {gains[0]:+.1f} at "
            f"{short} and {gains[1]:+.1f} at {longest}. After {longest} the training batches are {gap:+.1f} points "
            "ahead of the test images."
        )
    return sentences


def draw(ours):
    """Both accuracies against the epoch, a line per seed."""
    figure, panels = new_figure(1, 1, width_in=4.6, height_in=3.0)
    axes = panels[0, 0]
    for column, label, colour in (
        ("target_accuracy_pct", "target (shift)", "shift"),
        ("augmented_accuracy_pct", "a network around it", "conv"),
    ):
        for number, (_, curve) in enumerate(ours.groupby("seed")):
            shown = label if number == 0 else None
            axes.plot(curve["epoch"], curve[column], marker=".", linewidth=1, color=COLOURS[colour], label=shown)
    axes.set(xlabel="epoch", ylabel="accuracy on training batches (%)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    legend_below(figure, axes)
    drawings = [Drawing(figure, "Target and augmented network during training, a line per seed.")]
    extra = ours.attrs.get("extra", {})
    curves = extra.get("long_curves", pd.DataFrame())
    return drawings + (
        [
            Drawing(
                _long_figure(curves),
                "The long run, training accuracy of the target by epoch: "
                + " ".join(
                    long_sentences(ours.attrs["extra"]["long"]) + missing_sentences(ours.attrs["extra"]["long"])
                ),
                "long",
            )
        ]
        if len(curves)
        else []
    )


def _long_figure(curves):
    """Training accuracy against the epoch of the long trainings, a line per seed."""
    figure, panels = new_figure(width_in=4.6, height_in=3.0)
    axes = panels[0, 0]
    for (method, seed), curve in curves[curves["epochs"] == curves["epochs"].max()].groupby(["method", "seed"]):
        colour = COLOURS[LONG[method].op]
        colour = colour if method in DIRECT else lighter(colour, 0.5)
        shown = method if seed == curves["seed"].min() else None
        axes.plot(curve["epoch"], curve["train_accuracy_pct"], linewidth=1, color=colour, label=shown)
    axes.set(xlabel="epoch", ylabel="accuracy on training batches (%)")
    legend_below(figure, axes)
    return figure


LONG_EPOCHS = {("smoke", "glyphs"): 2, ("study", "glyphs"): 100, ("study", "cifar10"): 100}


def _recipe(key, methods):
    fields = {field.name: getattr(methods, field.name) for field in dataclasses.fields(methods)}
    return CurvesRecipe(**fields, long_epochs=LONG_EPOCHS.get(key, 0))


TABLE = Table(
    title="Training curves of target and augmented network",
    trained=trained,
    draw=draw,
    recipes={key: _recipe(key, methods) for key, methods in presets(("MobileNetV2-w0.35",)).items()},
    seeds=SEEDS,
    scale=SCALE,
    keeps=("long", "long_curves"),
)
