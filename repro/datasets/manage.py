"""Downloading, listing and re-hashing data sets."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from repro import paths
from repro.datasets import cache, cifar, grey, imagenet
from repro.datasets.core import find
from repro.datasets.folders import FolderSource
from repro.datasets.imagenet import IMAGENET
from repro.datasets.parallel import TEXT_FILES, TEXT_SPLITS, TITLES, count_lines, text_files
from repro.datasets.registry import REGISTRY, SPLITS, DatasetInfo, RemoteFile, info
from repro.datasets.source import Source, content_sha256_of, sha256_of
from repro.errors import InputError, MissingDataError, check_choice

TIMEOUT_S = 30  # without a byte from the server


@dataclass(frozen=True)
class Presence:
    """Whether one data set is here, where (`found`), and if it is not, what to do (`advice`)."""

    name: str
    title: str
    download_mib: float
    present: bool
    found: str
    advice: str = ""


def list_datasets(root: str | os.PathLike | None = None) -> list[Presence]:
    """One Presence per data set: of the registry, ImageNet, then texts; reads no pixels and no sentences."""
    images = [_presence(entry, root) for entry in REGISTRY.values()]
    return [*images, _imagenet_presence(root), *(_text_presence(name, root) for name in TEXT_SPLITS)]


def _imagenet_presence(root: str | os.PathLike | None) -> Presence:
    title, folder = "photographs in 1000 classes (Russakovsky et al. 2015)", paths.data_root(root)
    try:
        names = imagenet.classes(folder)
    except MissingDataError as error:
        return Presence(IMAGENET, title, 0.0, False, str(error), _advice(IMAGENET))
    if not names:
        return Presence(IMAGENET, title, 0.0, False, "not found", _advice(IMAGENET))
    return Presence(IMAGENET, title, 0.0, True, f"{len(names)} classes in {folder / IMAGENET}")


def _text_presence(name: str, root: str | os.PathLike | None) -> Presence:
    size = sum(file.num_bytes for file in TEXT_FILES.get(name, ())) / 2**20
    if name == "grammar":
        return Presence(name, TITLES[name], size, True, "generated here")
    files, folder = text_files(name, root), paths.data_root(root) / name
    absent = [stem for stem, file in files.items() if file is None]
    if not absent:
        return Presence(name, TITLES[name], size, True, f"text files in {folder}")
    found = "not found" if len(absent) == len(files) else f"{', '.join(absent)} missing from {folder}"
    return Presence(name, TITLES[name], size, False, found, _advice(name))


def fetchable() -> list[str]:
    """Names of the data sets that `fetch` downloads."""
    return [name for name, entry in REGISTRY.items() if entry.files] + list(TEXT_FILES)


def _brought() -> dict[str, str]:
    """Data sets that the user brings, and where below the data root they belong."""
    texts = (name for name in TEXT_SPLITS if name not in TEXT_FILES and name != "grammar")
    folders = {name: entry.folders[0] for name, entry in REGISTRY.items() if entry.folders}
    return folders | {IMAGENET: IMAGENET} | {name: name for name in texts}


def _presence(entry: DatasetInfo, root: str | os.PathLike | None) -> Presence:
    def answer(present: bool, found: str, advice: str = "") -> Presence:
        return Presence(entry.name, entry.title, entry.download_mib, present, found, advice)

    command = _advice(entry.name)
    try:
        sources = [find(entry.name, split, root) for split in SPLITS]
        for source in sources:
            if isinstance(source, FolderSource):
                source.listing()
    except MissingDataError as error:
        return answer(False, str(error), command)
    found = [source for source in sources if source is not None]
    if not found:
        return answer(False, "not found", command)
    places = "; ".join(dict.fromkeys(map(_place, found)))
    if len(found) < len(SPLITS):
        return answer(False, f"only the split {found[0].split}: {places}", command)
    return answer(True, places)


def _advice(name: str) -> str:
    place = _brought().get(name)
    return f"bring it yourself, to {place} in the data root" if place else f"python -m repro data fetch {name}"


def _place(source: Source) -> str:
    if isinstance(source, FolderSource):
        return f"{source.kind} in {source.files[0]}"
    return f"{source.kind} in {source.files[0].parent}" if source.files else source.package  # type: ignore[attr-defined]


def fetch(
    name: str,
    root: str | os.PathLike | None = None,
    *,
    force: bool = False,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Download a data set into the data root, checking SHA-256; files that are there and right are left alone.

    A file gets its name only when it is complete and its sum is right. With `force` the official files are downloaded
    even if the data set is here in another layout (a JPEG-recompressed copy, say); `load` then prefers them.
    Returns: the files; an empty list for data that needs none.
    Raises: InputError (unknown name, unwritable folder); MissingDataError (a set that the user brings, no network,
        broken off, wrong checksum).
    """
    if name in TEXT_FILES:
        return _fetch_files(name, TEXT_FILES[name], root, say)
    if place := _brought().get(name):
        raise MissingDataError(
            f"{name} cannot be fetched from here; accept its authors' terms and unpack it to {place} in the data root "
            f"{paths.data_root(root)}, in the layout that data/README.md shows."
        )
    if name == "grammar" or (name in REGISTRY and not REGISTRY[name].files):
        say(f"{name} needs no files; there is nothing to fetch.")
        return []
    entry = REGISTRY[check_choice("dataset", name, fetchable())]
    present = _presence(entry, root)
    if present.present and not force and _is_whole(entry, root):
        say(f"{name} is already here: {present.found}; --force downloads the official files all the same.")
        return []
    return _fetch_files(name, entry.files, root, say)


def _fetch_files(
    name: str, files: tuple[RemoteFile, ...], root: str | os.PathLike | None, say: Callable[[str], None]
) -> list[Path]:
    folder = paths.data_root(root) / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".fetch.lock"):
            return [_fetch_file(name, file, folder, say) for file in files]
    except OSError as error:
        if isinstance(error, MissingDataError):
            raise
        raise InputError(
            f"cannot write to folder {folder} ({error.strerror or error}); free some space, make it writable, "
            "or choose another data root with --root or $REPRO_DATA."
        ) from error


def _is_whole(entry: DatasetInfo, root: str | os.PathLike | None) -> bool:
    sources = [find(entry.name, split, root) for split in SPLITS]
    published = any(isinstance(source, cifar.TarballSource | grey.FashionSource) for source in sources)
    return not published or all(ok for source in sources for ok, _ in _verify_source(entry, source))  # type: ignore[arg-type]


def _fetch_file(name: str, file: RemoteFile, folder: Path, say: Callable[[str], None]) -> Path:
    import pooch
    import requests

    target = folder / file.file_name
    if target.is_file():
        if sha256_of(target) == file.sha256:
            say(f"{target} is already here.")
            return target
        say(f"{target} is damaged or incomplete; downloading it again.")
    say(f"{file.url} -> {target} ({file.num_bytes / 2**20:.1f} MiB)")
    pooch.get_logger().setLevel("ERROR")
    downloader = pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT_S)
    by_hand = f"or bring {file.file_name} yourself and put it into {folder}"
    try:
        pooch.retrieve(file.url, f"sha256:{file.sha256}", file.file_name, folder, downloader=downloader)
    except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as error:
        raise MissingDataError(
            f"the download of {file.url} broke off half-way and nothing of it was kept; "
            f"run `python -m repro data fetch {name}` again, {by_hand}."
        ) from error
    except requests.exceptions.HTTPError as error:
        code = error.response.status_code if error.response is not None else "?"
        raise MissingDataError(
            f"{file.url} answered with HTTP status {code}; try later, {by_hand} (SHA-256 {file.sha256})."
        ) from error
    except requests.exceptions.RequestException as error:
        raise MissingDataError(
            f"{file.url} cannot be reached ({type(error).__name__}: no network, a proxy, or the server is down); "
            f"connect and try again, {by_hand}."
        ) from error
    except ValueError as error:  # what pooch raises when the sum is wrong
        raise MissingDataError(
            f"what {file.url} sent does not have the published SHA-256 {file.sha256[:12]}… and was not kept; "
            f"try again later, {by_hand}."
        ) from error
    return target


def verify(name: str, root: str | os.PathLike | None = None) -> list[tuple[bool, str]]:
    """Re-hash a data set's files and its cached arrays; of sets without published sums count images or sentences.

    Returns: (is right, sentence) per file and one for the cache; an absent split counts as not right.
    Raises: InputError for an unknown name.
    """
    check_choice("dataset", name, [*REGISTRY, IMAGENET, *TEXT_SPLITS])
    if name == IMAGENET:
        return _verify_imagenet(root)
    if name in TEXT_SPLITS:
        return _verify_text(name, root)
    entry = info(name)
    lines: list[tuple[bool, str]] = []
    for split in SPLITS:
        try:
            source = find(name, split, root)
        except MissingDataError as error:
            lines.append((False, str(error)))
            continue
        if source is None:
            folder = paths.data_root(root)
            lines.append((False, f"{name} ({split}) is not in {folder}: {_advice(name)}"))
        else:
            lines += _verify_source(entry, source)
    lines = list(dict.fromkeys(lines))  # one tarball holds both splits
    count, broken = cache.damaged_entries(name)
    lines += [(False, line) for line in broken]
    if count and not broken:
        lines.append((True, f"cache: {count} decoded entries have the recorded SHA-256"))
    return lines


def _verify_imagenet(root: str | os.PathLike | None) -> list[tuple[bool, str]]:
    here = _imagenet_presence(root)
    if not here.present:
        return [(False, f"{here.found}: {here.advice}")]
    folder = paths.data_root(root)
    found = len(imagenet.classes(folder))
    lines = [(found == imagenet.NUM_CLASSES, f"{found} of {imagenet.NUM_CLASSES} classes in {folder / IMAGENET}")]
    for part, published in imagenet.ROWS.items():
        images = imagenet.count(folder, part)
        lines.append((images == published, f"{part} has {images} of {published} images"))
    return lines


def _verify_text(name: str, root: str | os.PathLike | None) -> list[tuple[bool, str]]:
    """Published sums where there are some; else as many sentences as published, and equally many in each language."""
    if name == "grammar":
        return [(True, "generated here")]
    published = {file.file_name: file for file in TEXT_FILES.get(name, ())}
    expected = dict(TEXT_SPLITS[name])
    lines = []
    for stem, file in text_files(name, root).items():
        split = stem.partition(".")[0]
        if file is None:
            lines.append((False, f"{stem} is not in {paths.data_root(root) / name}: {_advice(name)}"))
            continue
        try:
            if file.name in published:
                lines.append(_verify_published(file, published[file.name]))
                continue
            count = count_lines(file)
        except MissingDataError as error:
            lines.append((False, str(error)))
            continue
        expected[split] = expected[split] or count  # no published number: that of the first language
        lines.append((count == expected[split], f"{file} has {count} of {expected[split]} sentences"))
    return lines


def _verify_source(entry: DatasetInfo, source: Source) -> list[tuple[bool, str]]:
    published: Any
    if not source.files:
        return [(True, f"{source.package} is here")]  # type: ignore[attr-defined]
    if isinstance(source, FolderSource):
        try:
            found = len(source.listing().images)
        except MissingDataError as error:
            return [(False, str(error))]
        published = entry.rows[source.split]
        return [
            (
                found == published,
                f"{entry.name} ({source.split}) has {found} of {published} images in {source.files[0]}",
            )
        ]
    published = {file.file_name.removesuffix(".gz"): file for file in entry.files}
    lines = []
    for path in source.files:
        known = published.get(path.name.removesuffix(".gz"))
        try:
            lines.append(_verify_published(path, known) if known else _verify_recorded(path))
        except MissingDataError as error:
            lines.append((False, str(error)))
    return lines


def _verify_published(path: Path, known: RemoteFile) -> tuple[bool, str]:
    """Compare with the published sum, or with that of the content where distributions compress anew."""
    digest = sha256_of(path)
    if digest == known.sha256:
        return True, f"{path} has the published SHA-256"
    if known.content_sha256:
        content = content_sha256_of(path) if path.suffix == ".gz" else digest
        if content == known.content_sha256:
            return True, f"{path} holds the published content (compressed anew)"
    return False, f"{path} does not have the published SHA-256; delete it and fetch it again"


def _verify_recorded(path: Path) -> tuple[bool, str]:
    """Files without a published sum: compare with the sum taken when they were first read."""
    digest, recorded = sha256_of(path), cache.recorded_sha256(path)
    if recorded is None:
        return True, f"{path} has SHA-256 {digest[:12]}… (no published sum; not read so far)"
    if recorded == digest:
        return True, f"{path} has the SHA-256 it had when it was first read ({digest[:12]}…)"
    return False, f"{path} has changed since it was read, with the same size and time; copy it again"
