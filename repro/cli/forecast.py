"""`python -m repro forecast`: what tables will take on so many GPUs, from steps measured here."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from repro.errors import InputError, check_choice, check_int, check_number


def forecast(
    names: Annotated[list[str], typer.Argument(help="Tables and figures, or the short name of a paper (shiftaddaug).")],
    preset: Annotated[str, typer.Option(help="smoke, quick, study or paper.")] = "paper",
    dataset: Annotated[str, typer.Option(help="Data set; empty for the preset's default.")] = "",
    gpus: Annotated[str, typer.Option(help="Numbers of GPUs, for example '1 4 8'.")] = "1 2 4 8",
    price: Annotated[float | None, typer.Option(help="Price of a GPU's hour, for the cost; none by default.")] = None,
) -> None:
    """Measure short epochs of every training that is not finished, and say what all take on so many of this device."""
    from repro.cli.text import print_frame, say
    from repro.papers import check_request
    from repro.papers.forecast import by_devices, forecast
    from repro.runs import provenance

    check_request(preset, dataset)
    devices = [
        check_int("gpus", int(word) if word.isdecimal() and len(word) < 10 else word, minimum=1)
        for word in gpus.split()
    ]
    if price is not None:
        check_number("price", price, minimum=0)
    if not devices:
        raise InputError(f"gpus={gpus!r} is not allowed; give whole numbers, for example '1 4 8'.")
    found = forecast(_ids(names, preset), preset, dataset=dataset or None)
    for name, reason in found.attrs["missing"].items():
        say(f"[yellow]{escape(f'{name} is left out: {reason}')}[/yellow]")
    if absent := found.attrs["stand_ins"]:
        say(
            f"{', '.join(absent)} not here: random data of the same size were measured instead, and what reading files "
            "takes is not in it."
        )
    if found.empty:
        say("Nothing is left to train: all first runs are finished, or nothing is trained for these.")
        return
    print_frame(found.round(3))
    print_frame(by_devices(found, devices, price).round(3))
    left = int((found["runs"] - found["measured"]).sum())
    say(
        f"Measured on {provenance()['device']}. Trainings only, of the runs that come first: searches, scores and runs "
        f"that follow from them are not counted{f', nor {left} runs without a training by epochs' if left else ''}."
    )


def _ids(names: list[str], preset: str) -> list[str]:
    """Ids as they are; a paper's short name stands for all of its entries with something to train at the preset."""
    from repro.papers import entry, list_ids

    ids, papers = [], {one.rpartition("_")[0].removesuffix("_supp") for one in list_ids()}
    for name in names:
        check_choice("table", name, [*sorted(papers), *list_ids()])
        mine = [one for one in list_ids() if one.startswith(f"{name}_") and entry(one).datasets(preset)]
        ids += mine or [name]
    return list(dict.fromkeys(ids))
