"""`repro search translation` and `repro translate`: a smoke search, kept and used; one sentence for what is wrong."""

from __future__ import annotations

import pytest


@pytest.fixture
def call(capsys, smoke_table, call_here):
    """The command line with the runs of table 3 at smoke."""
    smoke_table("shiftaddnas_t03")
    capsys.readouterr()
    return call_here


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
        (("translate", "A dog.", "--beam", "0"), "beam=0 is not allowed"),
    ],
)
def test_bad_requests_are_one_sentence(call, arguments, message):
    code, out, err = call(*arguments, "--preset", "smoke")
    assert code == 2 and message in err and err.count("\n") <= 3 and not out


@pytest.mark.parametrize("arguments", [("A dog.", " "), ("A dog.", "--beam", "0")])
def test_what_cannot_be_translated_is_refused_before_the_search(call_here, monkeypatch, arguments):
    monkeypatch.setattr("repro.papers.shiftaddnas.translator.found", None)  # whoever searched would fail
    code, _, err = call_here("translate", *arguments, "--preset", "smoke")
    assert code == 2 and len(err.strip().splitlines()) == 1
