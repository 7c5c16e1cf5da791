"""`repro site`: build the static pages."""

from __future__ import annotations

import typer
from rich.markup import escape

from repro.cli.text import say


def site() -> None:
    """Build the results site into output/site: tables, claims, guides and reference, read without a network."""
    from repro.pages.execute import list_notebooks
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
    done, known = len(made.executed), len(list_notebooks())
    if done < known:
        say(
            f"{done or 'None'} of the {known} notebooks {'was' if done < 2 else 'were'} executed here; the others are "
            "their text with the committed records. `make tables` executes them, then `make site` takes them in."
        )
    if made.broken or made.warnings:
        raise typer.Exit(1)
