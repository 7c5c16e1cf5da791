"""ShiftAddAug table 5 (Sec. 4.4): mIoU of two segmentation networks under six methods.

Below `paper` drawn eyes stand for OpenEDS, and the rows of VOC are not run.
"""

from __future__ import annotations

import dataclasses

import pandas as pd

from repro.papers.jobs import accuracy_of, note_of
from repro.papers.segmentation_jobs import class_frame, class_names, confusion_frame, miou_draws
from repro.papers.shiftaddaug.comparing import method_dots, train_all
from repro.papers.shiftaddaug.methods import CONTROLS, MAIN
from repro.papers.shiftaddaug.recipes import SEEDS
from repro.papers.shiftaddaug.segmentation_recipes import RECIPES, SCALE, STANDS_FOR
from repro.papers.shiftaddaug.segmentation_training import spec
from repro.papers.table import Drawing, Table
from repro.report.pictures import confusion_grid


def trained(recipe, seeds, run):
    """Every network under every method of the data set's rows.

    `attrs["extra"]`: classes (IoU of each), confusions, draws (mIoU with other test images), curves and losses (test
    loss, nats) of every training, and controls, rows of the first model that the paper does not have.
    """
    dataset, methods = recipe.data.dataset, {row: MAIN[row] for row in recipe.rows}
    done = train_all(recipe, seeds, run, methods, spec)
    keys = {(model, row): {"dataset": dataset, "model": model, "method": row} for model, row, _ in done}
    runs = [(keys[model, row], seed, outcome) for (model, row, seed), outcome in done.items()]
    frame = _scores(runs)
    frame.insert(3, "augmented", [int(methods[row].around is not None) for row in frame["method"]])
    one = dataclasses.replace(recipe, models=recipe.models[:1])
    beside = train_all(one, seeds, run, {row: CONTROLS[row] for row in recipe.controls}, spec)
    names = class_names(recipe.data)
    frame.attrs["stands_for"] = STANDS_FOR
    frame.attrs["extra"] = {
        "classes": class_frame(runs, names),
        "confusions": confusion_frame(runs, names),
        "draws": miou_draws(
            (key, dataset, [done[model, row, seed] for seed in seeds]) for (model, row), key in keys.items()
        ),
        "curves": pd.DataFrame(
            {**key, "seed": seed, **epoch}
            for key, seed, outcome in runs
            for epoch in (outcome.value or {}).get("curve", [])
        ),
        "losses": pd.DataFrame(
            {"model": model, "row": row, "seed": seed, "test_loss": accuracy_of(outcome, "test_loss")}
            for (model, row, seed), outcome in (done | beside).items()
        ),
        "controls": _scores(
            [({"model": model, "row": row}, seed, outcome) for (model, row, seed), outcome in beside.items()]
        ),
    }
    return frame


def _scores(runs) -> pd.DataFrame:
    """Key columns, miou_pct, seed and note of every run."""
    return pd.DataFrame(
        {**key, "miou_pct": accuracy_of(outcome, "miou_pct"), "seed": seed, "note": note_of(outcome)}
        for key, seed, outcome in runs
    )


def draw(ours):
    """mIoU by method, and where the first model's pixels go."""
    methods = {row: method for row, method in MAIN.items() if (ours["method"] == row).any()}
    caption = "mIoU of each method on each model: a dot is a training, the bar their mean."
    drawings = [Drawing(method_dots(ours, methods, "miou_pct", "test mIoU (%)"), caption, "miou")]
    confusions = ours.attrs.get("extra", {}).get("confusions", pd.DataFrame())
    if len(confusions):
        model = confusions["model"].iloc[0]
        mine, names = confusions[confusions["model"] == model], list(dict.fromkeys(confusions["true"]))
        means = mine.pivot_table(index=["method", "true"], columns="predicted", values="share_pct", dropna=False)
        shares = {row: means.loc[row].reindex(index=names, columns=names) for row in methods if row in means.index}
        caption = f"Which class the pixels of each true class are given (%), {model}, mean over seeds."
        drawings.append(Drawing(confusion_grid(shares, names), caption, "confusion"))
    return drawings


TABLE = Table(
    title="mIoU of two segmentation networks under six methods",
    trained=trained,
    draw=draw,
    recipes=RECIPES,
    seeds=SEEDS,
    scale=SCALE,
    stands_for=STANDS_FOR,
    keeps=("draws", "classes", "confusions", "controls", "losses"),
)
