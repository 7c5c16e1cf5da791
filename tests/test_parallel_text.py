"""Parallel text: files in, aligned sentences out, one sentence for every mishap."""

from __future__ import annotations

import dataclasses
import gzip

import pytest

from repro.datasets import load_parallel
from repro.datasets.grammar import _ADJECTIVES, _NOUNS, _VERBS, _Clause, _Phrase
from repro.errors import InputError, MissingDataError

PAIRS = {"en": ["A dog.", "Two\u2028 men."], "de": ["Ein Hund.", "Zwei Männer."]}


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "multi30k"
    folder.mkdir()
    for language, lines in PAIRS.items():
        (folder / f"val.{language}.gz").write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
    return tmp_path


def test_sentences_stay_aligned_and_in_the_order_of_the_languages(root):
    text = load_parallel("multi30k", "val", root, languages=("de", "en"))
    assert text.sentences == (tuple(PAIRS["de"]), tuple(PAIRS["en"])) and len(text) == 2
    assert text.provenance["complete"] is False and str(root) not in str(text.provenance)
    assert text.fingerprint != load_parallel("multi30k", "val", root).fingerprint


def test_plain_files_give_the_same_fingerprint(root):
    packed = load_parallel("multi30k", "val", root)
    for file in list((root / "multi30k").iterdir()):
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    assert load_parallel("multi30k", "val", root).fingerprint == packed.fingerprint


@pytest.mark.parametrize(
    "name, split, languages, message",
    [
        ("multi30", "val", ("en", "de"), "Did you mean 'multi30k'"),
        ("multi30k", "valid", ("en", "de"), "Did you mean 'val'"),
        ("multi30k", "val", 3, "languages=3 is not allowed; give two or more different ones"),
        ("multi30k", "val", ("en", "es"), "languages='es' is not known"),
        ("multi30k", "val", ("en",), "give two or more"),
        ("multi30k", "val", "en", "give two or more"),
    ],
)
def test_bad_names_give_one_sentence(root, name, split, languages, message):
    with pytest.raises(InputError, match=message):
        load_parallel(name, split, root, languages=languages)


def test_absent_damaged_and_unequal_files_are_refused(root):
    with pytest.raises(MissingDataError, match=r"val\.fr\.gz was not found"):
        load_parallel("multi30k", "val", root, languages=("en", "fr"))
    german = root / "multi30k" / "val.de.gz"
    raw = german.read_bytes()
    for broken in (raw[:-9], raw[:12] + b"\xff" * 9 + raw[21:], raw[:3]):
        german.write_bytes(broken)
        with pytest.raises(MissingDataError, match="damaged or incomplete"):
            load_parallel("multi30k", "val", root)
    german.write_bytes(gzip.compress(b"Ein Hund.\n"))
    with pytest.raises(MissingDataError, match="do not have the same number of lines"):
        load_parallel("multi30k", "val", root)


def test_what_is_put_together_by_hand_needs_a_translation_of_each_sentence(root):
    text = load_parallel("multi30k", "val", root)
    with pytest.raises(InputError, match=r"unequal numbers of sentences \(\{'en': 2, 'de': 1\}\)"):
        dataclasses.replace(text, sentences=(text.of("en"), text.of("de")[:1]))
    with pytest.raises(InputError, match="language='fr' is not known; allowed are: en, de"):
        text.of("fr")


def test_the_first_sentences_are_a_text_of_their_own(root):
    text = load_parallel("multi30k", "val", root)
    first = text.first(1)
    assert first.of("de") == ("Ein Hund.",) and first.provenance["rows"] == 1
    assert first.fingerprint != text.fingerprint == text.first(2).fingerprint
    with pytest.raises(InputError, match="rows=3 is not allowed"):
        text.first(3)


def test_wmt14_is_read_from_files_that_the_user_brings(tmp_path):
    for pair, foreign in (("en-de", "de"), ("en-fr", "fr")):
        folder = tmp_path / f"wmt14-{pair}"
        folder.mkdir()
        for split, rows in (("train", 3), ("test", 2)):
            for language in ("en", foreign):
                lines = [f"{split} {language} {row}" for row in range(rows)]
                (folder / f"{split}.{language}").write_text("\n".join(lines) + "\n", encoding="utf-8")
        train, test = (
            load_parallel(folder.name, split, tmp_path, languages=("en", foreign)) for split in ("train", "test")
        )
        assert train.of(foreign) == tuple(f"train {foreign} {row}" for row in range(3)) and len(test) == 2
        assert train.provenance["complete"] and not test.provenance["complete"]  # newstest2014 has 3,003 sentences
    with pytest.raises(InputError, match="languages='fr' is not known"):
        load_parallel("wmt14-en-de", "train", tmp_path, languages=("en", "fr"))


def test_the_grammar_needs_no_file_and_keeps_test_sentences_out_of_training(tmp_path):
    splits = {
        split: load_parallel("grammar", split, tmp_path, languages=("en", "de", "fr")) for split in ("train", "test")
    }
    assert [len(text) for text in splits.values()] == [6000, 300]
    assert splits["train"].provenance["generated"] is True
    for language in ("en", "de", "fr"):
        assert not set(splits["train"].of(language)) & set(splits["test"].of(language))


def test_the_grammar_inflects_as_german_and_french_do():
    boys, cat = _Phrase("a", False, _ADJECTIVES[0], _NOUNS[5]), _Phrase("the", True, _ADJECTIVES[4], _NOUNS[1])
    clause = _Clause(cat, _VERBS[0], boys, ("", "", ""), "perfect", True)
    assert clause.english() == "the funny cats have not seen a small boy"
    assert clause.german("main") == "die lustigen Katzen haben einen kleinen Jungen nicht gesehen"
    assert clause.german("inverted").startswith("haben die lustigen Katzen einen")
    assert clause.german("last").endswith("nicht gesehen haben")
    assert clause.french() == "les chats drôles n'ont pas vu un petit garçon"
