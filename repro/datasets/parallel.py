"""Sentence pairs for translation: Multi30k and WMT14 as plain text files, one sentence a line, the same line in each
language, and a generated grammar that needs no file."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from repro import paths
from repro.datasets import grammar
from repro.datasets.registry import RemoteFile
from repro.datasets.source import damaged, read_bounded, sha256_of
from repro.errors import InputError, MissingDataError, check_choice, check_int, refuse

_WMT14 = {"train": None, "val": None, "test": 3003}  # the rest depends on how it was cleaned
TEXT_SPLITS: dict[str, Mapping[str, int | None]] = {
    "multi30k": {"train": 29000, "val": 1014, "test_2016_flickr": 1000},
    "grammar": grammar.SPLITS,
    "wmt14-en-de": _WMT14,
    "wmt14-en-fr": _WMT14,
}
LANGUAGES = {
    "multi30k": ("en", "de", "fr"),
    "grammar": grammar.LANGUAGES,
    "wmt14-en-de": ("en", "de"),
    "wmt14-en-fr": ("en", "fr"),
}
# The authors' repository at a fixed commit.
_MULTI30K_URL = (
    "https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw/"
)
TEXT_FILES = {
    "multi30k": tuple(
        RemoteFile(name, _MULTI30K_URL + name, sha256, size)
        for name, sha256, size in (
            ("train.en.gz", "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f", 568929),
            ("train.de.gz", "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6", 637044),
            ("train.fr.gz", "622e75069e9f4c577425c4f277116ce66e63a2401c0a2312d90073cb12379a3c", 604242),
            ("val.en.gz", "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28", 21650),
            ("val.de.gz", "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a", 24681),
            ("val.fr.gz", "ca3106f1a72390591d25f6c45cb4cd39dec4cd3f123e099748a3ce5256c160e9", 23001),
            ("test_2016_flickr.en.gz", "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9", 21077),
            ("test_2016_flickr.de.gz", "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8", 22890),
            ("test_2016_flickr.fr.gz", "6d326e188d259fb1d04ac19eae3af956559b3a0b93d7635e56c90987c40c8b90", 22310),
        )
    )
}
"""Files that `python -m repro data fetch` brings."""
TITLES = {
    "multi30k": "captions of photographs in English, German and French (Elliott et al. 2016)",
    "grammar": "generated sentences in English, German and French",
    "wmt14-en-de": "news and proceedings in English and German (Bojar et al. 2014)",
    "wmt14-en-fr": "news and proceedings in English and French (Bojar et al. 2014)",
}


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
    """Load one split of a parallel text from `<root>/<name>/<split>.<language>[.gz]` (UTF-8).

    Args:
        name: "multi30k" (Elliott et al. 2016), "wmt14-en-de" or "wmt14-en-fr" (Bojar et al. 2014, brought by the user:
            newstest2013 as "val", newstest2014 as "test"), or "grammar" (`repro.datasets.grammar`, generated, no file).
        split: "train", "val" or "test"; of Multi30k "test_2016_flickr".
        languages: two or more of "en", "de", "fr"; the order is kept.
    Returns: a ParallelText; its fingerprint is a SHA-256 of languages and sentences.
    Raises: InputError for unknown names; MissingDataError if a file is absent, damaged, or of another length.
    """
    check_choice("name", name, TEXT_SPLITS)
    check_choice("split", split, TEXT_SPLITS[name])
    refuse(
        not isinstance(languages, Sequence),
        f"languages={languages!r} is not allowed; give two or more different ones, as ('en', 'de').",
    )
    if isinstance(languages, str) or len(set(languages)) != len(languages) or len(languages) < 2:
        raise InputError(f"languages={languages!r} is not allowed; give two or more different ones, as ('en', 'de').")
    languages = tuple(check_choice("languages", language, LANGUAGES[name]) for language in languages)
    if name == "grammar":
        return _generated(split, languages)
    folder = paths.data_root(root) / name
    files = [_find(folder, f"{split}.{language}") for language in languages]
    sentences = tuple(_read_lines(file, known=name in TEXT_FILES) for file in files)
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
        "complete": TEXT_SPLITS[name][split] in (None, len(sentences[0])),
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


def text_files(name: str, root: str | os.PathLike | None = None) -> dict[str, Path | None]:
    """The file of each split in each language by "train.en" and so on, packed or not; None where there is none."""
    folder = paths.data_root(root) / name
    stems = [f"{split}.{language}" for split in TEXT_SPLITS[name] for language in LANGUAGES[name]]
    either = {stem: (folder / f"{stem}.gz", folder / stem) for stem in stems}
    return {stem: next(filter(Path.is_file, files), None) for stem, files in either.items()}


def count_lines(file: Path) -> int:
    """Sentences of a text file, packed or not, read as a stream; MissingDataError if it breaks off."""
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else open(file, "rb") as handle:
            return sum(1 for _ in handle)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(file, error) from error


def _find(folder: Path, stem: str) -> Path:
    for file in (folder / f"{stem}.gz", folder / stem):
        if file.is_file():
            return file
    fetch = (
        f"run 'python -m repro data fetch {folder.name}'" if folder.name in TEXT_FILES else "put the text files there"
    )
    raise MissingDataError(
        f"{stem}.gz was not found in {folder}; {fetch}, or point $REPRO_DATA (or root=) at the folder "
        f"that holds {folder.name}/."
    )


MAX_CORPUS_BYTES = 2**34
"""Of one side of a set without published files: several times WMT14's English-French."""


def _read_lines(file: Path, *, known: bool) -> tuple[str, ...]:
    """`known`: of a set whose files are published; the others may be larger."""
    try:
        raw = read_bounded(file, None if known else MAX_CORPUS_BYTES)
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise damaged(file, error) from error
    # Only line feeds end a sentence; str.splitlines would also break at Unicode's other line marks.
    return tuple(line.strip() for line in text.removesuffix("\n").split("\n"))
