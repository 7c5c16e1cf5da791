"""Whether repeated runs bear out a claim: tests on differences of means over seeds and test examples.

A run's number varies with its seed, and with the test examples that happened to be drawn. Both count here:

    variance of sum(c_k mean_k) = s^2 sum(c_k^2 / n_k)                                   seeds
                                + max(0, var_i(d_i) - sum(c_k^2 within_k / n_k)) / N     test examples

with s^2 the seed variance pooled over the rows of a table (of the same column, none at chance or near 100 %), d_i =
sum(c_k * mean over seeds of example i), within_k the mean over examples of the variance over seeds. In claims on
tables each row that is compared keeps its own s^2 where their spread is unlike that of the others (F test at 25 %).
Intervals are Student's t with the degrees of freedom of Satterthwaite (Biometrics Bulletin 2, 1946). A claim of
several parts is an intersection-union test, each part at the full level (Berger, Technometrics 24, 1982); equivalence
is two one-sided tests (Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987). A reversal is searched for among the parts,
so there they share the level. Equal numbers never win.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import fdtr, stdtrit

from repro.errors import InputError

ALPHA = 0.025  # one-sided: intervals are two-sided 95 %
MIN_SEEDS = 3
MIN_POOLED_DF = 6  # with so many, two seeds a row are enough
MIN_OUTCOMES = 6  # outcomes that are true or false: so many agree by chance in 1.6 % of cases (0.5^6), five in 3.1 %
UNLIKE = 0.25  # level at which the spread of some rows is found to be unlike that of the other rows of their table
MAX_SEEDS = 1000  # the largest number of seeds that is ever advised
REPRODUCED, NOT_REPRODUCED, UNDECIDED = "reproduced", "not reproduced", "undecided"
_ROUNDING = 1e-12  # relative; sums of equal decimals differ by less


@dataclass(frozen=True, eq=False)
class Row:
    """Evidence on one measured quantity; two rows are the same if they are the same object.

    Args:
        values: one number per seed, (seeds,).
        group: what names the rows whose spread over seeds may be pooled, as (table, column).
        examples: scores per seed and test example, (seeds, N), in the unit of `values` and with these means. Rows with
            the same N in one atom are taken to be about the same examples in the same order.
        draws: resamples of the part that comes from the population in place of `examples`, (B,); the b-th draws of all
            rows of a table come from the same resample.
    Raises: InputError for other shapes, numbers that are not finite, or examples whose means are not the values.
    """

    values: np.ndarray
    group: Hashable = ""
    examples: np.ndarray | None = None
    draws: np.ndarray | None = None

    def __post_init__(self) -> None:
        checked = {"values": _numbers("values", self.values, 1)}
        if self.examples is not None:
            checked["examples"] = examples = _numbers("examples", self.examples, 2)
            means, values = examples.mean(axis=1), checked["values"]
            if means.shape != values.shape or (abs(means - values) > 1e-3 * abs(values) + 1e-9).any():
                raise InputError(
                    f"examples of shape {examples.shape} do not have the values as means over examples; there must be "
                    f"one row for each of the {len(values)} seeds, in the unit of the values."
                )
        if self.draws is not None:
            checked["draws"] = _numbers("draws", self.draws, 1)
        for name, array in checked.items():
            object.__setattr__(self, name, array)

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return len(self.values)

    @functools.cached_property
    def mean(self) -> float:
        """Mean over seeds."""
        return float(self.values.mean())

    @functools.cached_property
    def by_example(self) -> np.ndarray:
        """Mean over seeds of every example, (N,)."""
        return self.examples.mean(axis=0)

    @functools.cached_property
    def within(self) -> float:
        """Mean over examples of the variance over seeds; at least two seeds."""
        return float(((self.examples - self.by_example) ** 2).sum() / (self.seeds - 1) / self.examples.shape[1])


def _numbers(name: str, given: object, dimensions: int) -> np.ndarray:
    """`given` as finite float64 with so many dimensions."""
    try:
        array = np.asarray(given)
    except ValueError:  # lists of different lengths
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name}={_short(given)} is not allowed; it must be an array of numbers.")
    if array.ndim != dimensions or not array.size:
        shape = "(seeds, examples)" if dimensions == 2 else "one-dimensional"
        raise InputError(f"{name} of shape {array.shape} is not allowed; it must be {shape} and not empty.")
    if not np.isfinite(array).all():
        raise InputError(f"{name} holds numbers that are not finite; leave out runs that failed.")
    return array.astype(np.float64)


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else text[:37] + "..."


def seed_variances(
    own: Sequence[np.ndarray], others: Sequence[np.ndarray] = (), *, own_if_unlike: bool = True
) -> list[tuple[float, int]]:
    """Seed variance and its degrees of freedom for each of the rows `own`, (seeds,) each; NaN and 0 where not known.

    Pooled with the other rows of their column, so that all are the same; where the spread of these differs from that
    of `own` (F test, two-sided, at `UNLIKE`), each has its own (unless not `own_if_unlike`). There a row whose seeds
    all agree takes the smallest variance above 0, since right answers are counted. Two seeds say too little for that:
    they are always pooled.
    """
    squares, freedom = _squares(own)
    more, rest = _squares(others)
    if not freedom + rest:
        return [(math.nan, 0)] * len(own)
    few = min(map(len, own)) < MIN_SEEDS
    if not own_if_unlike or few or not rest or alike(squares / freedom, freedom, more / rest, rest):
        return [((squares + more) / (freedom + rest), freedom + rest)] * len(own)
    parts = [_squares([values]) for values in own]
    least = min([s / df for s, df in parts if s > 0], default=0.0)
    return [(s / df if s > 0 else least, df) if df else (math.nan, 0) for s, df in parts]


def _squares(rows: Sequence[np.ndarray]) -> tuple[float, int]:
    """Sum of the squared deviations from each row's mean, and their degrees of freedom."""
    return sum(float(((row - row.mean()) ** 2).sum()) for row in rows), sum(len(row) - 1 for row in rows)


def alike(variance: float, freedom: int, other: float, others_freedom: int) -> bool:
    """Whether two variances may be of one spread: F test, two-sided, at `UNLIKE`."""
    if variance == other:
        return True
    if not variance or not other:  # no spread at all: nothing speaks for the other's
        return not variance
    below = fdtr(freedom, others_freedom, variance / other)
    return bool(min(below, 1 - below) >= UNLIKE / 2)


class Atom:
    """A linear form of rows, sum(c * mean of row) + constant, and the claim that it lies above `low` and below `high`.

    "A beats B" is {A: 1, B: -1}; "A is at most m worse" has low=-m; "A and B differ by less than m" has low=-m, high=m.

    Args:
        terms: row -> coefficient; at least one.
        constant: what is known without error.
        pool: further rows of the table: of these, those in a term's group add to its pooled seed variance.
        low, high: limits of the claim; at least one is finite.
        contains: the claim is instead that the interval meets [low, high] (a printed number with its last digit) and
            leaves out 0 on that side.
        pooling: whether two seeds a row may be enough; not where each is a search, of which three are the least.
        own_if_unlike: whether the terms keep their own variances where their spread is unlike that of the pool.
    """

    def __init__(
        self,
        terms: Mapping[Row, float],
        constant: float = 0.0,
        pool: Iterable[Row] = (),
        *,
        low: float = 0.0,
        high: float = math.inf,
        contains: bool = False,
        pooling: bool = True,
        own_if_unlike: bool = False,
    ):
        if not terms:
            raise InputError("terms is empty; an atom needs at least one row.")
        if not low <= high or (not math.isfinite(low) and not math.isfinite(high)):
            raise InputError(
                f"low={low}, high={high} is not allowed; low must not exceed high, and one must be finite."
            )
        self.terms = {row: float(c) for row, c in terms.items()}
        self.rows = list(dict.fromkeys([*terms, *pool]))
        self.constant, self.low, self.high, self.contains = float(constant), low, high, contains
        self.pooling, self.own_if_unlike = pooling, own_if_unlike
        self.estimate = self.constant + sum(c * row.mean for row, c in self.terms.items())
        size = abs(self.constant) + sum(abs(c * row.mean) for row, c in self.terms.items())
        self._rounding = _ROUNDING * size

    @property
    def seeds(self) -> int:
        """How many seeds the row with the fewest has."""
        return min(row.seeds for row in self.terms)

    @functools.cached_property
    def _groups(self) -> list[tuple[float, int, int, dict[int, float]]]:
        """Rows with one seed variance: it, its degrees of freedom, how many rows it is of, sums of c^2 by seeds."""
        found = []
        for group in dict.fromkeys(row.group for row in self.terms):
            members = [row for row in self.rows if row.group == group]
            terms = {row: c for row, c in self.terms.items() if row.group == group}
            others = [row.values for row in members if row not in terms]
            spreads = seed_variances([row.values for row in terms], others, own_if_unlike=self.own_if_unlike)
            if spreads[0][1] != sum(row.seeds - 1 for row in members):  # not pooled
                found += [(*own, 1, {row.seeds: c * c}) for own, (row, c) in zip(spreads, terms.items())]
                continue
            weights: dict[int, float] = {}
            for row, c in terms.items():
                weights[row.seeds] = weights.get(row.seeds, 0.0) + c * c
            found.append((*spreads[0], len(members), weights))
        return found

    def _seed_parts(self, seeds: float | None) -> list[tuple[float, float]]:
        """(variance, degrees of freedom) for every group, as if each row had `seeds` seeds with the present spread."""
        return [
            (variance * sum(w / (seeds or n) for n, w in weights.items()), (seeds - 1) * members if seeds else freedom)
            for variance, freedom, members, weights in self._groups
        ]

    @functools.cached_property
    def _population_parts(self) -> list[tuple[float, float]]:
        """(variance, degrees of freedom) of what comes from the test examples, or from what else was resampled."""
        parts = []
        drawn = {row: c for row, c in self.terms.items() if row.draws is not None}
        if drawn:
            lengths = {len(row.draws) for row in drawn}
            if len(lengths) > 1:
                raise InputError(
                    f"draws of lengths {sorted(lengths)} cannot be compared; all rows need the same resamples."
                )
            total = sum(c * row.draws for row, c in drawn.items())
            parts.append((float(total.var(ddof=1)), lengths.pop() - 1))
        scored = {row: c for row, c in self.terms.items() if row.examples is not None and row.draws is None}
        for number in dict.fromkeys(row.examples.shape[1] for row in scored):
            mine = {row: c for row, c in scored.items() if row.examples.shape[1] == number}
            if number < 2:  # one example says nothing of the others
                parts.append((math.nan, 1))
                continue
            differences = sum(c * row.by_example for row, c in mine.items())
            noise = sum(c * c * row.within / row.seeds for row, c in mine.items())
            parts.append((max(0.0, float(differences.var(ddof=1)) - noise) / number, number - 1))
        return parts

    def spread(self, seeds: float | None = None) -> tuple[float, float]:
        """Standard error and degrees of freedom; (nan, nan) where a row has a single seed.

        `seeds`: as if every row had so many with the present spread.
        """
        if self.seeds == 1:
            return math.nan, math.nan
        parts = [*self._seed_parts(seeds), *self._population_parts]
        variance = sum(v for v, _ in parts)
        freedom = sum(v * v / df for v, df in parts if v > 0)
        return math.sqrt(variance), variance**2 / freedom if freedom else math.inf

    def interval(self, alpha: float = ALPHA, seeds: float | None = None) -> tuple[float, float]:
        """One-sided bounds below and above at level `alpha`; nan where a row has a single seed."""
        error, freedom = self.spread(seeds)
        reach = (stdtrit(freedom, 1 - alpha) * error if error else error) + self._rounding
        return self.estimate - reach, self.estimate + reach

    def enough(self, seeds: float | None = None) -> bool:
        """At least three seeds a row; two where they may be pooled and their variance has six degrees of freedom."""
        fewest = self.seeds if seeds is None else seeds
        pooled = self.pooling and fewest == 2 and min(df for _, df in self._seed_parts(seeds)) >= MIN_POOLED_DF
        return fewest >= MIN_SEEDS or pooled

    def bounds(self, alpha: float = ALPHA, seeds: float | None = None) -> tuple[float, float]:
        """`interval`, or nan where the seeds are too few to decide anything."""
        return self.interval(alpha, seeds) if self.enough(seeds) else (math.nan, math.nan)

    def proves(self, alpha: float = ALPHA, seeds: float | None = None) -> bool:
        """Whether the claim is proven at the one-sided level `alpha`."""
        return inside(self.bounds(alpha, seeds), self.low, self.high, self.contains)

    def refutes(self, alpha: float = ALPHA, seeds: float | None = None) -> bool:
        """Whether the reversal is proven; a claim with limits on both sides shares the level between them."""
        sides = math.isfinite(self.low) + math.isfinite(self.high)
        return outside(self.bounds(alpha / sides, seeds), self.low, self.high)


def inside(bounds: tuple[float, float], low: float, high: float, contains: bool = False) -> bool:
    """Whether bounds lie within the limits, or (`contains`) meet them and leave out 0 on their side; nan: no."""
    if contains:
        positive = low + high > 0
        return bounds[0] <= high and bounds[1] >= low and (bounds[0] > 0 if positive else bounds[1] < 0)
    return bounds[0] > low and bounds[1] < high


def outside(bounds: tuple[float, float], low: float, high: float) -> bool:
    """Whether bounds lie wholly beyond the limits; nan: no."""
    return bounds[1] < low or bounds[0] > high


@dataclass(frozen=True, eq=False)
class And:
    """All of the parts."""

    parts: tuple


@dataclass(frozen=True, eq=False)
class Or:
    """At least one of the parts."""

    parts: tuple


@dataclass(frozen=True, eq=False)
class Not:
    """The part does not hold."""

    part: object


def prove(formula, alpha: float = ALPHA, seeds: float | None = None) -> bool:
    """Whether And, Or, Not over atoms is proven at a one-sided level; `seeds` as in `Atom.spread`."""
    match formula:
        case And(parts=parts):
            return all(prove(part, alpha, seeds) for part in parts)
        case Or(parts=parts):
            return any(prove(part, alpha / len(parts), seeds) for part in parts)
        case Not(part=part):
            return refute(part, alpha, seeds)
    return formula.proves(alpha, seeds)


def refute(formula, alpha: float = ALPHA, seeds: float | None = None) -> bool:
    """Whether the reversal of a formula is proven at a one-sided level; `seeds` as in `Atom.spread`."""
    match formula:
        case And(parts=parts):
            return any(refute(part, alpha / len(parts), seeds) for part in parts)
        case Or(parts=parts):
            return all(refute(part, alpha, seeds) for part in parts)
        case Not(part=part):
            return prove(part, alpha, seeds)
    return formula.refutes(alpha, seeds)


def status(formula) -> str:
    """The verdict on a formula: "reproduced", "not reproduced" or "undecided"."""
    return REPRODUCED if prove(formula) else NOT_REPRODUCED if refute(formula) else UNDECIDED


def seeds_needed(formula) -> int | None:
    """The smallest number of seeds a row (at most 1000) with which the present estimates would be decided, or None.

    The part of the seeds shrinks with their number, that of the test examples stays.
    """

    def decided(seeds: int) -> bool:
        return prove(formula, ALPHA, seeds) or refute(formula, ALPHA, seeds)

    if not decided(MAX_SEEDS):
        return None
    low, high = 1, MAX_SEEDS  # undecided, decided
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decided(middle) else (middle, high)
    return high


@dataclass(frozen=True)
class Decision:
    """What the evidence says of a claim.

    status: "reproduced", "not reproduced" or "undecided".
    intervals: (low, high) of A - B for every pair, two-sided 95 %; nan with a single seed.
    estimates, degrees_of_freedom: one a pair.  seeds: how many the row with the fewest has.
    seeds_needed: for undecided claims, how many seeds a row would decide the present estimates (at most 1000), or None.
    reason: one sentence.
    """

    status: str
    intervals: list[tuple[float, float]]
    estimates: list[float]
    degrees_of_freedom: list[float]
    seeds: int
    seeds_needed: int | None
    reason: str


def decide(pairs: Sequence[tuple[np.ndarray, np.ndarray]], *, margin: float = 0.0) -> Decision:
    """Judge the claim "mean A - mean B > -margin in every pair" from the runs' scores per test example.

    Args:
        pairs: (A, B) each; both (seeds, examples) of correctness or another score, larger is better. The examples of
            the rows of a pair are the same in the same order; the numbers of seeds may differ. An array that occurs in
            several pairs is one row. The spread over seeds is pooled over all rows with the same number of examples.
        margin: how much worse A may be, in the unit of the scores, at least 0.
    Returns: a Decision. Reproduced: the one-sided 97.5 % bound of every pair lies above -margin. Not reproduced: some
        pair's bound at 2.5 % / number of pairs lies below it. Else undecided; so is a claim with a row of two seeds
        where fewer than six degrees of freedom are pooled, or of one.
    Raises: InputError for an empty list, other shapes, numbers that are not finite, a negative margin.
    """
    formula = differences(pairs, margin)
    atoms, found = formula.parts, status(formula)
    needed = seeds_needed(formula) if found == UNDECIDED else None
    return Decision(
        found,
        [tuple(map(float, atom.interval())) for atom in atoms],
        [float(atom.estimate) for atom in atoms],
        [float(atom.spread()[1]) for atom in atoms],
        min(atom.seeds for atom in atoms),
        needed,
        _reason(found, formula, needed),
    )


def differences(pairs: Sequence[tuple[np.ndarray, np.ndarray]], margin: float = 0.0) -> And:
    """The claim of `decide`: every A - B lies above -margin."""
    margin = _margin(margin)
    rows = _rows(pairs)
    pool = dict.fromkeys(row for pair in rows for row in pair)
    terms = [{a: 1.0, b: -1.0} if a is not b else {a: 0.0} for a, b in rows]
    return And(tuple(Atom(term, pool=pool, low=-margin) for term in terms))


def _margin(given: object) -> float:
    number = not isinstance(given, bool | str) and np.ndim(given) == 0 and np.asarray(given).dtype.kind in "iuf"
    if not number or not 0 <= float(given) < math.inf:
        raise InputError(f"margin={_short(given)} is not allowed; it must be a number of at least 0.")
    return float(given)


def _rows(pairs: object) -> list[tuple[Row, Row]]:
    """The pairs as rows: the same array, or arrays of the same content, are the same row."""
    if isinstance(pairs, str | bytes | Mapping) or not isinstance(pairs, Iterable):
        raise InputError(f"pairs={_short(pairs)} is not allowed; it must be a list of pairs (A, B) of arrays.")
    pairs = list(pairs)
    if not pairs:
        raise InputError("pairs is empty; it must hold at least one pair (A, B) of arrays.")
    by_object: dict[int, tuple[object, Row]] = {}  # the object is kept, so that no other one gets its id
    by_means: dict[tuple, list[Row]] = {}

    def row(name: str, given: object) -> Row:
        if id(given) not in by_object:
            array = _numbers(name, given, 2)
            means = array.mean(axis=1)
            alike = by_means.setdefault((array.shape, means.tobytes()), [])
            same = [known for known in alike if np.array_equal(known.examples, array)]
            if not same:
                same = [Row(means, array.shape[1], array)]
                alike += same
            by_object[id(given)] = given, same[0]
        return by_object[id(given)][1]

    found = []
    for place, pair in enumerate(pairs):
        if not isinstance(pair, Sequence | np.ndarray) or isinstance(pair, str) or len(pair) != 2:
            raise InputError(f"pairs[{place}]={_short(pair)} is not allowed; it must be a pair (A, B) of arrays.")
        a, b = (row(f"{side} of pairs[{place}]", half) for side, half in zip("AB", pair))
        if a.group != b.group:
            raise InputError(
                f"pairs[{place}] compares {a.group} with {b.group} examples; both rows must be about the same examples."
            )
        found.append((a, b))
    return found


def _reason(found: str, formula: And, needed: int | None) -> str:
    if found == REPRODUCED:
        return "The 97.5 % bound of every difference lies on the claim's side."
    if found == NOT_REPRODUCED:
        return f"A difference is reversed at the level 2.5 % / {len(formula.parts)}."
    if not all(atom.enough() for atom in formula.parts):
        few = min(atom.seeds for atom in formula.parts)
        need = f"{MIN_SEEDS}, or 2 with {MIN_POOLED_DF} pooled degrees of freedom"
        return f"Too few seeds: {few} in some row; needed are {need}."
    if needed is not None:
        return f"With {needed} seeds a row the present differences would decide it."
    if prove(formula, ALPHA, math.inf) or refute(formula, ALPHA, math.inf):
        return f"More than {MAX_SEEDS} seeds a row would be needed."
    if all(atom.estimate + atom._rounding >= atom.low >= atom.estimate - atom._rounding for atom in formula.parts):
        return "The numbers are equal, and equal numbers decide nothing."
    return "No number of seeds would decide the present differences; more test examples could."
