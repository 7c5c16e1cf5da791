"""`python -m repro search`: searches by themselves. Finished ones are reused by every table that needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from repro.errors import InputError

app = typer.Typer(help="Search networks and print what was found.", no_args_is_help=True)


@app.callback()
def _searches() -> None:
    """Search networks and print what was found."""


Preset = Annotated[str, typer.Option(help="smoke, quick, study or paper.")]
Dataset = Annotated[str, typer.Option(help="Data set; empty for the preset's default.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Repeat a finished search.")]


@app.command()
def cells(
    preset: Preset = "quick",
    dataset: Dataset = "",
    seed: Annotated[int, typer.Option(help="Seed of weights, batches and transforms.")] = 0,
    strategy: Annotated[str, typer.Option(help="'two steps', or 'darts' in the same space.")] = "two steps",
    space: Annotated[
        str, typer.Option(help="'shift', or 'real' for ordinary weights, at rates of their own.")
    ] = "shift",
    reset: Annotated[str, typer.Option(help="Rate of step two: 'whole', 'own' or 'none'.")] = "whole",
    l2: Annotated[str, typer.Option(help="L2 of P and S: 'code', 'paper', 'conventional' or 'none'.")] = "code",
    out: Annotated[Path | None, typer.Option(help="Also write the cells to this file, as JSON.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Also draw the cells into this file (.svg, .png, .pdf).")] = None,
    fresh: Fresh = False,
) -> None:
    """Search cells by gradient in the bit-shift domain; print them as a genotype that the model "cells" takes."""
    from repro import runs
    from repro.errors import check_seed
    from repro.models.genotypes import write_genotype
    from repro.papers.autoshiftnet import found
    from repro.papers.autoshiftnet.recipes import REAL_SEARCH
    from repro.paths import check_writable

    changes: dict[str, Any] = {"strategy": strategy, "reset": reset, "l2": l2, "space": space}
    recipe = found.recipe_of(preset, dataset or None)
    if space == "real":
        changes |= REAL_SEARCH[preset]  # type: ignore[call-overload]
    run = found.variant(recipe, **changes)
    if picture is not None and picture.suffix not in (".svg", ".png", ".pdf"):
        raise InputError(f"picture={str(picture)!r} is not allowed; its name must end in .svg, .png or .pdf.")
    for file in filter(None, (out, picture)):  # before the search, not after it
        if file.is_dir():
            raise InputError(f"file {str(file)!r} is not allowed; it is a folder.")
        check_writable(file.parent, advice="name another file")
    spec = found.spec(run, check_seed(seed))
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

        picture.parent.mkdir(parents=True, exist_ok=True)
        cell_figure(result.genotype.as_dict(), space=space).savefig(picture)


@app.command()
def translation(
    preset: Preset = "quick",
    dataset: Dataset = "",
    pair: Annotated[str, typer.Option(help="Languages, en-de or en-fr.")] = "en-de",
    space: Annotated[str, typer.Option(help="'all block types', or 'attention alone' as HAT.")] = "all block types",
    seed: Annotated[int, typer.Option(help="Seed of weights, batches, paths and evolution.")] = 0,
    fresh: Fresh = False,
) -> None:
    """Train an elastic transformer, evolve networks under limits of latency and FLOPs, and print what was found."""
    import pandas as pd

    from repro.cli.text import print_frame
    from repro.errors import check_seed
    from repro.papers.shiftaddnas import translator
    from repro.papers.shiftaddnas.translation_search import ACCOUNTING
    from repro.papers.shiftaddnas.translations import described

    seed = check_seed(seed)
    outcome = translator.found(preset, dataset or None, pair, space=space, seed=seed, fresh=fresh)
    networks = outcome.value["found"]
    title = f"Found networks: scores with inherited weights on validation sentences, costs (accounting {ACCOUNTING!r})"
    rows = [{"limit": limit, **{k: v for k, v in each.items() if k != "genome"}} for limit, each in networks.items()]
    print_frame(pd.DataFrame(rows), title)
    for limit, each in networks.items():
        typer.echo(f"limit {limit}: {described(outcome.spec.recipe.space.config(each['genome']))}")
    error = outcome.value["predictor_error_pct"]
    typer.echo(f"Error of the latency predictor on networks that it has not seen: {error:.2f} %", err=True)
