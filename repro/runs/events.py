"""What a run logged as TensorBoard event files, written by torch's own writer on request."""

from __future__ import annotations

import warnings
from pathlib import Path

from repro.errors import DamagedError, InputError, require
from repro.paths import runs_root, unsealed_json
from repro.runs.index import scan
from repro.runs.store import RunContext


def export_events(run: str, target: Path) -> list[Path]:
    """Write one folder of event files per run under `target`, for `tensorboard --logdir <target>`.

    Every number that the run logged is a scalar of its name; the step is its epoch, or its place where it has none.
    The run's recipe stands beside it as text.

    Args:
        run: the beginning of a run's place in the store: "network" (all of the kind) or "network/0a1b" (one of them).
    Returns: the folders written; a run that logged nothing gets none. What was written there before is replaced. A run
        that is damaged is told in a warning and left out: it stops no other.
    Raises: InputError if there is no such run, nothing can be written to `target`, or TensorBoard is not installed.
    """
    require("tensorboard", extra="export")
    known = {f"{item.kind}/{item.folder.name}": item for item in scan()}
    found = {name: item for name, item in known.items() if name.startswith(run)}
    if not found:
        kinds = ", ".join(sorted({item.kind for item in known.values()})) or "none"
        raise InputError(f"run={run!r} names no run under {runs_root()}; there are runs of: {kinds}.")
    written = []
    for name, item in found.items():
        try:
            lines = RunContext(item.folder).metrics()
            recipe = unsealed_json(item.folder / "config.json").get("recipe", {})
        except FileNotFoundError:
            warnings.warn(f"run {name} is left out: config.json is missing.", RuntimeWarning, stacklevel=2)
            continue
        except (OSError, DamagedError) as error:
            warnings.warn(f"run {name} is left out: {error}", RuntimeWarning, stacklevel=2)
            continue
        if not lines:
            continue
        try:
            _write(target / name, recipe, lines)
        except OSError as error:
            raise InputError(f"folder={str(target)!r} cannot be written to ({error}); name another place.") from error
        written.append(target / name)
    return written


def _write(folder: Path, recipe: dict, lines: list[dict]) -> None:
    from torch.utils.tensorboard import SummaryWriter

    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    with SummaryWriter(str(folder)) as writer:
        writer.add_text("recipe", "\n".join(f"    {key}: {value}" for key, value in recipe.items()))
        for place, line in enumerate(lines):
            for tag, value in line.items():
                if tag != "epoch" and isinstance(value, int | float):
                    writer.add_scalar(tag, value, line.get("epoch", place))
