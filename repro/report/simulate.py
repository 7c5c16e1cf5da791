"""How often verdicts are wrong, and how often they are reached: simulated tables of methods whose truth is known.

Method m, trained with seed s, answers image i rightly if

    a_m + tau e_ms + sqrt(SHARED) h_i + sqrt(OWN) g_mi + sqrt(1 - SHARED - OWN) u_msi > 0

with independent standard normal e (training), h (difficulty of the image for all methods), g (for this method) and u.
The accuracy of a method over all images and seeds is exact; tau gives it the asked-for deviation over seeds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
import pandas as pd
from scipy.special import ndtri

from repro.errors import InputError, check_choice, check_int
from repro.report.decide import NOT_REPRODUCED, REPRODUCED, UNDECIDED, differences, status

SHARED, OWN = 0.5, 0.1  # shares of the variance between images and answers
TABLES = 400


def _number(name: str, value: object, low: float, high: float, *, open_ends: bool = True) -> float:
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not (low < value < high or (not open_ends and value in (low, high))):
        between = "between" if open_ends else "from"
        raise InputError(f"{name}={value!r} is not allowed; it must be a number {between} {low:g} and {high:g}.")
    return float(value)


@dataclass(frozen=True)
class Setting:
    """A test set and how training varies on it.

    examples: test images.  accuracy_pct: of the best method.  seed_sd: standard deviation over seeds of the accuracy on
    all images there could be, in points; the accuracy on `examples` of them varies a little more.
    """

    examples: int
    accuracy_pct: float
    seed_sd: float

    def __post_init__(self) -> None:
        check_int("examples", self.examples, minimum=2, maximum=100_000)
        _number("accuracy_pct", self.accuracy_pct, 0.0, 100.0)
        _number("seed_sd", self.seed_sd, 0.0, 50.0, open_ends=False)


@dataclass(frozen=True)
class Form:
    """A form of claims: which methods are compared, and how many gaps each lies above the last one."""

    levels: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]
    margin: float = 0.0  # points


SETTINGS = {"CIFAR-like": Setting(2000, 47.0, 1.0), "digits-like": Setting(360, 96.0, 0.75)}
FORMS = {
    "A > B": Form((1, 0), ((0, 1),)),
    "A > B on all of 5 models": Form((1, 0) * 5, tuple((i, i + 1) for i in range(0, 10, 2))),
    "order of 4": Form((3, 2, 1, 0), ((0, 1), (1, 2), (2, 3))),
    "best of 4": Form((1, 0, 0, 0), ((0, 1), (0, 2), (0, 3))),
    "A > B - 1 point": Form((1, 0), ((0, 1),), 1.0),
}


def answers(
    setting: Setting, accuracies_pct: Sequence[float], seeds: int, generator: np.random.Generator
) -> np.ndarray:
    """Which test images each run gets right, (methods, seeds, images) of bool; accuracies over all images and seeds."""
    shares = np.array([_number("accuracies_pct", value, 0.0, 100.0) for value in accuracies_pct]) / 100
    methods, images = len(shares), setting.examples
    z = ndtri(shares)
    tau = setting.seed_sd / 100 / (np.exp(-z * z / 2) / math.sqrt(2 * math.pi))
    runs = np.sqrt(1 + tau**2)[:, None] * z[:, None] + tau[:, None] * generator.standard_normal((methods, seeds))
    size = np.float32
    difficulty = math.sqrt(SHARED) * generator.standard_normal(images, size)
    difficulty = difficulty + math.sqrt(OWN) * generator.standard_normal((methods, images), size)
    latent = math.sqrt(1 - SHARED - OWN) * generator.standard_normal((methods, seeds, images), size)
    latent += difficulty[:, None]
    return latent > -runs[:, :, None].astype(size)


def _judged(form: Form, rows: Sequence[np.ndarray]) -> str:
    return status(differences([(rows[a], rows[b]) for a, b in form.pairs], form.margin / 100))


def verdict_rates(
    form: str, setting: Setting, *, seeds: int = 3, gap: float = 0.0, tables: int = TABLES, generator_seed: int = 0
) -> dict[str, float]:
    """Per cent of simulated tables with each verdict.

    Args:
        form: one of `FORMS`.
        gap: by how many points A is better than B in truth, in every pair.
        generator_seed: the same one gives the same tables.
    Raises: InputError for unknown forms, and accuracies beyond 0 to 100 %.
    """
    asked = FORMS[check_choice("form", form, FORMS)]
    check_int("seeds", seeds, minimum=1, maximum=100)
    check_int("tables", tables, minimum=1)
    gap = _number("gap", gap, -100.0, 100.0)
    generator = np.random.default_rng(generator_seed)
    accuracies = [setting.accuracy_pct + gap * (level - max(asked.levels)) for level in asked.levels]
    counts = dict.fromkeys((REPRODUCED, NOT_REPRODUCED, UNDECIDED), 0)
    for _ in range(tables):
        counts[_judged(asked, list(answers(setting, accuracies, seeds, generator)))] += 1
    return {verdict: 100.0 * count / tables for verdict, count in counts.items()}


def false_verdicts(seeds: Iterable[int] = (2, 3, 5), *, tables: int = TABLES, generator_seed: int = 0) -> pd.DataFrame:
    """Rates of wrong verdicts on equal methods: setting, claim, seeds, false_reproduced_pct, false_not_reproduced_pct.

    With a margin, "reproduced" is wrong where A is worse by just that. All claims see the same tables.
    """
    check_int("tables", tables, minimum=1)
    columns = ["setting", "claim", "seeds", "false_reproduced_pct", "false_not_reproduced_pct"]
    found = []
    for name, setting in SETTINGS.items():
        for number in seeds:
            generator = np.random.default_rng(generator_seed)
            proven, refuted = Counter(), Counter()
            for _ in range(tables):
                equal = list(answers(setting, [setting.accuracy_pct] * 10, number, generator))
                for claim, form in FORMS.items():
                    verdict = _judged(form, equal)
                    refuted[claim] += verdict == NOT_REPRODUCED
                    if form.margin:
                        levels = setting.accuracy_pct, setting.accuracy_pct + form.margin
                        verdict = _judged(form, list(answers(setting, levels, number, generator)))
                    proven[claim] += verdict == REPRODUCED
            found += [(name, claim, number, proven[claim], refuted[claim]) for claim in FORMS]
    rates = pd.DataFrame(found, columns=columns)
    rates[columns[3:]] *= 100.0 / tables
    return rates


def power(
    seeds: Iterable[int] = (3, 5, 10),
    gaps: Iterable[float] = (0.0, 1.0, 2.0, 3.0),
    *,
    form: str = "A > B",
    tables: int = TABLES,
    generator_seed: int = 0,
) -> pd.DataFrame:
    """How often a true claim is reproduced: setting, seeds, gap (points), reproduced_pct."""
    found = [
        (
            name,
            number,
            gap,
            verdict_rates(form, setting, seeds=number, gap=gap, tables=tables, generator_seed=generator_seed)[
                REPRODUCED
            ],
        )
        for name, setting in SETTINGS.items()
        for number in seeds
        for gap in gaps
    ]
    return pd.DataFrame(found, columns=["setting", "seeds", "gap", "reproduced_pct"])
