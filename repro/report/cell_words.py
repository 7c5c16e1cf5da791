"""The cells that a claim reads, in the words of its evidence: a few by name, of many the lowest and the highest."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from repro.report.compiler import Compiler
from repro.report.evidence import Ours, row_label
from repro.report.expressions import Evaluator, Reference
from repro.report.published import unit

NAMED = 6
"""Up to so many cells are told one by one."""


def number_text(value: float) -> str:
    """Four digits that count; a dash for an empty cell."""
    return "-" if math.isnan(value) else f"{value:.4g}"


def measured_text(value: float, spread: float) -> str:
    """ "44.2 ± 0.5"; no spread where it is unknown or only the rounding of equal numbers."""
    return number_text(value) + (f" ± {spread:.2g}" if spread > 1e-9 * abs(value) else "")


def cells_text(ours: Mapping[str, Ours], compiler: Compiler, ref: Reference) -> str:
    """What a reference reads: measured cells with half the width of their interval, exact ones over seeds."""
    mine = ours[ref.table]
    if mine.is_measured(ref.column):
        rows = compiler.numbers.rows(ref.table, ref.where)
        values = compiler.numbers.column(ref).cells[0].astype(float).filled(math.nan).tolist()
        told = [measured_text(value, compiler.spread(ref, row)) for value, row in zip(values, rows)]
        return numbers_text(values, told, _names(mine, compiler.numbers, ref, rows), unit(ref.column))
    rows = compiler.by_seed[0].rows(ref.table, ref.where)
    cells = list(zip(*(evaluator.column(ref).cells[0].tolist() for evaluator in compiler.by_seed)))
    filled = [cell for row in cells for cell in row if cell is not None]
    if any(isinstance(cell, str) for cell in filled):
        return words_text(filled)
    values = [_mean([math.nan if cell is None else cell for cell in row]) for row in cells]
    return numbers_text(
        values, [_range(row) for row in cells], _names(mine, compiler.by_seed[0], ref, rows), unit(ref.column)
    )


def _names(mine: Ours, evaluator: Evaluator, ref: Reference, rows: Sequence[int]) -> list[str]:
    """What tells the rows apart; none in a figure of exact points, whose whole row is its key."""
    table = evaluator.tables[ref.table]
    if mine.figure and not mine.is_measured(ref.column):
        return [""] * len(rows)
    keys = [name for name in table.key if len({table.columns[name][0, row] for row in rows}) > 1]
    return [row_label({name: table.columns[name][0, row] for name in keys}) for row in rows]


def numbers_text(values: Sequence[float], told: Sequence[str], names: Sequence[str], known: str) -> str:
    """Numbers with their rows' names: "ResNet18 97.1 ± 2, DOTS 97.6 ± 1.3 %"."""
    ending = f" {known}" if known else ""
    if len(set(told)) == 1:
        return f"{told[0]}{ending}{f' ({len(told)} rows)' if len(told) > 1 else ''}"
    if len(told) <= NAMED:
        return ", ".join(f"{name} {text}".strip() for name, text in zip(names, told)) + ending
    known_rows = [row for row, value in enumerate(values) if not math.isnan(value)]
    ends = [f"{told[row]}{ending}{f' ({names[row]})' if names[row] else ''}" for row in _ends(values, known_rows)]
    return f"{len(told)} rows from {ends[0]} to {ends[1]}"


def _ends(values: Sequence[float], rows: Sequence[int]) -> tuple[int, int]:
    return min(rows, key=values.__getitem__), max(rows, key=values.__getitem__)


def words_text(cells: Sequence[str]) -> str:
    """Words by how often they occur over rows and seeds: "ok (11), not_converged (1)"."""
    counts = Counter(cells).most_common()
    return counts[0][0] if len(cells) == 1 else ", ".join(f"{text} ({count})" for text, count in counts)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _range(cells: Sequence[float | None]) -> str:
    known = [cell for cell in cells if cell is not None]
    if not known:
        return "-"
    low, high = min(known), max(known)
    return number_text(low) if low == high else f"{number_text(low)} to {number_text(high)}"
