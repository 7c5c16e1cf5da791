"""Tile shapes chosen by timing at the first launch of a shape class, and kept on disk.

The file lies under `repro.paths.cache_root()`/triton and is named after the GPU and the Triton version; its keys are
program name and shape class (type, sizes with the batch rounded up to a power of two). It is JSON and safe to delete.
Results are bitwise reproducible for a given tile; another tile adds the same terms in another order, so runs that must
agree to the last bit should share the file or set REPRO_TRITON_TUNE=0, which takes a fixed choice per shape.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from repro.errors import InputError
from repro.paths import cache_root, sealed_json, unsealed_json, write_text
from repro.runtime import triton_interpreted, warn_once
from repro.triton.launch import Tile, cdiv

FORMAT = 1
Launch = Callable[[Tile], object]


def choose_tile(
    program: str,
    shape_class: tuple,
    candidates: Sequence[Tile],
    rows: int,
    columns: int,
    launch: Launch,
    time_ms: Callable[[Launch, Tile], float] | None = None,
) -> Tile:
    """The fastest of `candidates` for this shape class: remembered, else read from disk, else timed now and stored.

    Args:
        program: name of the Triton program.
        shape_class: what the choice may depend on; plain numbers and strings.
        candidates: tiles to try; one candidate is returned as it is.
        rows, columns: size of the output matrix, for the choice without timing.
        launch: runs the program with a tile; must be repeatable.
        time_ms: median time of one launch; by default `triton.testing.do_bench`.
    """
    if len(candidates) == 1:
        return candidates[0]
    if os.environ.get("REPRO_TRITON_TUNE", "1") == "0":
        return fitting_tile(candidates, rows, columns)
    if time_ms is None and torch.cuda.is_current_stream_capturing():
        warn_once(f"{program} is captured in a CUDA graph before it was tuned; run it once before capturing.")
        return fitting_tile(candidates, rows, columns)
    path, key = _cache_file(), f"{program} {'/'.join(map(str, shape_class))}"
    known = _read(path)
    if known.get(key) not in candidates:
        known[key] = _fastest(program, candidates, launch, time_ms or _do_bench)
        _store(path, key, known[key])
    return known[key]


def fitting_tile(candidates: Sequence[Tile], rows: int, columns: int) -> Tile:
    """The candidate that computes the fewest outputs outside the matrix; the earlier one on a tie."""

    def computed(tile: Tile) -> int:
        height, width = tile.TM * tile.LM, tile.TN * tile.LN
        return cdiv(rows, height) * height * cdiv(columns, width) * width

    return min(candidates, key=computed)


def _do_bench(launch: Launch, tile: Tile) -> float:
    from triton.testing import do_bench

    return do_bench(lambda: launch(tile), warmup=5, rep=20, return_mode="median")


def _fastest(program: str, candidates: Sequence[Tile], launch: Launch, time_ms) -> Tile:
    from triton.runtime.errors import OutOfResources, PTXASError

    times = {}
    for tile in candidates:
        try:
            times[tile] = time_ms(launch, tile)
        except (OutOfResources, PTXASError):  # this tile asks for more than the device has; the others decide
            continue
    if not times:
        raise InputError(f"none of the {len(candidates)} tiles of {program} fits this device.")
    return min(times, key=times.get)


def _cache_file() -> Path:
    import triton

    device = "interpreter" if triton_interpreted() else torch.cuda.get_device_name()
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"{device}-triton-{triton.__version__}")
    return cache_root() / "triton" / f"{name}.json"


@functools.cache
def _read(path: Path) -> dict[str, Tile]:
    """Tiles by key; a file that cannot be understood is set aside with one warning, and tuning starts afresh."""
    if not path.exists():
        return {}
    try:
        stored = unsealed_json(path)
        if stored["format"] != FORMAT:
            raise ValueError(f"format {stored['format']!r}")
        return {key: Tile(**tile) for key, tile in stored["tiles"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        aside = path.with_suffix(".broken")
        path.replace(aside)
        warn_once(f"tuned tiles in {path} cannot be read ({error}); moved to {aside.name}, tuning again.")
        return {}


def _store(path: Path, key: str, tile: Tile) -> None:
    """Add one entry, keeping what other processes stored meanwhile."""
    _read.cache_clear()
    tiles = {**_read(path), key: tile}
    text = sealed_json({"format": FORMAT, "tiles": {k: asdict(t) for k, t in sorted(tiles.items())}})
    write_text(path, text + "\n")
    _read.cache_clear()
