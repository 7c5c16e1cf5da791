"""A disk that is full: a run that meets it says so in a sentence, what was finished stays, and there is no half file.

The process may write files of eight kilobytes only; the system refuses more as it refuses what a full disk cannot hold.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from repro.models.weights import load_weights
from repro.runs import RunContext, find_status
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
