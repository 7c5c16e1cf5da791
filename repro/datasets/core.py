"""`load`, the Dataset that it returns, and ready-made batches."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from repro import paths
from repro.datasets import cifar, eyes, folders, glyphs, grey
from repro.datasets.cache import CachedSplit, cached, file_sha256
from repro.datasets.registry import SEGMENTATION, SPLITS, DatasetInfo, info
from repro.datasets.source import Source, damaged
from repro.datasets.subset import area_resize, channel_stats, middle_resize, stratified_order
from repro.datasets.transforms import Normalize
from repro.errors import InputError, MissingDataError, check_choice, check_int


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(torch.utils.data.Dataset):
    """One split in memory or memory-mapped; also a map-style torch Dataset of (normalised image, label).

    Attributes:
        images: (N, C, H, W) uint8, 0..255.
        labels: (N,) int64, 0..num_classes-1; of a segmentation set masks (N, H, W) uint8, 255 where nothing is said.
        mean, std: per channel, of the whole training split at this image size, on the scale 0..1.
        class_names: one name per class.
        provenance: where the data come from, JSON-able, without any folder of this machine.
    """

    name: str
    split: str
    images: torch.Tensor
    labels: torch.Tensor
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    provenance: dict

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything that training sees: shapes, pixels, labels, classes, mean and std.

        Independent of the machine, of folders and of the format that the files had.
        """
        digest = hashlib.sha256()
        statistics = [value.hex() for value in (*self.mean, *self.std)]
        digest.update(repr((tuple(self.images.shape), self.num_classes, statistics)).encode())
        digest.update(np.ascontiguousarray(self.images.numpy()))
        digest.update(np.ascontiguousarray(self.labels.numpy().astype("<i8")))
        return digest.hexdigest()

    @property
    def normalize(self) -> Normalize:
        """The transform from uint8 batches to float32 batches with this data set's mean and std."""
        return Normalize(self.mean, self.std)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.images.shape))
        return f"Dataset({self.name!r}, {self.split!r}, images={shape} uint8, num_classes={self.num_classes})"

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(C, H, W) float32, normalised, and its label as an int64 scalar, or its mask (H, W)."""
        return self.normalize(self.images[index][None])[0], self.labels[index]

    def subset(self, rows: np.ndarray | torch.Tensor, split: str | None = None, **record: object) -> Dataset:
        """The given rows, copied into memory, with the same mean and std; `record` is added to the provenance."""
        rows = torch.as_tensor(np.asarray(rows), dtype=torch.int64)
        return replace(
            self,
            split=split or self.split,
            images=self.images[rows],
            labels=self.labels[rows],
            provenance={**self.provenance, "rows": len(rows), **record},
        )


def load(
    name: str,
    split: str,
    root: str | os.PathLike | None = None,
    *,
    limit: int | None = None,
    subset_seed: int = 0,
    size: int | None = None,
) -> Dataset:
    """One split of a data set: `repro.datasets.load`, but for parts (`limit`) of data whose labels are masks."""
    entry = info(name)
    split = check_choice("split", split, SPLITS)
    if size is not None:
        size = check_int("size", size, minimum=1, maximum=256)
    check_int("subset_seed", subset_seed, minimum=0)
    size = None if size == entry.size else size
    folder = paths.data_root(root)
    stored = _stored(entry, split, size, folder)
    train = stored if split == "train" else _stored(entry, "train", size, folder)
    whole = Dataset(
        name=name,
        split=split,
        images=torch.from_numpy(stored.images),
        labels=torch.from_numpy(stored.labels),
        num_classes=entry.num_classes,
        mean=tuple(train.meta["mean"]),
        std=tuple(train.meta["std"]),
        class_names=tuple(stored.meta["class_names"]),
        provenance={k: v for k, v in stored.meta.items() if k not in ("mean", "std", "class_names", "cache_files")},
    )
    if limit is None:
        return whole
    limit = check_int("limit", limit, minimum=1)
    if limit > len(whole):
        raise InputError(f"limit={limit} is not allowed; {name} has {len(whole)} images in the split {split}.")
    if limit == len(whole):
        return whole
    rows = np.sort(stratified_order(stored.labels, subset_seed)[:limit])
    return whole.subset(rows, limit=limit, subset_seed=int(subset_seed))


def split_half(dataset: Dataset, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Two disjoint stratified halves of a data set, as architecture search uses for weights and for validation.

    The first half has the extra image if the number is odd. Splits are called e.g. "train/half-0" and "train/half-1".
    """
    check_int("seed", seed, minimum=0)
    if not isinstance(dataset, Dataset):
        raise InputError(f"dataset is a {type(dataset).__name__}; it must be one that repro.datasets.load gave.")
    order = stratified_order(dataset.labels.numpy() if dataset.labels.ndim == 1 else np.zeros(len(dataset)), seed)
    middle = (len(order) + 1) // 2
    parts = (np.sort(order[:middle]), np.sort(order[middle:]))
    halves = (dataset.subset(rows, f"{dataset.split}/half-{i}", half_seed=int(seed)) for i, rows in enumerate(parts))
    return tuple(halves)  # type: ignore[return-value]


def batches(
    dataset: Dataset,
    batch_size: int,
    *,
    shuffle: bool = False,
    generator: torch.Generator | None = None,
    transform: Callable[[torch.Tensor, torch.Generator | None], torch.Tensor] | None = None,
    drop_last: bool = False,
    device: torch.device | str | None = None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """One pass over a data set in ready batches: gather uint8 images, transform them, then normalise.

    Args:
        shuffle: a new order from `generator` (default: torch's global one) for this pass.
        transform: called as transform(images, generator) on (B, C, H, W) uint8; see repro.datasets.transforms.
        drop_last: leave out a last batch that is smaller than `batch_size`.
        device: move the uint8 images there before they are transformed.
    Yields:
        images (B, C, H, W) float32, normalised by the training split's mean and std; labels (B,) int64.
    Everything runs in the calling thread on whole batches, so the result depends on the generator's state alone.
    """
    batch_size = check_int("batch_size", batch_size, minimum=1)
    if transform is not None and dataset.labels.ndim > 1:
        raise InputError("transform moves images alone; repro.train.segmentation has transforms that move masks along.")
    number = len(dataset)
    order = torch.randperm(number, generator=generator) if shuffle else None
    normalize = dataset.normalize
    for start in range(0, number, batch_size):
        stop = min(start + batch_size, number)
        if drop_last and stop - start < batch_size:
            return
        rows = slice(start, stop) if order is None else order[start:stop]
        images, labels = dataset.images[rows], dataset.labels[rows]
        if device is not None:
            images, labels = images.to(device), labels.to(device)
        if transform is not None:
            images = transform(images, generator)
        yield normalize(images), labels


_DRAWN = {"glyphs": glyphs.locate, "eyes": eyes.locate}


def find(name: str, split: str, root: str | os.PathLike | None = None) -> Source | None:
    """Where a split lies, or None; MissingDataError if only a part of it is there."""
    entry, folder = info(name), paths.data_root(root)
    split = check_choice("split", split, SPLITS)
    if entry.name == "digits":
        return grey.locate_digits(split, folder)
    if entry.name in _DRAWN:
        return _DRAWN[entry.name](split, folder)
    if entry.folders:
        return folders.locate(entry, split, folder)
    if entry.name == "fashion-mnist":
        return grey.locate_fashion(split, folder)
    return cifar.locate(name, split, folder)


def find_or_explain(entry: DatasetInfo, split: str, root: str | os.PathLike | None) -> Source:
    """Where a split lies; MissingDataError that says what to do if it, or a part of it, is not there."""
    root = paths.data_root(root)
    source = find(entry.name, split, root)
    if source is not None:
        return source
    if entry.folders:
        raise MissingDataError(
            f"{entry.name} was not found at {entry.folders[0]} in the data root {root}; bring it yourself, in the "
            "layout that data/README.md shows, or point $REPRO_DATA (or root=) at the folder that holds it."
        )
    where = f"in the data root {root}" if root.is_dir() else f"because the data root {root} does not exist"
    places = "" if entry.name != "fashion-mnist" else " nor in Debian's folder (package dataset-fashion-mnist)"
    raise MissingDataError(
        f"{entry.name} ({split}) was not found {where}{places}; run `python -m repro data fetch {entry.name}`, "
        "or point $REPRO_DATA (or root=) at the folder that holds it (data/README.md shows the layouts)."
    )


def _stored(entry: DatasetInfo, split: str, size: int | None, root: Path) -> CachedSplit:
    """The cached split at one size; a resized one is made from the cached original."""
    source = find_or_explain(entry, split, root)
    if entry.folders:
        source.read()  # says how it is read
    files: list[dict[str, Any]]
    files = [{"file": source.relative(f), "bytes": f.stat().st_size, "sha256": file_sha256(f)} for f in source.files]
    _check_sums(entry, source, files)
    sums = [file["sha256"] for file in files] or [source.package]  # type: ignore[attr-defined]

    def build() -> CachedSplit:
        if size is None:
            return _decode(entry, source, files)
        original = _stored(entry, split, None, root)
        images = area_resize(original.images, size)
        meta = {k: v for k, v in original.meta.items() if k != "cache_files"}
        labels = np.array(original.labels)
        if entry.task == SEGMENTATION:
            labels = middle_resize(labels, size)
        return CachedSplit(images, labels, _with_stats({**meta, "size": size}, images))

    return cached(entry.name, split, size, sums, build)


def _decode(entry: DatasetInfo, source: Source, files: list[dict]) -> CachedSplit:
    decoded = source.read()
    images, labels = np.ascontiguousarray(decoded.images), decoded.labels
    shape = (len(labels), entry.channels, entry.size, entry.size)
    if images.dtype != np.uint8 or images.shape != shape:
        raise damaged(source.files[0] if source.files else source.kind, f"images are {images.shape}, not {shape}")
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= entry.num_classes:
        raise damaged(source.files[0] if source.files else source.kind, f"labels are not 0..{entry.num_classes - 1}")
    names = decoded.class_names or entry.class_names
    if names is None or len(names) != entry.num_classes:
        names = tuple(map(str, range(entry.num_classes)))
    meta = {
        "name": entry.name,
        "split": source.split,
        "source": source.kind if files else source.package,  # type: ignore[attr-defined]
        "files": files,
        "rows": len(labels),
        "complete": len(labels) == entry.rows[source.split],
        "size": entry.size,
        "class_names": list(names),
        "lossy": False,
        **decoded.details,
    }
    return CachedSplit(images, labels, _with_stats(meta, images))


def _with_stats(meta: dict, images: np.ndarray) -> dict:
    mean, std = channel_stats(images)
    return {**meta, "mean": list(mean), "std": list(std)}


def _check_sums(entry: DatasetInfo, source: Source, files: list[dict]) -> None:
    """Refuse an official tarball whose SHA-256 is not the published one; other layouts have no published sums."""
    if not isinstance(source, cifar.TarballSource):
        return
    (published,) = entry.files
    (file,) = files
    if file["sha256"] != published.sha256:
        size = (
            f"{file['bytes']} of {published.num_bytes} bytes"
            if file["bytes"] != published.num_bytes
            else "its size is right"
        )
        raise damaged(source.files[0], f"its SHA-256 is not the published one; {size}")
