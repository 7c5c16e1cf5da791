"""Claims compiled into formulas (`repro.report.formulas`). Equality never wins on measured numbers.

To find the coefficients of a comparison both of its sides are evaluated at the means and at the means with one cell
moved, for every cell; two moves of all cells at once tell whether the sides are linear.
"""

from __future__ import annotations

import ast
import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from repro.report.decide import MIN_OUTCOMES, MIN_SEEDS, Atom, Not, Row
from repro.report.evidence import SEARCHED_UNITS, Ours, Quantity
from repro.report.expressions import Evaluator, ExpressionError, Value, references
from repro.report.formulas import Exact, Given, Leaf, Linear, Sampled, every, some
from repro.report.functions import SLACK
from repro.report.moved_cells import DRAWS, MovedCells, variance_pool
from repro.report.published import printed_decimals, table_spec, unit

_FLIPPED = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE, ast.Eq: ast.Eq, ast.NotEq: ast.NotEq}
_SIDES = {  # of a difference that such a comparison asks for
    op: tuple(map(ast.Constant, limits))
    for ops, limits in {(ast.Gt, ast.GtE): (0.0, np.inf), (ast.Lt, ast.LtE): (-np.inf, 0.0)}.items()
    for op in ops
}
_HOLDS = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}


@dataclass
class _Truths:
    """One formula per row, None for an empty cell; `rows` as in `expressions.Value`."""

    cells: list
    rows: tuple | None = None


class Compiler:
    """Turns the tree of a claim into a formula over our results.

    Args:
        ours: table id -> our table.
        tree, default: the claim, and the table that its plain names belong to.
    """

    def __init__(self, ours: Mapping[str, Ours], tree: ast.expr, default: str | None):
        self.ours, self.default = ours, default
        self.seeds_seen: list[int] = []
        self._rows: dict[Quantity, Row] = {}
        self._alike: dict[tuple, Row] = {}
        self.gains: list[tuple[Leaf, list[Leaf]]] = []
        used = {(ref.table, ref.column) for ref in references(tree, default) if self._measured_column(ref)}
        for name, column in list(used):
            if not ours[name].figure:
                spec = table_spec(name).columns[column]
                sides = (*spec.difference, *((spec.rank_of,) if spec.rank_of else ()))
                used |= {(name, side) for side in sides}
        self.moved = MovedCells(ours, used)
        self.numbers = Evaluator(self.moved.tables, default)
        self.formula = self._one(tree, default)

    @functools.cached_property
    def by_seed(self) -> list[Evaluator]:
        """An evaluator of the exact columns per seed; one where no table has seeds."""
        seeded = [set(mine.by_seed) for mine in self.ours.values() if None not in mine.by_seed]
        seeds = sorted(set.intersection(*seeded)) if seeded else [None]
        return [
            Evaluator({name: mine.by_seed.get(seed, mine.by_seed.get(None)) for name, mine in self.ours.items()}, None)
            for seed in seeds
        ]

    def comparisons(self, node: ast.expr, table: str | None) -> list[tuple[ast.expr, int | None, object]]:
        """The parts that must all hold: the node of each, its row where it is one of a column, its formula."""
        match node:
            case ast.BoolOp(op=ast.And(), values=values):
                return [found for value in values for found in self.comparisons(value, table)]
            case ast.Call(func=ast.Name(id="all"), args=[inner]):
                truths = self._truths(inner, table)
                rows = range(len(truths.cells)) if truths.rows is None else truths.rows[1]
                return [(inner, row, cell) for row, cell in zip(rows, truths.cells) if cell is not None]
        return [(node, None, self._one(node, table))]

    # -------------------------------------------------------------- what a node reads

    def _measured_column(self, ref) -> bool:
        return ref.table in self.ours and self.ours[ref.table].is_measured(ref.column)

    def is_measured(self, node: ast.expr, table: str | None) -> bool:
        """Whether a node reads a column that is judged by mean and spread."""
        return any(self._measured_column(ref) for ref in references(node, table))

    def _is_open(self, node: ast.expr, table: str | None) -> bool:
        """Whether a node is more than a plain outcome per seed."""
        return self.is_measured(node, table) or any(_is_call(inner, "given") for inner in ast.walk(node))

    def _steps(self, node: ast.expr, table: str | None) -> bool:
        """Whether a node may jump where a cell moves a little: ranks, tau, rounding, truth values as numbers."""
        for ref in references(node, table):
            if not self.ours[ref.table].figure and table_spec(ref.table).columns[ref.column].rank_of:
                return True
        calls = {n.func.id for n in ast.walk(node) if isinstance(n, ast.Call)}
        return bool(calls & {"tau", "round"}) or _compares(node)

    def _touched(self, nodes: Sequence[ast.expr], table: str | None) -> tuple[Quantity, ...]:
        """The measured cells that nodes read."""
        found: dict[Quantity, None] = {}
        for node in nodes:
            for ref in references(node, table):
                if not self._measured_column(ref):
                    continue
                spec = None if self.ours[ref.table].figure else table_spec(ref.table).columns[ref.column]
                columns = [ref.column] if spec is None else [ref.column, *spec.difference, spec.rank_of]
                for column in columns:
                    for row in self.numbers.rows(ref.table, ref.where):
                        if (ref.table, column, row) in self.moved.place:
                            found[self.moved.quantities[self.moved.place[ref.table, column, row]]] = None
        return tuple(found)

    # -------------------------------------------------------------- truth values

    def _one(self, node: ast.expr, table: str | None):
        """The formula of a single truth value; None where there is nothing to compare."""
        truths = self._truths(node, table)
        if truths.rows is not None:
            raise ExpressionError("the expression is a column of truth values; wrap it in all() or any().")
        return truths.cells[0]

    def _truths(self, node: ast.expr, table: str | None) -> _Truths:
        if self._of_one_run(node, table) and (counted := self._counted(node, table)):
            return counted
        if not self._is_open(node, table):
            return self._counted(node, table) or self._exact(node, table)
        return self._opened(node, table)

    def _opened(self, node: ast.expr, table: str | None) -> _Truths:
        match node:
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self._truths(operand, table)
                return _Truths([None if cell is None else Not(cell) for cell in inner.cells], inner.rows)
            case ast.BoolOp(op=op, values=values):
                exact = [value for value in values if not self._is_open(value, table)]
                rest = [value for value in values if self._is_open(value, table)]
                if exact:
                    rest = [exact[0] if len(exact) == 1 else ast.BoolOp(op, exact), *rest]
                parts = [self._truths(value, table) for value in rest]
                return self._combined(parts, every if isinstance(op, ast.And) else some)
            case ast.Compare(left=left, ops=ops, comparators=others):
                pairs = zip(ops, [left, *others], others)
                return self._combined([self._pair(type(op), a, b, table) for op, a, b in pairs], every)
            case ast.Call(func=ast.Name(id=name), args=args):
                return self._call(name, args, node, table)
        raise ExpressionError(f"{ast.unparse(node)} is no truth value.")

    def _exact(self, node: ast.expr, table: str | None) -> _Truths:
        """Exact columns: the outcome seed by seed."""
        values = [evaluator.value(node, table) for evaluator in self.by_seed]
        cells = [value.need("truth", "the outcome")[0].tolist() for value in values]  # an empty cell is None
        if len({value.rows for value in values}) > 1:
            raise ExpressionError(f"{ast.unparse(node)} gives other rows from seed to seed; wrap it in all() or any().")
        kind = self._exactness(node, table)
        made = [None if set(column) == {None} else Exact(tuple(column), *kind) for column in zip(*cells)]
        return _Truths(made, values[0].rows)

    # -------------------------------------------------------------- numbers judged seed by seed

    def _of_one_run(self, node: ast.expr, table: str | None) -> bool:
        """Whether all that a node reads are measured parts of one run a seed: they are no independent repetitions."""
        refs = references(node, table)
        return self.is_measured(node, table) and all(self.ours[ref.table].one_run for ref in refs)

    def _counted(self, node: ast.expr, table: str | None) -> _Truths | None:
        """What is one number a seed (counts of searched networks, parts of one run): Student's t over the seeds.

        None for what is not judged so.
        """
        if len(self.by_seed) == 1 or not (self._by_search(node, table) or self._of_one_run(node, table)):
            return None
        match node:
            case ast.UnaryOp(op=ast.Not()) | ast.Call(func=ast.Name(id="all" | "any")):
                return self._opened(node, table)
            case ast.BoolOp(op=op, values=parts):
                parts = [self._truths(part, table) for part in parts]
                return self._combined(parts, every if isinstance(op, ast.And) else some)
            case ast.Compare(
                left=left, ops=[ast.Eq()], comparators=[ast.Call(func=ast.Name(id="min" | "max" as name))]
            ):
                return self._extreme_of_searches(left, node.comparators[0].args, name, table)
            case ast.Compare(
                left=ast.Call(func=ast.Name(id="abs"), args=[x]), ops=[ast.Lt() | ast.LtE()], comparators=[c]
            ) if _is_number(c):
                return self._over_searches(x, table, ast.UnaryOp(ast.USub(), c), c)
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _SIDES:
                zero, strict = _is_number(right) and not ast.literal_eval(right), isinstance(op, ast.Lt | ast.Gt)
                difference = left if zero else ast.BinOp(left, ast.Sub(), right)
                return self._over_searches(difference, table, *_SIDES[type(op)], strict=strict)
            case ast.Call(
                func=ast.Name(id="approx" | "equivalent"), args=[a, ast.Constant(value=b), ast.Constant(value=c)]
            ):
                return self._over_searches(a, table, ast.Constant(b - c), ast.Constant(b + c))
            case ast.Call(func=ast.Name(id="approx" | "equivalent"), args=[a, b, c]) if _is_number(c):
                return self._over_searches(ast.BinOp(a, ast.Sub(), b), table, ast.UnaryOp(ast.USub(), c), c)
            case ast.Call(func=ast.Name(id="within"), args=[x, low, high]) if _is_number(low) and _is_number(high):
                return self._over_searches(x, table, low, high)
            case ast.Call(func=ast.Name(id="gain"), args=[a, b]):
                numbers, _ = self._numbers_by_search(ast.BinOp(a, ast.Sub(), b), table)
                numbers = numbers[:, ~np.isnan(numbers).any(axis=0)]
                if not numbers.size:
                    return _Truths([None])
                leaf = self._of_searches(numbers.mean(axis=1), [a, b], table, strict=True)
                if isinstance(leaf, Leaf):
                    rows = [self._of_searches(own, [a, b], table, strict=True) for own in numbers.T]
                    self.gains.append((leaf, rows))
                return _Truths([leaf])
            case ast.Call(func=ast.Name(id="increasing" | "decreasing" as name), args=[x]):
                numbers, _ = self._numbers_by_search(x, table)
                numbers = numbers[:, ~np.isnan(numbers).any(axis=0)]
                steps = np.diff(numbers, axis=1) * (1.0 if name == "increasing" else -1.0)
                return _Truths([every([self._of_searches(step, [x], table, strict=True) for step in steps.T])])
        return None

    def _by_search(self, node: ast.expr, table: str | None) -> bool:
        """Whether a node compares nothing but numbers (shares of words, too), some of networks that searches found."""
        refs = references(node, table)
        searched = any(self.ours[ref.table].unit in SEARCHED_UNITS for ref in refs)
        return searched and not self._words(node, table)

    def _words(self, node: ast.expr, table: str | None) -> bool:
        """Whether a node reads words other than to say how large a share of them is of some kind."""
        if _is_call(node, "mean"):
            return False
        if isinstance(node, ast.Subscript | ast.Name) or _is_call(node, "in_table"):
            frames = [(self.ours[ref.table].exact, ref.column) for ref in references(node, table)]
            return any(not pd.api.types.is_numeric_dtype(frame[name]) for frame, name in frames if name in frame)
        own = node.args if isinstance(node, ast.Call) else ast.iter_child_nodes(node)
        return any(self._words(inner, table) for inner in own if isinstance(inner, ast.expr))

    def _numbers_by_search(self, node: ast.expr, table: str | None) -> tuple[np.ndarray, tuple | None]:
        """Its numbers (searches, rows), NaN where empty, and their rows."""
        values = [evaluator.value(node, table) for evaluator in self.by_seed]
        if len({value.rows for value in values}) > 1:
            raise ExpressionError(f"{ast.unparse(node)} has other rows from search to search.")
        cells = [value.need("number", "a comparison").astype(float).filled(np.nan)[0] for value in values]
        return np.array(cells), values[0].rows

    def _over_searches(self, x: ast.expr, table: str | None, low: ast.expr, high: ast.expr, *, strict=False) -> _Truths:
        """`low <= x <= high` per row; the limits are numbers."""
        low, high = (float(ast.literal_eval(limit)) for limit in (low, high))
        numbers, rows = self._numbers_by_search(x, table)
        return _Truths([self._of_searches(own, [x], table, low, high, strict=strict) for own in numbers.T], rows)

    def _extreme_of_searches(self, x: ast.expr, columns: list[ast.expr], name: str, table: str | None) -> _Truths:
        """`x == min(...)`: x is below all other cells."""
        sign = 1.0 if name == "max" else -1.0
        (own,) = self._numbers_by_search(x, table)[0].T
        rivals = np.hstack([self._numbers_by_search(column, table)[0] for column in columns])
        if np.isnan(own).any():
            return _Truths([None])
        rivals = rivals[:, ~np.isnan(rivals).any(axis=0)]
        gaps = [sign * (own - rival) for rival in rivals.T if not np.array_equal(own, rival)]
        return _Truths([every([self._of_searches(gap, [x, *columns], table, strict=True) for gap in gaps])])

    def _of_searches(self, numbers: np.ndarray, nodes, table, low=0.0, high=np.inf, *, strict=False):
        """The leaf `low <= mean over searches <= high` (searches,); exact where no search changes the number."""
        if np.isnan(numbers).any():
            return None
        needed, gate = self._exactness(*nodes, table)
        touched = self._touched(nodes, table)
        gate = gate or next((quantity.gate for quantity in touched if quantity.gate), "")
        needed = min(needed, MIN_SEEDS)
        if np.ptp(numbers) <= SLACK * max(1.0, abs(numbers).max()):
            slack = 0.0 if strict else SLACK
            held = low - slack <= numbers[0] <= high + slack and not (strict and numbers[0] in (low, high))
            return Exact((bool(held),) * len(numbers), needed, gate)
        first = references(nodes[0], table)[0]
        quantity = Quantity(
            " against ".join(map(ast.unparse, nodes[:2])), (first.table, first.column), numbers, gate=gate
        )
        atom = Atom({self._row(quantity): 1.0}, low=low, high=high, pooling=False)
        divides = any(isinstance(part, ast.Div) for node in nodes for part in ast.walk(node))
        counts = any(_compares(node) or _is_call(node, "tau") for node in nodes)
        units = {unit(ref.column) for node in nodes for ref in references(node, table)}
        shown = "" if divides or counts or len(units) > 1 else units.pop()
        subtracts = len(nodes) > 1 or isinstance(nodes[0], ast.BinOp)
        shown = "points" if shown == "%" and subtracts else shown
        return Linear((quantity,), quantity.name, shown, atom, {quantity: 1.0})

    def _exactness(self, *nodes_and_table) -> tuple[int, str]:
        """`needed` and `gate` of leaves over exact columns."""
        *nodes, table = nodes_and_table
        refs = [ref for node in nodes for ref in references(node, table)]
        trained = any(self.ours[ref.table].is_trained(ref.column) for ref in refs)
        seeded = any(None not in mine.by_seed for mine in self.ours.values())
        varies = bool(refs) and (trained or seeded)
        if varies:
            self.seeds_seen.append(len(self.by_seed))
        small = next((ref for ref in refs if self.ours[ref.table].is_small(ref.column)), None)
        gate = f"{small.column} of {small.table} counts networks that are smaller than the paper's" if small else ""
        if not varies:
            return 1, gate
        # Words (an operator, "diverged") have no spread by which three alike would differ from a chance of one half.
        words = any(not pd.api.types.is_numeric_dtype(self.ours[ref.table].exact[ref.column]) for ref in refs)
        return (MIN_OUTCOMES if words else MIN_SEEDS), gate

    def _aligned(self, parts: Sequence[_Truths]) -> tuple[list[list], tuple | None]:
        rows = next((part.rows for part in parts if part.rows is not None), None)
        if rows is None:
            return [part.cells for part in parts], None
        aligned = []
        for part in parts:
            if part.rows is None:
                aligned.append(part.cells * len(rows[1]))
            elif part.rows == rows:
                aligned.append(part.cells)
            else:
                aligned.append([part.cells[i] for i in self.numbers.partners(rows, part.rows)])
        return aligned, rows

    def _combined(self, parts: Sequence[_Truths], combine) -> _Truths:
        aligned, rows = self._aligned(parts)
        made = []
        for cells in zip(*aligned):
            filled = [cell for cell in cells if cell is not None]
            whole = combine(filled) if filled else None
            settled = isinstance(whole, Exact) and whole.decided is (combine is some)
            made.append(whole if len(filled) == len(cells) or settled else None)
        return _Truths(made, rows)

    def _call(self, name: str, args: list[ast.expr], node: ast.Call, table: str | None) -> _Truths:
        match name, args:
            case "in_table", [ast.Constant(value=other), inner]:
                return self._truths(inner, other)
            case (("all" | "any"), [inner]):
                filled = [cell for cell in self._truths(inner, table).cells if cell is not None]
                return _Truths([(every if name == "all" else some)(filled) if filled else None])
            case (("increasing" | "decreasing"), [inner]):
                cells = self._cells(self.numbers.value(inner, table))
                cells = cells[:, ~np.isnan(cells[0])]
                steps = np.diff(cells) if name == "increasing" else -np.diff(cells)
                made = [self._difference(ast.Gt, step, [inner], table) for step in steps.T]
                return _Truths([every(made) if made else Exact((True,)) if cells.shape[1] else None])
            case "approx", [a, b, tolerance]:
                return self._between(
                    ast.BinOp(a, ast.Sub(), b), ast.UnaryOp(ast.USub(), tolerance), tolerance, node, table
                )
            case "equivalent", [a, b, margin]:
                return self._between(ast.BinOp(a, ast.Sub(), b), ast.UnaryOp(ast.USub(), margin), margin, node, table)
            case "within", [x, low, high]:
                return self._between(x, low, high, node, table)
            case "printed", [x, value]:
                return self._printed(x, value, table)
            case "gain", [a, b]:
                return self._gain(a, b, table)
            case "given", [condition, claim]:
                parts, rows = self._aligned([self._truths(condition, table), self._truths(claim, table)])
                return _Truths([None if None in pair else Given(*pair) for pair in zip(*parts)], rows)
            case "dominated", _:
                return self._dominated(args, table)
        raise ExpressionError(f"{ast.unparse(node)} is no truth value.")

    # -------------------------------------------------------------- comparisons

    def _cells(self, value: Value) -> np.ndarray:
        """Numbers over the axis (length, rows), NaN where empty."""
        cells = value.need("number", "a comparison").astype(float).filled(np.nan)
        return np.broadcast_to(cells, (self.moved.length, cells.shape[1]))

    def _pair(self, op: type, left: ast.expr, right: ast.expr, table: str | None) -> _Truths:
        if op not in _HOLDS:
            raise ExpressionError("'in' on measured numbers has no meaning; compare them with < or >.")
        if op is ast.NotEq:
            equal = self._pair(ast.Eq, left, right, table)
            return _Truths([None if cell is None else Not(cell) for cell in equal.cells], equal.rows)
        if _is_call(left, "abs") and op in (ast.Lt, ast.LtE) and not self.is_measured(right, table):
            whole = ast.Compare(left, [op()], [right])
            return self._between(left.args[0], ast.UnaryOp(ast.USub(), right), right, whole, table)
        if _is_call(left, "abs") and op in (ast.Gt, ast.GtE) and not self.is_measured(right, table):
            inner = self._pair({ast.Gt: ast.LtE, ast.GtE: ast.Lt}[op], left, right, table)
            return _Truths([None if cell is None else Not(cell) for cell in inner.cells], inner.rows)
        if _is_call(left, "min", "max"):
            if op is ast.Eq and _is_call(right, "min", "max"):
                return self._plain(op, left, right, table)
            return self._extreme(op, left, [self.numbers.value(right, table)], right, table, flipped=True)
        if _is_call(right, "min", "max"):
            return self._extreme(op, right, [self.numbers.value(left, table)], left, table, flipped=False)
        return self._plain(op, left, right, table)

    def _plain(self, op: type, left: ast.expr, right: ast.expr, table: str | None) -> _Truths:
        values = [self.numbers.value(node, table) for node in (left, right)]
        (a, b), rows = self.numbers.joined(values, "number", "a comparison")
        a, b = (self._cells(Value(cells)) for cells in (a, b))
        return _Truths([self._difference(op, d, [left, right], table) for d in (a - b).T], rows)

    def _extreme(self, op, extreme: ast.Call, values, other: ast.expr, table, *, flipped: bool) -> _Truths:
        """`x op max(...)` as pairs; `x == max(...)` asks that x is above all others."""
        own = _FLIPPED[op] if flipped else op  # x own extreme
        largest = extreme.func.id == "max"
        if own is ast.Eq:
            own = ast.GtE if largest else ast.LtE
        combine = every if (own in (ast.Gt, ast.GtE)) == largest else some
        if _is_call(other, "min", "max"):  # max(a) < min(b): every cell of b
            cells = np.column_stack([self._cells(self.numbers.value(arg, table)) for arg in other.args])
            outer = every if (own in (ast.Gt, ast.GtE)) == (other.func.id == "min") else some
        else:
            cells, outer = self._cells(values[0]), None
        rivals = np.column_stack([self._cells(self.numbers.value(arg, table)) for arg in extreme.args])
        rivals, nodes = rivals[:, ~np.isnan(rivals[0])], [other, *extreme.args]
        made = []
        for cell in cells.T:
            pairs = [self._difference(own, cell - rival, nodes, table) for rival in rivals.T]
            made.append(combine(pairs) if pairs and not np.isnan(cell[0]) else None)
        if outer is not None:
            filled = [part for part in made if part is not None]
            return _Truths([outer(filled) if filled else None])
        return _Truths(made, values[0].rows)

    def _difference(self, op: type, cells: np.ndarray, nodes: Sequence[ast.expr], table: str | None):
        """The leaf `difference op 0`, `cells` (length,) being the difference over the axis; None if it is empty."""
        if np.isnan(cells[0]):
            return None
        gradient = self._gradient(cells, nodes, table)
        if gradient is None:
            return self._sampled(nodes, table, cells, np.where(np.isnan(cells), np.nan, _HOLDS[op](cells, 0.0)))
        if not gradient:
            return Exact((bool(_HOLDS[op](cells[0], 0.0)),))
        if op in (ast.Lt, ast.LtE):
            gradient, cells = {q: -c for q, c in gradient.items()}, -cells
        low, high = (0.0, 0.0) if op is ast.Eq else (0.0, np.inf)
        return self._test(gradient, float(cells[0]), low, high)

    def _gradient(self, cells: np.ndarray, nodes, table) -> dict[Quantity, float] | None:
        """Coefficients of a linear difference, without zeros; None where it is not linear."""
        if any(self._steps(node, table) for node in nodes):
            return None
        count = len(self.moved.quantities)
        slopes = cells[1 : count + 1] - cells[0]
        moved, expected = (
            cells[count + 1 : count + 3],
            (self.moved.values[count + 1 : count + 3] - self.moved.values[0]) @ slopes,
        )
        scale = 1.0 + np.abs(moved).max(initial=0.0)
        if not np.allclose(moved - cells[0], expected, atol=1e-7 * scale, rtol=0):  # NaN is not close to anything
            return None
        return {q: float(c) for q, c in zip(self.moved.quantities, slopes) if abs(c) > 1e-9}

    def _test(self, gradient: dict[Quantity, float], estimate: float, low: float, high: float, **more):
        label, unit = _named(gradient)
        constant = estimate - sum(c * quantity.mean for quantity, c in gradient.items())
        atom = self._atom(gradient, constant, low=low, high=high, **more)
        return Linear(tuple(gradient), label, unit, atom, gradient)

    def _row(self, quantity: Quantity) -> Row:
        """The cell as `decide` has it; cells of one column that hold the same runs are one row."""
        if quantity not in self._rows:
            row = Row(quantity.values, quantity.pool, quantity.scores, quantity.draws)
            parts = (quantity.values, quantity.scores, quantity.draws)
            content = tuple(None if part is None else part.tobytes() for part in parts)
            self._rows[quantity] = self._alike.setdefault((quantity.pool, *content), row)
        return self._rows[quantity]

    def _atom(self, gradient: Mapping[Quantity, float], constant: float = 0.0, **claim) -> Atom:
        pool = {q: None for own in gradient for q in variance_pool(own, self.ours[own.pool[0]])}
        searched = any(self.ours[own.pool[0]].unit in SEARCHED_UNITS for own in gradient)
        terms: dict[Row, float] = {}
        for quantity, c in gradient.items():
            terms[self._row(quantity)] = terms.get(self._row(quantity), 0.0) + c
        return Atom(terms, constant, map(self._row, pool), pooling=not searched, own_if_unlike=True, **claim)

    def spread(self, ref, row: int) -> float:
        """Half the width of the 95 % interval of one cell; NaN where it has too few seeds."""
        place = self.moved.place.get((ref.table, ref.column, row))
        if place is None:
            return np.nan
        quantity = self.moved.quantities[place]
        low, high = self._atom({quantity: 1.0}).bounds()
        return (high - low) / 2

    def _sampled(self, nodes, table, cells: np.ndarray, outcomes: np.ndarray | None, low=0.0, high=0.0) -> Sampled:
        touched = self._touched(nodes, table)
        enough = all(self._atom({quantity: 1.0}).enough() for quantity in touched)
        label = " against ".join(ast.unparse(node) for node in nodes[:2])
        drawn = None if outcomes is None else outcomes[-DRAWS:]
        return Sampled(touched, label, "", drawn, cells[-DRAWS:], float(cells[0]), enough, low, high)

    def _between(self, x: ast.expr, low: ast.expr, high: ast.expr, whole: ast.expr, table: str | None) -> _Truths:
        """`low <= x <= high`: two one-sided tests where the limits are exact."""
        limits = [low, high]
        if any(self.is_measured(limit, table) for limit in limits):
            return self._combined([self._pair(ast.GtE, x, low, table), self._pair(ast.LtE, x, high, table)], every)
        values = [self.numbers.value(node, table) for node in (x, low, high)]
        cells, rows = self.numbers.joined(values, "number", "a comparison")
        cells = [self._cells(Value(part)) for part in cells]
        made = []
        for value, least, most in zip(*(part.T for part in cells)):
            gradient = None if np.isnan(value[0]) else self._gradient(value, [x], table)
            if np.isnan(value[0]):
                made.append(None)
            elif gradient is None:
                outcomes = np.where(np.isnan(value), np.nan, (value >= least - SLACK) & (value <= most + SLACK))
                made.append(self._sampled([x], table, value, outcomes))
            elif not gradient:
                made.append(Exact((bool(least[0] - SLACK <= value[0] <= most[0] + SLACK),)))
            else:
                made.append(self._test(gradient, float(value[0]), float(least[0]), float(most[0])))
        return _Truths(made, rows)

    def _printed(self, x: ast.expr, value: ast.expr, table: str | None) -> _Truths:
        printed = ast.literal_eval(ast.unparse(value))
        half = 0.5 * 10.0 ** -printed_decimals(ast.unparse(value))
        low, high = sorted((printed - half, printed + half))
        found = self.numbers.value(x, table)
        made = []
        for cells in self._cells(found).T:
            gradient = None if np.isnan(cells[0]) else self._gradient(cells, [x], table)
            if np.isnan(cells[0]):
                made.append(None)
            elif gradient is None:
                leaf = self._sampled([x], table, cells, None, low, high)
                made.append(replace(leaf, pairs=self._pairs(x, table)) if _is_call(x, "tau") else leaf)
            elif not gradient:
                made.append(Exact((bool(low - SLACK <= cells[0] <= high + SLACK),)))
            else:
                made.append(self._test(gradient, float(cells[0]), low, high, contains=True))
        return _Truths(made, found.rows)

    def _pairs(self, tau: ast.Call, table: str | None) -> tuple:
        """ "i above j" in both of the rankings that a tau compares, for every pair of networks."""
        (a, b), _ = self.numbers.joined([self.numbers.value(n, table) for n in tau.args], "number", "tau()")
        rankings = [self._cells(Value(cells)) for cells in (a, b)]
        return tuple(
            tuple(
                self._difference(ast.Gt, own[:, i] - own[:, j], [node], table) for own, node in zip(rankings, tau.args)
            )
            for i, j in itertools.combinations(range(rankings[0].shape[1]), 2)
        )

    def _gain(self, a: ast.expr, b: ast.expr, table: str | None) -> _Truths:
        """The mean over rows of a - b; its rows are kept for the evidence."""
        (left, right), _ = self.numbers.joined([self.numbers.value(n, table) for n in (a, b)], "number", "gain()")
        rows = (self._cells(Value(left)) - self._cells(Value(right))).T
        rows = [cells for cells in rows if not np.isnan(cells[0])]
        if not rows:
            return _Truths([None])
        leaf = self._difference(ast.Gt, np.mean(rows, axis=0), [a, b], table)
        if isinstance(leaf, Leaf):
            self.gains.append((leaf, [self._difference(ast.Gt, cells, [a, b], table) for cells in rows]))
        return _Truths([leaf])

    def _dominated(self, args: list[ast.expr], table: str | None) -> _Truths:
        """Per row: some reference row costs no more and scores better (or costs less and scores no less)."""
        cost, score, ref_cost, ref_score = args
        scores, rows = self.numbers.joined(
            [self.numbers.value(n, table) for n in (cost, score)], "number", "dominated()"
        )
        refs, _ = self.numbers.joined(
            [self.numbers.value(n, table) for n in (ref_cost, ref_score)], "number", "dominated()"
        )
        mine, other = self._cells(Value(scores[1])), self._cells(Value(refs[1]))
        if self.is_measured(cost, table) or self.is_measured(ref_cost, table):
            costs = self._cells(Value(scores[0]))[:, :, None] - self._cells(Value(refs[0]))[:, None, :]

            def cheaper(i, j, op):
                return self._difference(op, costs[:, i, j], [cost, ref_cost], table)
        else:
            own, ref = (self._numbers_by_search(node, table)[0] for node in (cost, ref_cost))

            def cheaper(i, j, op):
                saved = own[:, i] - ref[:, j]
                return self._of_searches(saved, [cost, ref_cost], table, strict=op is ast.Gt)

        made = []
        for i in range(mine.shape[1]):
            found = []
            for j in range(other.shape[1]):
                better = self._difference(ast.Gt, other[:, j] - mine[:, i], [score, ref_score], table)
                less, no_more = cheaper(i, j, ast.Gt), cheaper(i, j, ast.GtE)
                if better is None or None in (less, no_more):
                    continue
                same = isinstance(better, Exact) and other[0, j] == mine[0, i]
                found.append(less if same else every([no_more, better]))
            made.append(some(found) if found else Exact((False,)))
        return _Truths(made, rows)


def _is_number(node: ast.expr) -> bool:
    try:
        return isinstance(ast.literal_eval(node), int | float)
    except ValueError:  # it reads cells, or calculates
        return False


def _is_call(node: ast.expr, *names: str) -> bool:
    return isinstance(node, ast.Call) and node.func.id in names


def _compares(node: ast.expr) -> bool:
    """Whether truth values are used as numbers inside a node; the conditions that select rows do not count."""
    stack = [node]
    while stack:
        inner = stack.pop()
        if isinstance(inner, ast.Compare | ast.BoolOp):
            return True
        if not isinstance(inner, ast.Subscript):
            stack += ast.iter_child_nodes(inner)
    return False


def _named(gradient: Mapping[Quantity, float]) -> tuple[str, str]:
    """What a linear form is called, and its unit."""
    units = {unit(q.pool[1]) for q in gradient}
    shown = units.pop() if len(units) == 1 else ""
    plus = [q.name for q, c in gradient.items() if abs(c - 1) < 1e-9]
    minus = [q.name for q, c in gradient.items() if abs(c + 1) < 1e-9]
    if len(gradient) == len(plus) == 1:
        return plus[0], shown
    if len(gradient) == 2 and len(plus) == len(minus) == 1:
        column = next(q.pool[1] for q, c in gradient.items() if c > 0)
        return f"{plus[0]} minus {minus[0].removeprefix(f'{column} of ')}", "points" if shown == "%" else shown
    return "difference", "points" if shown == "%" else shown
