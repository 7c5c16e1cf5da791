"""Sentence pairs for translation: Multi30k as plain text files, one sentence a line, the same line in each language,
and a generated grammar that needs no file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from repro import paths
from repro.datasets import grammar
from repro.datasets.source import damaged, read_bounded, sha256_of
from repro.errors import InputError, MissingDataError, check_choice, check_int

TEXT_SPLITS = {
    "multi30k": {"train": 29000, "val": 1014, "test_2016_flickr": 1000},
    "grammar": grammar.SPLITS,
}
LANGUAGES = {"multi30k": ("en", "de", "fr"), "grammar": grammar.LANGUAGES}


@dataclass(frozen=True)
class ParallelText:
    """The same sentences in several languages; `sentences[k][i]` is sentence i in `languages[k]`."""

    name: str
    split: str
    languages: tuple[str, ...]
    sentences: tuple[tuple[str, ...], ...] = field(repr=False)
    fingerprint: str
    provenance: dict = field(repr=False)

    def __len__(self) -> int:
        return len(self.sentences[0])

    def __post_init__(self) -> None:
        lengths = dict(zip(self.languages, map(len, self.sentences)))
        if len(self.languages) != len(self.sentences) or len(set(lengths.values())) != 1:
            raise InputError(f"{self.name} has unequal numbers of sentences ({lengths}); each needs its translations.")

    def of(self, language: str) -> tuple[str, ...]:
        """All sentences in one language; InputError for a language that this text does not have."""
        return self.sentences[self.languages.index(check_choice("language", language, self.languages))]

    def first(self, rows: int) -> ParallelText:
        """The first sentences alone, with a fingerprint of their own. InputError if there are fewer."""
        check_int("rows", rows, minimum=1, maximum=len(self))
        sentences = tuple(one[:rows] for one in self.sentences)
        provenance = {
            **self.provenance,
            "rows": rows,
            "complete": rows == TEXT_SPLITS.get(self.name, {}).get(self.split),
        }
        return replace(
            self, sentences=sentences, fingerprint=_fingerprint(self.languages, sentences), provenance=provenance
        )


def load_parallel(
    name: str, split: str, root: str | os.PathLike | None = None, *, languages: Sequence[str] = ("en", "de")
) -> ParallelText:
    """Load one split of a parallel text, Multi30k from `<root>/multi30k/<split>.<language>[.gz]` (UTF-8).

    Args:
        name: "multi30k" (Elliott et al. 2016), or "grammar" (`repro.datasets.grammar`, generated, no file).
        split: "train", "val" or "test_2016_flickr"; of the grammar "test".
        languages: two or more of "en", "de", "fr"; the order is kept.
    Returns: a ParallelText; its fingerprint is a SHA-256 of languages and sentences.
    Raises: InputError for unknown names; MissingDataError if a file is absent, damaged, or of another length.
    """
    check_choice("name", name, TEXT_SPLITS)
    check_choice("split", split, TEXT_SPLITS[name])
    if isinstance(languages, str) or len(set(languages)) != len(languages) or len(languages) < 2:
        raise InputError(f"languages={languages!r} is not allowed; give two or more different ones, as ('en', 'de').")
    languages = tuple(check_choice("languages", language, LANGUAGES[name]) for language in languages)
    if name == "grammar":
        return _generated(split, languages)
    folder = paths.data_root(root) / name
    files = [_find(folder, f"{split}.{language}") for language in languages]
    sentences = tuple(_read_lines(file) for file in files)
    lengths = {file.name: len(lines) for file, lines in zip(files, sentences)}
    if len(set(lengths.values())) != 1:
        raise MissingDataError(
            f"the files in {folder} do not have the same number of lines ({lengths}); copy them again."
        )
    provenance = {
        "name": name,
        "split": split,
        "files": [{"file": f"{name}/{file.name}", "sha256": sha256_of(file)} for file in files],
        "rows": len(sentences[0]),
        "complete": len(sentences[0]) == TEXT_SPLITS[name][split],
    }
    return ParallelText(name, split, languages, sentences, _fingerprint(languages, sentences), provenance)


def _generated(split: str, languages: tuple[str, ...]) -> ParallelText:
    rows = grammar.sentences()[split]
    sentences = tuple(tuple(row[grammar.LANGUAGES.index(language)] for row in rows) for language in languages)
    provenance = {
        "name": "grammar",
        "split": split,
        "files": [],
        "generated": True,
        "rows": len(rows),
        "complete": True,
    }
    return ParallelText("grammar", split, languages, sentences, _fingerprint(languages, sentences), provenance)


def _fingerprint(languages: tuple[str, ...], sentences: tuple[tuple[str, ...], ...]) -> str:
    content = "\n\n".join("\n".join((language, *lines)) for language, lines in zip(languages, sentences))
    return hashlib.sha256(content.encode()).hexdigest()


def _find(folder: Path, stem: str) -> Path:
    for file in (folder / f"{stem}.gz", folder / stem):
        if file.is_file():
            return file
    raise MissingDataError(
        f"{stem}.gz was not found in {folder}; put the text files there, or point $REPRO_DATA (or root=) at the folder "
        f"that holds {folder.name}/."
    )


def _read_lines(file: Path) -> tuple[str, ...]:
    try:
        text = read_bounded(file).decode("utf-8")
    except UnicodeDecodeError as error:
        raise damaged(file, error) from error
    # Only line feeds end a sentence; str.splitlines would also break at Unicode's other line marks.
    return tuple(line.strip() for line in text.removesuffix("\n").split("\n"))
