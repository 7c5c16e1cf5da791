"""The command line: `python -m repro --help`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from repro.errors import BackendError, InputError, MissingDataError, check_int

app = typer.Typer(
    help="Regenerate the tables and figures of four papers on multiplication-free neural networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()

PresetOption = Annotated[str, typer.Option(help="smoke (seconds), quick (minutes on two cores) or paper (GPUs).")]
DatasetOption = Annotated[str, typer.Option(help="Data set; empty for the preset's default.")]
SeedsOption = Annotated[str, typer.Option(help="Seeds, for example '0 1 2'; empty for the preset's default.")]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Repeat finished runs.")]


# Columns of a comparison that a terminal has no room for; the record and the notebooks have them.
HIDDEN = ["unit", "role", "published_text", "ours_text", "relative_error", "matches_printed"]


def parse_seeds(text: str) -> list[int]:
    """Whole numbers separated by spaces or commas; an empty text gives an empty list (the default seeds)."""
    from repro.pages.execute import parse_words

    seeds = []
    for word in parse_words("seeds", text):
        if not word.isdigit():
            raise InputError(f"seeds={text!r} is not allowed: {word!r} is not a whole number of at least 0.")
        seeds.append(check_int("seeds", int(word), minimum=0))
    return seeds


@app.command()
def tables(
    preset: PresetOption = "quick",
    dataset: DatasetOption = "",
    seeds: SeedsOption = "",
    tables: Annotated[str, typer.Option(help="Tables and figures, for example 'acghostnet_t06'; empty for all.")] = "",
    fresh: FreshOption = False,
) -> None:
    """Train what is missing, then execute the notebooks into notebooks/executed/ and write HTML pages."""
    from repro.pages import execute as notebooks
    from repro.pages.execute import NotebookResult, parse_words
    from repro.papers import check_request

    wanted = parse_words("tables", tables)
    names = notebooks.choose(wanted)
    seed_list = parse_seeds(seeds)
    check_request(preset, dataset)
    failures = _train(wanted or notebooks.tables_to_train(names), preset, dataset, seed_list, fresh)
    parameters = {
        "preset": preset,
        "dataset": dataset,
        "seeds": seed_list,
        "tables": wanted,
        "interactive": False,
    }
    results = []
    for name in names:
        try:
            results.append(notebooks.execute(name, parameters, fresh=fresh, progress=sys.stderr.isatty()))
        except (InputError, OSError) as error:
            results.append(NotebookResult(name, "failed", message=str(error)))
        _print_result(results[-1])
    _print_pages(results)
    if failures or any(result.state == "failed" for result in results):
        raise typer.Exit(1)


def _train(wanted: list[str], preset: str, dataset: str, seeds: list[int], fresh: bool) -> list[str]:
    """Run the experiments here, where a terminal shows their progress; the notebooks then reuse the runs."""
    from repro.papers import list_experiments, run_table

    failures = []
    for table_id in list_experiments():
        if table_id not in wanted:
            continue
        try:
            frame = run_table(table_id, preset=preset, dataset=dataset or None, seeds=seeds or None, fresh=fresh)
        except (InputError, MissingDataError, BackendError) as error:
            failures.append(table_id)
            console.print(f"[red]{table_id}: {error}[/red]", highlight=False, soft_wrap=True)
            continue
        for line in frame.attrs["failed"]:
            console.print(f"[yellow]{table_id}: {line}[/yellow]", highlight=False, soft_wrap=True)
    return failures


def _print_result(result) -> None:
    colour = {"executed": "green", "up to date": "cyan", "failed": "red"}[result.state]
    seconds = f" in {result.seconds:.0f} s" if result.seconds else ""
    console.print(f"[{colour}]{result.name}: {result.state}{seconds}[/{colour}] {result.message}", soft_wrap=True)


def _print_pages(results) -> None:
    from repro.paths import repo_root

    for result in results:
        if result.page is not None and result.page.is_relative_to(repo_root()):
            console.print(f"  {result.page.relative_to(repo_root())}", highlight=False)


@app.command()
def table(
    table_id: Annotated[str, typer.Argument(help="For example acghostnet_t06.")],
    preset: PresetOption = "quick",
    dataset: DatasetOption = "",
    seeds: SeedsOption = "",
    columns: Annotated[str, typer.Option(help="all, or analytic for what needs no training.")] = "all",
    fresh: FreshOption = False,
) -> None:
    """Regenerate one table, keep it in data/results/, and print it beside the published numbers."""
    from repro.papers import run_table
    from repro.report import compare, published_tables, save_record

    frame = run_table(
        table_id,
        preset=preset,
        dataset=dataset or None,
        seeds=parse_seeds(seeds) or None,
        columns=columns,
        fresh=fresh,
    )
    save_record(table_id, frame, frame.attrs["provenance"])
    shown = frame
    if table_id in published_tables():
        shown = compare(table_id, frame).drop(columns=HIDDEN, errors="ignore")
    print_frame(shown, title=f"{table_id}: published and ours")
    if frame.attrs.get("scale"):
        console.print(frame.attrs["scale"], highlight=False)


def print_frame(frame, title: str = "") -> None:
    """A data frame on the terminal, whole."""
    view = Table(title=title)
    for column in frame.columns:
        view.add_column(str(column))
    for row in frame.itertuples(index=False):
        view.add_row(*[f"{value:.4g}" if isinstance(value, float) else str(value) for value in row])
    console.print(view)


@app.command()
def status(
    update: Annotated[bool, typer.Option("--update-readme", help="Write the status board into README.md.")] = False,
) -> None:
    """Show which runs are done, running, stale or failed, and which tables they serve."""
    import pandas as pd

    from repro.report import status_board, update_readme
    from repro.runs import scan

    runs = pd.DataFrame([{"experiment": s.experiment, "state": s.state, "seconds": s.wall_s or 0.0} for s in scan()])
    if runs.empty:
        console.print("No runs yet; 'make tables' or 'python -m repro table acghostnet_t06' makes some.")
    else:
        counts = runs.pivot_table(index="experiment", columns="state", values="seconds", aggfunc="count", fill_value=0)
        counts["minutes"] = (runs.groupby("experiment")["seconds"].sum() / 60).round(1)
        print_frame(counts.reset_index(), title="Runs")
        for item in scan():
            if item.state == "failed":
                console.print(f"[red]{item.experiment}/{item.folder.name}: {item.message}[/red]", soft_wrap=True)
    print_frame(status_board().drop(columns=["paper", "caption"]), title="Tables and figures")
    if update:
        update_readme()


@app.command()
def doctor() -> None:
    """Check versions, devices, back ends, data sets and the browser, and say what to do about what is missing."""
    from repro.cli.doctor import examine

    findings = examine()
    view = Table("", "what", "found", "what to do")
    marks = {"ok": "[green]ok[/green]", "missing": "[yellow]--[/yellow]", "broken": "[red]!![/red]"}
    for finding in findings:
        view.add_row(marks[finding.state], finding.subject, finding.found, finding.advice)
    console.print(view)
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)


def _mount() -> None:
    from repro.cli.bench import bench
    from repro.cli.data import app as data_app

    app.command()(bench)
    app.add_typer(data_app, name="data", help="Fetch, list and verify data sets.")


def run_command(function) -> None:
    """Run one function as a command line of its own: known errors are one sentence on stderr and exit code 2."""
    try:
        typer.run(function)
    except (InputError, MissingDataError) as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def main() -> None:
    """Entry point: known errors end with one sentence and exit code 2, Ctrl-C with 130."""
    _mount()
    try:
        app()
    except (InputError, MissingDataError, BackendError) as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Stopped. Finished runs are kept; the same command goes on from here.", file=sys.stderr)
        sys.exit(130)
