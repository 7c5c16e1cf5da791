"""Tables and sentences on stdout: whole on a pipe, folded to the width of a terminal; names are never cut."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Sequence
from typing import Literal

import pandas as pd
import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from repro.errors import MAX_SEED, InputError

PIPE_WIDTH = 10_000
GAP = 2
LONG_WORD = 20
"""A longer word (a path) may be folded."""


def console() -> Console:
    """Stdout as it is now: a terminal with its width and colours, or a pipe that nothing is folded for."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def say(line: str) -> None:
    """One sentence, with rich's markup for colours."""
    console().print(line, soft_wrap=True)


def cell(value: object) -> str:
    """A value as text: whole numbers whole, others with four digits, nothing for what is missing."""
    if isinstance(value, str):
        return value
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
        number = float(value)
        whole = number.is_integer() or abs(number) >= 10_000
        return f"{number:z.0f}" if whole and math.isfinite(number) else f"{number:.4g}"
    return str(value)


def print_frame(frame: pd.DataFrame, title: str = "", *, by: Sequence[str] = ()) -> None:
    """A data frame as aligned columns, every cell whole.

    Args:
        by: columns that become a line above their rows where the terminal is too narrow for all columns.
    """
    out = console()
    if title:
        out.print(f"[bold]{title}[/bold]")
    if by and _natural_width(frame) > out.width:
        for heading, rows in _grouped(frame, by):
            out.print(heading, soft_wrap=True, markup=False)
            _print_columns(out, rows, indent=GAP)
    else:
        _print_columns(out, frame)


def _natural_width(frame: pd.DataFrame) -> int:
    widths = [max([len(str(name)), *(len(cell(value)) for value in frame[name])]) for name in frame.columns]
    return sum(widths) + GAP * (len(widths) - 1)


def _grouped(frame: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    for _, rows in frame.groupby(list(by), sort=False, dropna=False):
        heading = ", ".join(f"{name} {cell(rows[name].iloc[0])}" for name in by)
        yield heading, rows.drop(columns=list(by))


def _print_columns(out: Console, frame: pd.DataFrame, indent: int = 0) -> None:
    view = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
    for position, name in enumerate(frame.columns):
        texts = [cell(value) for value in frame.iloc[:, position]]
        fixed = not any(" " in text for text in texts)
        side: Literal["left", "right"] = "right" if all(map(_is_number, filter(None, texts))) else "left"
        longest = max(len(word) for text in [str(name), *texts] for word in text.split() or [""])
        view.add_column(
            Text(str(name)), no_wrap=fixed, min_width=min(longest, LONG_WORD), overflow="fold", justify=side
        )
    for row in frame.itertuples(index=False):
        view.add_row(*[Text(cell(value)) for value in row])
    with out.capture() as captured:
        out.print(Padding(view, (0, 0, 0, indent)))
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def parse_seeds(text: str) -> list[int]:
    """Whole numbers separated by spaces or commas; an empty text gives an empty list (the default seeds)."""
    from repro.pages.execute import parse_words

    seeds = []
    for word in parse_words("seeds", text):
        if not (word.isascii() and word.isdigit() and len(word) <= 19 and int(word) <= MAX_SEED):
            raise InputError(
                f"seeds={text!r} is not allowed: {word!r} is not a whole number of at least 0 and at most {MAX_SEED}."
            )
        seeds.append(int(word))
    if len(set(seeds)) != len(seeds):
        raise InputError(f"seeds={text!r} names a seed twice; give each once.")
    return seeds
