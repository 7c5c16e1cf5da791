"""Tables whose measured cells move: what a claim's compiler evaluates the claim's two sides on.

Seeds and test examples are drawn from their sampling distribution, cells that share test images together.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np

from repro.report.decide import seed_variances
from repro.report.evidence import Ours, Quantity, recompute
from repro.report.expressions import Table
from repro.report.published import table_spec

DRAWS, _SEED = 2000, 20240229


class MovedCells:
    """Tables whose measured cells run over: their means, one cell moved at a time, all moved (twice), joint draws."""

    def __init__(self, ours: Mapping[str, Ours], used: set[tuple[str, str]]):
        self.quantities: list[Quantity] = []
        self.place: dict[tuple[str, str, int], int] = {}
        for name, column in sorted(used):
            for row in range(ours[name].means.columns[column].shape[1]):
                if (column, row) in ours[name].quantities and not self._follows(ours[name], column, row):
                    self.place[name, column, row] = len(self.quantities)
                    self.quantities.append(ours[name].quantities[column, row])
        self.spread = {q: seed_variance(q, ours[q.pool[0]]) for q in self.quantities}
        self.length = len(self.quantities) + 3 + DRAWS
        self.tables = {name: self._table(mine, used) for name, mine in ours.items()}

    @staticmethod
    def _follows(mine: Ours, column: str, row: int) -> bool:
        """Whether a cell is computed from others of its row: a rank, or a difference whose two sides are there."""
        if mine.figure:
            return False
        spec = table_spec(mine.table_id).columns[column]
        if spec.difference:
            return all((side, row) in mine.quantities for side in spec.difference)
        return bool(spec.rank_of)

    @functools.cached_property
    def values(self) -> np.ndarray:
        """(length, quantities)."""
        means = np.array([quantity.mean for quantity in self.quantities])
        far = 10.0 * (1.0 + np.abs(means).max(initial=0.0))
        generator = np.random.default_rng(_SEED)
        moves = far * generator.uniform(1.0, 3.0, len(means)) * generator.choice([-1.0, 1.0], len(means))
        return np.vstack([means, means + np.eye(len(means)), means + moves, means - moves, self._draws(generator)])

    def _draws(self, generator: np.random.Generator) -> np.ndarray:
        """Joint draws (DRAWS, quantities): seeds by Student's t, examples with their covariance.

        Cells of one column with one variance share the draw of what it may be.
        """
        quantities = self.quantities
        drawn = np.tile([quantity.mean for quantity in quantities], (DRAWS, 1))
        widths: dict[tuple, np.ndarray] = {}
        for m, quantity in enumerate(quantities):
            variance, df = self.spread[quantity]
            if df and variance > 0:
                shared = quantity.pool, variance
                if shared not in widths:
                    widths[shared] = np.sqrt(df / generator.chisquare(df, DRAWS))
                noise = generator.standard_normal(DRAWS) * widths[shared]
                drawn[:, m] += np.sqrt(variance / quantity.seeds) * noise
        sets: dict[tuple, list[int]] = {}
        for m, quantity in enumerate(quantities):
            if quantity.draws is not None:
                sets.setdefault(("draws", len(quantity.draws)), []).append(m)
            elif quantity.scores is not None:
                sets.setdefault(("scores", quantity.examples), []).append(m)
        for (what, size), members in sets.items():
            if what == "draws":
                chosen = generator.integers(size, size=DRAWS)
                for m in members:
                    drawn[:, m] += (quantities[m].draws - quantities[m].draws.mean())[chosen]
                continue
            means = np.array([quantities[m].scores.mean(axis=0) for m in members])
            within = [
                quantities[m].scores.var(axis=0, ddof=1).mean() / quantities[m].seeds
                if quantities[m].seeds > 1
                else 0.0
                for m in members
            ]
            covariance = (np.atleast_2d(np.cov(means)) - np.diag(within)) / size
            powers, axes = np.linalg.eigh(covariance)
            spread = axes * np.sqrt(np.maximum(powers, 0.0))
            drawn[:, members] += generator.standard_normal((DRAWS, len(members))) @ spread.T
        return drawn

    def _table(self, mine: Ours, used: set[tuple[str, str]]) -> Table:
        columns = dict(mine.means.columns)
        for name, column in used:
            if name != mine.table_id:
                continue
            moved = np.repeat(columns[column], self.length, axis=0)
            for row in range(moved.shape[1]):
                if (name, column, row) in self.place:
                    moved[:, row] = self.values[:, self.place[name, column, row]]
            columns[column] = moved
        if not mine.figure:
            recompute(mine.table_id, columns)
        return Table(columns, mine.means.key, mine.means.descriptors)


def seed_variance(quantity: Quantity, mine: Ours) -> tuple[float, int]:
    """Seed variance of one value and its degrees of freedom, as `decide.seed_variances` has them."""
    others = [cell.values for cell in variance_pool(quantity, mine) if cell is not quantity]
    return seed_variances([quantity.values], others)[0]


def variance_pool(quantity: Quantity, mine: Ours) -> list[Quantity]:
    """The cells whose spread speaks for this one's: those of its column that are no guesses and not all right."""
    column = [q for q in mine.quantities.values() if q.pool == quantity.pool]
    return [q for q in column if q is quantity or not (q.gate or q.ceiling)]
