"""Parallel text: files in, aligned sentences out, one sentence for every mishap."""

from __future__ import annotations

import gzip

import pytest

from repro.datasets import load_parallel
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
