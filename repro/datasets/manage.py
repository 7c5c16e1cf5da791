"""Downloading, listing and re-hashing data sets."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from repro import paths
from repro.datasets import cache, cifar, grey
from repro.datasets.core import find
from repro.datasets.folders import FolderSource
from repro.datasets.parallel import TEXT_FILES
from repro.datasets.registry import REGISTRY, SPLITS, DatasetInfo, RemoteFile, info
from repro.datasets.source import Source, content_sha256_of, sha256_of
from repro.errors import InputError, MissingDataError

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
    """One Presence per data set of the registry; reads no pixels."""
    return [_presence(entry, root) for entry in REGISTRY.values()]


def _presence(entry: DatasetInfo, root: str | os.PathLike | None) -> Presence:
    def answer(present: bool, found: str, advice: str = "") -> Presence:
        return Presence(entry.name, entry.title, entry.download_mib, present, found, advice)

    command = _advice(entry)
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


def _advice(entry: DatasetInfo) -> str:
    if entry.folders:
        return f"bring it yourself, to {entry.folders[0]} in the data root"
    return f"python -m repro data fetch {entry.name}"


def _place(source: Source) -> str:
    if isinstance(source, FolderSource):
        return f"{source.kind} in {source.files[0]}"
    return f"{source.kind} in {source.files[0].parent}" if source.files else source.package


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
    Raises: InputError (unknown name, unwritable folder); MissingDataError (no network, broken off, wrong checksum).
    """
    if name in TEXT_FILES:
        return _fetch_files(name, TEXT_FILES[name], root, say)
    entry = info(name)
    if entry.folders:
        raise MissingDataError(
            f"{name} cannot be fetched from here; accept its authors' terms and unpack it to {entry.folders[0]} in "
            f"the data root {paths.data_root(root)}."
        )
    if not entry.files:
        say(f"{name} needs no files; there is nothing to fetch.")
        return []
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
    return not published or all(ok for source in sources for ok, _ in _verify_source(entry, source))


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
    """Re-hash a data set's files and its cached arrays.

    Returns: (is right, sentence) per file and one for the cache; an absent split counts as not right.
    """
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
            lines.append((False, f"{name} ({split}) is not in {folder}: {_advice(entry)}"))
        else:
            lines += _verify_source(entry, source)
    lines = list(dict.fromkeys(lines))  # one tarball holds both splits
    count, broken = cache.damaged_entries(name)
    lines += [(False, line) for line in broken]
    if count and not broken:
        lines.append((True, f"cache: {count} decoded entries have the recorded SHA-256"))
    return lines


def _verify_source(entry: DatasetInfo, source: Source) -> list[tuple[bool, str]]:
    if not source.files:
        return [(True, f"{source.package} is here")]
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
