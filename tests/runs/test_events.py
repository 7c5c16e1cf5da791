"""Event files of a run hold what it logged, read back by TensorBoard's own reader."""

import sys
from pathlib import Path

import pytest

from repro.errors import InputError
from repro.runs import RunSpec, execute
from repro.runs.events import export_events
from tests.runs.run_functions import SumRecipe


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "runs"))
    specs = [RunSpec("toy/sum", "tests.runs.run_functions:add_up", SumRecipe(), seed=seed) for seed in (0, 1)]
    for spec in specs:
        execute(spec)
    return specs


def test_events_hold_every_logged_number(runs, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):  # a second export replaces the first
        folders = export_events("toy", tmp_path / "events")
    assert sorted(folders) == sorted(tmp_path / "events" / "toy" / "sum" / spec.folder.name for spec in runs)
    for spec in runs:
        (file,) = (tmp_path / "events" / "toy" / "sum" / spec.folder.name).iterdir()
        events = EventAccumulator(str(file)).Reload()
        assert events.Tags()["scalars"] == ["total"]
        found = [(event.step, event.value) for event in events.Scalars("total")]
        assert found == [(0, spec.seed + 1), (1, spec.seed + 3), (2, spec.seed + 6)]


def test_one_run_is_named_by_how_it_begins(runs, tmp_path):
    name = runs[1].folder.name
    assert export_events(f"toy/sum/{name[:8]}", tmp_path) == [tmp_path / "toy" / "sum" / name]
    with pytest.raises(InputError, match=r"run='toi' names no run under .*; there are runs of: toy/sum"):
        export_events("toi", tmp_path)


def test_without_tensorboard_one_sentence_says_what_brings_it(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(InputError, match=r"tensorboard is not installed; it comes with the extra \[export\]"):
        export_events("toy", tmp_path)


@pytest.mark.parametrize(
    ("file", "damage", "sentence"),
    [
        ("metrics.jsonl", b"{", "metrics.jsonl, line 1, is damaged"),
        ("config.json", b"[" * 100_000, "config.json is damaged"),
        ("config.json", None, "config.json is missing"),
    ],
)
def test_a_damaged_run_is_told_and_stops_no_other(runs, tmp_path, file, damage, sentence):
    path = runs[0].folder / file
    path.unlink() if damage is None else path.write_bytes(damage + b"\n")
    with pytest.warns(RuntimeWarning, match=f"run toy/sum/{runs[0].folder.name} is left out: {sentence}"):
        folders = export_events("toy", tmp_path / "events")
    assert folders == [tmp_path / "events" / "toy" / "sum" / runs[1].folder.name]


def test_a_target_that_cannot_be_written_is_one_sentence(runs, tmp_path):
    (tmp_path / "file").write_text("mine")
    for target in (tmp_path / "file", Path("/dev/null/events")):
        with pytest.raises(InputError, match=rf"folder='{target}' cannot be written to .*; name another place"):
            export_events("toy", target)
    assert (tmp_path / "file").read_text() == "mine"
