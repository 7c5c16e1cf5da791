"""Two processes give the result of one: same weights and metrics up to the rounding of sums."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from repro.errors import InputError
from repro.layers import make_conv2d
from repro.train import TrainRecipe, fit
from repro.train.checkpoint import load_checkpoint
from repro.train.distributed import DistributedTrainer, process_group, use_global_batch_norm
from tests.train.test_loop import stripes

RECIPE = TrainRecipe(epochs=3, batch_size=16, lr=0.02, adaptive="all", crop_padding=1)
WORKER = Path(__file__).with_name("distributed_worker.py")


def network(*, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        make_conv2d("adder", 4, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.Flatten(),
        nn.Linear(8 * 16, 2),
    )


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    root = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(WORKER)]
    done = subprocess.run(
        [*command, str(folder)], env=environment, cwd=root, capture_output=True, text=True, timeout=240, check=False
    )
    # Judged by what was written: gloo's threads may abort a process at exit, after all work.
    assert (folder / "rank0.json").exists() and (folder / "rank1.json").exists(), done.stderr[-2000:]
    return folder


def test_two_processes_give_the_result_of_one(two_processes):
    alone = network(seed=0)
    history = fit(alone, stripes(70), stripes(33, 1), RECIPE, seed=0)
    ranks = [json.loads((two_processes / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert [rank["world"] for rank in ranks] == [2, 2]
    for rank in ranks:
        assert rank["outcome"] == "finished"
        for mine, theirs in zip(history.rows, rank["rows"], strict=True):
            for name in ("steps", "lr", "train_loss", "test_loss", "train_accuracy_pct", "test_accuracy_pct"):
                assert theirs[name] == pytest.approx(mine[name], rel=1e-3), name
    for rank in (0, 1):
        other = network(seed=5)
        load_checkpoint(two_processes / f"rank{rank}.pt", other)
        for (name, mine), theirs in zip(alone.state_dict().items(), other.state_dict().values()):
            torch.testing.assert_close(theirs, mine, rtol=2e-3, atol=2e-4, msg=name)


def test_one_process_continues_what_two_began(two_processes):
    model = network(seed=3)
    rows: list[dict] = []
    history = fit(
        model,
        stripes(70),
        None,
        RECIPE,
        seed=0,
        checkpoint=two_processes / "run.pt",
        on_epoch=rows.append,
    )
    assert rows == [] and len(history.rows) == RECIPE.epochs


def test_without_a_group_there_is_one_process(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with process_group() as found:
        assert found == (0, 1)
    with pytest.raises(InputError, match="start with torchrun"):
        DistributedTrainer(network(seed=0), RECIPE, examples=10, seed=0)


def test_global_batch_norm_is_ordinary_in_one_process():
    plain, changed = network(seed=0), use_global_batch_norm(network(seed=0))
    images = stripes(8).images
    torch.testing.assert_close(plain(images), changed(images), rtol=0, atol=0)
    assert list(plain.state_dict()) == list(changed.state_dict())
