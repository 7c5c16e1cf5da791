"""`python -m repro bench`: speed and memory beside the peers, and whether the bars are met."""

from __future__ import annotations

from typing import Annotated

import pandas as pd
import typer
from rich.markup import escape

from repro.cli.text import print_frame, say
from repro.errors import InputError
from repro.paths import write_reference


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="A few shapes, under a minute; nothing is recorded.")] = False,
    only: Annotated[str, typer.Option(help="Groups, for example 'forward int8'; empty for all.")] = "",
    threads: Annotated[int, typer.Option(help="Threads of torch and of our kernels.")] = 2,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto for the GPU if there is one.")] = "auto",
    record: Annotated[
        bool | None, typer.Option("--record/--no-record", help="Append rows to the records (default: if full).")
    ] = None,
    reference: Annotated[bool, typer.Option("--reference", help="Append to the committed records.")] = False,
) -> None:
    """Time every operator beside its peers, each checked first at the shape that is timed."""
    from repro.bench import bars, records, run
    from repro.pages.execute import parse_words

    if reference:
        write_reference()
    groups = run.choose_groups(parse_words("only", only), quick)
    setting = run.settle(device, threads, quick)
    if setting.device == "cpu":
        say(f"{run.NO_GPU}.")
    keep = run.save if (record if record is not None else not quick) else None
    if keep:
        records.check_files()
    outcome = run.run(groups, setting, progress=lambda line: say(escape(line)), keep=keep)
    measured = records.frame(outcome.rows)
    print_summary(measured)
    print_bars(bars.judge(measured, (setting.device,)))
    for line in dict.fromkeys(outcome.left_out):
        say(f"[yellow]left out: {escape(line)}[/yellow]")
    for line in outcome.refused:
        say(f"[red]refused: {escape(line)}[/red]")
    if keep:
        say(f"Recorded in {records.folder()}, below what was there.")
    if outcome.refused:
        raise typer.Exit(1)


def print_summary(measured) -> None:
    """Medians over the shapes of each operator, mode, kind and peer."""
    from repro.bench.summary import summary

    if measured.empty:
        raise InputError("nothing was measured; choose other groups with --only or see the messages above.")
    table = summary(measured)
    table.columns = [column.replace("_", " ") for column in table.columns]
    print_frame(table, title="Medians over shapes (time of ours over the peer's: below 1 is faster)")


def print_bars(judged) -> None:
    """The bars, what was reached, and whether that is enough."""
    words = {True: "yes", False: "no"}
    rows = [
        {
            "bar": line.what,
            "demanded": line.bar,
            "reached": line.reached,
            "20 to 80 %": line.spread,
            "cases": line.cases,
            "met": words[bool(line.met)] if line.cases else "",
            "% of bound": line.pct_of_bound,
            "note": line.note,
        }
        for line in judged.itertuples(index=False)
    ]
    print_frame(pd.DataFrame(rows), title="Bars")
