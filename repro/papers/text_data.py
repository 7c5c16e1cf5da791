"""The sentences of an entry: a stated part of a parallel text with a vocabulary learned from it, once per process."""

from __future__ import annotations

import dataclasses
import functools
import hashlib

from repro.datasets import ParallelText, Vocabulary, load_parallel
from repro.errors import InputError, check_choice
from repro.train.text import TokenPairs, token_pairs

CORPORA = ("grammar", "multi30k", "wmt14")


@dataclasses.dataclass(frozen=True)
class TextRecipe:
    """Which sentences an entry sees.

    Attributes:
        corpus: "grammar" (generated, no file), "multi30k" or "wmt14".
        pair: source and target, "en-de" or "en-fr".
        train_sentences, judged_sentences: the first so many training sentences, and of validation and test each; None
            for all.
        vocabulary: most pieces of the vocabulary that both languages share; it is learned from the training sentences.
        max_tokens: training sentences with more pieces, or a translation with more, are left out; None: none are.
    Raises: InputError for an unknown corpus or a pair that is none.
    """

    corpus: str
    pair: str = "en-de"
    train_sentences: int | None = None
    judged_sentences: int | None = None
    vocabulary: int = 3000
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        check_choice("corpus", self.corpus, CORPORA)
        check_choice("pair", self.pair, ("en-de", "en-fr"))

    @property
    def dataset(self) -> str:
        """Corpus and pair, as tables name them."""
        return f"{self.corpus}-{self.pair}"

    @property
    def languages(self) -> tuple[str, str]:
        """Source and target language."""
        source, _, target = self.pair.partition("-")
        return source, target

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits over the sentences of all three splits."""
        texts = _texts(self)
        return hashlib.sha256("".join(text.fingerprint for text in texts.values()).encode()).hexdigest()[:16]

    @property
    def source(self) -> dict[str, str]:
        """What a record says of the sentences: name, fingerprint and where they come from."""
        known = _texts(self)["train"].provenance
        files = ", ".join(f"{file['file']} ({file['sha256'][:12]}…)" for file in known["files"])
        said = "generated sentences of a small grammar; nobody said them" if known.get("generated") else files
        return {"dataset": self.dataset, "fingerprint": self.fingerprint, "source": said}


@dataclasses.dataclass(frozen=True, eq=False)
class TextSplits:
    """Sentences ready for training. `test` is looked at for the result alone."""

    vocabulary: Vocabulary
    train: TokenPairs
    validation: TokenPairs
    validation_text: tuple[tuple[str, ...], tuple[str, ...]]
    test_text: tuple[tuple[str, ...], tuple[str, ...]]


@functools.lru_cache(maxsize=8)
def _texts(recipe: TextRecipe) -> dict[str, ParallelText]:
    name = recipe.dataset if recipe.corpus == "wmt14" else recipe.corpus
    test = "test_2016_flickr" if recipe.corpus == "multi30k" else "test"
    rows = {"train": recipe.train_sentences, "val": recipe.judged_sentences, test: recipe.judged_sentences}
    texts = {split: load_parallel(name, split, languages=recipe.languages) for split in rows}
    first = {split: text if rows[split] is None else text.first(rows[split]) for split, text in texts.items()}
    return dict(zip(("train", "validation", "test"), first.values()))


@functools.lru_cache(maxsize=4)
def load_text(recipe: TextRecipe) -> TextSplits:
    """The recipe's sentences, and training and validation sentences as ids.

    Raises: MissingDataError if the files are absent; InputError if no training sentence is as short as `max_tokens`.
    """
    texts, languages = _texts(recipe), recipe.languages
    sides = {split: tuple(text.of(language) for language in languages) for split, text in texts.items()}
    vocabulary = Vocabulary.learn([*sides["train"][0], *sides["train"][1]], recipe.vocabulary)
    pairs = {s: token_pairs(texts[s], *languages, vocabulary, vocabulary) for s in ("train", "validation")}
    train = pairs["train"]
    if recipe.max_tokens is not None:
        kept = [i for i, both in enumerate(zip(train.source, train.target)) if max(map(len, both)) <= recipe.max_tokens]
        if not kept:
            raise InputError(f"max_tokens={recipe.max_tokens} leaves no training sentence of {recipe.dataset}.")
        sources, targets = (tuple(side[i] for i in kept) for side in (train.source, train.target))
        train = TokenPairs(sources, targets, train.vocabularies)
    return TextSplits(vocabulary, train, pairs["validation"], sides["validation"], sides["test"])
