"""ShiftAddAug figure 6 (Sec. 4.4): masks that networks trained with and without augmentation predict."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from repro.papers.jobs import accuracy_of, note_of
from repro.papers.segmentation_jobs import class_names, mask_splits
from repro.papers.shiftaddaug.comparing import train_all
from repro.papers.shiftaddaug.methods import MAIN
from repro.papers.shiftaddaug.recipes import SEEDS
from repro.papers.shiftaddaug.segmentation_recipes import RECIPES, SCALE
from repro.papers.shiftaddaug.segmentation_training import SHOWN_IMAGES, every_nth, spec
from repro.papers.table import Drawing, Table
from repro.report.examples import pack_counts, unpack_counts
from repro.report.pictures import mask_grid


def trained(recipe, seeds, run):
    """Runs of table 5: mIoU, and how many areas of a class per test image lie wholly where the class is not.

    A dead network calls every pixel the same: no area of it is stray, and none is counted.

    `attrs["extra"]["pictures"]`: packed test images in grey, their masks, and what the first model makes of them with
    every method and seed; `classes`: names.
    """
    done = train_all(recipe, seeds, run, {row: MAIN[row] for row in recipe.rows}, spec)
    frame = pd.DataFrame(
        {
            "model": model,
            "method": row,
            "miou_pct": accuracy_of(outcome, "miou_pct"),
            "stray_areas": math.nan if note_of(outcome) else accuracy_of(outcome, "stray_areas"),
            "seed": seed,
            "note": note_of(outcome),
        }
        for (model, row, seed), outcome in done.items()
    )
    inputs, masks = next(mask_splits(recipe.data).test.pairs(SHOWN_IMAGES))
    pictures = [_packed("image", -1, every_nth(_grey(inputs))), _packed("truth", -1, every_nth(masks.numpy()))]
    for (model, row, seed), outcome in done.items():
        shown = (outcome.value or {}).get("shown")
        if model == recipe.models[0] and shown:
            pictures.append(_line(row, seed, shown["shape"], shown["predicted"]))
    frame.attrs["extra"] = {
        "pictures": pd.DataFrame(pictures),
        "classes": pd.DataFrame({"class": class_names(recipe.data)}),
    }
    return frame


def _grey(inputs) -> np.ndarray:
    """Network inputs (N, C, H, W) as pictures (N, H, W) of 0..255, each from its darkest to its lightest pixel."""
    grey = inputs.mean(dim=1)
    low, high = grey.amin((1, 2), keepdim=True), grey.amax((1, 2), keepdim=True)
    return (255 * (grey - low) / (high - low).clamp(min=1e-6)).round().byte().numpy()


def _packed(name: str, seed: int, pictures: np.ndarray) -> dict:
    return _line(name, seed, pictures.shape, pack_counts(pictures))


def _line(name: str, seed: int, shape, packed: str) -> dict:
    images, height, width = shape
    return {"name": name, "seed": seed, "images": images, "height": height, "width": width, "packed": packed}


def draw(ours):
    """Test images, their masks, and the masks that each method predicts (first seed)."""
    extra = ours.attrs.get("extra", {})
    if "pictures" not in extra:
        return []
    lines = extra["pictures"]
    lines = lines[lines["seed"].isin([-1, ours["seed"].min()])]
    shown = {
        line.name: unpack_counts(line.packed, (line.images, line.height, line.width)).astype(np.uint8)
        for line in lines.itertuples(index=False)
    }
    images, model = shown.pop("image")[:, None], ours["model"].iloc[0]
    found = ", ".join(
        _told(method, mine) for method, mine in ours[ours["model"] == model].groupby("method", sort=False)
    )
    caption = (
        f"The first test images under their masks and under those that {model} predicts, one training of each method. "
        f"Areas of a class that lie wholly where it is not, per test image, mean over seeds: {found}."
    )
    return [Drawing(mask_grid(images, shown, list(extra["classes"]["class"])), caption)]


def _told(method: str, mine: pd.DataFrame) -> str:
    """The method's mean number of stray areas, and how many of its trainings have none since they are dead."""
    counts = mine["stray_areas"].dropna()
    without = f" ({len(mine) - len(counts)} of {len(mine)} dead)" if len(counts) < len(mine) else ""
    return f"{method} {counts.mean():.2f}{without}" if len(counts) else f"{method} none: dead"


TABLE = Table(
    title="Predicted masks with and without augmentation",
    trained=trained,
    draw=draw,
    recipes=RECIPES,
    seeds=SEEDS,
    scale=SCALE,
    keeps=("pictures", "classes"),
)
