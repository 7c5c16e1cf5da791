"""Runs with a supernet inside, shared by two processes of torchrun: each gives what one process gives."""

import os
import subprocess
import sys

import pytest

from repro.papers.shiftaddaug import found, searched
from repro.papers.shiftaddaug.searches import FOUND
from repro.papers.shiftaddnas import fbnet_space, recipes, sharing, translation_recipes, translation_search
from repro.papers.shiftaddnas.translation_search import WEIGHTS
from repro.paths import repo_root
from repro.runs import execute, load_result, store
from repro.runs.store import LOCK
from tests.papers.shiftaddaug.test_found_networks import SUBNET, target

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SCRIPT = """
import os, sys
from pathlib import Path

from repro.runs import engine
from repro.train.distributed import process_group
from tests.papers.test_shared_runs import specs

if __name__ == "__main__":
    with process_group() as (rank, _):
        engine("torchrun")(specs())
        Path(sys.argv[1], str(rank)).touch()
    os._exit(0)  # gloo's threads abort the process at exit once in a while, after all work
"""


def specs():
    """A vision supernet with its search, the searches of translation networks and of FBNet's, a found network."""
    vision = sharing.supernet_specs(recipes.RECIPES["smoke", "digits"], ("w/ Naive WS",), (0,))
    pair = translation_recipes.RECIPES["smoke", "grammar"].pairs["en-de"]
    tiny = FOUND["smoke", "glyphs"]
    job = searched.job(tiny.free, tiny.train, SUBNET, target(2))
    return {
        "vision": vision["w/ Naive WS", 0],
        "translation": translation_search.spec(pair.search, 0),
        "fbnet": fbnet_space.RECIPES["smoke", "digits"].spec(next(iter(fbnet_space.SETS)), 0),
        "found": found.found_spec(job, 0),
    }


def losses(value, place=""):
    """{place: loss} of a run's value, but of networks that were drawn on the way."""
    if not isinstance(value, dict):
        return {place: value} if place.endswith("loss") else {}
    return {name: one for key, each in value.items() for name, one in losses(each, f"{place}/{key}").items()}


def test_two_processes_share_supernets_and_give_the_result_of_one(tmp_path, monkeypatch):
    script = tmp_path / "together.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(repo_root())}
    command = [*TORCHRUN, str(script), str(tmp_path)]
    done = subprocess.run(
        command, env=environment | {"REPRO_RUNS": str(tmp_path / "two")}, capture_output=True, text=True, timeout=240
    )
    assert all((tmp_path / str(rank)).exists() for rank in (0, 1)), done.stderr[-3000:]
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "one"))
    alone = {name: execute(spec)["value"] for name, spec in specs().items()}
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "two"))
    for name, spec in specs().items():
        assert spec.parallel and losses(alone[name]), name
        assert losses(load_result(spec)["value"]) == pytest.approx(losses(alone[name]), rel=2e-3), name
        # What a process that helps writes is its own: the folder is as one process leaves it.
        left = {path.name for path in spec.folder.iterdir()} - {LOCK}
        kept = {"found": {store.WEIGHTS}, "translation": {WEIGHTS}}.get(name, set())
        assert left == {"config.json", "metrics.jsonl", "result.json"} | kept, name
