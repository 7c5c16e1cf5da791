"""Many runs: same results whatever the number of workers; one bad run does not take the others with it."""

import pytest

from repro.errors import InputError
from repro.runs import RunSpec, run_many
from repro.runs.executor import default_workers, forecast_s
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


def test_results_do_not_depend_on_workers_and_are_reused(capsys):
    first = run_many(specs_of("add_up", range(3)), workers=1)
    again = run_many(specs_of("add_up", range(4)), workers=2)
    assert [outcome.value["total"] for outcome in again] == [6, 7, 8, 9]
    assert [outcome.reused for outcome in again] == [True, True, True, False]
    assert [outcome.reused for outcome in first] == [False] * 3
    assert "3 of 4 runs are finished and reused" in capsys.readouterr().err


def test_each_worker_keeps_to_its_threads():
    (outcome,) = run_many(specs_of("threads_seen", [0]), workers=1, threads=1)
    assert outcome.value == {"threads": 1}


def test_jobs_variable_sets_the_workers(monkeypatch):
    monkeypatch.setenv("JOBS", "3")
    assert default_workers() == 3
    monkeypatch.setenv("JOBS", "many")
    with pytest.raises(InputError, match="JOBS='many'"):
        default_workers()


def test_forecast_uses_estimates():
    specs = [RunSpec("sums", "m:f", SumRecipe(), seed, estimate_s=10.0) for seed in range(4)]
    assert forecast_s(specs, workers=2) == 20.0
    assert forecast_s(specs_of("add_up", [0]), workers=2) is None
