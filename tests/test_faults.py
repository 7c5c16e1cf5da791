"""Kills and flipped bytes, in every kind of file that is kept: nothing false is read, and nothing else is lost.

`make test` tries a few places of each; `make test-faults` (REPRO_FAULTS=full) very many. Each test prints its count.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from repro.bench import records as bench_records
from repro.cpu import memory, runner
from repro.datasets import Vocabulary, cache, load
from repro.datasets.cache import folder_of_caches
from repro.errors import InputError, MissingDataError
from repro.models import load_weights, save_weights
from repro.pages import execute as pages
from repro.papers import tuning
from repro.paths import pages_root, repo_root, runs_root, write_text
from repro.report.records import load_records, save_record
from repro.runs import RunSpec, execute, find_status, load_result, scan
from repro.runs.index import INDEX
from repro.search import GeneSpace, evolve
from repro.search.record import Candidate, Generation, read_generations, write_generation
from repro.train import load_checkpoint, save_checkpoint
from tests.runs.run_functions import SumRecipe

FULL = os.environ.get("REPRO_FAULTS") == "full"
PLACES = 400 if FULL else 12
KILLS = 40 if FULL else 3
PROVENANCE = {"preset": "quick", "dataset": "digits", "seeds": [0], "git_revision": "0", "git_clean": True}
PROVENANCE |= {"versions": {}, "device": "a processor"}


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    for variable in ("RUNS", "OUTPUT", "CACHE", "RESULTS"):
        monkeypatch.setenv(f"REPRO_{variable}", str(tmp_path / variable.lower()))
    monkeypatch.setenv("REPRO_REFERENCE", "1")
    return tmp_path


def one(pattern: str, folder: Path) -> Path:
    (path,) = folder.rglob(pattern)
    return path


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def a_checkpoint(folder: Path):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    path = save_checkpoint(folder / "c", model, optimizer, progress={"rows": [{"loss": 0.5}]})
    return path, lambda: (load_checkpoint(path, again := network(), optimizer), again.state_dict())


def a_file_of_weights(folder: Path):
    path = save_weights(network(), folder / "w.safetensors")
    return path, lambda: (load_weights(again := network(), path), again.state_dict())


def a_vocabulary(folder: Path):
    path = Vocabulary.learn(["ein Hund", "eine Katze"], 30).save(folder / "v")
    return path, lambda: Vocabulary.load(path).fingerprint


def a_run(file: str):
    def make(folder: Path):
        spec = RunSpec("sums", "tests.runs.run_functions:add_up", SumRecipe(terms=(1, 20)), 0)
        execute(spec)
        return spec.folder / file, lambda: load_result(spec) or refuse()

    return make


def a_record(pattern: str):
    def make(folder: Path):
        frame = pd.DataFrame({"adaptive_lr": [0, 1], "separate_warmup": [0, 0], "kendall_tau": [0.25, 0.5], "seed": 0})
        extra = pd.DataFrame({"pair": [1, 2], "kendall_tau": [0.5, 0.75]})
        path = save_record("acghostnet_t06", frame, PROVENANCE, extra={"repeatability": extra})
        return one(f"{path.stem}{pattern}", path.parent), lambda: stored_records() or refuse()

    return make


def stored_records() -> list:
    return [
        (record.frame.values.tolist(), record.frame.attrs["extra"]["repeatability"].values.tolist(), record.provenance)
        for record in load_records("acghostnet_t06")
    ]


def a_generation(folder: Path):
    candidate = Candidate(("c3", "c5"), 50.0, 1.5, "parent", 0, 0)
    write_generation(folder, Generation(1, 2, [candidate], {"train": 0.5}))
    return one("0001.json", folder), lambda: read_generations(folder)


def an_evolution(folder: Path):
    path, space = folder / "evolution.json", GeneSpace({"a": range(4), "b": range(4)})

    def search():
        return evolve(space, summed, cost={}, limit={}, population=4, rounds=1, seed=0, checkpoint=path)

    search()
    return path, search


def summed(genomes):
    return [sum(genome) for genome in genomes]


def a_cached_array(file: str):
    def make(folder: Path):
        load("digits", "test")
        return one(file, folder_of_caches() / one("digits-test-*", folder_of_caches()).name), lambda: rebuilt()

    return make


def rebuilt():
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        data = load("digits", "test")
    return data.fingerprint, data.provenance


def an_error(folder: Path):
    spec = RunSpec("sums", "tests.runs.run_functions:fail_on_odd", SumRecipe(), 1)
    with pytest.raises(ValueError, match="seed 1 is odd"):
        execute(spec)

    def read():
        status = find_status(spec)
        return refuse() if status.message.startswith("damaged: ") else (status.state, status.message)

    return spec.folder / "error.json", read


def an_index(folder: Path):
    execute(RunSpec("sums", "tests.runs.run_functions:add_up", SumRecipe(terms=(1, 20)), 0))
    scan()
    return runs_root() / INDEX, scan


def a_tuning(suffix: str):
    def make(folder: Path):
        rows = pd.DataFrame([("conv", "a", 0, 54.0), ("conv", "b", 0, 50.0)], columns=tuning.COLUMNS)
        path = tuning.keep_tuning("acghostnet", "digits", rows, {"device": "a processor"})

        def read():
            tuned, document = tuning.kept_tuning(path)
            return tuned.values.tolist(), document

        return path.with_suffix(suffix), read

    return make


def bench_rows(folder: Path):
    times = dict.fromkeys(("ms_p50", "ms_p20", "ms_p80", "peer_ms_p50", "ratio", "terms_per_s"), 1.5)
    texts = dict.fromkeys(("op", "backend", "mode", "kind", "shape", "dtype", "peer"), "x")
    where = bench_records.context("cpu", 1, "quick")
    path = bench_records.append(
        "faults", [bench_records.Row(**texts, **times, **where, peak_mem_mib=1, pct_of_bound=2)]
    )

    def read():
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            rows = bench_records.read()
        return refuse() if told else rows[rows["op"] == "x"].astype(str).values.tolist()

    return path, read


def a_kernel(suffix: str):
    def make(folder: Path):
        place = folder / "kernels"
        place.mkdir(mode=0o700)

        def read():
            kernel = runner._compile(add_one, place)
            number = np.array([41])
            kernel[1](number.ctypes.data)
            return number.item()

        read()
        return one(f"*{suffix}", place), read

    return make


def add_one(address):
    memory.store_int(address, 0, memory.load_int(address, 0) + 1)


def a_remembered_sum(folder: Path):
    source = folder / "source"
    source.write_bytes(b"images")
    cache.file_sha256(source)
    return one("*.json", folder_of_caches() / "sums"), lambda: cache.file_sha256(source)


def a_page(file: str):
    def make(folder: Path):
        files = [pages_root() / "90_small.ipynb", pages_root() / "90_small.html"]
        for path in files:
            write_text(path, "executed")
        pages._stamp("90_small", "key", *files)
        return pages_root() / file, lambda: pages._is_up_to_date("90_small", "key", *files) or refuse()

    return make


def refuse():
    raise InputError("set aside")


KINDS = {
    "checkpoint": a_checkpoint,
    "weights": a_file_of_weights,
    "vocabulary": a_vocabulary,
    "result": a_run("result.json"),
    "config": a_run("config.json"),
    "metrics": a_run("metrics.jsonl"),
    "record": a_record(".csv"),
    "record's provenance": a_record(".json"),
    "generation": a_generation,
    "evolution": an_evolution,
    "cached images": a_cached_array("images.npy"),
    "cached labels": a_cached_array("labels.npy"),
    "cache's record": a_cached_array("meta.json"),
    "remembered sum": a_remembered_sum,
    "error": an_error,
    "index of runs": an_index,
    "extra frame": a_record("*repeatability*"),
    "tuning": a_tuning(".csv"),
    "tuning's choice": a_tuning(".json"),
    "benchmark": bench_rows,
    "kernel": a_kernel(".nbc"),
    "index of kernels": a_kernel(".nbi"),
    "page": a_page("90_small.html"),
    "executed notebook": a_page("90_small.ipynb"),
    "stamp": a_page(".90_small.stamp.json"),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_no_flipped_byte_is_read_as_something_else(kind, tmp_path):
    path, read = KINDS[kind](tmp_path)
    whole, good = path.read_bytes(), read()
    draw, told = random.Random(kind), 0
    for _ in range(PLACES):
        place, bit = draw.randrange(len(whole)), 1 << draw.randrange(8)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        try:
            assert same(read(), good), f"byte {place} of {path.name} changed silently"
        except (InputError, MissingDataError):
            told += 1
        restore(path, whole)
    print(f"{kind}: {PLACES} flips, {told} refused, the others redone or harmless, 0 silent")
    assert same(read(), good)


@pytest.mark.parametrize("kind", ["checkpoint", "vocabulary"])
def test_a_folder_in_place_of_a_file_is_one_sentence(kind, tmp_path):
    path, read = KINDS[kind](tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match=f"^(checkpoint )?{path.name} (is a folder; name a file|cannot be read)"):
        read()


@pytest.mark.parametrize(
    "kind", ["checkpoint", "weights", "vocabulary", "generation", "tuning", "benchmark", "page", "stamp"]
)
def test_the_next_writer_removes_what_a_killed_one_left(kind, tmp_path):
    path, _ = KINDS[kind](tmp_path)
    old, new = (path.with_name(f".{path.name}.{word}.part") for word in ("old", "new"))
    for part, age_s in ((old, 7200), (new, 0)):
        part.write_bytes(b"half")
        os.utime(part, (time.time() - age_s,) * 2)
    KINDS[kind](tmp_path)
    assert new.exists() and not old.exists()


def restore(path: Path, whole: bytes) -> None:
    """Put the file back, and what was set aside with it."""
    for aside in path.parent.parent.glob(f"{path.parent.name}.damaged-*"):
        for entry in aside.iterdir():
            entry.rename(path.parent / entry.name)
        aside.rmdir()
    path.write_bytes(whole)


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


TRAINING = """
import sys, torch
from torch import nn
from repro.train import TensorData, TrainRecipe, fit

torch.manual_seed(0)
data = TensorData(torch.randn(64, 1, 4, 4), torch.arange(64) % 2)
model = nn.Sequential(nn.Flatten(), nn.Linear(16, 64), nn.Dropout(0.1), nn.Linear(64, 2))
print("begun", flush=True)
fit(model, data, None, TrainRecipe(epochs=400, batch_size=8), seed=0, checkpoint=sys.argv[1])
print(sum(value.double().sum().item() for value in model.state_dict().values()).hex())
"""


@pytest.mark.timeout(1800 if FULL else 300)
def test_a_training_that_is_killed_anywhere_ends_as_if_it_had_not_been(tmp_path):
    def begin(file: Path) -> subprocess.Popen:
        command = [sys.executable, "-c", TRAINING, str(file)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(repo_root())}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)

    expected = begin(tmp_path / "whole").communicate(timeout=300)[0].split()[-1]
    draw, kills, file = random.Random(0), 0, tmp_path / "killed"
    for _ in range(KILLS):
        process = begin(file)
        assert process.stdout.readline() == "begun\n"
        time.sleep(draw.uniform(0, 1.5))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    out, err = begin(file).communicate(timeout=300)
    assert out.split()[-1] == expected and "damaged" not in err
    print(f"{kills} kills, 0 lost")
    assert kills


def runs_of(seeds: range) -> list[RunSpec]:
    return [RunSpec("sums", "tests.runs.run_functions:add_up", SumRecipe(sleep_s=0.05), seed) for seed in seeds]


MANY = """
from tests.test_faults import runs_of
from repro.runs import run_many

if __name__ == "__main__":
    print("begun", flush=True)
    run_many(runs_of(range(200)), workers=2, progress=False)
"""


def test_runs_whose_workers_are_killed_are_whole_or_unfinished(tmp_path):
    script, draw, found = tmp_path / "many.py", random.Random(1), set()
    script.write_text(MANY)
    for _ in range(max(1, KILLS // 4)):
        process = subprocess.Popen(
            [sys.executable, str(script)],
            cwd=repo_root(),
            env=os.environ | {"PYTHONPATH": str(repo_root())},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        process.stdout.readline()
        deadline = time.monotonic() + 120
        while len(list((tmp_path / "runs").rglob("result.json"))) <= len(found) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(draw.uniform(0, 0.3))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(0.2)
        done = {spec.seed for spec in runs_of(range(200)) if load_result(spec) is not None}
        assert found <= done, "a finished run was lost"
        found = done
        assert not list((tmp_path / "runs").rglob("*.damaged-*"))
    assert found and all(
        load_result(spec)["value"] == {"total": 6 + spec.seed} for spec in runs_of(range(200)) if spec.seed in found
    )
