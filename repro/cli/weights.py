"""`python -m repro weights`: the trained weights behind a table, each file with its card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def weights(
    name: Annotated[str, typer.Argument(help="A table or figure, for example shiftaddaug_t03.")],
    to: Annotated[Path | None, typer.Option(help="Folder for the files; output/weights by default.")] = None,
    preset: Annotated[str, typer.Option(help="smoke, quick, study or paper.")] = "quick",
    dataset: Annotated[str, typer.Option(help="Data set; empty for the preset's default.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of the trainings.")] = 0,
    packed: Annotated[
        bool, typer.Option("--packed", help="Shift layers as codes of 4 or 5 bits, which compute the same.")
    ] = False,
    engine: Annotated[str, typer.Option(help="Where training runs: local, ray or torchrun.")] = "local",
) -> None:
    """Take out the weights of a table's networks, each a safetensors file with a card; what is missing is trained."""
    from repro.cli.text import say
    from repro.papers import check_request
    from repro.papers.weights import weights_of
    from repro.paths import output_root

    check_request(preset, dataset)
    folder = output_root() / "weights" if to is None else to
    request: dict[str, Any] = {"preset": preset, "dataset": dataset or None, "seed": seed, "packed": packed}
    for path in weights_of(name, folder, engine=engine, **request):
        say(f"{path} ({path.stat().st_size / 1024:.0f} KiB); card: {path.with_suffix('.md').name}")
