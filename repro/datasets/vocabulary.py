"""Byte-pair vocabularies of text: learned from sentences, stored without pickle, told apart by a fingerprint."""

from __future__ import annotations

import functools
import hashlib
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from repro.errors import DamagedError, InputError, check_int
from repro.paths import read_sealed, write_sealed

PAD, UNKNOWN, BEGIN, END = range(4)
"""Ids that every vocabulary has: filling, what it cannot spell, and the ends of a sentence."""


class Vocabulary:
    """Pieces of words with their ids.

    Text is split at spaces and spelled with the pieces that byte-pair encoding joined (Sennrich et al. 2016; the
    library is SentencePiece). Nothing is normalised but runs of spaces, so decoding gives back what was encoded, but
    for characters that no sentence of its learning had and the sign that stands for a space in a piece, U+2581.
    """

    def __init__(self, model: bytes):
        from sentencepiece import SentencePieceProcessor

        if not isinstance(model, bytes) or not model:
            raise InputError(f"model is {'empty' if model == b'' else type(model).__name__}; it must be bytes.")
        try:
            self._processor = SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise InputError(f"model is no vocabulary of SentencePiece ({error}).") from error
        self._model = model

    @classmethod
    def learn(cls, sentences: Iterable[str], size: int = 3000) -> Vocabulary:
        """The vocabulary of up to `size` pieces of these sentences; equal sentences give an equal one.

        Args:
            sentences: of one language, or of both for a joint vocabulary.
            size: pieces with the four of every vocabulary; less text may give fewer, its characters must all fit.
        Raises: InputError if there is no text, or too many different characters for `size`.
        """
        from sentencepiece import SentencePieceTrainer

        check_int("size", size, minimum=5)
        if isinstance(sentences, str) or not isinstance(sentences, Iterable):
            raise InputError(f"sentences={str(sentences)[:40]!r} is not allowed; give a list of sentences.")
        sentences = list(sentences)
        if odd := [type(sentence).__name__ for sentence in sentences if not isinstance(sentence, str)]:
            raise InputError(f"sentences holds a {odd[0]}; each must be a text.")
        sentences = [sentence for sentence in sentences if sentence.strip()]
        if not sentences:
            raise InputError("sentences holds no text; a vocabulary needs some.")
        characters = len(set("".join(sentences)) - {" "}) + 1
        if size < characters + 4:
            raise InputError(f"size={size} is not allowed; {characters} different characters need {characters + 4}.")
        model = io.BytesIO()
        SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            model_type="bpe",
            vocab_size=size,
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="identity",
            max_sentence_length=1 << 20,
            pad_id=PAD,
            unk_id=UNKNOWN,
            bos_id=BEGIN,
            eos_id=END,
            num_threads=1,
            minloglevel=2,
        )
        return cls(model.getvalue())

    def __len__(self) -> int:
        return self._processor.get_piece_size()

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all pieces in order."""
        pieces = "\n".join(map(self._processor.id_to_piece, range(len(self))))
        return hashlib.sha256(pieces.encode()).hexdigest()

    def encode(self, sentence: str) -> list[int]:
        """Ids of a sentence, without BEGIN and END. InputError for what is no text."""
        if not isinstance(sentence, str):
            raise InputError(f"sentence is a {type(sentence).__name__}; it must be a text.")
        return self._processor.encode(sentence)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids up to the first END, without PAD and BEGIN. InputError for an id that is not in here."""
        ids = list(map(int, ids))
        if ids and not 0 <= min(ids) <= max(ids) < len(self):
            raise InputError(f"token ids run from {min(ids)} to {max(ids)}; this vocabulary has 0 to {len(self) - 1}.")
        ids = ids[: ids.index(END)] if END in ids else ids
        return self._processor.decode([token for token in ids if token not in (PAD, BEGIN)])

    def save(self, path: str | os.PathLike) -> Path:
        """Write it behind a digest of its content."""
        return write_sealed(path, self._model)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Vocabulary:
        """What `save` wrote. Raises: DamagedError if the file is damaged or none, FileNotFoundError if absent."""
        try:
            return cls(read_sealed(path))
        except InputError as error:
            raise error if isinstance(error, DamagedError) else DamagedError(f"{Path(path).name}: {error}") from error
