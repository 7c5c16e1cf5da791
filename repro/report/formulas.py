"""Claims as trees of `and`, `or`, `not` over leaves that our results prove, refute or leave open.

A leaf over measured cells is linear in them (`Linear`, judged by `repro.report.decide`) or not (`Sampled`: ranks,
Kendall's tau, ratios, an extreme inside a sum), judged on joint draws of all cells from their sampling distribution. A
leaf over exact columns (`Exact`) is one outcome per seed. `repro.report.compiler` makes the trees.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from repro.report.decide import ALPHA, And, Atom, Not, Or, outside, prove, refute
from repro.report.evidence import Quantity


@dataclass(frozen=True, eq=False)
class Given:
    """The claim, which only counts where the condition is proven."""

    condition: object
    claim: object
    gate: str = ""

    def proves(self, alpha: float, seeds: float | None = None) -> bool:
        """Whether condition and claim are proven."""
        return prove(self.condition, alpha, seeds) and prove(self.claim, alpha, seeds)

    def refutes(self, alpha: float, seeds: float | None = None) -> bool:
        """Whether the condition is proven and the claim reversed."""
        return prove(self.condition, alpha, seeds) and refute(self.claim, alpha, seeds)


@dataclass(frozen=True)
class Exact:
    """One outcome per seed (True, False, or None where cells are empty), or one alone for what no seed changes.

    needed: how many seeds must agree; 1 for what follows from the network alone.
    gate: why the outcomes can decide nothing, or ''.
    """

    outcomes: tuple
    needed: int = 1
    gate: str = ""

    @property
    def decided(self) -> bool | None:
        """What all seeds agree on; None if they do not, or are too few."""
        return self._agreed(len(self.outcomes))

    def _agreed(self, seeds: float) -> bool | None:
        known = set(self.outcomes)
        return known.pop() if len(known) == 1 and seeds >= self.needed and not self.gate else None

    def proves(self, alpha: float, seeds: float | None = None) -> bool:
        """Whether the outcome is true for every seed."""
        return self._agreed(seeds or len(self.outcomes)) is True

    def refutes(self, alpha: float, seeds: float | None = None) -> bool:
        """Whether the outcome is false for every seed."""
        return self._agreed(seeds or len(self.outcomes)) is False


@dataclass(frozen=True, eq=False)
class Leaf:
    """A test on measured cells; a leaf with a gate proves and refutes nothing."""

    quantities: tuple[Quantity, ...]
    label: str
    unit: str

    @property
    def gate(self) -> str:
        """Why the leaf can decide nothing, or ''."""
        reasons = [quantity.gate for quantity in self.quantities if quantity.gate]
        if not reasons and self.quantities and all(quantity.ceiling for quantity in self.quantities):
            reasons = [f"{self.quantities[0].name}: nearly every test image is right in all rows that are compared"]
        return reasons[0] if reasons else ""


@dataclass(frozen=True, eq=False)
class Linear(Leaf):
    """A linear form of measured cells, judged by `repro.report.decide`; gradient is its coefficients."""

    atom: Atom
    gradient: Mapping[Quantity, float]

    @property
    def estimate(self) -> float:
        """The form at the means, without what it adds to its cells (the margin in `a > b - margin`)."""
        return self.atom.estimate - self.atom.constant

    @property
    def interval(self) -> tuple[float, float]:
        """Its two-sided 95 % interval; nan where the seeds are too few."""
        low, high = self.atom.bounds()
        return low - self.atom.constant, high - self.atom.constant

    @property
    def distance(self) -> float:
        """How far it lies on the claim's side of the nearest limit, in widths of its interval; nan with few seeds."""
        low, high = self.atom.bounds()
        inside_by = min(self.atom.estimate - self.atom.low, self.atom.high - self.atom.estimate)
        return inside_by / max(high - low, 1e-12)

    def proves(self, alpha: float, seeds: float | None = None) -> bool:
        """Whether the claim is proven."""
        return not self.gate and self.atom.proves(alpha, seeds)

    def refutes(self, alpha: float, seeds: float | None = None) -> bool:
        """Whether the reversal is proven."""
        return not self.gate and self.atom.refutes(alpha, seeds)


@dataclass(frozen=True, eq=False)
class Sampled(Leaf):
    """A form that is not linear: its values (DRAWS,) in joint draws of the cells, and whether the claim holds in each.

    outcomes (DRAWS,): 1, 0 or NaN; None for a printed number, whose limits are low and high as in `decide.Atom`.
    enough: whether all cells have the seeds that a decision needs.
    pairs: for a printed Kendall tau, the tests "i above j" of both rankings, two for every pair of networks.
    """

    outcomes: np.ndarray | None
    values: np.ndarray
    estimate: float
    enough: bool
    low: float = 0.0
    high: float = 0.0
    pairs: tuple[tuple[Linear, Linear], ...] = ()

    def bounds(self, alpha: float) -> tuple[float, float]:
        """One-sided bounds below and above: quantiles of the draws; nan with few seeds or where most are empty."""
        known = self.values[~np.isnan(self.values)]
        if not self.enough or 2 * len(known) < len(self.values):
            return np.nan, np.nan
        return tuple(map(float, np.quantile(known, [alpha, 1 - alpha])))

    def reach(self, alpha: float) -> tuple[float, float]:
        """What a printed number may be: `bounds`; for tau, whatever order pairs have that are not told apart.

        Draws add noise to means that have noise of their own, so that their tau lies nearer to 0 than the true one.
        """
        if not self.pairs or not self.enough:
            return self.bounds(alpha)
        level, least, most = alpha / (2 * len(self.pairs)), 0, 0
        for above, below in self.pairs:
            signs = [int(leaf.proves(level)) - int(leaf.refutes(level)) for leaf in (above, below)]
            told = signs[0] * signs[1]  # 0 where one of the rankings leaves the pair open
            least, most = least + (told or -1), most + (told or 1)
        return least / len(self.pairs), most / len(self.pairs)

    @property
    def interval(self) -> tuple[float, float]:
        """Its two-sided 95 % interval; that of a printed tau is `reach` on the side away from 0."""
        (low, high), (least, most) = self.bounds(ALPHA), self.reach(ALPHA)
        return (low, most) if self.low + self.high > 0 else (least, high)

    @property
    def distance(self) -> float:
        """Share of the draws in which the claim holds, above one half."""
        return float(np.nanmean(self.outcomes)) - 0.5 if self.enough and self.outcomes is not None else np.nan

    def _share(self, outcome: float, alpha: float) -> bool:
        return self.enough and not self.gate and float((self.outcomes == outcome).mean()) >= 1 - alpha

    def proves(self, alpha: float, seeds: float | None = None) -> bool:
        """Whether the claim holds in all but a share alpha of the draws; more seeds are not drawn."""
        if self.outcomes is None:
            (low, high), (least, most) = self.bounds(alpha), self.reach(alpha)
            met = least <= self.high and most >= self.low
            return not self.gate and met and (low > 0 if self.low + self.high > 0 else high < 0)
        return self._share(1, alpha)

    def refutes(self, alpha: float, seeds: float | None = None) -> bool:
        """Whether the claim fails in all but a share alpha of the draws; more seeds are not drawn."""
        if self.outcomes is None:
            return not self.gate and outside(self.reach(alpha / 2), self.low, self.high)
        return self._share(0, alpha)


def leaves(formula) -> Iterator[Leaf | Exact]:
    """The leaves of a formula, left to right."""
    match formula:
        case And(parts=parts) | Or(parts=parts):
            for part in parts:
                yield from leaves(part)
        case Not(part=part):
            yield from leaves(part)
        case Given(condition=condition, claim=claim):
            yield from leaves(condition)
            yield from leaves(claim)
        case _:
            yield formula


def _joint(kind: type, parts: Sequence, settles: bool):
    """And (`settles` False) or Or (True) of parts, flat, without parts that are certain."""
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, kind) else (part,))]
    certain = [part.decided for part in flat if isinstance(part, Exact)]
    if settles in certain or not flat:
        return Exact((settles if flat else not settles,))
    open_parts = [part for part in flat if not (isinstance(part, Exact) and part.decided is not None)]
    if len(open_parts) == 1:
        return open_parts[0]
    return kind(tuple(open_parts)) if open_parts else Exact((not settles,))


def every(parts: Sequence):
    """All of the parts; a certain part is left out, a certainly false one decides."""
    return _joint(And, parts, False)


def some(parts: Sequence):
    """At least one of the parts."""
    return _joint(Or, parts, True)
