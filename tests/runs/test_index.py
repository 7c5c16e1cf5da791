"""The scan of the store: what the index says is what the folders say."""

import json
import os
import shutil

import pytest

from repro.paths import sealed_json
from repro.runs import RunSpec, execute, index, scan
from tests.runs.run_functions import SumRecipe


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def spec_of(seed, kind="paper/sums"):
    return RunSpec(kind, "tests.runs.run_functions:add_up", SumRecipe(), seed)


def states():
    return {status.seed: status.state for status in scan()}


@pytest.fixture
def read_folders(monkeypatch):
    """Folders that a scan reads; what the index answers for is not among them."""
    read = []
    whole = index.read_folder
    monkeypatch.setattr(index, "read_folder", lambda kind, folder: read.append(folder) or whole(kind, folder))
    return read


def test_a_finished_folder_is_read_once(read_folders):
    for seed in range(3):
        execute(spec_of(seed))
    first = scan()
    assert len(read_folders) == 3 and all(status.wall_s is not None for status in first)
    assert scan() == first and len(read_folders) == 3
    execute(spec_of(3))
    assert states() == dict.fromkeys(range(4), "done")
    assert read_folders[3:] == [spec_of(3).folder]


def test_a_changed_folder_is_read_again(read_folders):
    execute(spec_of(0))
    scan()
    path = spec_of(0).folder / "result.json"
    result = json.loads(path.read_text())
    del result["sha256"]
    path.write_text(sealed_json(result | {"outcome": "diverged"}))
    assert states() == {0: "diverged"} and len(read_folders) == 2


def test_a_deleted_folder_is_gone():
    for seed in range(2):
        execute(spec_of(seed))
    scan()
    shutil.rmtree(spec_of(0).folder)
    assert states() == {1: "done"}


@pytest.mark.parametrize(
    "damage", [b"", b"[]", b"\xff\xfe", b'{"value": 1, "provenance": []}', b"[" * 100_000], ids=lambda data: data[:9]
)
def test_a_damaged_folder_stops_nothing(damage):
    for seed in range(2):
        execute(spec_of(seed))
    scan()
    (spec_of(0).folder / "result.json").write_bytes(damage)
    assert sorted(status.state for status in scan()) == sorted(status.state for status in scan()) == ["done", "failed"]


def test_a_damaged_config_stops_nothing():
    execute(spec_of(0))
    (spec_of(0).folder / "config.json").write_text("{")
    (status,) = scan()
    assert status.state == "failed" and "damaged" in status.message


@pytest.mark.parametrize("text", [None, "", "{}", "0" * 64 + '\n{"x": 1}', "cut"], ids=repr)
def test_without_a_sound_index_the_folders_are_read(root, read_folders, text):
    execute(spec_of(0))
    before = scan()
    path = root / index.INDEX
    if text is None:
        path.unlink()
    else:
        path.write_text(path.read_text()[:-5] if text == "cut" else text)
    assert scan() == before and len(read_folders) == 2
    assert scan() == before and len(read_folders) == 2


def test_folders_of_any_name_are_read_and_a_missing_config_is_damage(root):
    execute(spec_of(0))
    shutil.copytree(spec_of(0).folder, root / "mine" / "a-copy")
    assert sorted(status.state for status in scan()) == ["done", "stale"]  # its name tells no code
    (root / "mine" / "a-copy" / "config.json").unlink()
    (spec_of(0).folder / "config.json").unlink()
    assert [(status.kind, status.state) for status in scan()] == [("mine", "done"), ("paper/sums", "failed")]


@pytest.mark.parametrize("file", ["config.json", "metrics.jsonl"])
def test_damage_after_a_scan_shows_in_the_next(file):
    execute(spec_of(0))
    assert states() == {0: "done"}
    path = spec_of(0).folder / file
    path.write_bytes(path.read_bytes() + b" x")
    assert [status.state for status in scan()] == ["failed"]


def test_kinds_may_lie_in_one_another_and_what_was_set_aside_is_left_out():
    for kind in ("network", "network/small"):
        execute(spec_of(0, kind))
    folder = spec_of(0, "network").folder
    os.rename(folder, f"{folder}.damaged-1")
    assert [status.kind for status in scan()] == ["network/small"]


def test_where_no_index_can_be_written_the_store_is_read_all_the_same(root):
    execute(spec_of(0))
    (root / index.INDEX).mkdir()
    assert states() == {0: "done"}


def test_there_may_be_no_store():
    assert scan() == []
