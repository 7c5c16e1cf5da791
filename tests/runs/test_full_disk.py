"""A disk that is full: a run that meets it says so in a sentence, what was finished stays, and there is no half file.

The process may write files of eight kilobytes only; the system refuses more as it refuses what a full disk cannot hold.
"""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from repro.errors import InputError
from repro.models.weights import load_weights
from repro.runs import RunContext, cluster, engine, find_status
from repro.runs.store import execute
from tests.runs.run_functions import network_of
from tests.runs.test_store import spec_of

resource = pytest.importorskip("resource")

SCRIPT = """
import resource, signal
from repro.errors import InputError
from repro.runs.store import execute
from tests.runs.test_store import spec_of

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
for function in ("add_up", "keep_network", "keep_checkpoint"):
    try:
        execute(spec_of(function))
        print(function, "done")
    except InputError as error:
        print(error)
"""


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "runs"))
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), timeout=600)
    first, *refused = done.stdout.splitlines()
    assert first == "add_up done" and len(refused) == 2, done.stderr
    for sentence, file in zip(refused, ("weights.safetensors", "training")):
        assert sentence.startswith("cannot write ") and f"{file} (File too large); free some space" in sentence
    assert find_status(spec_of("add_up")).state == "done"
    for function in ("keep_network", "keep_checkpoint"):
        status = find_status(spec_of(function))
        assert status.state == "failed" and "free some space" in status.message
        assert not list(status.folder.rglob("*.part"))
        execute(spec_of(function))  # there is room again
        assert find_status(spec_of(function)).state == "done"
    load_weights(network_of(), RunContext(spec_of("keep_network").folder).weights)


ON_A_NODE = """
import os, resource, signal, sys
from pathlib import Path
from repro.errors import InputError
from repro.paths import runs_root
from repro.runs import cluster, find_status
from tests.runs.test_store import spec_of

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
home, spec = str(runs_root()), spec_of("keep_network")
answer = cluster.work(cluster.Task(spec, spec.code, home, "mark", home, 1, False))
print(answer.kind, answer.payload)
os.environ["REPRO_RUNS"] = home
try:
    cluster.keep_files(spec, {"config.json": b"{}", "weights.safetensors": bytes(9000), "result.json": b"{}"})
except InputError as error:
    print(error)
print(find_status(spec).state)
"""


def test_a_full_shared_folder_is_one_sentence_from_a_node_and_local_work_goes_on(tmp_path, monkeypatch):
    """Of a node that works in the driver's store, and of a driver that is sent what a node did elsewhere."""
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "runs"))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mark").touch()
    command = [sys.executable, "-c", ON_A_NODE]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), timeout=600)
    assert done.returncode == 0, done.stderr
    node, driver, state = done.stdout.splitlines()
    assert node.startswith("failed InputError: cannot write ") and "(File too large); free some space" in node
    assert driver.startswith("cannot write ") and "weights.safetensors (File too large); free some space" in driver
    assert state == "failed" and not list((tmp_path / "runs").rglob("result.json"))
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "elsewhere"))
    assert engine("local", workers=1)({"a": spec_of("keep_network")})["a"].ok


def test_a_store_that_cannot_be_written_is_named_by_the_driver_of_a_cluster(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "file" / "runs"))
    with pytest.raises(InputError, match=r"cannot write to folder .*runs \(Not a directory\); free some space"):
        with cluster._mark():
            pass
    with pytest.raises(InputError, match=r"cannot keep a run in .* \(Not a directory\); .* set REPRO_RUNS"):
        cluster.keep_files(spec_of("add_up"), {"result.json": b"{}"})


@pytest.mark.parametrize("name", ["local", "ray", "torchrun"])
@pytest.mark.parametrize("store", ["file", "file/runs", "/dev/null"])
def test_a_store_that_is_no_folder_is_one_sentence_from_every_engine(store, name, tmp_path, monkeypatch):
    """Before a worker or a cluster is started; Ray, which need not be installed, would not be asked anything."""
    (tmp_path / "file").write_text("")
    for variable in ("RANK", "RAY_ADDRESS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / store))
    monkeypatch.setattr(cluster, "_import_ray", SimpleNamespace)
    with pytest.raises(InputError, match=r"^cannot read the run folder .* \(Not a directory\); set REPRO_RUNS"):
        engine(name)({"a": spec_of("add_up")})
    assert find_status(spec_of("add_up")).state == "missing"  # what only looks goes on


def test_a_folder_in_the_place_of_a_result_is_set_aside(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "runs"))
    (spec_of("add_up").folder / "result.json").mkdir(parents=True)
    assert find_status(spec_of("add_up")).state == "failed"
    assert execute(spec_of("add_up"))["value"]
    assert "is damaged (result.json is a folder); set aside" in capsys.readouterr().err
