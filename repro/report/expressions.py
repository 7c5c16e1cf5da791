"""The language of claims: a whitelisted subset of Python expressions over the columns of tables, nothing is `eval`ed.

Every value has an axis of resamples, so that one evaluation answers for all of them. Columns that are combined are
joined on the key of their tables, never by position. See data/published/README.md for the language.
"""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from repro.errors import InputError, nearest
from repro.report.functions import FUNCTIONS, JOINED, OVER_ROWS, both, dominated, of_texts
from repro.report.published import printed_decimals

MAX_CHARACTERS, MAX_DEPTH = 4096, 40

_ARITHMETIC = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
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
    """What a part of an expression stands for: masked cells (resamples or 1, rows) of bool, float64 or text.

    rows: table and row numbers of a column; None for a single value, which meets every row.
    """

    cells: np.ma.MaskedArray
    rows: tuple[str, tuple[int, ...]] | None = None

    @property
    def kind(self) -> str:
        """What the cells hold."""
        return {"b": "truth", "O": "text"}.get(self.cells.dtype.kind, "number")

    def need(self, kind: str, where: str) -> np.ma.MaskedArray:
        """The cells if they are of a kind; truth values count as the numbers 1 and 0."""
        if kind == "number" and self.kind == "truth":
            return self.cells.astype(float)
        if kind != self.kind:
            raise ExpressionError(f"{where} needs a {kind} value; it is given a {self.kind} value.")
        return self.cells


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
        if name == "printed" and not _printed_value(node):
            return "calls printed() with a second argument that is not a number other than 0 as the paper prints it"
        limits = [_constant(arg) for arg in node.args[1:]]
        if name in ("approx", "equivalent") and limits[1] is not None and limits[1] < 0:
            return f"calls {name}() with the tolerance {limits[1]:g}; it must be at least 0"
        if name == "within" and None not in limits and limits[0] > limits[1]:
            return f"calls within() with limits from {limits[0]:g} to {limits[1]:g}; the first must not be larger"
    return None


def _constant(node: ast.expr) -> float | None:
    """The number that is written there, None if it is none."""
    negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    number = node.operand if negative else node
    if not isinstance(number, ast.Constant) or isinstance(number.value, str):
        return None
    return -number.value if negative else number.value


def _printed_value(call: ast.Call) -> float:
    """The number that printed() compares with; 0 where its second argument is none."""
    return _constant(call.args[1]) or 0.0


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


# ------------------------------------------------------------------ evaluation


class Evaluator:
    """Evaluates trees over tables; `default` is the id of the table that plain names belong to."""

    def __init__(self, tables: Mapping[str, Table], default: str | None):
        self.tables = tables
        self.default = default

    def truth(self, tree: ast.expr) -> np.ndarray:
        """The outcome per resample: 1, 0, or NaN where it hangs on empty cells."""
        with np.errstate(all="ignore"):  # a ratio to nothing is an empty cell
            value = self.value(tree, self.default)
        outcome = value.need("truth", "the outcome")
        if value.rows is not None:
            raise ExpressionError("the expression is a column of truth values; wrap it in all() or any().")
        return outcome[:, 0].astype(float).filled(np.nan)

    def holds(self, tree: ast.expr) -> bool:
        """The outcome where nothing is resampled. Raises NoValuesError where it hangs on empty cells."""
        (outcome,) = self.truth(tree)
        if np.isnan(outcome):
            raise NoValuesError("the outcome hangs on empty cells.")
        return bool(outcome)

    def value(self, node: ast.expr, table: str | None) -> Value:
        """The value of any node, its columns read from `table`."""
        match node:
            case ast.Constant(value=cell):
                return Value(np.ma.array([[cell]], dtype=object if isinstance(cell, str) else float))
            case ast.Name(id=name):
                return self.column(Reference(table, name, None))
            case ast.Subscript(value=ast.Name(id=name), slice=where):
                return self.column(Reference(table, name, where))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self.value(operand, table)
                return Value(~inner.need("truth", "'not'"), inner.rows)
            case ast.UnaryOp(operand=operand):
                inner = self.value(operand, table)
                return Value(-inner.need("number", "'-'"), inner.rows)
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
        holds = chosen.need("truth", "the condition in [ ]").filled(False)
        if chosen.rows is None or len(holds) != 1 or chosen.rows[0] != table:
            raise ExpressionError(f"[{ast.unparse(where)}] must compare whole, unsampled columns of {table}.")
        return [row for row, met in zip(chosen.rows[1], holds[0]) if met]

    def column(self, ref: Reference) -> Value:
        """The cells that a reference names; a single value where a condition leaves one row."""
        cells, rows = self._cells(ref.table, ref.column), self.rows(ref.table, ref.where)
        single = ref.where is not None and len(rows) == 1
        empty, nothing = pd.isna(cells[:, rows]), "" if cells.dtype == object else 0.0
        chosen = np.ma.array(np.where(empty, nothing, cells[:, rows]), mask=empty)
        return Value(chosen, None if single else (ref.table, tuple(rows)))

    def _labels(self, rows: tuple[str, tuple[int, ...]], column: str) -> list:
        return [None if cell != cell else cell for cell in self.tables[rows[0]].columns[column][0, list(rows[1])]]

    def partners(self, left: tuple, right: tuple) -> list[int]:
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

    def joined(self, values: list[Value], kind: str, where: str) -> tuple[list[np.ma.MaskedArray], tuple | None]:
        """Cells of all values in the rows of the first column among them, and these rows."""
        rows = next((value.rows for value in values if value.rows is not None), None)
        joined = []
        for value in values:
            cells, same = value.need(kind, where), value.rows is None or value.rows == rows
            joined.append(cells if same else cells[:, self.partners(rows, value.rows)])
        return joined, rows

    # -------------------------------------------------------------- operators and calls

    def _arithmetic(self, node: ast.BinOp, table: str | None) -> Value:
        chain = []
        while isinstance(node, ast.BinOp):
            chain.append(node)
            node = node.left
        result = self.value(node, table)
        for step in reversed(chain):
            cells, rows = self.joined([result, self.value(step.right, table)], "number", "arithmetic")
            result = Value(np.ma.masked_invalid(_ARITHMETIC[type(step.op)](*cells)), rows)
        return result

    def _logic(self, conjunction: bool, parts: list[Value]) -> Value:
        cells, rows = self.joined(parts, "truth", "'and' / 'or'")
        if conjunction:
            return Value(functools.reduce(both, cells), rows)
        return Value(~functools.reduce(both, [~part for part in cells]), rows)

    def _comparison(self, node: ast.Compare, table: str | None) -> Value:
        left, parts = self.value(node.left, table), []
        for op, operand in zip(node.ops, node.comparators):
            if not isinstance(op, ast.In | ast.NotIn):
                right = self.value(operand, table)
                parts.append(self._compared(op, left, right))
                left = right
            elif isinstance(operand, ast.Tuple) and operand.elts:
                found = [self._compared(ast.Eq(), left, self.value(part, table)) for part in operand.elts]
                part = self._logic(False, found)
                parts.append(part if isinstance(op, ast.In) else Value(~part.cells, part.rows))
            else:
                raise ExpressionError("a list in parentheses must stand behind 'in'.")
        return self._logic(True, parts)

    def _compared(self, op: ast.cmpop, left: Value, right: Value) -> Value:
        if left.kind != right.kind:
            raise ExpressionError(f"a {left.kind} value cannot be compared with a {right.kind} value.")
        if left.kind == "text" and not isinstance(op, ast.Eq | ast.NotEq):
            raise ExpressionError("texts have no order; they can be compared with == and != only.")
        (a, b), rows = self.joined([left, right], left.kind, "a comparison")
        outcome = np.asarray(_COMPARE[type(op)](a.data, b.data), dtype=bool)
        return Value(np.ma.array(outcome, mask=np.ma.getmaskarray(a) | np.ma.getmaskarray(b)), rows)

    def _call(self, name: str, args: list[ast.expr], table: str | None) -> Value:
        if name == "in_table":
            return self.value(args[1], args[0].value)
        if name == "subset":
            return self._subset(*(arg.value for arg in args))
        values = [self.value(arg, table) for arg in args]
        if name == "count":
            return Value(np.ma.array(values[0].cells.count(axis=1, keepdims=True), dtype=float))
        if name == "noptions":
            texts = values[0].need("text", "noptions()")
            options = of_texts(lambda text: len([part for part in text.split(";") if part.strip()]), texts, float)
            return Value(options, values[0].rows)
        if name == "startswith":
            heads, texts = tuple(arg.value for arg in args[1:]), values[0].need("text", "startswith()")
            return Value(of_texts(lambda text: text.startswith(heads), texts, bool), values[0].rows)
        if name == "dominated":
            (mine, rows), (others, _) = (
                self.joined(pair, "number", "dominated()") for pair in (values[:2], values[2:])
            )
            return Value(dominated(*mine, *others), rows)
        kind, function = "truth" if name in ("all", "any", "given") else "number", FUNCTIONS[name][2]
        if name == "printed":  # half a unit of the last digit that is written
            half_digit = 0.5 * 10.0 ** -printed_decimals(ast.unparse(args[1]))
            values.append(Value(np.ma.array([[half_digit]])))
        if name in OVER_ROWS:
            return Value(function(*(value.need(kind, f"{name}()") for value in values)))
        cells, rows = self.joined(values, kind, f"{name}()")
        return Value(function(*cells), None if name in JOINED else rows)

    def _subset(self, small: str, large: str, columns: str) -> Value:
        """Whether every row of table `small`, restricted to `columns`, occurs in table `large`."""
        names = [name.strip() for name in columns.split(",")]
        parts = [[self._cells(table, name) for name in names] for table in (small, large)]

        def rows(part: list[np.ndarray], resample: int) -> set[tuple]:
            cells = [column[resample % len(column)] for column in part]
            return {tuple(None if cell != cell else cell for cell in row) for row in zip(*cells)}

        count = max(len(cells) for part in parts for cells in part)
        return Value(np.ma.array([[rows(parts[0], i) <= rows(parts[1], i)] for i in range(count)]))
