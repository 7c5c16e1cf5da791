"""Tiles: chosen by time, kept on disk, and a broken file is set aside with one warning."""

from __future__ import annotations

import json

import pytest

from repro.paths import cache_root, sealed_json, unsealed_json
from repro.runtime import warn_once
from repro.triton import adder, tuning
from repro.triton.launch import Tile

TILES = (Tile(8, 8, 16, 8, 4), Tile(4, 4, 16, 8, 8), Tile(2, 2, 16, 8, 8))


@pytest.fixture(autouse=True)
def fresh_memory():
    tuning._read.cache_clear()
    warn_once.cache_clear()
    yield
    tuning._read.cache_clear()


def choose(times, shape=(1, 2), seen=None):
    def time_ms(launch, tile):
        if seen is not None:
            seen.append(tile)
        return times[TILES.index(tile)]

    return tuning.choose_tile("program", shape, TILES, 100, 100, lambda tile: None, time_ms)


def stored_file():
    (path,) = (cache_root() / "triton").glob("*.json")
    return path


def test_the_fastest_tile_is_kept_on_disk_for_its_shape_class():
    assert choose([3.0, 1.0, 2.0]) == TILES[1]
    assert choose([3.0, 2.0, 1.0], shape=(3, 4)) == TILES[2]
    tuning._read.cache_clear()  # as in a new process
    seen = []
    assert choose([0.0, 9.0, 9.0], seen=seen) == TILES[1] and not seen
    assert set(json.loads(stored_file().read_text())["tiles"]) == {"program 1/2", "program 3/4"}


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"format": 99, "tiles": {}}', '{"format": 1, "tiles": {"program 1/2": {"TM": 1}}}']
)
def test_a_broken_file_is_set_aside_with_one_warning(text):
    choose([3.0, 1.0, 2.0])
    path = stored_file()
    path.write_text(text)
    tuning._read.cache_clear()
    with pytest.warns(RuntimeWarning, match="cannot be read") as caught:
        assert choose([1.0, 2.0, 3.0]) == TILES[0]
        assert choose([9.0, 2.0, 3.0]) == TILES[0]
    assert len(caught) == 1
    assert path.with_suffix(".broken").read_text() == text
    assert json.loads(path.read_text())["tiles"]["program 1/2"]["TM"] == TILES[0].TM


def test_a_stored_tile_that_is_no_longer_offered_is_tuned_again():
    choose([3.0, 1.0, 2.0])
    stored = unsealed_json(stored_file())
    for tile in stored["tiles"].values():
        tile["BK"] = 32
    stored_file().write_text(sealed_json(stored))
    tuning._read.cache_clear()
    assert choose([3.0, 2.0, 1.0]) == TILES[2]


def test_tiles_that_do_not_fit_the_device_are_passed_over():
    from triton.runtime.errors import OutOfResources

    def time_ms(launch, tile):
        if tile != TILES[2]:
            raise OutOfResources(300_000, 232_448, "shared memory")
        return 1.0

    assert tuning.choose_tile("program", (), TILES, 8, 8, lambda tile: None, time_ms) == TILES[2]


def test_without_tuning_the_choice_is_fixed_and_wastes_least(monkeypatch):
    monkeypatch.setenv("REPRO_TRITON_TUNE", "0")
    assert choose([3.0, 1.0, 2.0]) == tuning.fitting_tile(TILES, 100, 100)
    assert tuning.fitting_tile(adder.FWD_TILES, 128 * 32 * 32, 64) == adder.FWD_TILES[0]
    assert (
        tuning.fitting_tile(adder.FWD_TILES, 128 * 32 * 32, 8).TN * tuning.fitting_tile(adder.FWD_TILES, 2**17, 8).LN
        == 8
    )


def test_every_tile_places_all_lanes():
    """LM x LN is the block's thread count; otherwise Triton would spread lanes over the summed axis."""
    tiles = adder.FWD_TILES + adder.BWD_INPUT_TILES + adder.BWD_WEIGHT_TILES
    assert all(tile.LM * tile.LN == 32 * tile.num_warps for tile in tiles)
