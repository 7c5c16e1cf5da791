"""`python -m repro data`: fetch, list and verify data sets. Known errors pass on to the caller, which prints them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Fetch, list and verify data sets.", no_args_is_help=True)

Root = Annotated[Path | None, typer.Option(help="Data root; default $REPRO_DATA, else data/raw.")]


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="One that `list` shows with the size of a download.")],
    root: Root = None,
    force: Annotated[bool, typer.Option("--force", help="Download even if another copy is here.")] = False,
) -> None:
    """Download a data set into the data root; its SHA-256 is checked before it gets its name."""
    from repro.datasets import fetch as fetch_files

    for path in fetch_files(name, root, force=force, say=typer.echo):
        typer.echo(f"{path} is complete.")


@app.command("list")
def list_(root: Root = None) -> None:
    """Show every data set: what it is, the size of its download, whether it is here and where."""
    import pandas as pd

    from repro import paths
    from repro.cli.text import print_frame
    from repro.datasets import list_datasets

    rows = []
    for item in list_datasets(root):
        size = f"{item.download_mib:.0f} MiB" if item.download_mib else "none"
        where = item.found if item.present else f"{item.found}: {item.advice}"
        here = "yes" if item.present else "no"
        rows.append(
            {"name": item.name, "what": item.title, "download": size, "here": here, "where, or what to do": where}
        )
    print_frame(pd.DataFrame(rows))
    typer.echo(f"data root: {paths.data_root(root)}")


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Data sets; default: all that are here.")] = None,
    root: Root = None,
) -> None:
    """Hash the files of data sets and their cached arrays again; exit status 1 if anything is wrong."""
    from repro.datasets import list_datasets
    from repro.datasets import verify as verify_files

    good = True
    for name in names or [item.name for item in list_datasets(root) if item.found != "not found"]:
        for right, line in verify_files(name, root):
            typer.echo(f"{'ok ' if right else 'BAD'} {name}: {line}")
            good = good and right
    if not good:
        raise typer.Exit(1)
