"""A table's networks trained by two processes are those that the table then finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from repro.errors import InputError
from repro.papers import run_table
from repro.papers.acghostnet.t01 import EXPERIMENT
from repro.papers.distributed import train_together
from repro.runs import load_result

TABLE = "acghostnet_t01"
ROOT = Path(__file__).resolve().parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def test_two_processes_train_the_networks_of_a_table(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "together"))
    recipe, _ = EXPERIMENT.recipe("smoke")
    specs = EXPERIMENT.plan(recipe, [0])
    command = [*TORCHRUN, "-m", "repro.papers.distributed", TABLE, "--preset", "smoke"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    # Judged by what was written: gloo's threads may abort a process at exit, after all work.
    results = [load_result(spec) for spec in specs]
    assert all(results), done.stderr[-2000:]
    assert f"{len(specs)} networks trained" in done.stdout
    together = [json.loads((spec.folder / "metrics.jsonl").read_text().splitlines()[0]) for spec in specs]

    frame = run_table(TABLE, preset="smoke", workers=1)
    stored = [result["value"]["top1_pct"] for result in results]
    assert sorted(frame[["cnn_accuracy_pct", "addernet_accuracy_pct"]].to_numpy().ravel()) == sorted(stored)
    assert train_together(TABLE, preset="smoke", dataset=None, seeds=None) == 0  # nothing is left to do

    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "alone"))
    assert train_together(TABLE, preset="smoke", dataset=None, seeds=None) == len(specs)
    for spec, theirs in zip(specs, together, strict=True):
        mine = json.loads((spec.folder / "metrics.jsonl").read_text().splitlines()[0])
        # Rounding grows faster in adder networks, whose dead channels batch norm magnifies.
        tolerance = 0.1 if spec.recipe.network == "adder_ghostnet" else 2e-3
        assert theirs["train_loss"] == pytest.approx(mine["train_loss"], rel=tolerance), spec.recipe.network


def test_what_it_cannot_train_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path))
    with pytest.raises(InputError, match=r"not finished; run it first: .*acghostnet_f05 --preset smoke"):
        train_together("acghostnet_t04", preset="smoke", dataset=None, seeds=None)
    with pytest.raises(InputError, match="networks are trained for acghostnet_t01"):
        train_together("shiftaddaug_f02", preset="smoke", dataset=None, seeds=None)
