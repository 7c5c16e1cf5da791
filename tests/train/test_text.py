"""Token pairs and their batches: complete, aligned, within the number of tokens, the same again."""

from __future__ import annotations

import pytest
import torch

from repro.datasets import Vocabulary, load_parallel
from repro.datasets.vocabulary import BEGIN, END, PAD
from repro.errors import InputError
from repro.train.text import TokenPairs, token_pairs


@pytest.fixture(scope="module")
def text():
    return load_parallel("grammar", "val", languages=("en", "de")).first(60)


@pytest.fixture(scope="module")
def vocabularies(text):
    return [Vocabulary.learn(text.of(language), 120) for language in ("en", "de")]


def rows(batch):
    """(source, target) ids of each row, after a check of what stands around them."""
    for source, before, after in zip(*(part.tolist() for part in batch)):
        source, before, after = ([word for word in part if word != PAD] for part in (source, before, after))
        assert source[-1] == END and before[0] == BEGIN and after[-1] == END and before[1:] == after[:-1]
        yield tuple(source[:-1]), tuple(after[:-1])


def test_an_epoch_has_every_pair_once_in_batches_within_the_tokens(text, vocabularies):
    pairs = token_pairs(text, "en", "de", *vocabularies)
    for generator in (None, torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)):
        batches = list(pairs.batches(100, generator))
        assert len(batches) == pairs.number_of_batches(100) > 5
        assert all(part.numel() <= 100 for batch in batches for part in batch)
        assert sorted(row for batch in batches for row in rows(batch)) == sorted(zip(pairs.source, pairs.target))
    decoded = [vocabularies[1].decode(ids) for ids in pairs.target]
    assert decoded == list(text.of("de"))


def test_batches_follow_the_generator_alone(text, vocabularies):
    pairs = token_pairs(text, "en", "de", *vocabularies)
    one, same, other = (list(pairs.batches(80, torch.Generator().manual_seed(seed))) for seed in (1, 1, 2))
    assert all(torch.equal(a.source, b.source) for a, b in zip(one, same, strict=True))
    assert any(a.source.shape != b.source.shape or not torch.equal(a.source, b.source) for a, b in zip(one, other))


def test_directions_and_vocabularies_have_fingerprints_of_their_own(text, vocabularies):
    there, back = token_pairs(text, "en", "de", *vocabularies), token_pairs(text, "de", "en", *vocabularies[::-1])
    assert there.source == back.target and there.fingerprint != back.fingerprint
    assert there.vocabularies == tuple(vocabulary.fingerprint for vocabulary in vocabularies)


def test_what_cannot_be_trained_on_is_one_sentence(text, vocabularies):
    with pytest.raises(InputError, match="language='fr' is not known; allowed are: en, de"):
        token_pairs(text, "en", "fr", *vocabularies)
    with pytest.raises(InputError, match="2 sentences and 1 translations do not fit"):
        TokenPairs(((4,), (5,)), ((4,),), ("", ""))
    pairs = TokenPairs(((4,), (5, 6, 7)), ((4, 5), (4,)), ("", ""))
    with pytest.raises(InputError, match="batch_tokens=3 is not allowed; the longest sentence has 4 tokens"):
        next(pairs.batches(3))
