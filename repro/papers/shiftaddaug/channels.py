"""One training with an eye on its channels: which of them come into the target, and the wide weights in the end."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import pandas as pd
import torch

from repro.augment.watch import watch_channels
from repro.papers.data import DataRecipe, device, load_splits
from repro.papers.kinds import spec_of
from repro.papers.shiftaddaug.counts import MODELS
from repro.papers.shiftaddaug.methods import MAIN
from repro.papers.shiftaddaug.recipes import presets
from repro.papers.shiftaddaug.training import TinyJob, augmentation, pack, unpack, wide_network
from repro.runs import RunContext, RunSpec

MODEL = "MobileNetV2-w0.35"


def spec(job: TinyJob, seed: int) -> RunSpec:
    """One training."""
    return spec_of("shiftaddaug_channels", job, seed, model=MODELS[job.model][0])


def watch(job: TinyJob, seed: int, context: RunContext) -> dict:
    """Run function: outcome, detail; seen, the notes of `repro.augment.watch`; wide, the wide layers in the end.

    Of each wide layer its shape, target (inputs, outputs) and values, packed float32.
    """
    data = load_splits(job.data)
    wide = wide_network(job, seed, context).to(device())
    log: Callable[[dict], object] = lambda row: context.log(**row)  # noqa: E731
    asked = augmentation(job.method)
    history, seen = watch_channels(wide, data.train, job.train, asked, seed=seed, on_epoch=log)
    layers = {
        name: {"shape": list(layer.weight.shape), "target": list(layer.target), "values": pack(layer.weight)}
        for name, layer in wide.wide_layers()
    }
    ended = {"outcome": "diverged" if history.diverged else "done", "detail": history.detail}
    return {**ended, "seen": seen, "wide": layers}


def places(seen: list[dict]) -> pd.DataFrame:
    """The notes of a training, a row per epoch, layer and place.

    Columns: epoch, layer, place, channel, importance, in_target, moved (came into the target or left it in the exchange
    before this epoch).
    """
    parts = []
    for note in seen:
        own = {"epoch": note["epoch"], "layer": note["layer"], "place": range(len(note["channel"]))}
        part = pd.DataFrame({**own, "channel": note["channel"], "importance": note["importance"]})
        parts.append(part.assign(in_target=part["place"] < note["target"]))
    frame = pd.concat(parts, ignore_index=True)
    before = frame.sort_values("epoch").groupby(["layer", "channel"])["in_target"].shift()
    moved = before.notna() & (before != frame["in_target"])
    return frame.assign(moved=moved)


def wide_weights(value: dict) -> dict[str, torch.Tensor]:
    """Layer -> its wide weight after the training, (outputs, inputs, height, width) or (outputs, inputs)."""
    return {name: torch.tensor(unpack(each["values"])).reshape(each["shape"]) for name, each in value["wide"].items()}


class _Silent:
    """The part of a RunContext that `watch` needs, kept nowhere."""

    def log(self, **row) -> None:
        """Forget a row."""


@functools.lru_cache(maxsize=4)
def tiny_training(op: str = "AugShift") -> tuple[pd.DataFrame, dict[str, torch.Tensor]]:
    """(`places`, `wide_weights`) of a training of a few seconds on 640 glyphs, always the same; kept while Python runs.

    Args:
        op: a row of table 3 with augmentation: "NetAug", "AugShift" or "AugAdd".
    """
    recipe = presets((MODEL,))["quick", "glyphs"]
    data, train = DataRecipe("glyphs", train_images=640), dataclasses.replace(recipe.train, epochs=8)
    value = watch(dataclasses.replace(recipe, data=data, train=train).job(MODEL, MAIN[op]), 0, _Silent())
    return places(value["seen"]), wide_weights(value)
