"""BLEU: cases counted by hand, an interval that holds the score, refusals."""

from __future__ import annotations

import math
import random

import pytest

from repro.errors import InputError
from repro.train import bleu, bleu_interval

REFERENCES = ["the quick brown fox jumps over the lazy dog .", "a cat sat here on a mat"]


def test_a_case_counted_by_hand():
    # 1- to 4-grams that match: 8 of 9, 6 of 8, 4 of 7, 2 of 6; as long as the reference.
    score = bleu(["the quick brown cat jumps over the lazy dog"], ["the quick brown fox jumps over the lazy dog"])
    assert score == pytest.approx(100 * (8 / 9 * 6 / 8 * 4 / 7 * 2 / 6) ** 0.25)


def test_a_short_translation_is_punished_and_counts_add_up_over_the_corpus():
    # 5 + 7 tokens against 10 + 7: all n-grams match, so only the length counts.
    assert bleu(["the quick brown fox jumps", REFERENCES[1]], REFERENCES) == pytest.approx(100 * math.exp(1 - 17 / 12))


def test_marks_are_tokens_and_case_counts():
    assert bleu(["Hello, big wide world."], ["Hello , big wide world ."]) == pytest.approx(100)
    # 5 of 6, 4 of 5, 3 of 4, 2 of 3
    assert bleu(["hello, big wide world."], ["Hello, big wide world."]) == pytest.approx(100 * (1 / 3) ** 0.25)


def test_a_corpus_scores_what_sacrebleu_gives_with_its_defaults():
    """13a tokens of detokenised text, one reference, exponential smoothing; also where no 4-gram matches."""
    sacrebleu = pytest.importorskip("sacrebleu")
    draw = random.Random(0)
    words = "The the cat, cat dog dog's 3.5 1,000 well-known (big) 'Hello' & end. Über 5% $7 sat".split()
    for count in (1, 2, 30):
        references = [" ".join(draw.choices(words, k=draw.randint(1, 12))) for _ in range(count)]
        hypotheses = [" ".join(w if draw.random() < 0.7 else draw.choice(words) for w in r.split()) for r in references]
        expected = sacrebleu.corpus_bleu(hypotheses, [references])
        assert bleu(hypotheses, references) == pytest.approx(expected.score, abs=1e-9)
    assert bleu(["the cat"], ["the dog"]) == pytest.approx(sacrebleu.corpus_bleu(["the cat"], [["the dog"]]).score)


def test_the_interval_holds_the_score_shrinks_with_sentences_and_follows_its_seed():
    hypotheses = ["the quick brown fox jumps over a lazy dog .", REFERENCES[1]]
    low, high = bleu_interval(hypotheses * 8, REFERENCES * 8, resamples=200)
    assert low < bleu(hypotheses * 8, REFERENCES * 8) < high
    wide = bleu_interval(hypotheses, REFERENCES, resamples=200)
    assert wide[1] - wide[0] > high - low
    assert wide == bleu_interval(hypotheses, REFERENCES, resamples=200) and wide[1] == pytest.approx(100)


@pytest.mark.parametrize(
    "hypotheses, references, message",
    [
        (["a"], ["a", "b"], "1 hypotheses and 2 references do not fit"),
        ([], [], "0 hypotheses and 0 references do not fit"),
        ("a", ["a"], "^hypotheses='a' is not allowed; it must be a list of sentences, each a text.$"),
        (["a"], [["a"]], "^references holds a list; it must be a list of sentences, each a text.$"),
        (None, ["a"], "^hypotheses is a NoneType; it must be a list of sentences, each a text.$"),
        (["a"], (text for text in "a"), "^references is a generator; it must be a list of sentences, each a text.$"),
        ({"a": "b"}, ["a"], "^hypotheses is a dict; it must be a list of sentences"),
    ],
)
def test_what_is_no_corpus_is_one_sentence(hypotheses, references, message):
    for score in (bleu, bleu_interval):
        with pytest.raises(InputError, match=message):
            score(hypotheses, references)
    with pytest.raises(InputError, match="confidence=1"):
        bleu_interval(["a"], ["a"], confidence=1)
