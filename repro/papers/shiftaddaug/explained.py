"""What our own controls say of the paper's explanations, by intervals over seeds."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping

import numpy as np
import pandas as pd

from repro.augment.remapping import ADDER_SCALE
from repro.report.decide import Atom, Row


def gained(accuracies: Mapping[Hashable, np.ndarray], better: Hashable, than: Hashable) -> tuple[float, float]:
    """95 % interval over seeds of a difference of test accuracies (points); NaN without two seeds of each.

    Args: accuracies: of every row of a table by seed, whose spread is pooled.
    """
    rows = {key: Row(np.asarray(values), "accuracy_pct") for key, values in accuracies.items()}
    if better not in rows or than not in rows:
        return math.nan, math.nan
    return Atom({rows[better]: 1.0, rows[than]: -1.0}, pool=rows.values()).bounds()


ADDERS = {
    ("AugAdd, r with even steps", "AugAdd"): "even steps of R(W)",
    ("AugAdd, r's scale alone", "AugAdd"): "the scale of R without r",
    ("Add", "Add with HWS"): "Add without R",
}
"""Pairs of rows of which the first is better if r's slope is what harms adders -> what the first has."""


def adder_sentences(frame: pd.DataFrame) -> list[str]:
    """For each model of table 3's controls: why adders do not gain by equation 5, the scale or r's slope.

    Args: frame: table 3 as trained, with `attrs["extra"]["controls"]` and, to name the measured scale, "scales".
    """
    controls = frame.attrs["extra"]["controls"]
    rows = pd.concat([frame.rename(columns={"method": "row"})[["model", "row", "accuracy_pct"]], controls])
    sentences = []
    for model in controls["model"].unique():
        mine = rows[rows["model"] == model].dropna(subset="accuracy_pct").groupby("row")["accuracy_pct"]
        accuracies = {row: values.to_numpy() for row, values in mine}
        gains = {what: gained(accuracies, *pair) for pair, what in ADDERS.items()}
        told = [f"{what} gives {low:+.1f} to {high:+.1f} points" for what, (low, high) in gains.items()]
        lows, highs = zip(*gains.values(), strict=True)
        sentences += _scale_sentences(model, accuracies, frame.attrs["extra"].get("scales"))
        sentences += _lost_sentences(model, controls[controls["model"] == model])
        if any(map(math.isnan, lows)):
            sentences.append(f"{model}: too few trainings to say why adders do not gain.")
        elif all(low > 0 for low in lows):
            sentences.append(f"{model}: r's slope explains it: {', '.join(told)} (95 % intervals over seeds).")
        elif any(high < 0 for high in highs):
            sentences.append(f"{model}: r's slope does not explain it: {', '.join(told)} (95 % intervals over seeds).")
        else:
            sentences.append(f"{model}: r's slope: it stays open: {', '.join(told)} (95 % intervals over seeds).")
    return sentences


def _scale_sentences(model: str, accuracies: Mapping[Hashable, np.ndarray], scales: pd.DataFrame | None) -> list[str]:
    """Whether the scale of the Laplace distribution matters to adders, and whether equation 5 helps them with it."""
    measured = "" if scales is None else _range(scales.loc[scales["model"] == model, "scale"])
    start = f"that of adders' start ({ADDER_SCALE:.2f})"
    pairs = {
        ("AugAdd", "AugAdd, b of adders' start"): f"the measured scale b{measured} in place of {start}",
        ("Add with HWS", "Add with HWS, b of adders' start"): "the same with no network around",
        ("AugAdd", "AugAdd without HWS"): "equation 5 with the measured scale, against AugAdd without it,",
    }
    found = {what: gained(accuracies, *pair) for pair, what in pairs.items()}
    return [
        f"{model}: {what} {_told(low, high)} (95 % interval over seeds)."
        for what, (low, high) in found.items()
        if not math.isnan(low)
    ]


AT_START = ("Add with HWS, b of adders' start", "AugAdd, b of adders' start")


def _lost_sentences(model: str, controls: pd.DataFrame) -> list[str]:
    """How many trainings with the scale of adders' start are lost."""
    notes = controls.get("note", pd.Series("", index=controls.index)).fillna("")
    lost = {row: notes[controls["row"] == row] != "" for row in AT_START}
    return [
        f"{model}: {row}: {sum(each)} of {len(each)} trainings are dead or diverge."
        for row, each in lost.items()
        if any(each)
    ]


def _range(values: pd.Series) -> str:
    return f" ({values.min():.1f} to {values.max():.1f} over layers and seeds)" if len(values) else ""


def _told(low: float, high: float) -> str:
    points = f"{low:+.1f} to {high:+.1f} points"
    return f"gains {points}" if low > 0 else f"loses, {points}" if high < 0 else f"is not told apart, {points}"
