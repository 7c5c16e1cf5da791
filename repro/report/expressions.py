"""The language of claims: a whitelisted subset of Python expressions over the columns of tables, nothing is `eval`ed.

Every value has an axis of resamples, so that one evaluation answers for all of them. Columns that are combined are
joined on the key of their tables, never by position. See data/published/README.md for the language.
"""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from repro.errors import InputError, nearest

MAX_CHARACTERS, MAX_DEPTH = 4096, 40
SLACK = 1e-9  # a difference printed to two decimals is not exact in binary; far below any printed digit

_ARITHMETIC = {ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide, ast.Pow: np.power}
_COMPARE = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_NODES = (
    *(ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Subscript, ast.Tuple, ast.Call),
    *(ast.BinOp, ast.UnaryOp, ast.USub, ast.Not, ast.BoolOp, ast.And, ast.Or, ast.Compare, ast.In, ast.NotIn),
    *_ARITHMETIC,
    *_COMPARE,
)


class ExpressionError(InputError):
    """An expression that does not parse, names something unknown, or mixes values that do not fit; one sentence."""


class NoValuesError(ExpressionError):
    """An expression whose outcome hangs on empty cells."""


@dataclass(frozen=True)
class Table:
    """Columns as arrays (resamples or 1, rows): float64 with NaN, or object with None, where a cell is empty.

    key: columns that identify a row.  descriptors: columns that say more about it; both serve to join selections.
    """

    columns: Mapping[str, np.ndarray]
    key: tuple[str, ...]
    descriptors: tuple[str, ...] = ()


def as_array(cells: pd.Series) -> np.ndarray:
    """A column of a data frame as an array (1, rows), see `Table`; an empty text is an empty cell."""
    if pd.api.types.is_numeric_dtype(cells):
        return cells.to_numpy(float, na_value=np.nan)[None]
    texts = [None if pd.isna(cell) or cell == "" else str(cell) for cell in cells]
    return np.array([*texts, None], dtype=object)[None, :-1]


@dataclass(frozen=True)
class Value:
    """What a part of an expression stands for.

    kind: "number", "text" or "truth" (1, 0 or NaN).  cells: (resamples or 1, rows).
    rows: table and row numbers of a column; None for a single value, which meets every row.
    """

    kind: str
    cells: np.ndarray
    rows: tuple[str, tuple[int, ...]] | None = None


@dataclass(frozen=True)
class Reference:
    """A column that an expression reads, whole or where a condition holds."""

    table: str | None
    column: str
    where: ast.expr | None

    def __str__(self) -> str:
        return self.column + (f"[{ast.unparse(self.where)}]" if self.where is not None else "")

    @property
    def selects_by(self) -> list[str]:
        """Columns that the condition looks at."""
        return [] if self.where is None else [ref.column for ref in references(self.where)]


# ------------------------------------------------------------------ parsing


def _check_depth(tree: ast.expr, source: str) -> None:
    """Refuse deep nesting; a chain such as a + b + c is evaluated in a loop and counts as one level."""
    stack = [(tree, 0)]
    while stack:
        node, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise ExpressionError(f"expression {source[:20]!r}... is nested more than {MAX_DEPTH} levels deep.")
        chained = node.left if isinstance(node, ast.BinOp) else None
        stack += [(child, depth + (child is not chained)) for child in ast.iter_child_nodes(node)]


def _problem(node: ast.AST) -> str | None:
    """Why a node is not part of the language, or None."""
    if not isinstance(node, _NODES):
        return f"uses {type(node).__name__}, which is not part of the language"
    if isinstance(node, ast.Constant) and type(node.value) not in (int, float, str):
        return f"holds {node.value!r}; only numbers and texts are allowed"
    if isinstance(node, ast.Constant) and type(node.value) is not str and abs(node.value) > 1e300:
        return "holds a number beyond 1e300"
    if isinstance(node, ast.Subscript) and not isinstance(node.value, ast.Name):
        return "selects rows of something that is not a column"
    if isinstance(node, ast.Tuple) and not all(isinstance(part, ast.Constant) for part in node.elts):
        return "has a list that holds more than numbers and texts"
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
        if name not in FUNCTIONS:
            return f"calls the unknown function {name!r}; allowed are {', '.join(FUNCTIONS)}"
        fewest, most, _ = FUNCTIONS[name]
        if node.keywords or not fewest <= len(node.args) <= most:
            return f"calls {name}() with wrong arguments; it takes {fewest} to {most}, without names"
        texts = {"startswith": node.args[1:], "subset": node.args, "in_table": node.args[:1]}.get(name, [])
        if not all(isinstance(arg, ast.Constant) and isinstance(arg.value, str) for arg in texts):
            return f"calls {name}() where a text in quotes is required"
    return None


@functools.lru_cache(maxsize=1024)
def parse(source: str) -> ast.expr:
    """The syntax tree of an expression. Raises ExpressionError, one sentence, for all that is not in the language."""
    if len(source) > MAX_CHARACTERS:
        raise ExpressionError(f"expression {source[:20]!r}... is longer than {MAX_CHARACTERS} characters.")
    try:
        tree = ast.parse(source.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ExpressionError(f"expression {source[:60]!r} cannot be read: {str(error).splitlines()[0]}.") from None
    for node in ast.walk(tree):
        if problem := _problem(node):
            raise ExpressionError(f"expression {source[:60]!r} {problem}.")
    _check_depth(tree, source)
    return tree


def _walk(tree: ast.expr, table: str | None) -> Iterator[tuple[ast.expr, str | None]]:
    """Nodes in reading order, each with the table that its columns belong to; conditions are not entered."""
    stack = [(tree, table)]
    while stack:
        node, table = stack.pop()
        yield node, table
        if isinstance(node, ast.Call):
            inside = node.args[0].value if node.func.id == "in_table" else table
            stack += [(arg, inside) for arg in reversed(node.args)]
        elif not isinstance(node, ast.Subscript):
            stack += [(child, table) for child in reversed([*ast.iter_child_nodes(node)])]


def references(tree: ast.expr, table: str | None = None) -> list[Reference]:
    """Every column that a tree reads, each once, in reading order; `table` is the one that plain names belong to."""
    found: dict[tuple[str | None, str], Reference] = {}
    for node, inside in _walk(tree, table):
        if isinstance(node, ast.Name):
            ref = Reference(inside, node.id, None)
        elif isinstance(node, ast.Subscript):
            ref = Reference(inside, node.value.id, node.slice)
        else:
            continue
        found.setdefault((inside, str(ref)), ref)
    return list(found.values())


def tables_read(tree: ast.expr, table: str | None = None) -> list[str]:
    """Ids of the tables that a tree needs, each once."""
    names = [ref.table for ref in references(tree, table)]
    for node, _ in _walk(tree, table):
        if isinstance(node, ast.Call) and node.func.id == "subset":
            names += [arg.value for arg in node.args[:2]]
    return list(dict.fromkeys(name for name in names if name is not None))


# ------------------------------------------------------------------ functions over arrays (resamples, rows)


def _over(none: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values with one row, empty where `none`."""
    return np.where(none, np.nan, values)[:, None]


def _all(cells: np.ndarray) -> np.ndarray:
    return _over(np.isnan(cells).all(1), ~(cells == 0).any(1))


def _extreme(choose: np.ufunc, neutral: float, *columns: np.ndarray) -> np.ndarray:
    parts = [choose.reduce(np.where(np.isnan(c), neutral, c), axis=1, initial=neutral)[:, None] for c in columns]
    empty = [np.isnan(c).all(1, keepdims=True) for c in columns]
    return np.where(functools.reduce(np.logical_or, empty), np.nan, functools.reduce(choose, parts))


def _mean(cells: np.ndarray) -> np.ndarray:
    filled = (~np.isnan(cells)).sum(1)
    return _over(filled == 0, np.nansum(cells, axis=1) / np.maximum(filled, 1))


def _monotone(test: Callable, cells: np.ndarray) -> np.ndarray:
    """Whether the filled cells follow each other as `test` says."""
    rows = []
    for row in cells:
        filled = row[~np.isnan(row)]
        rows.append(float(test(filled[:-1], filled[1:]).all()) if len(filled) else np.nan)
    return np.array(rows)[:, None]


def _round_half_up(cells: np.ndarray, digits: np.ndarray | float = 0.0) -> np.ndarray:
    scale = 10.0 ** np.trunc(digits)  # printed decimals are meant: 0.285 is held as 0.28499999999999998 and rounds up
    return np.copysign(np.floor(np.abs(cells) * scale + 0.5 + SLACK), cells) / scale


def _tau(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Kendall's tau-b over the rows where both are filled."""
    i, j = np.triu_indices(np.broadcast(a, b).shape[1], 1)
    signs = [np.sign(column[:, i] - column[:, j]) for column in np.broadcast_arrays(a, b)]
    known = ~np.isnan(signs[0] + signs[1])
    concordance = np.where(known, signs[0] * signs[1], 0).sum(1)
    untied = [(known & (sign != 0)).sum(1) for sign in signs]
    scale = np.sqrt(untied[0] * untied[1])
    return _over(scale == 0, concordance / np.where(scale == 0, 1, scale))


def _dominated(cost: np.ndarray, score: np.ndarray, ref_cost: np.ndarray, ref_score: np.ndarray) -> np.ndarray:
    """Per row: does some reference row cost no more and score no less, and one of the two strictly better?"""
    cheaper, better = ref_cost[:, None] - cost[:, :, None], ref_score[:, None] - score[:, :, None]
    found = ((cheaper <= 0) & (better >= 0) & ((cheaper < 0) | (better > 0))).any(2)
    nothing = np.isnan(ref_cost + ref_score).all(1)[:, None]
    return np.where(np.isnan(cost + score) | nothing, np.nan, found)


def _noptions(cells: np.ndarray) -> np.ndarray:
    def count(text: str | None) -> float:
        return np.nan if text is None else len([part for part in text.split(";") if part.strip()])

    return np.vectorize(count, otypes=[float])(cells)


# name -> (fewest arguments, most arguments, what takes numbers or truth values row by row, or reduces one column)
FUNCTIONS: dict[str, tuple[int, int, Callable | None]] = {
    "all": (1, 1, _all),
    "any": (1, 1, lambda cells: 1 - _all(1 - cells)),
    "min": (1, 9, functools.partial(_extreme, np.minimum, np.inf)),
    "max": (1, 9, functools.partial(_extreme, np.maximum, -np.inf)),
    "mean": (1, 1, _mean),
    "sum": (1, 1, lambda cells: _over(np.isnan(cells).all(1), np.nansum(cells, axis=1))),
    "count": (1, 1, None),
    "increasing": (1, 1, functools.partial(_monotone, operator.lt)),
    "decreasing": (1, 1, functools.partial(_monotone, operator.gt)),
    "tau": (2, 2, _tau),
    "dominated": (4, 4, None),
    "abs": (1, 1, np.abs),
    "round": (1, 2, _round_half_up),
    "approx": (3, 3, lambda a, b, tol: np.abs(a - b) <= tol + SLACK),
    "within": (3, 3, lambda x, low, high: (x >= low - SLACK) & (x <= high + SLACK)),
    "noptions": (1, 1, None),
    "startswith": (2, 9, None),
    "subset": (3, 3, None),
    "in_table": (2, 2, None),
}
_REDUCE = ("all", "any", "min", "max", "mean", "sum", "increasing", "decreasing")
_TRUTHS = ("all", "any", "increasing", "decreasing", "approx", "within")


def _empty(cells: np.ndarray) -> np.ndarray:
    return np.equal(cells, None).astype(bool) if cells.dtype == object else np.isnan(cells)


def _single(kind: str, cell: float | str) -> Value:
    return Value(kind, np.array([[cell]], dtype=object if kind == "text" else float))


def _need(kind: str, value: Value, what: str) -> None:
    if value.kind != kind and not (kind == "number" and value.kind == "truth"):
        raise ExpressionError(f"{what} needs a {kind} value; it is given a {value.kind} value.")


# ------------------------------------------------------------------ evaluation


class Evaluator:
    """Evaluates trees over tables; `default` is the id of the table that plain names belong to."""

    def __init__(self, tables: Mapping[str, Table], default: str | None):
        self.tables = tables
        self.default = default

    def truth(self, tree: ast.expr) -> np.ndarray:
        """The outcome per resample: 1, 0, or NaN where it hangs on empty cells."""
        value = self.value(tree, self.default)
        _need("truth", value, "the outcome")
        if value.rows is not None:
            raise ExpressionError("the expression is a column of truth values; wrap it in all() or any().")
        return value.cells[:, 0]

    def holds(self, tree: ast.expr) -> bool:
        """The outcome where nothing is resampled. Raises NoValuesError where it hangs on empty cells."""
        (outcome,) = self.truth(tree)
        if np.isnan(outcome):
            raise NoValuesError("the outcome hangs on empty cells.")
        return bool(outcome)

    def value(self, node: ast.expr, table: str | None) -> Value:
        """The value of any node, its columns read from `table`."""
        match node:
            case ast.Constant(value=str(text)):
                return _single("text", text)
            case ast.Constant(value=number):
                return _single("number", float(number))
            case ast.Name(id=name):
                return self.column(Reference(table, name, None))
            case ast.Subscript(value=ast.Name(id=name), slice=where):
                return self.column(Reference(table, name, where))
            case ast.UnaryOp(op=op, operand=operand):
                inner, negate = self.value(operand, table), isinstance(op, ast.USub)
                _need("number" if negate else "truth", inner, "'-'" if negate else "'not'")
                return Value(inner.kind, -inner.cells if negate else 1 - inner.cells, inner.rows)
            case ast.BinOp():
                return self._arithmetic(node, table)
            case ast.BoolOp(op=op, values=parts):
                return self._logic(isinstance(op, ast.And), [self.value(part, table) for part in parts])
            case ast.Compare():
                return self._comparison(node, table)
            case ast.Call(func=ast.Name(id=name), args=args):
                return self._call(name, args, table)
        raise ExpressionError("a list may stand only behind 'in'.")

    # -------------------------------------------------------------- columns and joins

    def table(self, name: str | None) -> Table:
        """A table by its id."""
        if name is None or name not in self.tables:
            raise ExpressionError(f"the table {name or '(none is named)'} is needed, which is not given.")
        return self.tables[name]

    def _cells(self, table: str | None, column: str) -> np.ndarray:
        columns = self.table(table).columns
        if column not in columns:
            hint = nearest(column, columns)
            raise ExpressionError(f"{table} has no column {column!r}; it has {', '.join(columns)}.{hint}")
        return columns[column]

    def rows(self, table: str | None, where: ast.expr | None) -> list[int]:
        """Numbers of the rows in which a condition holds; an empty cell meets no condition."""
        if where is None:
            return list(range(next(iter(self.table(table).columns.values())).shape[1]))
        chosen = self.value(where, table)
        _need("truth", chosen, "the condition in [ ]")
        if chosen.rows is None or len(chosen.cells) != 1 or chosen.rows[0] != table:
            raise ExpressionError(f"[{ast.unparse(where)}] must compare whole, unsampled columns of {table}.")
        return [row for row, cell in zip(chosen.rows[1], chosen.cells[0]) if cell == 1]

    def column(self, ref: Reference) -> Value:
        """The cells that a reference names; a single value where a condition leaves one row."""
        cells = self._cells(ref.table, ref.column)
        kind = "text" if cells.dtype == object else "number"
        rows = self.rows(ref.table, ref.where)
        single = ref.where is not None and len(rows) == 1
        return Value(kind, cells[:, rows], None if single else (ref.table, tuple(rows)))

    def _labels(self, rows: tuple[str, tuple[int, ...]], column: str) -> list:
        return [None if cell != cell else cell for cell in self.tables[rows[0]].columns[column][0, list(rows[1])]]

    def _partners(self, left: tuple, right: tuple) -> list[int]:
        """For every row of `left` the place of the row of `right` with the same key."""
        tables = [self.tables[rows[0]] for rows in (left, right)]
        keys = [name for name in tables[0].key if name in tables[1].key]
        known = [{*table.key, *table.descriptors} for table in tables]
        for names in (keys, sorted(known[0] & known[1])):
            labels = {name: (self._labels(left, name), self._labels(right, name)) for name in names}
            sets = {name: (set(a), set(b)) for name, (a, b) in labels.items()}
            if any(sets[name][0] != sets[name][1] and sets[name][0] & sets[name][1] for name in keys if name in sets):
                break
            on = [name for name, (a, b) in sets.items() if a == b and len(a) > 1]
            mine, other = (list(zip(*(labels[name][side] for name in on))) for side in (0, 1))
            if len(set(mine)) == len(left[1]) == len(right[1]) and set(mine) == set(other):
                return [other.index(label) for label in mine]
        raise ExpressionError(
            f"columns of {len(left[1])} and {len(right[1])} rows cannot be joined: "
            f"{', '.join(keys) or 'no common key'} does not pair their rows one to one."
        )

    def _joined(self, *values: Value) -> tuple[list[np.ndarray], tuple | None]:
        """Cells of all values in the rows of the first column among them, and these rows."""
        rows = next((value.rows for value in values if value.rows is not None), None)
        cells = [
            v.cells if v.rows is None or v.rows == rows else v.cells[:, self._partners(rows, v.rows)] for v in values
        ]
        return cells, rows

    # -------------------------------------------------------------- operators and calls

    def _arithmetic(self, node: ast.BinOp, table: str | None) -> Value:
        chain = []
        while isinstance(node, ast.BinOp):
            chain.append(node)
            node = node.left
        result = self.value(node, table)
        for step in reversed(chain):
            right = self.value(step.right, table)
            for value in (result, right):
                _need("number", value, "arithmetic")
            (a, b), rows = self._joined(result, right)
            with np.errstate(all="ignore"):
                cells = _ARITHMETIC[type(step.op)](a, b)
            result = Value("number", np.where(np.isfinite(cells), cells, np.nan), rows)  # a ratio to nothing is empty
        return result

    def _logic(self, conjunction: bool, parts: list[Value]) -> Value:
        """`and` or `or`: an empty part decides nothing, the others may."""
        for part in parts:
            _need("truth", part, "'and' / 'or'")
        cells, rows = self._joined(*parts)
        stacked = np.stack(np.broadcast_arrays(*cells))
        stacked = stacked if conjunction else 1 - stacked
        outcome = np.where((stacked == 0).any(0), 0.0, stacked.prod(0))
        return Value("truth", outcome if conjunction else 1 - outcome, rows)

    def _comparison(self, node: ast.Compare, table: str | None) -> Value:
        left, parts = self.value(node.left, table), []
        for op, operand in zip(node.ops, node.comparators):
            if isinstance(op, ast.In | ast.NotIn):
                if not isinstance(operand, ast.Tuple):
                    raise ExpressionError("a list in parentheses must stand behind 'in'.")
                found = [self._compared(ast.Eq(), left, self.value(part, table)) for part in operand.elts]
                part = self._logic(False, found or [_single("truth", 0.0)])
                parts.append(Value("truth", part.cells if isinstance(op, ast.In) else 1 - part.cells, part.rows))
            else:
                right = self.value(operand, table)
                parts.append(self._compared(op, left, right))
                left = right
        return parts[0] if len(parts) == 1 else self._logic(True, parts)

    def _compared(self, op: ast.cmpop, left: Value, right: Value) -> Value:
        if left.kind != right.kind:
            raise ExpressionError(f"a {left.kind} value cannot be compared with a {right.kind} value.")
        if left.kind == "text" and not isinstance(op, ast.Eq | ast.NotEq):
            raise ExpressionError("texts have no order; they can be compared with == and != only.")
        (a, b), rows = self._joined(left, right)
        return Value("truth", np.where(_empty(a) | _empty(b), np.nan, _COMPARE[type(op)](a, b)), rows)

    def _call(self, name: str, args: list[ast.expr], table: str | None) -> Value:
        if name == "in_table":
            return self.value(args[1], args[0].value)
        if name == "subset":
            return self._subset(*(arg.value for arg in args))
        values = [self.value(arg, table) for arg in args]
        first = values[0]
        if name == "count":
            return Value("number", (~_empty(first.cells)).sum(1, keepdims=True).astype(float))
        if name in ("startswith", "noptions"):
            _need("text", first, f"{name}()")
            if name == "noptions":
                return Value("number", _noptions(first.cells), first.rows)
            heads = tuple(arg.value for arg in args[1:])
            starts = [[np.nan if text is None else text.startswith(heads) for text in row] for row in first.cells]
            return Value("truth", np.array(starts, dtype=float).reshape(first.cells.shape), first.rows)
        for value in values:
            _need("truth" if name in ("all", "any") else "number", value, f"{name}()")
        function = FUNCTIONS[name][2]
        kind = "truth" if name in _TRUTHS else "number"
        if name in _REDUCE:
            return Value(kind, function(*(value.cells for value in values)))
        if name == "dominated":
            mine, rows = self._joined(*values[:2])
            return Value("truth", _dominated(*mine, *self._joined(*values[2:])[0]), rows)
        cells, rows = self._joined(*values)
        if name == "tau":
            return Value("number", _tau(*cells))
        empty = functools.reduce(np.logical_or, map(_empty, cells))
        return Value(kind, np.where(empty, np.nan, function(*cells)), rows)

    def _subset(self, small: str, large: str, columns: str) -> Value:
        """Whether every row of table `small`, restricted to `columns`, occurs in table `large`."""
        names = [name.strip() for name in columns.split(",")]
        parts = [[self._cells(table, name) for name in names] for table in (small, large)]
        count = max(len(cells) for part in parts for cells in part)

        def rows(part: list[np.ndarray], resample: int) -> set[tuple]:
            cells = [column[resample % len(column)] for column in part]
            return {tuple(None if cell != cell else cell for cell in row) for row in zip(*cells)}

        outcomes = [float(rows(parts[0], i) <= rows(parts[1], i)) for i in range(count)]
        return Value("truth", np.array(outcomes)[:, None])
