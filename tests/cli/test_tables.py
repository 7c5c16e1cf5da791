"""`repro tables` and `repro table`: a kill loses no finished run, two at once share the work."""

import os
import signal
import subprocess
import sys
import time

import pytest

from repro.paths import repo_root

TABLES = [sys.executable, "-m", "repro", "tables", "--preset", "smoke", "--tables", "shiftaddaug_f02"]
TABLE = [sys.executable, "-m", "repro", "table", "shiftaddaug_f02", "--preset", "smoke"]


@pytest.fixture
def environment(tmp_path):
    folders = {f"REPRO_{name}": str(tmp_path / name.lower()) for name in ("RUNS", "OUTPUT")}
    return os.environ | folders | {"OMP_NUM_THREADS": "1", "JOBS": "1"}


def finished(tmp_path):
    return {path.parent.name: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("result.json")}


@pytest.mark.notebook
def test_a_killed_command_goes_on_where_it_was(tmp_path, environment):
    process = subprocess.Popen(TABLES, cwd=repo_root(), env=environment, start_new_session=True, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not finished(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = finished(tmp_path)
    assert 1 <= len(before) <= 3

    again = subprocess.run(TABLES, cwd=repo_root(), env=environment, capture_output=True, text=True, timeout=280)
    assert again.returncode == 0, again.stdout + again.stderr
    after = finished(tmp_path)
    assert len(after) == 3 and {name: after[name] for name in before} == before
    assert f"{len(before)} of 3 runs are finished and reused" in again.stderr
    assert "Traceback" not in (tmp_path / "output" / "pages" / "01_operators.html").read_text()
    assert "make tables" in (tmp_path / "output" / "pages" / "10_acghostnet_ranking.html").read_text()


def test_two_commands_at_once_share_the_runs(tmp_path, environment):
    two = [
        subprocess.Popen(TABLE, cwd=repo_root(), env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in two:
        out, err = process.communicate(timeout=280)
        assert process.returncode == 0, out.decode() + err.decode()
    assert len(finished(tmp_path)) == 3
