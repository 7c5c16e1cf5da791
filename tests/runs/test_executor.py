"""Many runs: same results whatever the number of workers; one bad run does not take the others with it."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import types
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import psutil
import pytest
from filelock import FileLock
from tqdm import tqdm

from repro.errors import InputError
from repro.paths import repo_root
from repro.runs import RunSpec, execute, find_status, forecast_s, run_many
from repro.runs.executor import _Feeder, default_workers
from tests.runs.run_functions import SumRecipe


@pytest.fixture(autouse=True)
def runs_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("JOBS", raising=False)


def specs_of(function, seeds, **recipe):
    return [RunSpec("sums", f"tests.runs.run_functions:{function}", SumRecipe(**recipe), seed) for seed in seeds]


def test_failed_and_crashed_runs_are_recorded_and_the_rest_go_on():
    outcomes = run_many(specs_of("fail_on_odd", range(3)) + specs_of("die_on_two", range(4)), workers=2)
    assert [outcome.state for outcome in outcomes] == ["done", "failed", "done", "done", "done", "crashed", "done"]
    assert "seed 1 is odd" in outcomes[1].message and "died" in outcomes[5].message
    assert outcomes[6].value == {"seed": 3}


def test_leaving_hanging_and_what_cannot_be_sent_are_outcomes_of_that_run():
    @dataclasses.dataclass(frozen=True)
    class Local(SumRecipe):  # of a function: workers cannot import it
        pass

    foreign = RunSpec("sums", "tests.runs.run_functions:add_up", Local(), 0)
    specs = [foreign, *specs_of("hang_on_one", range(3)), *specs_of("leave", [0])]
    outcomes = run_many(specs, workers=1, time_limit_s=3)
    assert [outcome.state for outcome in outcomes] == ["failed", "done", "failed", "done", "failed"]
    assert "cannot be sent to a worker" in outcomes[0].message
    assert outcomes[2].message == "it took longer than 3 s and was ended" and outcomes[4].message == "SystemExit: 3"
    assert find_status(specs[2]).message == outcomes[2].message


@pytest.mark.parametrize("lag_s, ends", [(0.004, True), (60, False)])
def test_a_run_is_late_also_when_its_folder_is_dated_just_before_it_was_sent(lag_s, ends):
    """Files carry the clock's last tick; what an earlier attempt left there is much older."""
    spec = specs_of("hang_on_one", [1])[0]
    sent = time.time() - 30
    config = spec.folder / "config.json"
    config.parent.mkdir(parents=True)
    config.write_text("{}")
    os.utime(config, (sent - lag_s, sent - lag_s))
    outcomes = {}
    feeder = _Feeder([spec], outcomes, 1, False, 3, tqdm(disable=True))
    assert feeder._end_late(types.SimpleNamespace(_processes={}), {"run": 0}, {"run": sent}) is ends
    assert [outcome.state for outcome in outcomes.values()] == (["failed"] if ends else [])


def test_a_worker_that_dies_before_the_next_run_is_sent_costs_no_run(monkeypatch):
    submit, calls = ProcessPoolExecutor.submit, []

    def broken_once(pool, *arguments):
        calls.append(arguments)
        if len(calls) == 2:
            for process in pool._processes.values():
                process.kill()
                process.join()
            raise BrokenProcessPool("a worker died")
        return submit(pool, *arguments)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", broken_once)
    outcomes = run_many(specs_of("add_up", range(2), sleep_s=0.1), workers=2)
    assert [outcome.value["total"] for outcome in outcomes] == [6, 7] and len(calls) > 2


def test_a_script_without_a_main_guard_gets_one_sentence(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from tests.runs.test_executor import specs_of\nfrom repro.runs import run_many\n"
        "run_many(specs_of('add_up', range(2)), workers=1)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(repo_root()), "REPRO_RUNS": str(tmp_path / "runs")}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=repo_root(), env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("Error:")] == [
        "Error: the script starts its runs at once when it is imported, as every worker process does; put the call "
        'below a line `if __name__ == "__main__":`.'
    ]


@pytest.mark.parametrize("jobs", ["0", "-1", "1.5", "\u00b2", "two"])
def test_a_bad_number_of_jobs_is_named(monkeypatch, jobs):
    monkeypatch.setenv("JOBS", jobs)
    with pytest.raises(InputError, match="JOBS="):
        default_workers()


def test_a_recipe_of_what_cannot_be_written_down_is_refused_at_the_door():
    with pytest.raises(InputError, match="a recipe holds only finite numbers, texts"):
        run_many([RunSpec("sums", "tests.runs.run_functions:add_up", {"function": print}, 0)], workers=1)


def test_results_do_not_depend_on_workers_and_are_reused(capsys):
    first = run_many(specs_of("add_up", range(3)), workers=1)
    again = run_many(specs_of("add_up", range(4)), workers=2)
    assert [outcome.value["total"] for outcome in again] == [6, 7, 8, 9]
    assert [outcome.reused for outcome in again] == [True, True, True, False]
    assert [outcome.reused for outcome in first] == [False] * 3
    assert "3 of 4 runs are finished and reused" in capsys.readouterr().err


def test_a_run_that_another_process_has_is_left_for_last():
    specs = specs_of("add_up", range(3))
    specs[0].folder.mkdir(parents=True)
    lock, free = FileLock(specs[0].folder / ".lock"), []

    def hold_until_the_others_are_done():
        with lock:
            held.set()
            patience = time.monotonic() + 120
            while time.monotonic() < patience and not all((spec.folder / "result.json").exists() for spec in specs[1:]):
                time.sleep(0.05)
            free.append(time.monotonic() < patience)

    held = threading.Event()
    holder = threading.Thread(target=hold_until_the_others_are_done)
    holder.start()
    held.wait()
    outcomes = run_many(specs, workers=1)
    holder.join()
    assert free == [True] and [outcome.value["total"] for outcome in outcomes] == [6, 7, 8]


def test_each_worker_keeps_to_its_threads():
    (outcome,) = run_many(specs_of("threads_seen", [0]), workers=1, threads=1)
    assert outcome.value == {"threads": 1}


def test_jobs_variable_sets_the_workers(monkeypatch):
    monkeypatch.setenv("JOBS", "3")
    assert default_workers() == 3
    monkeypatch.setenv("JOBS", "many")
    with pytest.raises(InputError, match="JOBS='many'"):
        default_workers()


def test_a_forecast_goes_by_the_recipe_then_by_the_record():
    done = specs_of("add_up", range(3))
    assert forecast_s(done, workers=2) is None
    for spec, seconds in zip(done, (1.0, 4.0, 30.0), strict=True):
        finish_in(spec, seconds)
    same_recipe, other_recipe = specs_of("add_up", range(3, 7)), specs_of("add_up", [0], terms=(1,))
    assert forecast_s(same_recipe, workers=2) == pytest.approx(8.0)
    assert forecast_s(other_recipe, workers=2) is None
    assert forecast_s([*done, *same_recipe], workers=100) == pytest.approx(4.0)  # never less than the longest run
    assert forecast_s(other_recipe, 1, {"sums": 7.0}) == 7.0
    assert forecast_s(other_recipe, 1, {"sums": 7.0, other_recipe[0].recipe_digest: 9.0}) == 9.0
    assert forecast_s([*other_recipe, *same_recipe], 1, {same_recipe[0].recipe_digest: 99.0, "sums": 7.0}) == 23.0
    assert forecast_s([RunSpec("others", "m:f", SumRecipe(), 0)], 1) == pytest.approx(4.0)
    assert forecast_s([RunSpec("others", "m:f", SumRecipe(terms=(5,)), 0)], 1) is None


def finish_in(spec, seconds):
    """Execute a run and store it as one that took `seconds`."""
    path = spec.folder / "result.json"
    result = execute(spec)
    result["provenance"]["wall_s"] = seconds
    path.write_text(json.dumps(result))


INTERRUPTED = """
import signal

from tests.runs.test_executor import specs_of
from repro.runs import run_many

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background begins with it ignored
    run_many(specs_of("add_up", range(6), sleep_s=2.0), workers=1)
"""


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_progress_shows_how_many_runs_are_done_in_progress_and_failed_and_the_time_left(capsys):
    specs = [*specs_of("add_up", range(3), sleep_s=0.1), *specs_of("fail_on_odd", [3])]
    run_many(specs, workers=2, progress=True)
    shown = capsys.readouterr().err.split("\r")
    whole = re.compile(r"\s*\d+%\|.*\| (\d)/4 \[\d\d:\d\d<[\d:?]+, .*(?:run/s|s/run).*\]")
    steps = [int(found.group(1)) for line in shown if (found := whole.match(line))]
    assert steps == sorted(steps) and steps[0] < 4 and steps[-1] == 4, shown
    assert any("failed=0, running=2" in line for line in shown), shown


@pytest.mark.parametrize("interrupts", [1, 2])
def test_ctrl_c_finishes_what_is_in_progress_and_a_second_one_stops_at_once(tmp_path, interrupts):
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    process = subprocess.Popen(
        [sys.executable, str(script)],
        cwd=repo_root(),
        env=os.environ | {"PYTHONPATH": str(repo_root()), "REPRO_RUNS": str(tmp_path / "runs")},
        stderr=subprocess.PIPE,
        text=True,
    )
    results = tmp_path / "runs" / "sums"
    wait_until(lambda: len(list(results.glob("*/result.json"))) == 1)
    wait_until(lambda: len(list(results.glob("*/config.json"))) == 2)
    process.send_signal(signal.SIGINT)
    if interrupts == 2:
        time.sleep(0.4)
        process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode != 0 and "press Ctrl-C again" in stderr
    assert len(list(results.glob("*/result.json"))) == (2 if interrupts == 1 else 1)


def test_workers_leave_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    environment = os.environ | {"PYTHONPATH": str(repo_root()), "REPRO_RUNS": str(tmp_path / "runs")}
    process = subprocess.Popen([sys.executable, str(script)], cwd=repo_root(), env=environment, stderr=subprocess.PIPE)
    wait_until(lambda: list((tmp_path / "runs" / "sums").glob("*/result.json")))
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    process.kill()
    process.wait()
    wait_until(lambda: not any(worker.is_running() and worker.status() != "zombie" for worker in workers), seconds=20)
