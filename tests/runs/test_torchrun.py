"""Two processes of torchrun: what can be shared is shared, the rest is done once, and both know all outcomes."""

import json
import os
import subprocess
import sys

import pytest

from repro.paths import repo_root
from repro.runs import RunSpec, engine, execute, load_result
from tests.runs.run_functions import SumRecipe

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SCRIPT = """
import json, os, sys
from pathlib import Path

from repro.runs import engine
from repro.train.distributed import process_group
from tests.runs.test_torchrun import specs_of

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with process_group() as (rank, _):
        run = engine("torchrun")
        done = run(specs_of(folder))
        done |= run({"next": specs_of(folder)["alone"]})
        seen = {key: [outcome.state, outcome.value, outcome.reused] for key, outcome in done.items()}
        (folder / f"seen_by_{rank}.json").write_text(json.dumps([seen, len(run.outcomes)]))
"""


def specs_of(folder):
    def spec(function, seed, **options):
        return RunSpec("sums", f"tests.runs.run_functions:{function}", SumRecipe(tally=str(folder / "tally")), seed)

    return {
        "finished": spec("add_up", 0),
        "together": RunSpec(
            "sums", "tests.runs.run_functions:add_up_together", SumRecipe(terms=(1, 2, 3, 4)), 10, parallel=True
        ),
        "alone": spec("add_up", 1),
        "failed": spec("fail_on_odd", 3),
    }


@pytest.fixture
def seen(tmp_path, monkeypatch):
    """What each of two processes saw of the runs, after one was finished before."""
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "runs"))
    execute(specs_of(tmp_path)["finished"])
    script = tmp_path / "together.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(repo_root())}
    command = [*TORCHRUN, str(script), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    # Judged by what was written: gloo's threads may abort a process at exit, after all work.
    files = [tmp_path / f"seen_by_{rank}.json" for rank in range(2)]
    assert all(file.exists() for file in files), done.stderr[-2000:]
    return [json.loads(file.read_text()) for file in files]


def test_both_processes_get_all_outcomes_and_each_run_is_done_once(tmp_path, seen):
    first, second = seen
    assert first == second
    outcomes, count = first
    assert count == 4
    assert outcomes == {
        "finished": ["done", {"total": 6}, True],
        "together": ["done", {"total": 20, "processes": 2}, False],
        "alone": ["done", {"total": 7}, False],
        "failed": ["failed", None, False],
        "next": ["done", {"total": 7}, False],
    }
    assert (tmp_path / "tally").read_text().splitlines() == ["0", "1"]
    spec = specs_of(tmp_path)["together"]
    assert len((spec.folder / "metrics.jsonl").read_text().splitlines()) == 1

    again = engine("local", workers=1)(specs_of(tmp_path) | {"failed": spec})
    assert all(outcome.reused for outcome in again.values()) and load_result(spec)["value"]["processes"] == 2
