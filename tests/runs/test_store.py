"""A run's folder is either whole, resumable, or set aside; never silently wrong."""

import dataclasses
import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from repro.errors import InputError
from repro.runs import RunContext, RunSpec, find_status, load_result, scan
from repro.runs.store import execute
from tests.runs.run_functions import SumRecipe


@pytest.fixture(autouse=True)
def runs_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "runs"))
    return tmp_path


def spec_of(function="add_up", seed=0, **recipe):
    return RunSpec("sums", f"tests.runs.run_functions:{function}", SumRecipe(**recipe), seed)


def executions(path):
    return path.read_text().splitlines() if path.exists() else []


def test_finished_run_is_not_repeated(tmp_path):
    tally = tmp_path / "tally"
    spec = spec_of(tally=str(tally))
    first, second = execute(spec), execute(spec)
    assert first == second and first["value"] == {"total": 6}
    assert executions(tally) == ["0"]


def test_fresh_repeats_it(tmp_path):
    tally = tmp_path / "tally"
    spec = spec_of(tally=str(tally))
    execute(spec)
    execute(spec, fresh=True)
    assert executions(tally) == ["0", "0"]


@pytest.mark.parametrize("change", [{"seed": 1}, {"terms": (1, 2)}, {"function": "diverge"}], ids=str)
def test_any_change_of_what_is_asked_gets_another_folder(change):
    assert spec_of(**change).folder != spec_of().folder
    other_data = dataclasses.replace(spec_of(), data="abc")
    assert other_data.folder != spec_of().folder


def test_provenance_names_revision_versions_device_and_time():
    provenance = execute(spec_of())["provenance"]
    assert {"git_revision", "git_clean", "versions", "device", "date", "seed", "wall_s", "code"} <= set(provenance)
    assert provenance["versions"]["python"]


def test_status_runs_through_missing_done_diverged_and_failed():
    assert find_status(spec_of()).state == "missing"
    execute(spec_of())
    assert find_status(spec_of()).state == "done"
    execute(spec_of("diverge"))
    assert find_status(spec_of("diverge")).state == "diverged"
    with pytest.raises(ValueError, match="odd"):
        execute(spec_of("fail_on_odd", seed=1))
    failed = find_status(spec_of("fail_on_odd", seed=1))
    assert failed.state == "failed" and "seed 1 is odd" in failed.message
    assert sorted(status.state for status in scan()) == ["diverged", "done", "failed"]


def test_changed_code_makes_a_run_stale(monkeypatch):
    execute(spec_of())
    monkeypatch.setattr("repro.runs.spec.code_fingerprint", lambda *args, **more: "0123456789ab")
    monkeypatch.setattr("repro.runs.index.still_means", lambda *args: False)
    assert find_status(spec_of()).state == "stale"
    assert [status.state for status in scan()] == ["stale"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "result.json").write_text('{"value": 1'),
        lambda folder: (folder / "result.json").write_text('{"value": 1}'),
        lambda folder: (folder / "metrics.jsonl").write_text("{}\n"),
    ],
    ids=["half a file", "fields missing", "metrics changed"],
)
def test_damaged_folder_is_set_aside_aloud_and_run_again(damage, capsys):
    spec = spec_of()
    good = execute(spec)
    damage(spec.folder)
    assert [status.state for status in scan()] == ["failed"]
    again = execute(spec)
    assert again["value"] == good["value"]
    assert "set aside" in capsys.readouterr().err
    assert len(list(spec.folder.parent.glob("*.damaged-*"))) == 1


@pytest.mark.parametrize("file", ["result.json", "config.json", "metrics.jsonl"])
def test_a_flipped_byte_anywhere_is_redone_or_harmless(file, capsys):
    spec = spec_of(terms=(1, 20))
    good = execute(spec)
    raw = (spec.folder / file).read_bytes()
    for place in range(0, len(raw), 11):
        (spec.folder / file).write_bytes(raw[:place] + bytes([raw[place] ^ 4]) + raw[place + 1 :])
        stored = load_result(spec)
        assert stored in (None, good)
        if stored is None:  # set aside as a whole: put it back for the next byte
            (aside,) = spec.folder.parent.glob(f"{spec.folder.name}.damaged-*")
            for path in aside.iterdir():
                path.rename(spec.folder / path.name)
            aside.rmdir()
    assert capsys.readouterr().err.count("is damaged") >= 0.9 * len(range(0, len(raw), 11))


def test_a_damaged_run_in_progress_begins_again(capsys):
    spec = spec_of("resume")
    spec.folder.mkdir(parents=True)
    context = RunContext(spec.folder)
    for step in range(2):
        context.log(epoch=step)
    metrics = spec.folder / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"epoch": 0', '"epoch": 5'))
    assert load_result(spec) is None
    assert "metrics.jsonl, line 1, is damaged" in capsys.readouterr().err and not metrics.exists()


def test_the_lock_stays_with_the_run_that_is_set_aside():
    spec = spec_of()
    execute(spec)
    (spec.folder / "result.json").write_text("{")
    lock = FileLock(spec.folder / ".lock")
    with lock:
        inode = (spec.folder / ".lock").stat().st_ino
        assert load_result(spec) is None  # left to whoever holds the lock
        assert (spec.folder / "result.json").exists()
        assert load_result(spec, locked=True) is None
        assert not (spec.folder / "result.json").exists()
        with pytest.raises(Timeout):
            FileLock(spec.folder / ".lock", timeout=0).acquire()
    assert (spec.folder / ".lock").stat().st_ino == inode
    assert find_status(spec).state == "missing" and scan() == []


@pytest.mark.parametrize("name", ["result.json", "config.json", "metrics.jsonl"])
def test_a_folder_that_moves_while_it_is_read_is_not_there(monkeypatch, name):
    spec = spec_of()
    execute(spec)
    read = Path.read_bytes

    def move_before(path):
        if path.name == name and spec.folder.exists():
            spec.folder.rename(spec.folder.with_name("elsewhere.moved"))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", move_before)
    assert load_result(spec) is None
    spec.folder.with_name("elsewhere.moved").rename(spec.folder)
    assert find_status(spec).state == "missing"
    spec.folder.with_name("elsewhere.moved").rename(spec.folder)
    assert scan() == []


def test_what_killed_writers_left_is_swept():
    spec = spec_of()
    spec.folder.mkdir(parents=True)
    for name, age_s in ((".result.json.old.part", 7200), (".result.json.new.part", 0)):
        (spec.folder / name).write_text("half")
        os.utime(spec.folder / name, (time.time() - age_s,) * 2)
    execute(spec)
    assert sorted(path.name for path in spec.folder.glob(".*.part")) == [".result.json.new.part"]


@pytest.mark.parametrize("function, kind", [("leave", "SystemExit: 3"), ("unstorable", "TypeError")])
def test_a_run_that_leaves_or_returns_what_cannot_be_stored_has_failed(function, kind):
    with pytest.raises(BaseException):  # noqa: B017  SystemExit is none of the usual ones
        execute(spec_of(function))
    status = find_status(spec_of(function))
    assert status.state == "failed" and status.message.startswith(kind)


def test_a_cut_metrics_line_is_dropped_and_a_resumed_epoch_replaces_later_ones():
    spec = spec_of()
    spec.folder.mkdir(parents=True)
    context = RunContext(spec.folder)
    for epoch in range(3):
        context.log(epoch=epoch)
    with (spec.folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "lo')
    assert [line["epoch"] for line in context.metrics()] == [0, 1, 2]
    context.log(epoch=1)
    assert [line["epoch"] for line in context.metrics()] == [0, 1]


def _execute_quietly(spec):
    execute(spec)


def test_a_killed_run_resumes_from_its_checkpoint():
    spec = spec_of("resume")
    process = multiprocessing.get_context("spawn").Process(target=_execute_quietly, args=(spec,))
    process.start()
    process.join(60)
    assert process.exitcode == -9
    assert find_status(spec).state == "partial"
    assert execute(spec)["value"] == {"started_at": 2}
    assert not (spec.folder / "checkpoint").exists()


def test_two_processes_share_one_run(tmp_path):
    tally = tmp_path / "tally"
    spec = spec_of(tally=str(tally), sleep_s=0.1)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_execute_quietly, args=(spec,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert executions(tally) == ["0"]
    assert load_result(spec)["value"] == {"total": 6}


@pytest.mark.parametrize("seed", [-1, 1.5, "3", True], ids=repr)
def test_a_seed_must_be_a_whole_number(seed):
    with pytest.raises(InputError, match=r"seed=.*whole number"):
        spec_of(seed=seed)


def test_an_unwritable_runs_folder_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "file"))
    with pytest.raises(InputError, match="REPRO_RUNS"):
        execute(spec_of())


def test_config_holds_the_whole_recipe():
    spec = spec_of(terms=(4, 5))
    execute(spec)
    config = json.loads((spec.folder / "config.json").read_text())
    assert config["recipe"]["terms"] == [4, 5] and config["seed"] == 0
