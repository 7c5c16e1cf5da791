"""`run_table` refuses bad requests in one sentence and gives the same table whatever the number of workers."""

import dataclasses
import re
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from repro.errors import InputError
from repro.papers import PRESETS, check_request, check_seeds, code_now, entry, keep, list_ids, run_table
from repro.papers.regenerate import _seconds_of_records

TRAINED = [table_id for table_id in list_ids() if entry(table_id).trained is not None]


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path / "results"))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"table_id": "acghostnet_t6"}, r"table='acghostnet_t6' is not known.*Did you mean 'acghostnet_t06'"),
        ({"preset": "quik"}, r"preset='quik' is not known.*Did you mean 'quick'"),
        ({"dataset": "cifar-10"}, r"dataset.*'cifar-10' is not known.*Did you mean 'cifar10'"),
        ({"dataset": "cifar10"}, "has no recipe for dataset='cifar10' at preset quick; it has one at study and paper"),
        ({"dataset": "fashion-mnist"}, "no recipe for dataset='fashion-mnist' at preset quick; there is one on digits"),
        ({"seeds": [0.5]}, r"seeds=0.5 is not allowed; it must be a whole number"),
        ({"seeds": [0, 0]}, r"each once"),
        ({"seeds": "01"}, r"give a list of whole numbers"),
        ({"columns": "analytical"}, r"columns='analytical' is not known.*Did you mean 'analytic'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_requests_name_the_parameter_and_the_nearest_value(request_, message):
    with pytest.raises(InputError, match=message):
        run_table(**({"table_id": "acghostnet_t06", "preset": "quick"} | request_))


def test_check_request_knows_presets_and_data_sets():
    check_request("quick", "digits")
    with pytest.raises(InputError, match="Did you mean 'smoke'"):
        check_request("smok")
    with pytest.raises(InputError, match="Did you mean 'digits'"):
        check_request("smoke", "digit")


@pytest.mark.parametrize("table_id", TRAINED)
def test_every_trained_entry_has_frozen_recipes_seeds_and_a_scale_note_for_each_preset(table_id):
    table = entry(table_id)
    for preset in PRESETS:
        assert table.datasets(preset), preset
        assert table.scale[preset]
        assert check_seeds(None, table.seeds[preset]) == list(table.seeds[preset])
    for recipe in table.recipes.values():
        assert dataclasses.is_dataclass(recipe) and type(recipe).__dataclass_params__.frozen


@pytest.mark.parametrize("table_id", TRAINED)
def test_smoke_fills_the_table_and_reuses_its_runs(table_id, capsys, smoke_table, shared_smoke_runs, monkeypatch):
    monkeypatch.setenv("REPRO_RUNS", str(shared_smoke_runs))
    first = smoke_table(table_id)
    assert len(first) and not first.attrs["failed"]
    facts = first.attrs["provenance"]
    assert facts["recipe"] and first.attrs["seeds"] == [0] and facts["run_seconds"]
    assert re.fullmatch("[0-9a-f]{16}", facts["recipe_digest"])
    assert facts["code"] and facts["code"] == code_now(table_id, facts)
    capsys.readouterr()
    again = run_table(table_id, preset="smoke", workers=1)
    pd.testing.assert_frame_equal(first, again)
    announced = [line for line in capsys.readouterr().err.splitlines() if "reused" in line]
    assert announced and all("to run" not in line for line in announced)


@pytest.mark.gpu
@pytest.mark.parametrize("table_id", TRAINED)
def test_every_entry_trains_on_a_gpu(table_id):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    assert not run_table(table_id, preset="smoke", workers=1).attrs["failed"]


def test_results_do_not_depend_on_the_number_of_workers(tmp_path, monkeypatch):
    frames = []
    for workers in (1, 2):
        monkeypatch.setenv("REPRO_RUNS", str(tmp_path / f"runs{workers}"))
        frames.append(run_table("shiftaddaug_t09", preset="smoke", workers=workers))
    pd.testing.assert_frame_equal(*frames)


def test_times_are_forecast_by_records_of_the_same_data_and_of_this_preset_first(monkeypatch):
    def record(preset, dataset, **seconds):
        return SimpleNamespace(preset=preset, dataset=dataset, provenance={"run_seconds": seconds})

    records = [
        record("quick", "digits", network=2.0, one=1.0),
        record("study", "digits", network=9.0, two=3.0),
        record("study", "cifar10", network=99.0, three=99.0),
    ]
    monkeypatch.setattr("repro.report.load_records", lambda table_id: records)
    assert _seconds_of_records("acghostnet_t06", "quick", "digits") == {"network": 2.0, "one": 1.0, "two": 3.0}
    assert _seconds_of_records("acghostnet_t06", "study", "digits") == {"network": 9.0, "one": 1.0, "two": 3.0}
    assert _seconds_of_records("acghostnet_t06", "smoke", "digits") == {"one": 1.0, "two": 3.0}
    assert _seconds_of_records("acghostnet_t06", "smoke", "glyphs") == {}


def test_a_record_with_failed_runs_is_not_committed_and_one_with_diverged_runs_is(monkeypatch):
    def record(failed, diverged):
        frame = pd.DataFrame({"seed": [0]})
        about = {"runs": 9, "runs_failed": failed, "runs_diverged": diverged}
        frame.attrs = {
            "table_id": "acghostnet_t06",
            "provenance": about,
            "failed": ["network seed 0: failed, no memory"] * failed,
        }
        return frame

    saved = []
    monkeypatch.setattr("repro.report.save_record", lambda *record: saved.append(record))
    keep(record(3, 1))  # a record of one's own says which rows are empty
    monkeypatch.setenv("REPRO_REFERENCE", "1")
    with pytest.raises(InputError, match=r"3 of 9 runs of acghostnet_t06 failed \(network seed 0: failed, no memory\)"):
        keep(record(3, 3))
    keep(record(0, 1))
    assert len(saved) == 2
