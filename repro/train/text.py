"""Sentence pairs as token ids, and batches of about equally long ones that hold a number of tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from repro.datasets import ParallelText, Vocabulary
from repro.datasets.vocabulary import BEGIN, END, PAD
from repro.errors import InputError, check_int

Ids = tuple[int, ...]


class TextBatch(NamedTuple):
    """source (N, S) with END; before (N, T) begins with BEGIN and after (N, T) ends with END, the target a step later.

    Short sentences are filled up with PAD.
    """

    source: Tensor
    before: Tensor
    after: Tensor


@dataclass(frozen=True)
class TokenPairs:
    """Sentences and their translations as ids, without BEGIN and END, and the fingerprints of the two vocabularies."""

    source: tuple[Ids, ...]
    target: tuple[Ids, ...]
    vocabularies: tuple[str, str]

    def __post_init__(self) -> None:
        if len(self.source) != len(self.target) or not self.source:
            raise InputError(
                f"{len(self.source)} sentences and {len(self.target)} translations do not fit; "
                "each sentence needs one, and there must be at least one."
            )

    def __len__(self) -> int:
        return len(self.source)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all ids and both vocabularies."""
        return hashlib.sha256(repr((self.source, self.target, self.vocabularies)).encode()).hexdigest()

    def batches(self, tokens: int, generator: torch.Generator | None = None) -> Iterator[TextBatch]:
        """One pass in batches of at most `tokens` positions on the longer side, END and filling included.

        Sentences of about equal length share a batch. `generator` shuffles which do and the order of the batches; their
        number does not depend on it. None goes from short to long.
        Raises: InputError for a sentence longer than a batch.
        """
        order = range(len(self)) if generator is None else torch.randperm(len(self), generator=generator).tolist()
        cuts = self._cuts(sorted(order, key=self._length), check_int("batch_tokens", tokens, minimum=1))
        if generator is not None:
            cuts = [cuts[i] for i in torch.randperm(len(cuts), generator=generator).tolist()]
        for rows in cuts:
            source, target = ([side[i] for i in rows] for side in (self.source, self.target))
            yield TextBatch(
                _filled([[*ids, END] for ids in source]),
                _filled([[BEGIN, *ids] for ids in target]),
                _filled([[*ids, END] for ids in target]),
            )

    def number_of_batches(self, tokens: int) -> int:
        """How many `batches` yields."""
        return len(self._cuts(sorted(range(len(self)), key=self._length), check_int("batch_tokens", tokens, minimum=1)))

    def _length(self, row: int) -> int:
        return 1 + max(len(self.source[row]), len(self.target[row]))

    def _cuts(self, order: list[int], tokens: int) -> list[list[int]]:
        longest = self._length(order[-1])
        if longest > tokens:
            raise InputError(f"batch_tokens={tokens} is not allowed; the longest sentence has {longest} tokens.")
        cuts: list[list[int]] = [[]]
        for row in order:
            if self._length(row) * (len(cuts[-1]) + 1) > tokens:
                cuts.append([])
            cuts[-1].append(row)
        return cuts


def token_pairs(
    text: ParallelText, source: str, target: str, source_vocabulary: Vocabulary, target_vocabulary: Vocabulary
) -> TokenPairs:
    """The sentences of `text` in language `source` with their translations into `target`.

    Raises: InputError for a language that the text does not have.
    """
    sides = ((source, source_vocabulary), (target, target_vocabulary))
    ids = (tuple(tuple(words.encode(sentence)) for sentence in text.of(language)) for language, words in sides)
    return TokenPairs(*ids, (source_vocabulary.fingerprint, target_vocabulary.fingerprint))  # type: ignore[call-arg, arg-type]


def _filled(rows: list[list[int]]) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
