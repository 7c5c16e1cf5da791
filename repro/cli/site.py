"""`repro site`: build the static pages."""

from __future__ import annotations

import typer
from rich.markup import escape

from repro.cli.text import say


def site() -> None:
    """Build the results site into output/site: tables, claims, guides and reference, read without a network."""
    from repro.site.build import build

    made = build()
    for line in made.warnings:
        say(f"[yellow]{escape(line)}[/yellow]")
    for line in made.broken:
        say(f"[red]broken link: {escape(line)}[/red]")
    say(
        f"{made.pages} pages, {made.size_mb} MB, {made.seconds:.0f} s, {len(made.broken)} broken links; "
        f"open {escape(str(made.folder / 'index.html'))}."
    )
    if made.broken or made.warnings:
        raise typer.Exit(1)
