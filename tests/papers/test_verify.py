"""Records are repeated with today's code: what is chosen, and that a wrong answer is told from the same one."""

import dataclasses
import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from repro.cli import main as command_line
from repro.errors import InputError
from repro.papers import earlier, keep, run_table
from repro.papers import verify as verifying
from repro.papers.forecast import planned
from repro.papers.weights import weights_of
from repro.paths import results_root, sealed_json, unsealed_json, write_text
from repro.report import load_records, records
from repro.report.examples import pack
from repro.report.records import Record, note_verified, verified
from repro.runs import Outcome, RunSpec
from repro.runs.store import record_failure
from tests.runs.run_functions import SumRecipe

TABLE = "acghostnet_t01"


def spec(terms, seed=0, kind="network"):
    return RunSpec(kind, "tests.runs.run_functions:add_up", SumRecipe(terms=terms), seed)


def record_of(code, seconds=None, **extra):
    frame = pd.DataFrame({"model": ["a"]})
    frame.attrs["extra"] = extra
    return Record(TABLE, "quick", "digits", frame, {"code": code, "run_seconds": seconds or {}, "seeds": [0]})


def test_of_each_kind_runs_are_spread_from_the_shortest_to_the_longest_and_no_recipe_comes_twice():
    specs = [spec((n,), seed) for n in range(5) for seed in (0, 1)] + [spec((9,), kind="other"), spec((8,), kind="new")]
    seconds = {one.recipe_digest: [30, 10, 50, 20, 40][number // 2] for number, one in enumerate(specs[:10])}
    record = record_of({"network": "a", "other": "b", "entry": "c"}, seconds)
    chosen = verifying.choose(specs, record, 3)
    assert [(one.kind, one.recipe.terms) for one in chosen] == [
        ("network", (1,)),
        ("network", (0,)),
        ("network", (2,)),
        ("other", (9,)),
    ]
    assert len(verifying.choose(specs, record, 99)) == 6


def call(monkeypatch, capsys, *further):
    """(exit code, stdout) of `repro verify` with one run of each kind."""
    monkeypatch.setattr(sys, "argv", ["repro", "verify", TABLE, "--preset", "smoke", "--runs", "1", *further])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    return ended.value.code or 0, capsys.readouterr().out


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A record of table 1 at `smoke` in a results folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("stored")
        patch.setenv("REPRO_RUNS", str(folder / "runs"))
        patch.setenv("REPRO_RESULTS", str(folder / "results"))
        patch.setenv("REPRO_REFERENCE", "1")
        keep(run_table(TABLE, preset="smoke", dataset="digits", progress=False))
        yield folder


@pytest.fixture
def elsewhere(stored, tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("REPRO_RESULTS", str(stored / "results"))


def test_the_same_code_gives_the_answers_of_the_record_from_nothing(elsewhere):
    found = verifying.verify(TABLE, preset="smoke", count=1)
    (row,) = found.to_dict("records")
    assert row["label"] == "network+ghostnet" and row["same"] and row["agree_pct"] == 100 and row["state"] == "done"
    assert row["answers"] > 0 and found.attrs["missing"] == []
    assert verifying.note(found, TABLE, "smoke") == ["network+ghostnet"]
    assert verified() == []  # the code is that of the record: there is nothing to say


def test_changed_code_that_answers_the_same_is_noted_and_the_command_says_so(elsewhere, monkeypatch, capsys):
    (record,) = load_records(TABLE, results_root())
    monkeypatch.setattr(verifying, "code_of", lambda label: "0123456789ab")
    code, told = call(monkeypatch, capsys, "--reference")
    assert code == 0
    assert "Compared with acghostnet_t01 smoke digits" in told and "Noted as giving the same: network+ghostnet" in told
    (noted,) = verified()
    assert (noted["of"], noted["label"], noted["now"]) == (record.name, "network+ghostnet", "0123456789ab")
    assert noted["made"] == record.provenance["code"]["network+ghostnet"] and noted["runs"] == 1
    (results_root() / "verified.json").unlink()


def test_other_answers_are_counted_and_fail(elsewhere, monkeypatch, capsys):
    real = verifying.runs.engine

    def wrong(*args, **options):
        run = real(*args, **options)

        def answers(specs):
            done = run(specs)
            for key, outcome in done.items():
                right = verifying.unpack(outcome.value["correct"]["top1_pct"], outcome.value["examples"]).copy()
                right[:3] ^= True
                value = outcome.value | {"correct": {"top1_pct": pack(right)}}
                done[key] = dataclasses.replace(outcome, value=value)
            return done

        return answers

    monkeypatch.setattr(verifying.runs, "engine", wrong)
    found = verifying.verify(TABLE, preset="smoke", count=1)
    (row,) = found.to_dict("records")
    assert not row["same"] and row["agree_pct"] == pytest.approx(100 * (1 - 3 / row["answers"]))
    assert verifying.note(found, TABLE, "smoke") == [] and verified() == []
    assert call(monkeypatch, capsys)[0] == 1


def test_answers_count_of_top_1_and_of_the_same_seed_only():
    def compared(top1, seed=0):
        value = {"examples": 16, "correct": {"top1_pct": pack(top1), "top5_pct": pack([1] * 16)}}
        return verifying._compared(Outcome(spec((1,), seed), "done", value), verifying._answers_of(record), None)

    right = [1, 0] * 8
    rows = [(0, 16, pack(right)), (0, 16, pack([1] * 16)), (1, 16, pack([0] * 16)), (0, 8, pack([1] * 8)), (0, 16, "")]
    record = record_of({}, examples=pd.DataFrame(rows, columns=["seed", "examples", "correct"]))
    assert compared(right)["same"] and compared(right)["agree_pct"] == 100 and compared(right)["answers"] == 16
    other = compared([0, 0, *right[2:]])  # its top-5 answers are in the record
    assert not other["same"] and other["agree_pct"] == 100 * 15 / 16
    assert not compared(right, seed=1)["same"] and compared(right, seed=1)["agree_pct"] == 50
    assert np.isnan(compared(right, seed=2)["agree_pct"]) and verifying._answers_of(record_of({})).empty


@pytest.fixture
def aged(stored, tmp_path, monkeypatch):
    """The runs of the record, as if code before today's had made them; where they lie."""
    root = tmp_path / "runs"
    shutil.copytree(stored / "runs", root)
    shutil.copytree(stored / "results", tmp_path / "results")
    monkeypatch.setenv("REPRO_RUNS", str(root))
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path / "results"))
    (path,) = results_root().glob("*/smoke-digits.json")
    document = json.loads(path.read_text())
    document["provenance"]["run_codes"] = {"network+ghostnet": [BEFORE]}
    document["provenance_sha256"] = records._digest(records._plain(document["provenance"]))
    path.write_text(json.dumps(document))
    for module in (verifying, earlier):
        monkeypatch.setattr(module, "code_of", lambda label: "0123456789ab")
    for folder in [path.parent for path in root.glob("network/*/result.json")]:
        relabel(folder, code=BEFORE)
        folder.rename(folder.with_name(f"{folder.name.partition('-')[0]}-{BEFORE}"))
    return root


BEFORE = "aaaaaaaaaaaa"


def relabel(folder, value=None, **provenance):
    """Change a stored run's value or provenance, and seal it again."""
    result = unsealed_json(folder / "result.json")
    result["value"] |= value or {}
    result["provenance"] |= provenance
    write_text(folder / "result.json", sealed_json(result))


def test_all_that_a_stored_run_found_is_compared(aged):
    (row,) = verifying.verify(TABLE, preset="smoke", count=1).to_dict("records")
    assert row["with"] == "run" and row["same"] and row["agree_pct"] == 100
    for folder in aged.glob(f"network/*-{BEFORE}"):
        relabel(folder, {"seconds": {"train": 1.0}})
    assert verifying.verify(TABLE, preset="smoke", count=1, fresh=False)["same"].all()  # seconds are no finding
    for folder in aged.glob(f"network/*-{BEFORE}"):
        relabel(folder, {"top5_pct": 1.5})
    (row,) = verifying.verify(TABLE, preset="smoke", count=1, fresh=False).to_dict("records")
    assert row["agree_pct"] == 100 and not row["same"]


def test_a_table_takes_the_runs_behind_its_record_once_today_s_code_gave_the_same(aged, monkeypatch):
    (record,) = load_records(TABLE, results_root())
    assert earlier.may_take(record) is None and earlier.may_take(None) is None  # nothing was repeated yet
    found = verifying.verify(TABLE, preset="smoke", count=1)
    assert verifying.note(found, TABLE, "smoke") == ["network+ghostnet"]
    for path in aged.glob("network/*/result.json"):
        if BEFORE not in path.parent.name:
            shutil.rmtree(path.parent)
    again = run_table(TABLE, preset="smoke", dataset="digits", progress=False)
    assert {path.parent.name[-12:] for path in aged.glob("network/*/result.json")} == {BEFORE}  # none was run
    about = again.attrs["provenance"]
    assert about["code"]["network+ghostnet"] == record.provenance["code"]["network+ghostnet"] != "0123456789ab"
    assert about["runs_of_earlier_code"] == about["runs"] and about["date"] > record.provenance["date"]
    assert about["run_codes"] == {"network+ghostnet": [BEFORE]}
    pd.testing.assert_frame_equal(again.reset_index(drop=True), record.frame.reset_index(drop=True), check_like=True)
    weights_of(TABLE, aged.parent / "weights", preset="smoke", dataset="digits")
    assert {path.parent.name[-12:] for path in aged.glob("network/*/result.json")} == {BEFORE}  # none was run


def test_runs_that_the_store_still_holds_are_repeated_before_others(aged):
    folders = sorted(aged.glob(f"network/*-{BEFORE}"))
    for folder in folders[1:]:
        shutil.rmtree(folder)
    (row,) = verifying.verify(TABLE, preset="smoke", count=1).to_dict("records")
    assert row["with"] == "run" and row["same"]
    made = [path.parent.name for path in aged.glob("network/*/result.json") if BEFORE not in path.parent.name]
    assert [name[:16] for name in made] == [folders[0].name[:16]]


def test_a_run_is_behind_a_record_by_its_seed_code_and_date_and_only_if_all_such_found_the_same(aged):
    (record,) = load_records(TABLE, results_root())
    (one, *_) = planned(TABLE, "smoke", "digits", record.provenance["seeds"])
    assert earlier.run_behind(record, one)["provenance"]["code"] == BEFORE
    assert earlier.run_behind(record, dataclasses.replace(one, seed=99)) is None
    named = dataclasses.replace(record, provenance=record.provenance | {"run_codes": {"network+ghostnet": ["b" * 12]}})
    assert earlier.run_behind(named, one) is None
    (folder,) = aged.glob(f"network/{one.identity}-{BEFORE}")
    other = folder.with_name(f"{one.identity}-{'b' * 12}")
    shutil.copytree(folder, other)
    relabel(other, code="b" * 12)
    assert earlier.run_behind(named, one)["provenance"]["code"] == "b" * 12
    unnamed = dataclasses.replace(record, provenance={k: v for k, v in record.provenance.items() if k != "run_codes"})
    assert earlier.run_behind(unnamed, one) is not None
    relabel(other, {"top5_pct": 1.5})  # which of the two was it?
    assert earlier.run_behind(unnamed, one) is None
    assert earlier.run_behind(record, one)["provenance"]["code"] == BEFORE
    for path in (folder, other):
        relabel(path, date="2999-01-01T00:00:00+00:00")
    assert earlier.run_behind(named, one) is None


def test_a_run_that_today_s_code_fails_at_is_not_replaced(aged):
    (record,) = load_records(TABLE, results_root())
    (one, *_) = planned(TABLE, "smoke", "digits", record.provenance["seeds"])
    note_verified(record, "network+ghostnet", "0123456789ab", {})
    instead = earlier.may_take(record)
    assert instead(one).reused
    record_failure(one, "today it fails")
    assert instead(one) is None


@pytest.mark.parametrize("code", [None, "0123", {"entry": "a"}])
def test_records_that_say_little_of_their_code_end_no_table(code):
    taken = Outcome(spec((1,)), "done", {}, {"code": BEFORE})
    record = dataclasses.replace(record_of({}), provenance={"code": code} if code else {})
    told = earlier.codes_of([taken], record)
    assert told["code"] == {"network": None} and told["run_codes"] == {"network": [BEFORE]}
    assert earlier.codes_of([], record) == {"code": {}, "run_codes": {}} and earlier.may_take(record) is None


def test_notes_at_the_same_time_are_all_kept(tmp_path):
    labels = [f"kind{number}" for number in range(24)]
    record = record_of(dict.fromkeys(labels, "a"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda label: note_verified(record, label, "b", {}, tmp_path), labels))
    assert {one["label"] for one in verified(tmp_path)} == set(labels)


def test_a_run_that_found_nothing_is_like_no_other():
    assert earlier.same_findings({"a": [{"seconds": 1, "b": 2}]}, {"seconds": 3, "a": [{"b": 2}]})
    for before, now in (
        (None, None),
        ({}, {}),
        ({"seconds": 1}, {"a": 1}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1}, {}),
    ):
        assert not earlier.same_findings(before, now)


def test_a_record_without_trainings_or_answers_is_refused(elsewhere):
    with pytest.raises(InputError, match="table_id='acghostnet_t01' is not allowed; it has no record of trainings at"):
        verifying.verify(TABLE, preset="paper")
    with pytest.raises(InputError, match="count=0 is not allowed"):
        verifying.verify(TABLE, count=0)
