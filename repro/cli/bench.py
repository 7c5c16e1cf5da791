"""`python -m repro bench`: speed and memory beside the peers, and whether the bars are met."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from repro.errors import InputError

console = Console()
if not console.is_terminal:
    console = Console(width=150)  # a log keeps its columns


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="A few shapes, under a minute; nothing is recorded.")] = False,
    only: Annotated[str, typer.Option(help="Groups, for example 'forward int8'; empty for all.")] = "",
    threads: Annotated[int, typer.Option(help="Threads of torch and of our kernels.")] = 2,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto for the GPU if there is one.")] = "auto",
    record: Annotated[
        bool | None, typer.Option("--record/--no-record", help="Append rows to data/results/bench (default: if full).")
    ] = None,
) -> None:
    """Time every operator beside its peers, each checked first at the shape that is timed."""
    from repro.bench import bars, records, run
    from repro.pages.execute import parse_words

    groups = run.choose_groups(parse_words("only", only), quick)
    setting = run.settle(device, threads, quick)
    if setting.device == "cpu":
        console.print(f"{run.NO_GPU}.", highlight=False)
    keep = run.save if (record if record is not None else not quick) else None
    outcome = run.run(groups, setting, progress=_say, keep=keep)
    measured = records.frame(outcome.rows)
    print_summary(measured)
    print_bars(bars.judge(measured, (setting.device,)))
    for line in dict.fromkeys(outcome.left_out):
        console.print(f"[yellow]left out: {line}[/yellow]", highlight=False, soft_wrap=True)
    for line in outcome.refused:
        console.print(f"[red]refused: {line}[/red]", highlight=False, soft_wrap=True)
    if keep:
        _say("Recorded in data/results/bench, below what was there.")
    if outcome.refused:
        raise typer.Exit(1)


def _say(line: str) -> None:
    console.print(line, highlight=False, soft_wrap=True)


def print_summary(measured) -> None:
    """Medians over the shapes of each operator, mode, kind and peer."""
    from repro.bench.summary import summary

    if measured.empty:
        raise InputError("nothing was measured; choose other groups with --only or see the messages above.")
    view = Table(title="Medians over shapes (time of ours over the peer's: below 1 is faster)")
    table = summary(measured)
    for column in table.columns:
        view.add_column(column.replace("_", " "))
    for line in table.itertuples(index=False):
        view.add_row(*[_cell(value) for value in line])
    console.print(view)


def print_bars(judged) -> None:
    """The bars, what was reached, and whether that is enough."""
    view = Table("bar", "demanded", "reached", "20 to 80 %", "cases", "met", "note", title="Bars")
    marks = {True: "[green]yes[/green]", False: "[red]no[/red]"}
    for line in judged.itertuples(index=False):
        met = marks[bool(line.met)] if line.cases else ""
        view.add_row(line.what, line.bar, _cell(line.reached), line.spread, str(line.cases), met, line.note)
    console.print(view)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.3g}"
    return str(value)
