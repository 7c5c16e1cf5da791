"""The predicate language of claims.csv: tokenizer, recursive-descent parser and evaluator. Nothing is ever `eval`ed.

Grammar, loosest binding first:

    or, and, not            on truth values
    < <= > >= == !=         chained as in Python; element by element on columns
    + -   * /   -x   **
    number  'text'  (expr)  f(args)  col  col[k=v, k!=v, k~'regex']  table_id.col[...]

A column is the list of its cells in row order; `col[...]` keeps the rows whose cells match every selector, and one
remaining row gives a scalar. Operators work element by element, a scalar meets every element, and an element that is
empty on either side stays empty and is skipped by every function. See data/published/README.md.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from repro.errors import InputError, nearest


class PredicateError(InputError):
    """A predicate that does not parse, names something unknown, or mixes values that do not fit; one sentence."""


class NoValuesError(PredicateError):
    """A predicate whose outcome hangs on cells that are all empty."""


# ------------------------------------------------------------------ syntax tree


@dataclass(frozen=True)
class Literal:
    """A number or a quoted text."""

    value: float | str


@dataclass(frozen=True)
class Selector:
    """One condition on a row: column, `=`, `!=` or `~`, value."""

    column: str
    op: str
    value: float | str


@dataclass(frozen=True)
class Ref:
    """A column of a table, whole or with selectors; `table` is None for the predicate's own table."""

    table: str | None
    column: str
    selectors: tuple[Selector, ...] = ()

    def __str__(self) -> str:
        inner = ", ".join(
            f"{s.column}{s.op}{s.value if isinstance(s.value, str) else f'{s.value:g}'}" for s in self.selectors
        )
        return (f"{self.table}." if self.table else "") + self.column + (f"[{inner}]" if inner else "")


@dataclass(frozen=True)
class Unary:
    """`-x` or `not x`."""

    op: str
    operand: object


@dataclass(frozen=True)
class Binary:
    """Arithmetic, or `and` / `or`."""

    op: str
    left: object
    right: object


@dataclass(frozen=True)
class Compare:
    """A chain of comparisons: operands[0] ops[0] operands[1] ops[1] ..."""

    ops: tuple[str, ...]
    operands: tuple[object, ...]


@dataclass(frozen=True)
class Call:
    """A function of the language with its arguments."""

    name: str
    args: tuple[object, ...]


# ------------------------------------------------------------------ tokens and parser

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<text>'[^']*'|\"[^\"]*\")"
    r"|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<op>\*\*|<=|>=|==|!=|[-+*/<>=~()\[\],.]))"
)
_COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")


def _tokens(source: str) -> list[tuple[str, str]]:
    tokens, position = [], 0
    end = len(source.rstrip())
    while position < end:
        match = _TOKEN.match(source, position)
        if match is None:
            raise PredicateError(
                f"predicate {source!r} has an unknown sign at {source[position : position + 12].strip()!r}."
            )
        tokens.append((match.lastgroup, match.group(match.lastgroup)))
        position = match.end()
    return [*tokens, ("end", "")]


class _Parser:
    def __init__(self, source: str):
        self.source = source
        self.tokens = _tokens(source)
        self.at = 0

    def fail(self, wanted: str) -> PredicateError:
        found = repr(self.tokens[self.at][1]) if self.tokens[self.at][1] else "the end"
        return PredicateError(f"predicate {self.source!r}: {wanted} is expected where {found} stands.")

    def accept(self, *values: str) -> str | None:
        kind, value = self.tokens[self.at]
        if kind in ("op", "name") and value in values:
            self.at += 1
            return value
        return None

    def expect(self, value: str) -> None:
        if self.accept(value) is None:
            raise self.fail(repr(value))

    def take(self, *kinds: str) -> tuple[str, str]:
        kind, value = self.tokens[self.at]
        if kind not in kinds:
            raise self.fail(" or ".join(kinds))
        self.at += 1
        return kind, value

    def parse(self) -> object:
        node = self.disjunction()
        if self.tokens[self.at][0] != "end":
            raise self.fail("the end")
        return node

    def left_assoc(self, operators: tuple[str, ...], operand: Callable[[], object]) -> object:
        node = operand()
        while op := self.accept(*operators):
            node = Binary(op, node, operand())
        return node

    def disjunction(self) -> object:
        return self.left_assoc(("or",), self.conjunction)

    def conjunction(self) -> object:
        return self.left_assoc(("and",), self.negation)

    def negation(self) -> object:
        return Unary("not", self.negation()) if self.accept("not") else self.comparison()

    def comparison(self) -> object:
        operands, ops = [self.sum()], []
        while op := self.accept(*_COMPARISONS):
            ops.append(op)
            operands.append(self.sum())
        return Compare(tuple(ops), tuple(operands)) if ops else operands[0]

    def sum(self) -> object:
        return self.left_assoc(("+", "-"), self.product)

    def product(self) -> object:
        return self.left_assoc(("*", "/"), self.signed)

    def signed(self) -> object:
        return Unary("-", self.signed()) if self.accept("-") else self.power()

    def power(self) -> object:
        base = self.atom()
        return Binary("**", base, self.signed()) if self.accept("**") else base

    def atom(self) -> object:
        if self.accept("("):
            node = self.disjunction()
            self.expect(")")
            return node
        kind, value = self.take("number", "text", "name")
        if kind == "number":
            return Literal(float(value))
        if kind == "text":
            return Literal(value[1:-1])
        if value in ("and", "or", "not"):
            self.at -= 1
            raise self.fail("a value")
        if self.accept("("):
            return self.call(value)
        return self.reference(value)

    def call(self, name: str) -> Call:
        if name not in FUNCTIONS:
            check = ", ".join(FUNCTIONS)
            raise PredicateError(
                f"predicate {self.source!r} calls the unknown function {name!r}; allowed are: {check}."
            )
        args = []
        while not self.accept(")"):
            if args:
                self.expect(",")
            args.append(self.disjunction())
        return Call(name, tuple(args))

    def reference(self, name: str) -> Ref:
        table, column = None, name
        if self.accept("."):
            table, column = name, self.take("name")[1]
        selectors = []
        if self.accept("["):
            while not self.accept("]"):
                if selectors:
                    self.expect(",")
                selectors.append(self.selector())
            if not selectors:
                raise self.fail("a selector")
        return Ref(table, column, tuple(selectors))

    def selector(self) -> Selector:
        column = self.take("name")[1]
        op = self.accept("=", "!=", "~")
        if op is None:
            raise self.fail("'=', '!=' or '~'")
        sign = -1.0 if self.accept("-") else 1.0
        kind, value = self.take("number", "text")
        if kind == "number":
            return Selector(column, op, sign * float(value))
        if op == "~":
            try:
                re.compile(value[1:-1])
            except re.error as error:
                raise PredicateError(f"predicate {self.source!r} has a broken pattern {value}: {error}.") from error
        return Selector(column, op, value[1:-1])


@functools.lru_cache(maxsize=1024)
def parse(source: str) -> object:
    """The syntax tree of a predicate. Raises PredicateError, naming what was expected where."""
    try:
        return _Parser(source).parse()
    except RecursionError:
        raise PredicateError(f"predicate {source[:20]!r}... is nested too deeply.") from None


def references(node: object) -> list[Ref]:
    """Every column reference in a tree, each once, in reading order."""
    if isinstance(node, Ref):
        return [node]
    if isinstance(node, Unary):
        children = (node.operand,)
    elif isinstance(node, Binary):
        children = (node.left, node.right)
    else:
        children = getattr(node, "operands", getattr(node, "args", ()))
    return list(dict.fromkeys(ref for child in children for ref in references(child)))


def subset_tables(node: object) -> list[str]:
    """Ids of the tables that calls of `subset` compare; they are named as texts, not as columns."""
    if isinstance(node, Call) and node.name == "subset":
        return [arg.value for arg in node.args[:2]]
    children = (
        [node.operand]
        if isinstance(node, Unary)
        else [node.left, node.right]
        if isinstance(node, Binary)
        else getattr(node, "operands", getattr(node, "args", ()))
    )
    return [name for child in children for name in subset_tables(child)]


# ------------------------------------------------------------------ values and functions


def _is_vector(value: object) -> bool:
    return isinstance(value, list)


def _cells(value: object) -> list:
    """The non-empty cells of a value; a scalar counts as one cell."""
    return [cell for cell in (value if _is_vector(value) else [value]) if cell is not None]


def _filled(name: str, value: object) -> list:
    cells = _cells(value)
    if not cells:
        raise NoValuesError(f"{name}() has no values to work on.")
    return cells


def _elementwise(function: Callable, *values: object) -> object:
    """Apply to scalars, or element by element; None wherever an argument is None."""
    lengths = {len(value) for value in values if _is_vector(value)}
    if not lengths:
        return None if None in values else function(*values)
    if len(lengths) > 1:
        raise PredicateError(
            f"columns of {' and '.join(map(str, sorted(lengths)))} rows cannot be combined element by element."
        )
    columns = [value if _is_vector(value) else [value] * next(iter(lengths)) for value in values]
    return [None if None in cells else function(*cells) for cells in zip(*columns)]


def _round_half_up(value: float, digits: float = 0) -> float:
    # Printed decimals are what is meant: 0.285 held as 0.28499999999999998 still rounds up.
    scale = 10 ** int(digits)
    return math.copysign(math.floor(abs(value) * scale + 0.5 + 1e-9), value) / scale


def _approx(a: float, b: float, tolerance: float) -> bool:
    # A difference printed to two decimals is not exact in binary; the slack is far below any printed digit.
    return abs(a - b) <= tolerance + 1e-9


def _monotone(name: str, value: object, test: Callable[[float, float], bool]) -> bool:
    cells = _filled(name, value)
    return all(test(a, b) for a, b in itertools.pairwise(cells))


def _tau(a: object, b: object) -> float:
    """Kendall's tau-b of two columns, rows with an empty cell left out."""
    pairs = [(x, y) for x, y in zip(_cells_aligned(a), _cells_aligned(b)) if x is not None and y is not None]
    if len(pairs) < 2:
        raise NoValuesError("tau() needs at least two rows with both values.")
    concordance = ties_a = ties_b = 0
    for i, (x1, y1) in enumerate(pairs):
        for x2, y2 in pairs[i + 1 :]:
            concordance += ((x1 > x2) - (x1 < x2)) * ((y1 > y2) - (y1 < y2))
            ties_a += x1 == x2
            ties_b += y1 == y2
    total = len(pairs) * (len(pairs) - 1) / 2
    scale = math.sqrt((total - ties_a) * (total - ties_b))
    if scale == 0:
        raise NoValuesError("tau() is undefined when all values of a column are equal.")
    return concordance / scale


def _cells_aligned(value: object) -> list:
    return value if _is_vector(value) else [value]


def _dominated(cost: object, score: object, ref_cost: object, ref_score: object) -> object:
    """Per row: does some reference row cost no more and score no less, and one of the two strictly better?"""
    refs = [
        (c, s) for c, s in zip(_cells_aligned(ref_cost), _cells_aligned(ref_score)) if c is not None and s is not None
    ]
    if not refs:
        raise NoValuesError("dominated() has no reference rows with both values.")

    def one(c: float, s: float) -> bool:
        return any(rc <= c and rs >= s and (rc < c or rs > s) for rc, rs in refs)

    return _elementwise(one, cost, score)


def _noptions(value: object) -> object:
    return _elementwise(lambda text: float(len([part for part in str(text).split(";") if part.strip()])), value)


def _extreme(name: str, choose: Callable) -> Callable:
    def function(*values: object) -> float:
        return choose(cell for value in values for cell in _filled(name, value))

    return function


# name -> (fewest arguments, most arguments, function); `subset` needs the tables and is handled by the evaluator.
FUNCTIONS: dict[str, tuple[int, int, Callable | None]] = {
    "all": (1, 1, lambda v: all(_truth(cell) for cell in _filled("all", v))),
    "any": (1, 1, lambda v: any(_truth(cell) for cell in _filled("any", v))),
    "min": (1, 99, _extreme("min", min)),
    "max": (1, 99, _extreme("max", max)),
    "mean": (1, 1, lambda v: math.fsum(_filled("mean", v)) / len(_cells(v))),
    "sum": (1, 1, lambda v: math.fsum(_filled("sum", v))),
    "count": (1, 1, lambda v: float(len(_cells(v)))),
    "abs": (1, 1, lambda v: _elementwise(abs, v)),
    "round": (1, 2, lambda v, n=0.0: _elementwise(_round_half_up, v, n)),
    "approx": (3, 3, lambda a, b, tol: _elementwise(_approx, a, b, tol)),
    "within": (3, 3, lambda v, lo, hi: _elementwise(lambda x, a, b: a - 1e-9 <= x <= b + 1e-9, v, lo, hi)),
    "increasing": (1, 1, lambda v: _monotone("increasing", v, operator.lt)),
    "decreasing": (1, 1, lambda v: _monotone("decreasing", v, operator.gt)),
    "tau": (2, 2, _tau),
    "dominated": (4, 4, _dominated),
    "noptions": (1, 1, _noptions),
    "subset": (3, 3, None),
}

_ARITHMETIC = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "**": operator.pow}
_COMPARE = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise PredicateError(f"{value!r} is not a truth value; use a comparison, all() or any().")
    return value


# ------------------------------------------------------------------ evaluator


Table = Mapping[str, list]  # column name -> cells in row order, None where empty


def select(table: Table, selectors: tuple[Selector, ...], name: str = "the table") -> list[int]:
    """Indices of the rows of a table that match every selector."""
    rows = list(range(len(next(iter(table.values()), []))))
    for selector in selectors:
        _check_column(name, selector.column, table)
        cells = table[selector.column]
        rows = [row for row in rows if _matches(cells[row], selector)]
    return rows


def _check_column(name: str, column: str, table: Table) -> None:
    if column not in table:
        raise PredicateError(f"{name} has no column {column!r}; it has {', '.join(table)}.{nearest(column, table)}")


def _matches(cell: object, selector: Selector) -> bool:
    if cell is None:
        return selector.op == "!="
    if selector.op == "~":
        return re.search(str(selector.value), str(cell)) is not None
    if isinstance(cell, str) != isinstance(selector.value, str):
        raise PredicateError(
            f"selector {selector.column}{selector.op}{selector.value!r} cannot be compared with {cell!r}."
        )
    return (cell == selector.value) == (selector.op == "=")


class Evaluator:
    """Evaluates trees over a set of tables, so that selections are found once and reused over resamples.

    Args:
        tables: table id -> columns; the cells may be exchanged between calls, the rows and the cells that
            selectors look at may not.
        default: id of the table that unqualified columns belong to, or None.
    """

    def __init__(self, tables: Mapping[str, Table], default: str | None):
        self.tables = tables
        self.default = default
        self._rows: dict[Ref, list[int]] = {}

    def rows(self, ref: Ref) -> tuple[str, list[int]]:
        """Id of the table that `ref` reads and the indices of its rows."""
        name = ref.table or self.default
        if name is None or name not in self.tables:
            raise PredicateError(f"{ref} needs the table {name or '(none is named)'}, which is not given.")
        table = self.tables[name]
        _check_column(name, ref.column, table)
        if ref not in self._rows:
            self._rows[ref] = select(table, ref.selectors, name)
        return name, self._rows[ref]

    def lookup(self, ref: Ref) -> object:
        """The cells that `ref` names: a list, or the cell itself where selectors leave one row."""
        name, rows = self.rows(ref)
        column = self.tables[name][ref.column]
        if ref.selectors and len(rows) == 1:
            return column[rows[0]]
        return [column[row] for row in rows]

    def truth(self, node: object) -> bool:
        """The outcome of a predicate. Raises PredicateError if it is not one truth value."""
        value = self.value(node)
        if value is None:
            raise NoValuesError("the predicate compares empty cells.")
        if _is_vector(value):
            raise PredicateError("the predicate is a column of truth values; wrap it in all() or any().")
        return _truth(value)

    def value(self, node: object) -> object:
        """The value of any node: number, text, truth value, None (empty) or a list of these."""
        if isinstance(node, Literal):
            return node.value
        if isinstance(node, Ref):
            return self.lookup(node)
        if isinstance(node, Unary):
            inner = self.value(node.operand)
            return not self.scalar_truth(inner) if node.op == "not" else _elementwise(_guard("-", operator.neg), inner)
        if isinstance(node, Binary):
            return self.binary(node)
        if isinstance(node, Compare):
            return self.compare(node)
        return self.call(node)

    def scalar_truth(self, value: object) -> bool:
        """A truth value for and, or, not; an empty cell cannot decide."""
        if value is None:
            raise NoValuesError("'and', 'or' and 'not' cannot be applied to an empty cell.")
        if _is_vector(value):
            raise PredicateError("'and', 'or' and 'not' work on single truth values; wrap columns in all() or any().")
        return _truth(value)

    def binary(self, node: Binary) -> object:
        if node.op in ("and", "or"):
            left = self.scalar_truth(self.value(node.left))
            if left == (node.op == "or"):
                return left
            return self.scalar_truth(self.value(node.right))
        function = _guard(node.op, _ARITHMETIC[node.op])
        return _elementwise(function, self.value(node.left), self.value(node.right))

    def compare(self, node: Compare) -> object:
        values = [self.value(operand) for operand in node.operands]
        parts = [_elementwise(_comparer(op), a, b) for op, a, b in zip(node.ops, values, values[1:])]
        return parts[0] if len(parts) == 1 else _elementwise(lambda *cells: all(cells), *parts)

    def call(self, node: Call) -> object:
        fewest, most, function = FUNCTIONS[node.name]
        if not fewest <= len(node.args) <= most:
            raise PredicateError(f"{node.name}() takes {fewest} to {most} arguments; {len(node.args)} are given.")
        args = [self.value(arg) for arg in node.args]
        if function is None:
            return self.subset(*args)
        try:
            return function(*args)
        except TypeError as error:
            raise PredicateError(f"{node.name}() cannot work on these values: {error}.") from error

    def subset(self, small: str, large: str, columns: str) -> bool:
        """Whether every row of table `small`, restricted to `columns`, occurs in table `large`."""
        for name in (small, large):
            if name not in self.tables:
                raise PredicateError(f"subset() needs the table {name}, which is not given.")
        names = [name.strip() for name in columns.split(",")]
        pools = []
        for table in (small, large):
            for name in names:
                _check_column(table, name, self.tables[table])
            pools.append(set(zip(*(self.tables[table][name] for name in names))))
        return pools[0] <= pools[1]


def _guard(op: str, function: Callable) -> Callable:
    def guarded(*values: object) -> object:
        if any(isinstance(value, str) for value in values):
            raise PredicateError(
                f"{op!r} cannot be applied to the text {next(v for v in values if isinstance(v, str))!r}."
            )
        try:
            result = function(*values)
        except (ZeroDivisionError, OverflowError):
            return None  # a ratio to nothing is an empty cell
        return result if not isinstance(result, complex) else None

    return guarded


def _comparer(op: str) -> Callable:
    function = _COMPARE[op]

    def compared(a: object, b: object) -> bool:
        if isinstance(a, str) != isinstance(b, str):
            raise PredicateError(f"{a!r} {op} {b!r} compares a text with a number.")
        return function(a, b)

    return compared
