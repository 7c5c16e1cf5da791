"""`repro search translation` and `repro translate`: a smoke search, kept and used; one sentence for what is wrong."""

from __future__ import annotations

import sys

import pytest
import torch

from repro import runs
from repro.cli import main as command_line


@pytest.fixture
def call(capsys, monkeypatch, smoke_table, shared_smoke_runs):
    """The command in this very process, with the runs of table 3 at smoke: (exit code, stdout, stderr)."""
    smoke_table("shiftaddnas_t03")
    capsys.readouterr()
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


def test_a_finished_search_is_printed_and_translates(call):
    code, out, err = call("search", "translation", "--preset", "smoke")
    assert code == 0 and "limit 0.9: encoder" in out and "validation_bleu" in out
    assert "1 to run" not in err and "Error of the latency predictor" in err
    code, out, err = call("translate", "The dog sees a cat.", "The cow sleeps.", "--preset", "smoke")
    assert code == 0 and len(out.splitlines()) == 2
    assert "found, limit 0.9: validation BLEU" in err and "random 1" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search", "translation", "--pair", "en-es"), "pair='en-es' is not allowed; this preset has: en-de"),
        (("search", "translation", "--space", "hat"), "space='hat' is not known"),
        (("search", "translation", "--dataset", "multi30k"), "has no recipe for dataset='multi30k' at preset smoke"),
        (("translate", "A dog.", "--network", "best"), "network='best' is not known"),
        (("translate", ""), "sentence is empty"),
    ],
)
def test_bad_requests_are_one_sentence(call, arguments, message):
    code, out, err = call(*arguments, "--preset", "smoke")
    assert code == 2 and message in err and err.count("\n") <= 3 and not out
