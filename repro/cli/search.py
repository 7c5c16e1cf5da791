"""`python -m repro search`: searches by themselves. Finished ones are reused by every table that needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repro.errors import InputError

app = typer.Typer(help="Search networks and print what was found.", no_args_is_help=True)


@app.callback()
def _searches() -> None:
    """Search networks and print what was found."""


@app.command()
def cells(
    preset: Annotated[str, typer.Option(help="smoke, quick, study or paper.")] = "quick",
    dataset: Annotated[str, typer.Option(help="Data set; empty for the preset's default.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of weights, batches and transforms.")] = 0,
    strategy: Annotated[str, typer.Option(help="'two steps', or 'darts' in the same space.")] = "two steps",
    space: Annotated[str, typer.Option(help="'shift', or 'real' for ordinary weights.")] = "shift",
    reset: Annotated[str, typer.Option(help="Rate of step two: 'whole', 'own' or 'none'.")] = "whole",
    l2: Annotated[str, typer.Option(help="L2 of P and S: 'code', 'paper', 'conventional' or 'none'.")] = "code",
    out: Annotated[Path | None, typer.Option(help="Also write the cells to this file, as JSON.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Also draw the cells into this file (.svg, .png, .pdf).")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Repeat a finished search.")] = False,
) -> None:
    """Search cells by gradient in the bit-shift domain; print them as a genotype that the model "cells" takes."""
    from repro import runs
    from repro.errors import check_int
    from repro.models.genotypes import write_genotype
    from repro.papers.autoshiftnet import found

    changes = {"strategy": strategy, "space": space, "reset": reset, "l2": l2}
    run = found.variant(found.recipe_of(preset, dataset or None), **changes)
    if picture is not None and picture.suffix not in (".svg", ".png", ".pdf"):
        raise InputError(f"picture={str(picture)!r} is not allowed; its name must end in .svg, .png or .pdf.")
    spec = found.spec(run, check_int("seed", seed, minimum=0))
    outcome = runs.engine("local", fresh=fresh)({"cells": spec})["cells"]
    result = found.found(outcome)
    if result is None or result.genotype is None:
        reason = outcome.message if result is None else result.detail
        typer.echo(f"The search found no cells: {reason}", err=True)
        raise typer.Exit(1)
    accuracy = result.held_out_accuracy_pct
    typer.echo(
        f"Accuracy of the supernet on held-out images after {len(result.rows)} epochs: {accuracy:.1f} %", err=True
    )
    typer.echo(result.genotype.as_text())
    if out is not None:
        write_genotype(out, result.genotype)
    if picture is not None:
        from repro.report.cell_graphs import cell_figure

        cell_figure(result.genotype.as_dict(), space=space).savefig(picture)
