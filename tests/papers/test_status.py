"""The board is judged once and kept until a record, a printed number or the code changes."""

import shutil

import pytest

from repro import report
from repro.papers import status
from repro.paths import cache_root, results_root


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """How often the board was judged, on records and a cache of the test's own."""
    records = tmp_path / "results"
    shutil.copytree(results_root() / "acghostnet_t02", records / "acghostnet_t02")
    monkeypatch.setenv("REPRO_RESULTS", str(records))
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    times, judge = [], report.status_board

    def count(code_of):
        times.append(1)
        return judge(code_of)

    monkeypatch.setattr(report, "status_board", count)
    return times


def test_the_board_is_kept_until_a_record_changes(judged):
    first, second = status.status_board(), status.status_board()
    assert first.equals(second) and len(judged) == 1
    row = first.set_index("id").loc["acghostnet_t02"]
    assert row["state"] == "transcribed" and row["code"] == "as made"
    shutil.rmtree(results_root() / "acghostnet_t02")
    assert status.status_board().set_index("id").loc["acghostnet_t02", "state"] == "not yet" and len(judged) == 2


def test_a_damaged_cache_is_judged_anew(judged):
    board = status.status_board()
    (cache_root() / "status_board.json").write_text('{"key": 1')
    assert status.status_board().equals(board) and len(judged) == 2
