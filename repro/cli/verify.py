"""`python -m repro verify`: does today's code, on this machine, give what a record holds?"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from repro.errors import check_int


def verify(
    name: Annotated[str, typer.Argument(help="A table or figure, for example shiftaddaug_t07.")],
    preset: Annotated[str, typer.Option(help="Preset of the record; empty for the one on the board.")] = "",
    dataset: Annotated[str, typer.Option(help="Data set of the record; empty for the one on the board.")] = "",
    runs: Annotated[int, typer.Option(help="Runs of each kind, from the shortest to the longest.")] = 3,
    fresh: Annotated[bool, typer.Option(help="Repeat what today's code has finished already, too.")] = True,
    engine: Annotated[str, typer.Option(help="Where training runs: local, ray or torchrun.")] = "local",
    reference: Annotated[bool, typer.Option("--reference", help="Note beside the records what gave the same.")] = False,
) -> None:
    """Repeat a few runs of a record and compare what they find, answer by answer; fails if anything differs.

    Noted with --reference, the runs behind the record count as today's: `repro table` makes the table of them.
    """
    from repro.cli.text import print_frame, say
    from repro.papers import check_request
    from repro.papers.verify import note
    from repro.papers.verify import verify as repeat

    check_request(preset or "quick", dataset)
    check_int("runs", runs, minimum=1)
    which: dict[str, Any] = {"preset": preset or None, "dataset": dataset or None}
    found = repeat(name, count=runs, fresh=fresh, engine=engine, **which)
    print_frame(found.round({"seconds": 1, "agree_pct": 2}))
    about = found.attrs
    say(f"Compared with {about['record']}, made at {about['revision']} on {about['device']}.")
    if about["missing"]:
        say(f"Not repeated, since it follows from other runs or answers nothing: {', '.join(about['missing'])}.")
    if reference:
        noted = note(found, name, **which)
        say(f"Noted as giving the same: {', '.join(noted) or 'nothing'}.")
    if not found["same"].all():
        raise typer.Exit(1)
