"""Engines: one call, equal specs once, every outcome kept."""

import dataclasses

import pytest

from repro.errors import InputError
from repro.runs import RunSpec, engine, execute, run_many
from tests.runs.run_functions import SumRecipe


@pytest.fixture(autouse=True)
def runs_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("RANK", raising=False)


def spec_of(seed, function="add_up", **recipe):
    return RunSpec("sums", f"tests.runs.run_functions:{function}", SumRecipe(**recipe), seed)


@pytest.mark.parametrize("name", ["local", "torchrun"])
def test_equal_specs_are_one_run_and_every_outcome_is_kept_once(tmp_path, name):
    tally = tmp_path / "tally"
    run = engine(name, fresh=True)
    first = run({"a": spec_of(0, tally=str(tally)), "b": spec_of(1), "again": spec_of(0, tally=str(tally))})
    then = run({"c": spec_of(0, tally=str(tally)), "odd": spec_of(1, "fail_on_odd")})
    assert {key: outcome.value for key, outcome in first.items()} == {
        "a": {"total": 6},
        "b": {"total": 7},
        "again": {"total": 6},
    }
    assert then["c"] is first["a"] and tally.read_text() == "0\n"
    assert then["odd"].state == "failed" and "seed 1 is odd" in then["odd"].message
    assert run.outcomes == [first["a"], first["b"], then["odd"]]


@pytest.mark.parametrize("name", ["local", "torchrun"])
def test_finished_runs_are_reused_and_told(name, capsys):
    execute(spec_of(0))
    done = engine(name)({"a": spec_of(0), "b": spec_of(1)})
    assert [outcome.reused for outcome in done.values()] == [True, False]
    assert "sums: 1 of 2 runs are finished and reused; 1 to run on" in capsys.readouterr().err
    assert engine(name)({}) == {}


def test_the_forecast_uses_what_records_know(capsys):
    execute(spec_of(0, "diverge"))
    engine(workers=2, known={"sums": 240.0})({seed: spec_of(seed, terms=(seed,)) for seed in range(4)})
    assert "4 to run on 2 workers, about 8 min." in capsys.readouterr().err


def test_an_unknown_engine_is_refused():
    with pytest.raises(InputError, match=r"engine='slurm' is not known; allowed are: local, ray, torchrun"):
        engine("slurm")


@pytest.mark.parametrize("options", [{"threads": 0}, {"workers": 0}, {"name": "torchrun", "workers": 2}], ids=str)
def test_impossible_options_are_refused_before_any_run(options):
    with pytest.raises(InputError, match=r"(workers|threads)=\d is not allowed"):
        engine(**options)


def test_torchrun_needs_a_process_group_where_it_started_several(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(InputError, match=r"process_group\(\)"):
        engine("torchrun")


def test_how_a_run_is_done_does_not_change_what_it_is():
    together = dataclasses.replace(spec_of(0, "add_up_together"), parallel=True)
    (alone,) = run_many([spec_of(0, "add_up_together")], workers=1)
    assert engine("torchrun")({"x": together})["x"].value == alone.value == {"total": 6, "processes": 1}
