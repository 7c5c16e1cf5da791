"""Commands in this very process, with the runs that the smoke presets share."""

from __future__ import annotations

import sys

import pytest
import torch

from repro import runs
from repro.cli import main as command_line


@pytest.fixture
def call_here(capsys, monkeypatch, shared_smoke_runs):
    """`python -m repro` with arguments, its trainings without a worker: (exit code, stdout, stderr)."""
    monkeypatch.setenv("REPRO_RUNS", str(shared_smoke_runs))
    here, threads = runs.engine, torch.get_num_threads()
    monkeypatch.setattr(runs, "engine", lambda _, **options: here("torchrun", threads=1, **options))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["repro", *arguments])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        torch.set_num_threads(threads)
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return run
