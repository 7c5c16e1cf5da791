"""Records survive a round trip and refuse damage; the board is generated from them and only from them."""

import itertools
import json
import re
import time

import numpy as np
import pandas as pd
import pytest

from repro.errors import InputError
from repro.paths import results_root
from repro.report import (
    board_is_current,
    claims,
    evidence,
    latest,
    load_records,
    published,
    save_record,
    status_board,
    update_readme,
    verdicts,
)
from repro.report.board import (
    BEGIN,
    END,
    STATUSES_ON_BOARD,
    board_markdown,
    judge_records,
    verdict_counts,
    verdicts_markdown,
)
from repro.report.examples import pack
from repro.report.published import figure_ids, listing, table_ids
from repro.report.records import VERIFIED_FILE, Record, freshness, note_verified, read_record, verified
from repro.report.verdicts import AGREES, criterion

PROVENANCE = {
    "preset": "quick",
    "dataset": "digits",
    "seeds": [0, 1, 2],
    "epochs": 25,
    "git_revision": "0123456789ab",
    "git_clean": True,
    "versions": {"torch": "2.13.0"},
    "device": "a processor, 2 cores",
    "date": "2026-01-01T00:00:00+00:00",
}
STRATEGIES = [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.fixture
def results(tmp_path, monkeypatch):
    """The reference records, which this test may write."""
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("REPRO_REFERENCE", "1")
    return tmp_path / "results"


def frame():
    rows = [
        {"adaptive_lr": a, "separate_warmup": w, "seed": s, "kendall_tau": -0.3 + 0.25 * i + s / 100, "n_paths": 64}
        for s in range(3)
        for i, (a, w) in enumerate(STRATEGIES)
    ]
    return pd.DataFrame(rows)


def test_a_record_survives_the_round_trip(results):
    save_record("acghostnet_t06", frame(), PROVENANCE)
    (record,) = load_records("acghostnet_t06")
    pd.testing.assert_frame_equal(record.frame, frame(), check_exact=True)
    assert record.frame.attrs["preset"] == "quick" and record.frame.attrs["dataset"] == "digits"
    assert record.label == "quick, digits, 25 epochs, seeds 0 1 2"
    assert load_records("acghostnet_t03") == [] and latest("acghostnet_t03") is None


def test_a_command_writes_its_own_records_and_reads_the_reference(results, tmp_path, monkeypatch):
    monkeypatch.delenv("REPRO_REFERENCE")
    monkeypatch.setenv("REPRO_OUTPUT", str(tmp_path / "output"))
    path = save_record("acghostnet_t06", frame(), PROVENANCE)
    assert path == tmp_path / "output" / "records" / "acghostnet_t06" / "quick-digits.csv" and not results.exists()
    assert load_records("acghostnet_t06") == [] and latest("acghostnet_t06") is None
    assert latest("acghostnet_t06", root=tmp_path / "output" / "records").preset == "quick"


def test_latest_prefers_the_higher_preset_then_the_newer_date(results):
    for preset, dataset, date in [
        ("smoke", "digits", "2026-03"),
        ("quick", "digits", "2026-01"),
        ("quick", "cifar10", "2026-02"),
    ]:
        save_record("acghostnet_t06", frame(), PROVENANCE | {"preset": preset, "dataset": dataset, "date": date})
    assert (latest("acghostnet_t06").preset, latest("acghostnet_t06").dataset) == ("quick", "cifar10")
    assert latest("acghostnet_t06", preset="smoke").dataset == "digits"


def test_saving_twice_gives_the_same_bytes(results):
    path = save_record("acghostnet_t06", frame(), PROVENANCE)
    before = path.read_bytes(), path.with_suffix(".json").read_bytes()
    save_record("acghostnet_t06", frame(), PROVENANCE)
    assert before == (path.read_bytes(), path.with_suffix(".json").read_bytes())


def test_the_same_rows_from_clean_code_leave_the_record_as_it_is(results):
    stored = save_record("acghostnet_t06", frame(), PROVENANCE).with_suffix(".json")
    before = stored.read_bytes()
    later = {"date": "2026-02-01T00:00:00+00:00", "git_revision": "fedcba987654", "device": "another"}
    save_record("acghostnet_t06", frame(), PROVENANCE | later)
    assert stored.read_bytes() == before

    save_record("acghostnet_t06", frame(), PROVENANCE | later | {"epochs": 26})
    assert json.loads(stored.read_text())["provenance"]["epochs"] == 26

    save_record("acghostnet_t06", frame().assign(kendall_tau=0.5), PROVENANCE | {"git_clean": False})
    save_record("acghostnet_t06", frame().assign(kendall_tau=0.5), PROVENANCE | later)
    assert json.loads(stored.read_text())["provenance"]["git_revision"] == "fedcba987654"


def test_a_frame_that_is_no_longer_kept_goes_with_its_record(results):
    path = save_record("acghostnet_t06", frame(), PROVENANCE, extra={"former": frame(), "draws": frame()})
    save_record("acghostnet_t06", frame(), PROVENANCE, extra={"draws": frame()})
    assert sorted(file.name for file in path.parent.iterdir()) == [
        f"{path.stem}.csv",
        f"{path.stem}.draws.csv",
        f"{path.stem}.json",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preset": "quik"}, "Did you mean 'quick'"),
        ({"dataset": "../digits"}, "plain name"),
        ({"recipe": {"root": "/home/someone/data"}}, "looks like a path"),
        ({"recipe": object()}, "not plain data"),
    ],
)
def test_provenance_that_does_not_fit_is_refused(results, change, message):
    with pytest.raises(InputError, match=message):
        save_record("acghostnet_t06", frame(), PROVENANCE | change)


def test_incomplete_provenance_and_wrong_frames_are_refused(results):
    with pytest.raises(InputError, match="lacks git_revision"):
        save_record("acghostnet_t06", frame(), {k: v for k, v in PROVENANCE.items() if k != "git_revision"})
    with pytest.raises(InputError, match="does not belong"):
        save_record("acghostnet_t06", frame().rename(columns={"kendall_tau": "tau"}), PROVENANCE)
    with pytest.raises(InputError, match="acghostnet_t06"):
        save_record("acghostnet_t006", frame(), PROVENANCE)
    assert not results.exists()


def test_a_record_that_was_edited_or_lost_half_is_refused(results):
    path = save_record("acghostnet_t06", frame(), PROVENANCE)
    path.write_text(path.read_text().replace("-0.3", "0.3"))
    with pytest.raises(InputError, match="does not fit its CSV"):
        read_record(path)
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        read_record(path)


def test_every_committed_record_is_whole():
    records = [path for path in results_root().glob("*/*.json") if path.parent.name in (*table_ids(), *figure_ids())]
    assert len(records) > 30 and all(isinstance(read_record(path), Record) for path in records)


def test_a_damaged_record_is_told_and_stops_no_other(results):
    good = save_record("acghostnet_t06", frame(), PROVENANCE | {"dataset": "cifar10"})
    bad = save_record("acghostnet_t06", frame(), PROVENANCE | {"dataset": "digits"}).with_suffix(".json")
    text = bad.read_text()
    for old, new in (
        ('"seeds"', '"seedz"'),
        ("[\n   0", "[\n   7"),
        ('"table_id": "a', '"table_id": "b'),
        ("sha256", "sha257"),
    ):
        assert old in text
        bad.write_text(text.replace(old, new, 1))
        with pytest.warns(RuntimeWarning, match=r"result record acghostnet_t06/quick-digits\.json"):
            assert [record.dataset for record in load_records("acghostnet_t06")] == ["cifar10"]
    assert good.exists()


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"[" * 100_000, b"[1]", b"{}"], ids=lambda data: repr(data[:4]))
def test_a_record_of_any_bytes_leaves_the_board_to_be_made(results, damage):
    save_record("acghostnet_t06", frame(), PROVENANCE | {"dataset": "cifar10"})
    path = save_record("acghostnet_t06", frame(), PROVENANCE).with_suffix(".json")
    path.write_bytes(damage)
    with pytest.warns(RuntimeWarning, match=r"record acghostnet_t06/quick-digits\.json cannot be read"):
        board = status_board()
    assert len(board) == 69 and list(board.set_index("id").loc[["acghostnet_t06"], "dataset"]) == ["cifar10"]
    save_record("acghostnet_t06", frame(), PROVENANCE)  # a damaged one is written again
    assert len(load_records("acghostnet_t06")) == 2


@pytest.mark.parametrize("damage", ["no row", "no expression", "no column"])
def test_a_damaged_criterion_leaves_the_other_claims_to_be_judged(results, monkeypatch, damage):
    save_record("acghostnet_t06", frame(), PROVENANCE)
    before, rows = judge_records(), listing("criteria.csv")
    if damage == "no row":
        broken = rows[rows["claim_id"] != "acghostnet-c01"]
    else:
        check = "mean(((" if damage == "no expression" else "no_such_column > 1"
        broken = rows.assign(check=rows["check"].where(rows["claim_id"] != "acghostnet-c01", check))
    monkeypatch.setattr(verdicts, "listing", lambda name: broken if name == "criteria.csv" else listing(name))
    verdicts.criterion.cache_clear()
    after = judge_records()
    assert {name for name in before if before[name] != after[name]} <= {"acghostnet-c01"}
    assert after["acghostnet-c01"].status == "not run"
    assert damage == "no column" or "cannot be judged" in after["acghostnet-c01"].evidence
    assert len(status_board()) == 69 and sum(verdict_counts(judged=after)["claims"]) == len(claims())
    verdicts.criterion.cache_clear()


STUDY = PROVENANCE | {"preset": "study"}


def test_the_board_has_a_row_per_table_and_figure(results):
    assert len(status_board()) == 69 and set(status_board()["state"]) == {"not yet"}
    save_record("acghostnet_t06", frame(), STUDY)
    save_record("acghostnet_t04", pd.DataFrame({"model": ["ACGhostNet-A"], "fadd_m": [71.0]}), PROVENANCE)
    board = status_board().set_index("id")
    assert board.loc["acghostnet_t06", ["state", "preset", "dataset"]].tolist() == ["regenerated", "study", "digits"]
    assert board.loc["acghostnet_t06", "claims"] == "4 reproduced"
    assert board.loc["acghostnet_t04", "state"] == "analytic only"


def test_definitions_of_a_paper_are_transcribed_and_not_regenerated(results):
    modules = published("acghostnet_t02").drop(columns="note")
    save_record("acghostnet_t02", modules, PROVENANCE | {"preset": "paper", "dataset": "architecture", "seeds": []})
    assert status_board().set_index("id").loc["acghostnet_t02", "state"] == "transcribed"


def test_every_count_is_a_sum_of_the_same_counts(results, tmp_path):
    save_record("acghostnet_t06", frame(), STUDY)
    whole = verdict_counts()
    assert list(whole.columns) == ["paper", "origin", "basis", *STATUSES_ON_BOARD, "claims"]
    assert whole["claims"].sum() == len(claims()) == 232
    assert whole.loc[whole["basis"] == "measured", "reproduced"].sum() == 4
    assert whole.loc[whole["basis"] == "measured", "printed arithmetic"].sum() == 0
    for by in (("paper",), ("origin",), ("basis", "origin")):
        part = verdict_counts(by)
        assert (
            part[[*STATUSES_ON_BOARD, "claims"]].sum().to_dict()
            == whole[[*STATUSES_ON_BOARD, "claims"]].sum().to_dict()
        )
    totals = next(line for line in board_markdown().splitlines() if line.startswith("| all "))
    assert totals in verdicts_markdown().splitlines() and totals.rstrip(" |").endswith("232")
    with pytest.raises(InputError, match="origin"):
        verdict_counts(("origins",))


def test_the_first_data_set_of_the_criterion_counts(results):
    """ACGhostNet claims name CIFAR-10 before digits."""
    noisy = frame().assign(kendall_tau=[0.1, 0.5, 0.2, 0.4, 0.3, 0.1, 0.2, 0.2, 0.6, 0.3, 0.4, 0.1])
    save_record("acghostnet_t06", frame(), STUDY)
    save_record("acghostnet_t06", noisy, STUDY | {"dataset": "cifar10", "date": "2025-01-01T00:00:00+00:00"})
    found = judge_records()["acghostnet-c33"]
    assert list(found.runs) == ["cifar10 (study)", "digits (study)"]
    assert [verdict.status for verdict in found.runs.values()] == ["undecided", "reproduced"]
    assert found.status == "undecided"


def test_the_highest_preset_that_the_criterion_allows_is_judged(results):
    save_record("acghostnet_t06", frame(), STUDY)
    save_record("acghostnet_t06", frame().assign(kendall_tau=0.1), PROVENANCE | {"dataset": "cifar10"})
    found = judge_records()["acghostnet-c33"]
    assert list(found.runs) == ["digits (study)"] and found.status == "reproduced"


def test_data_sets_that_answer_differently_are_mixed(results):
    save_record("acghostnet_t06", frame(), STUDY)
    save_record("acghostnet_t06", frame().assign(kendall_tau=-frame()["kendall_tau"]), STUDY | {"dataset": "cifar10"})
    found = judge_records()["acghostnet-c33"]
    assert found.status == "mixed" and found.evidence == "cifar10 (study): not reproduced; digits (study): reproduced."
    assert verdict_counts(("basis",)).set_index("basis").loc["measured", "mixed"] >= 1
    lines = [line for line in verdicts_markdown().splitlines() if line.startswith("| acghostnet-c33 ")]
    assert ["all" in lines[0], "cifar10" in lines[1], "digits" in lines[2]] == [True] * 3 and len(lines) == 3


def test_what_no_run_counts_at_the_papers_size_is_told_by_the_computed_record(results):
    rows = pd.DataFrame({"model": ["BossNAS-T1", "ShiftAddNAS-T1↑"], "macs_g": [7.94, 7.43]})
    computed = PROVENANCE | {"preset": "paper", "dataset": "architecture", "seeds": []}
    save_record("shiftaddnas_t04", rows.assign(macs_g=0.01), STUDY)
    assert judge_records()["shiftaddnas-c25"].status == verdicts.NOT_INFORMATIVE
    save_record("shiftaddnas_t04", rows, computed)
    found = judge_records()["shiftaddnas-c25"]
    assert list(found.runs) == ["architecture (paper)"] and found.status == "not run"
    assert found.evidence.startswith("Missing: macs_g[model == 'Autoformer-B'] (1 of 1 cells empty)")
    save_record("shiftaddnas_t04", rows.assign(macs_g=[7.94, 8.43]), computed)
    assert judge_records()["shiftaddnas-c25"].status == AGREES


def test_a_criterions_note_stands_once_beside_its_claims_verdict(results):
    save_record("acghostnet_t06", frame(), STUDY)
    save_record("acghostnet_t06", frame(), STUDY | {"dataset": "cifar10"})
    lines = [line for line in verdicts_markdown().splitlines() if line.startswith("| acghostnet-c33 ")]
    note = "Note: intervals over supernets, paths and seeds of the truth."
    assert [note in line for line in lines] == [True, False, False]
    (stability,) = [line for line in verdicts_markdown().splitlines() if line.startswith("| autoshiftnet-c40 ")]
    assert "points lost from one epoch to the next" in stability


def _save_adders(datasets, preset="paper", gain=4.0):
    """Runs of the supplement's table 2, a record each data set."""
    draw = np.random.default_rng(0)
    for dataset in datasets:
        rows, answers = [], []
        for seed, model, (method, level) in itertools.product(
            range(3), ("MobileNetV2-w0.35", "MCUNet-in3"), {"Shift": 70.0, "Add": 60.0, "AugAdd": 60.0 + gain}.items()
        ):
            correct = draw.random(2000) < level / 100
            key = {"model": model, "method": method, "dataset": dataset, "seed": seed}
            rows.append(key | {"accuracy_pct": 100 * correct.mean()})
            answers.append(key | {"column": "accuracy_pct", "examples": 2000, "correct": pack(correct)})
        table = pd.DataFrame(rows)
        table.attrs["stands_for"] = {"glyphs": "CIFAR10", "flowers102": "Flower102"}
        facts = STUDY | {"preset": preset, "dataset": dataset, "stands_for": table.attrs["stands_for"]}
        save_record("shiftaddaug_supp_t02", table, facts, {"examples": pd.DataFrame(answers)})


def test_a_claim_about_several_data_sets_is_judged_on_their_runs_together(results):
    _save_adders(("cifar100", "cifar10", "food101"))
    found = judge_records()["shiftaddaug_supp-c03"]
    assert found.status == "not run" and "2 of 8 cells empty" in found.evidence
    _save_adders(("flowers102",))
    _save_adders(("glyphs",), gain=-9.0)  # stands for CIFAR10, which is there itself
    _save_adders(("digits",), gain=-9.0)  # is none of the claim's
    found = judge_records()["shiftaddaug_supp-c03"]
    assert list(found.runs) == ["food101 + flowers102 + cifar100 + cifar10 (paper)"]
    assert found.status == "reproduced" and "8 of 8 rows hold by themselves" in found.evidence
    assert "3 seeds, 2000 test images" in found.evidence


def test_chance_is_that_of_each_data_set_where_runs_are_joined():
    joined = {"dataset": "glyphs + cifar100", "stands_for": {"glyphs": "CIFAR10"}}
    empty = pd.DataFrame({"model": [], "method": [], "dataset": [], "accuracy_pct": []})
    empty.attrs = joined | {"preset": "study"}
    ours = evidence.load("shiftaddaug_supp_t02", empty, analytic=False)
    assert [ours._classes("accuracy_pct", name) for name in ("CIFAR10", "CIFAR100", "Food101")] == [10, 100, None]


def test_judging_every_claim_on_the_committed_records_takes_seconds():
    start = time.process_time()
    judged = judge_records()
    assert time.process_time() - start < 20
    decided = [
        verdict
        for claim, found in judged.items()
        for verdict in found.runs.values()
        if criterion(claim).kind in ("direction", "magnitude", "figure")
        and verdict.status in ("reproduced", "not reproduced", AGREES)
    ]
    assert decided
    for verdict in decided:  # the unit of replication is told with its number, and how far the number may be off
        told = re.search(r"95 % interval .* \d+ (seed|search|supernet)e?s", verdict.evidence)
        # Without an interval: costs of networks that three searches found, all alike; or six words.
        alike = 3 if re.search(r"\d (µJ|mJ|ms|million)", verdict.evidence) else 6
        assert verdict.seeds >= 2 and told if verdict.intervals else verdict.seeds >= alike, verdict.claim_id


@pytest.mark.parametrize(
    ("made", "now", "answer"),
    [
        ("0123456789ab", {"ranking": "0123456789ab"}, "as made"),
        (None, {"recipe": "changed"}, "code changed since"),
        ("0123456789ab", {"ranking": "ba9876543210"}, "code changed since"),
        ({"search": "a", "network": "b"}, {"network": "b", "search": "a"}, "as made"),
        ({"search": "a", "network": "b"}, {"search": "a", "network": "c"}, "code changed since"),
        ({"search": "a"}, {"search": "a", "network": "b"}, "code changed since"),
        (None, {"search": "a"}, "not known"),
        ("0123456789ab", None, "not known"),
    ],
)
def test_a_record_is_fresh_while_the_code_of_its_runs_is_the_same(made, now, answer):
    provenance = PROVENANCE | ({"code": made} if made else {})
    assert freshness(Record("acghostnet_t06", "quick", "digits", frame(), provenance), now) == answer


def test_a_record_is_verified_where_every_kind_that_changed_was_repeated_with_the_code_of_today(results):
    code, now = {"search": "a", "network": "b", "entry": "e"}, {"search": "c", "network": "d", "entry": "e"}
    record = Record("acghostnet_t06", "quick", "digits", frame(), PROVENANCE | {"code": code})
    note_verified(record, "search", "c", {"runs": 1}, results)
    assert freshness(record, now) == "code changed since"
    note_verified(record, "network", "x", {"runs": 1}, results)
    note_verified(record, "network", "d", {"runs": 2}, results)
    assert freshness(record, now) == "verified" and [one["runs"] for one in verified(results)] == [2, 1]
    assert freshness(record, now | {"network": "later"}) == "code changed since"
    assert freshness(record, now | {"entry": "f"}) == "code changed since"
    assert freshness(record, now | {"recipe": "changed"}) == "code changed since"
    other = Record("acghostnet_t06", "study", "digits", frame(), PROVENANCE | {"code": code})
    assert freshness(other, now) == "code changed since"

    kept = results / VERIFIED_FILE
    kept.write_text(kept.read_text().replace('"d"', '"z"'))  # an edited file says nothing
    assert verified(results) == [] and freshness(record, now | {"network": "z"}) == "code changed since"


def test_the_board_says_whose_code_made_a_record_and_links_to_the_file(results):
    save_record("acghostnet_t06", frame(), PROVENANCE | {"code": {"acghostnet/ranking": "0123456789ab"}})
    asked = []

    def code_of(*place):
        asked.append(place)
        return {"acghostnet/ranking": "ba9876543210"}

    board = status_board(code_of).set_index("id")
    assert board.loc["acghostnet_t06", "code"] == "code changed since" and board.loc["acghostnet_t03", "code"] == ""
    assert [(r.table_id, r.preset, r.dataset) for (r,) in asked] == [("acghostnet_t06", "quick", "digits")]
    text = board_markdown(code_of, {"acghostnet_t06": "repro/papers/acghostnet/t06.py"}.get)
    assert "| [acghostnet_t06](repro/papers/acghostnet/t06.py) | regenerated | quick | digits | code changed" in text
    assert "| acghostnet_t03 " in text


def test_the_readme_is_updated_between_its_markers_only(results, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert not board_is_current(readme)
    update_readme(readme)
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert board_is_current(readme)
    save_record("acghostnet_t06", frame(), STUDY)
    assert not board_is_current(readme)
    update_readme(readme)
    assert (
        board_is_current(readme)
        and "| acghostnet_t06 | regenerated | study | digits | not known |" in readme.read_text()
    )
    verdicts = results / "VERDICTS.md"
    assert "| acghostnet-c33 |" in verdicts.read_text() and "95 % interval" in verdicts.read_text()
    verdicts.write_text(verdicts.read_text().replace("reproduced", "shown"))
    assert not board_is_current(readme)


def test_missing_markers_are_one_sentence(results, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("nothing here")
    with pytest.raises(InputError, match="no status board markers"):
        update_readme(readme)


def test_stored_json_is_sorted_and_holds_the_checksum(results):
    path = save_record("acghostnet_t06", frame(), PROVENANCE).with_suffix(".json")
    document = json.loads(path.read_text())
    assert list(document) == sorted(document) and len(document["sha256"]) == 64
