"""Vocabularies: there and back, the same from the same text, stored whole or refused."""

from __future__ import annotations

import pytest

from repro.datasets import Vocabulary, load_parallel
from repro.datasets.vocabulary import BEGIN, END, PAD, UNKNOWN
from repro.errors import DamagedError, InputError


@pytest.fixture(scope="module")
def sentences():
    return load_parallel("grammar", "val").first(200).of("de")


@pytest.fixture(scope="module")
def vocabulary(sentences):
    return Vocabulary.learn(sentences, 150)


def test_decoding_gives_back_what_was_encoded(vocabulary, sentences):
    for sentence in sentences:
        ids = vocabulary.encode(sentence)
        assert vocabulary.decode(ids) == sentence and not set(ids) & {PAD, BEGIN, END}
    assert len(vocabulary) == 150
    assert vocabulary.decode([BEGIN, *ids, END, 7, PAD]) == sentence and vocabulary.decode([]) == ""


def test_the_most_frequent_pairs_are_joined_first():
    """Byte-pair encoding by hand: of _ab _ab _ab _ac the pair _a comes four times, then _a b three times."""
    text = ["ab ab ab ac"]
    joined = []
    for size in (8, 9, 10):  # four characters and the four pieces of every vocabulary, then a merge each
        known = Vocabulary.learn(text, size)
        joined.append([len(known.encode(word)) for word in ("ab", "ac")])
        assert len(known) == size
    assert joined == [[3, 3], [2, 2], [1, 2]]


def test_what_it_cannot_spell_is_unknown(vocabulary):
    assert UNKNOWN in vocabulary.encode("日本")


def test_equal_text_gives_an_equal_vocabulary_and_other_text_another(vocabulary, sentences):
    assert Vocabulary.learn(sentences, 150).fingerprint == vocabulary.fingerprint
    assert Vocabulary.learn(sentences, 149).fingerprint != vocabulary.fingerprint


def test_it_is_stored_whole_or_refused(vocabulary, tmp_path):
    path = vocabulary.save(tmp_path / "de.vocabulary")
    again = Vocabulary.load(path)
    assert again.fingerprint == vocabulary.fingerprint and again.encode("Die Katze") == vocabulary.encode("Die Katze")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DamagedError, match=r"de\.vocabulary is damaged"):
        Vocabulary.load(path)


@pytest.mark.parametrize(
    ("sentences", "message"),
    [("ein hund", "sentences='ein hund' .*list of sentences"), (["ein hund", None], "holds a NoneType; .*a text")],
)
def test_what_is_no_list_of_texts_is_refused(sentences, message):
    with pytest.raises(InputError, match=message):
        Vocabulary.learn(sentences, 30)


def test_impossible_vocabularies_are_one_sentence(vocabulary):
    with pytest.raises(InputError, match="sentences holds no text"):
        Vocabulary.learn(["", "  "], 20)
    with pytest.raises(InputError, match="size=7 is not allowed; 4 different characters need 8"):
        Vocabulary.learn(["ab c"], 7)
    with pytest.raises(InputError, match="no vocabulary"):
        Vocabulary(b"nothing")
    with pytest.raises(InputError, match="token ids run from 3 to 150; this vocabulary has 0 to 149"):
        vocabulary.decode([3, 150])
