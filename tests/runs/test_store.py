"""A run's folder is either whole, resumable, or set aside; never silently wrong."""

import dataclasses
import json
import multiprocessing

import pytest

from repro.errors import InputError
from repro.runs import RunSpec, find_status, load_result, scan
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
    for module in ("spec", "code"):
        monkeypatch.setattr(f"repro.runs.{module}.code_fingerprint", lambda *args, **more: "0123456789ab")
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


def test_a_cut_metrics_line_is_dropped_and_a_resumed_epoch_replaces_later_ones():
    from repro.runs import RunContext

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
