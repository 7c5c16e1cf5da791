"""Two processes give the result of one in every kind of training that takes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from repro.train.checkpoint import load_checkpoint
from repro.train.distributed import over_processes, sum_over_processes
from repro.train.loop import Trainer
from tests.train.over_processes import TRAININGS

WORKER = Path(__file__).with_name("over_processes.py")


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    root = str(WORKER.parents[2])
    environment = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(WORKER)]
    done = subprocess.run(
        [*command, str(folder)], env=environment, cwd=root, capture_output=True, text=True, timeout=240, check=False
    )
    # Judged by what was written: gloo's threads may abort a process at exit, after all work.
    missing = [name for name in TRAININGS for rank in (0, 1) if not (folder / f"{name}{rank}.json").exists()]
    assert not missing, f"{missing}: {done.stderr[-3000:]}"
    return folder


def test_two_processes_give_the_result_of_one(two_processes):
    # One test, so that workers of a parallel run do not start the processes again for each training.
    for name, training in TRAININGS.items():
        alone, history = training()
        weights = {key: value.clone() for key, value in alone.state_dict().items()}
        for rank in (0, 1):
            outcome, rows = json.loads((two_processes / f"{name}{rank}.json").read_text())
            assert outcome == history.outcome == "finished", name
            for mine, theirs in zip(history.rows, rows, strict=True):
                _equal_rows(mine, theirs, name)
            load_checkpoint(two_processes / f"{name}{rank}.pt", alone)
            for key, value in alone.state_dict().items():
                # A bias of keys has no effect on the scores, so Adam's steps go by its rounding alone.
                if not key.endswith("key.bias"):
                    torch.testing.assert_close(value, weights[key], rtol=2e-3, atol=2e-4, msg=f"{name} {key}")


def _equal_rows(mine: dict, theirs: dict, name: str) -> None:
    assert mine.keys() == theirs.keys(), name
    for column in mine.keys() - {"seconds"}:
        one_answer = 100 / 32 if "accuracy" in column else 0  # which may turn at a rounding
        wanted = mine[column] and pytest.approx(mine[column], rel=1e-3, abs=one_answer)
        assert theirs[column] == wanted, f"{name}: {column}"


def test_without_a_group_a_trainer_is_itself_and_sums_are_values():
    assert over_processes(Trainer) is Trainer and sum_over_processes([1.5, 2]) == [1.5, 2]
