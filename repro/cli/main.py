"""The command line: `python -m repro --help`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from repro.cli.text import cell, parse_seeds, print_frame, say
from repro.errors import BackendError, ClusterError, InputError, MissingDataError, check_choice, check_number, require
from repro.papers import PRESETS
from repro.paths import check_writable, expanded, figures_root, pages_root, records_root, write_reference

app = typer.Typer(
    help="Regenerate the tables and figures of four papers on multiplication-free neural networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

PresetOption = Annotated[str, typer.Option(help=f"One of {', '.join(PRESETS)}.")]
DatasetOption = Annotated[str, typer.Option(help="Data set; empty for the preset's default.")]
SeedsOption = Annotated[str, typer.Option(help="Seeds, for example '0 1 2'; empty for the preset's default.")]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Repeat finished runs.")]
EngineOption = Annotated[
    str, typer.Option(help="Where training runs: local (this machine), ray ($RAY_ADDRESS's nodes) or torchrun.")
]
GpusOption = Annotated[float, typer.Option(help="GPUs of a node for each run (engine ray).")]
TimeLimitOption = Annotated[
    float | None,
    typer.Option(help="Seconds after which a run is ended and has failed (engine local); none by default."),
]
ReferenceOption = Annotated[
    bool, typer.Option("--reference", help="Write the committed records in data/results instead of output/.")
]


def _print_version(asked: bool) -> None:
    if asked:
        from repro import __version__
        from repro.revision import git_revision

        revision, clean = git_revision()
        typer.echo(f"repro {__version__}, revision {revision}{' (changed)' if clean is False else ''}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print version and git revision.")
    ] = False,
) -> None:
    """What concerns no command in particular."""


@app.command()
def tables(
    preset: PresetOption = "quick",
    dataset: DatasetOption = "",
    seeds: SeedsOption = "",
    tables: Annotated[str, typer.Option(help="Tables and figures, for example 'acghostnet_t06'; empty for all.")] = "",
    fresh: FreshOption = False,
    engine: EngineOption = "local",
    time_limit: TimeLimitOption = None,
    gpus: GpusOption = 0,
    reference: ReferenceOption = False,
) -> None:
    """Train what is missing, then execute the notebooks and write their HTML pages into output/pages/."""
    from repro import runs
    from repro.pages import execute as notebooks
    from repro.papers import check_request
    from repro.runs.engines import ENGINES
    from repro.runs.executor import default_workers

    wanted = notebooks.parse_words("tables", tables)
    names = notebooks.choose(wanted)
    seed_list = parse_seeds(seeds)
    check_request(preset, dataset)
    check_choice("engine", engine, ENGINES)
    if time_limit is not None:
        check_number("time_limit", time_limit, above=0)
    require("papermill", extra="notebooks")
    trained = wanted or notebooks.tables_to_train(names)
    _check_recipes(trained, preset, dataset)
    default_workers()
    if engine != "torchrun":  # whose processes exist within a table only
        runs.engine(engine, time_limit_s=time_limit, gpus=gpus)
    if reference:
        write_reference()
    for folder in (records_root(), figures_root(), pages_root()):
        check_writable(folder)
    request = {"preset": preset, "dataset": dataset or None, "seeds": seed_list or None, "fresh": fresh}
    failures, lacking = _train(trained, **request, engine=engine, time_limit_s=time_limit, gpus=gpus)
    # Notebooks do on this machine what they miss; that is not what a cluster was asked for.
    undone = {name: _lacks(name, failures + lacking) if engine == "ray" else [] for name in names}
    parameters = {"preset": preset, "dataset": dataset, "seeds": seed_list, "tables": wanted, "interactive": False}
    results = [_execute(name, parameters, fresh) for name in names if not undone[name]]
    for name in filter(undone.get, names):
        say(f"[red]{name}: not executed, since the cluster has not done all runs of {', '.join(undone[name])}[/red]")
    notebooks.note_missing_pages()
    _print_where()
    if failures or any(undone.values()) or any(result.state == "failed" for result in results):
        raise typer.Exit(1)


def _lacks(notebook: str, lacking: list[str]) -> list[str]:
    """Those of the tables `lacking` runs that the notebook would train."""
    from repro.pages import execute as notebooks

    return [table_id for table_id in notebooks.tables_to_train([notebook]) if table_id in lacking]


def _check_recipes(wanted: list[str], preset: str, dataset: str) -> None:
    """Refuse, once and before anything starts, a data set that none of the tables has a recipe for."""
    from repro.papers import entry, list_ids

    refused = []
    tables = [table_id for table_id in wanted if table_id in list_ids() and entry(table_id).trained is not None]
    for table_id in tables:
        try:
            entry(table_id).recipe(table_id, preset, dataset or None)
        except InputError as error:
            refused.append(error)
    if refused and len(refused) == len(tables):
        raise refused[0]


def _train(wanted: list[str], **request) -> tuple[list[str], list[str]]:
    """Run the experiments here, where a terminal shows their progress; the notebooks then reuse the runs.

    Returns: the tables that were refused, and those of which some run failed.
    Raises: ClusterError, since a cluster that cannot be used serves no table.
    """
    from repro.papers import entry, list_ids, run_table

    failures, lacking = [], []
    for table_id in list_ids():
        if table_id not in wanted or entry(table_id).trained is None:
            continue
        try:
            frame = run_table(table_id, **request)
        except ClusterError:
            raise
        except (InputError, MissingDataError, BackendError) as error:
            failures.append(table_id)
            say(f"[red]{table_id}: {escape(str(error))}[/red]")
            continue
        if frame.attrs["failed"]:
            lacking.append(table_id)
        for line in frame.attrs["failed"]:
            say(f"[yellow]{table_id}: {escape(line)}[/yellow]")
    return failures, lacking


def _execute(name: str, parameters: dict, fresh: bool):
    """Execute one notebook and say what came of it; one that fails does not stop the others."""
    from repro.pages import execute as notebooks

    try:
        result = notebooks.execute(name, parameters, fresh=fresh, progress=sys.stderr.isatty())
    except (InputError, OSError) as error:
        result = notebooks.NotebookResult(name, "failed", message=str(error))
    colour = {"executed": "green", "up to date": "cyan", "failed": "red"}[result.state]
    seconds = f" in {result.seconds:.0f} s" if result.seconds else ""
    say(f"[{colour}]{name}: {result.state}{seconds}[/{colour}] {escape(result.message)}".rstrip())
    return result


def _print_where() -> None:
    from repro.paths import home_root, pages_root

    folder = pages_root()
    shown = folder.relative_to(home_root()) if folder.is_relative_to(home_root()) else folder
    say(f"Pages are in {shown}; start with {shown / '00_start_here.html'}.")


@app.command()
def table(
    table_id: Annotated[str, typer.Argument(help="For example acghostnet_t06.")],
    preset: PresetOption = "quick",
    dataset: DatasetOption = "",
    seeds: SeedsOption = "",
    columns: Annotated[str, typer.Option(help="all, or analytic for what needs no training.")] = "all",
    fresh: FreshOption = False,
    engine: EngineOption = "local",
    time_limit: TimeLimitOption = None,
    gpus: GpusOption = 0,
    reference: ReferenceOption = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV only.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print a LaTeX tabular only.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON only: a list of rows.")] = False,
) -> None:
    """Regenerate one table or figure, keep its record, and print it beside the published numbers."""
    from repro.papers import keep, run_table
    from repro.report import compare, published_tables

    formats = [name for name, chosen in (("csv", csv), ("latex", latex), ("json", json)) if chosen]
    if len(formats) > 1:
        raise InputError(f"--{formats[0]} and --{formats[1]} exclude each other; choose one.")
    if reference:
        write_reference()
    check_writable(records_root())
    request: dict[str, Any] = {"preset": preset, "dataset": dataset or None, "seeds": parse_seeds(seeds) or None}
    request |= {"engine": engine, "time_limit_s": time_limit, "gpus": gpus}
    frame = run_table(table_id, **request, columns=columns, fresh=fresh)
    if os.environ.get("RANK", "0") != "0":
        return  # torchrun: the first process speaks for all
    keep(frame)
    compared = compare(table_id, frame) if table_id in published_tables() else frame
    if formats:
        typer.echo(_formatted(compared, formats[0]))
    else:
        _print_comparison(table_id, compared, frame.attrs.get("scale", ""))


@app.command()
def tune(
    paper: Annotated[str, typer.Argument(help="For example acghostnet.")],
    dataset: Annotated[
        str, typer.Option(help="Data set; cifar10 unless the paper is tuned on others too.")
    ] = "cifar10",
    engine: EngineOption = "local",
    time_limit: TimeLimitOption = None,
    gpus: GpusOption = 0,
    reference: ReferenceOption = False,
) -> None:
    """Choose training settings for each kind of network on held-out data, by its own quality."""
    from repro import runs
    from repro.papers import tuning

    wanted = tuning.tuning_of(paper, dataset)
    if reference:
        write_reference()
    check_writable(records_root())
    run = runs.engine(engine, time_limit_s=time_limit, gpus=gpus)
    tuned = tuning.tune(wanted, run)
    provenance = runs.provenance(
        preset=wanted.preset, dataset=dataset, seeds=list(wanted.seeds), runs=len(run.outcomes)
    )
    tuning.keep_tuning(paper, dataset, tuned, provenance)
    mean = tuned.groupby(["network", "setting"], sort=False, as_index=False)[wanted.quality].mean()
    print_frame(mean, f"{paper} on {dataset}: means over seeds, on held-out data")
    for network, setting in tuning.best_settings(tuned).items():
        say(f"{network}: {setting}")


def _formatted(frame, name: str) -> str:
    if name == "csv":
        return frame.to_csv(index=False, lineterminator="\n").rstrip("\n")
    if name == "json":
        return frame.to_json(orient="records", indent=1)
    return _readable(frame).map(cell).to_latex(index=False, escape=True).rstrip("\n")


def _readable(compared):
    """The columns that a reader compares, as texts; --csv and --json have the rest. Other frames stay as they are."""
    from repro.report import printable

    return printable(compared) if _compares(compared) else compared


def _compares(frame) -> bool:
    """Whether a frame is a comparison; a figure's points may have a `column` of their own."""
    return {"column", "published", "ours", "note"} <= set(frame.columns)


def _print_comparison(table_id: str, compared, scale: str) -> None:
    """The columns that a reader compares, and below them every note once."""
    compares = _compares(compared)
    key = list(compared.columns[: compared.columns.get_loc("column")]) if compares else []
    notes = [note for note in dict.fromkeys(compared["note"]) if note] if compares else []
    title = f"{table_id}: published and ours" if compares else table_id
    print_frame(_readable(compared).drop(columns="note", errors="ignore"), title, by=key)
    for note in notes:
        say(f"note: {escape(note)}")
    if scale:
        say(escape(scale))


@app.command()
def figures() -> None:
    """Draw every figure of the committed records again, into figures/."""
    from repro.papers import draw_figures

    os.environ["REPRO_REFERENCE"] = "1"
    draw_figures()


@app.command()
def status(
    update: Annotated[bool, typer.Option("--update-readme", help="Write the status board into README.md.")] = False,
) -> None:
    """Show which runs are done, running, stale or failed, and which tables they serve."""
    from repro.papers.status import status_board, update_readme
    from repro.runs import scan

    _print_runs(scan())
    try:
        print_frame(_short_board(status_board()), title="Tables and figures")
    except (InputError, OSError) as error:  # a damaged criterion or claim hides the board, not the runs
        say(f"[red]The board of tables and figures cannot be made: {escape(str(error))}[/red]")
        raise typer.Exit(1) from error
    if update:
        from repro.report.records import drop_unused_answers

        write_reference()
        update_readme()
        drop_unused_answers()


def _print_runs(known) -> None:
    import pandas as pd

    runs = pd.DataFrame([{"runs of": s.kind, "state": s.state, "seconds": s.wall_s or 0.0} for s in known])
    if runs.empty:
        say("No runs yet; 'make tables' or 'python -m repro table acghostnet_t06' makes some.")
        return
    counts = runs.pivot_table(index="runs of", columns="state", values="seconds", aggfunc="count", fill_value=0)
    counts["minutes"] = (runs.groupby("runs of")["seconds"].sum() / 60).round(1)
    print_frame(counts.reset_index(), title="Runs")
    for item in known:
        if item.state == "failed":
            say(f"[red]{item.kind}/{item.folder.name}: {escape(item.message)}[/red]")


def _short_board(board):
    """The board for 80 columns."""
    record = (board["preset"] + " " + board["dataset"]).str.strip()
    return board.assign(record=record)[["id", "state", "record", "code", "claims"]]


@app.command()
def events(
    run: Annotated[str, typer.Argument(help="How a run's place in the store begins, for example network/0a1b.")],
    folder: Annotated[Path, typer.Argument(help="Where the event files go.")],
) -> None:
    """Write what runs logged as event files for TensorBoard."""
    from repro.runs.events import export_events

    written = export_events(run, folder)
    say(f"{len(written)} runs; look at them with: tensorboard --logdir {escape(str(folder))}")


@app.command()
def doctor() -> None:
    """Check versions, devices, back ends, data sets and the browser, and say what to do about what is missing."""
    import pandas as pd

    from repro.cli.doctor import examine

    findings = examine()
    marks = {"ok": "ok", "missing": "--", "broken": "!!"}
    rows = [{"": marks[f.state], "what": f.subject, "found": f.found, "what to do": f.advice} for f in findings]
    print_frame(pd.DataFrame(rows))
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)


def _mount() -> None:
    from repro.cli.app import serve
    from repro.cli.bench import bench
    from repro.cli.data import app as data_app
    from repro.cli.forecast import forecast
    from repro.cli.search import app as search_app
    from repro.cli.site import site
    from repro.cli.train import train, translate
    from repro.cli.verify import verify
    from repro.cli.weights import weights

    app.command()(bench)
    app.command()(forecast)
    app.command()(verify)
    app.command()(train)
    app.command()(translate)
    app.command()(weights)
    app.command("app")(serve)
    app.command()(site)
    app.add_typer(search_app, name="search", help="Search networks and print what was found.")
    app.add_typer(data_app, name="data", help="Fetch, list and verify data sets.")


STOPPED = 130
"""Exit code of Ctrl-C, which Typer makes of KeyboardInterrupt itself."""
KEPT = dict.fromkeys(
    ("tables", "table", "tune", "search", "translate", "verify", "weights"),
    "Finished runs are kept; the same command goes on from here.",
) | {
    "train": "A training that is stopped keeps nothing; the same command begins it again.",
    "bench": "Groups that were finished are kept where rows are recorded; the same command measures all again.",
}
"""What a command that is stopped leaves."""


def _check_folders() -> None:
    """InputError for a variable whose folder begins in the home of somebody whom this machine does not know."""
    for name, value in sorted(os.environ.items()):
        if name.startswith("REPRO_") and value.startswith("~"):
            expanded(name, value)


def main() -> None:
    """Entry point: known errors end with one sentence and exit code 2, Ctrl-C with 130."""
    try:
        _check_folders()
        _mount()
        app()
    except (InputError, MissingDataError, BackendError) as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as ended:
        if isinstance(ended, SystemExit) and ended.code != STOPPED:
            raise
        command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
        print(f"Stopped. {KEPT.get(command, '')}".rstrip(), file=sys.stderr)
        sys.exit(STOPPED)
