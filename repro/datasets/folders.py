"""Data sets of many files in their published layouts: which files a split has, and their classes or masks.

Nothing is decoded here; `repro.train.folders.open_folder` reads images batch by batch. A split is complete or refused:
each reader names the first part that is missing.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from repro.datasets.registry import DatasetInfo
from repro.datasets.source import Decoded, Source, damaged, read_bounded
from repro.errors import InputError, MissingDataError

MAX_MAT_BYTES = 2**25
"""Of a MATLAB file, unpacked: several times the largest of a known data set."""


_MAT_HEADER, _MAT_COMPRESSED = 128, 15


def _check_unpacked(raw: bytes) -> None:
    """Refuse a MATLAB file (version 5) whose variables, each compressed by itself, unpack to more than allowed."""
    order = {b"IM": "<", b"MI": ">"}.get(raw[_MAT_HEADER - 2 : _MAT_HEADER])
    at, left = _MAT_HEADER, MAX_MAT_BYTES
    while order and at + 8 <= len(raw):
        kind, size = struct.unpack(f"{order}II", raw[at : at + 8])
        at += 8
        if kind == _MAT_COMPRESSED:
            left -= len(zlib.decompressobj().decompress(raw[at : at + size], left + 1))
        if left < 0:
            raise ValueError(f"it unpacks to more than {MAX_MAT_BYTES} bytes")
        at += size


@dataclass(frozen=True)
class Listing:
    """Files of one split: images, and for each its class (N,) int64, or the file with its mask."""

    images: tuple[Path, ...]
    class_names: tuple[str, ...]
    labels: np.ndarray | None = None
    masks: tuple[Path, ...] = ()


@dataclass(frozen=True)
class FolderSource(Source):
    """A folder with one split of one data set."""

    kind = "published layout"

    def read(self) -> Decoded:
        """Too large to be held: always an InputError."""
        raise InputError(
            f"{self.name} is read batch by batch; open it with repro.train.folders.open_folder({self.name!r}, "
            f"{self.split!r})."
        )

    def listing(self) -> Listing:
        """The split's files. Raises: MissingDataError naming the first part that is missing or damaged."""
        (folder,) = self.files
        layout = _Layout(folder)
        found = _READERS[self.name](layout, self.split)
        if not found.images:
            raise damaged(folder, f"its split {self.split} names no images")
        if found.labels is not None and not 0 <= found.labels.min() <= found.labels.max() < len(found.class_names):
            raise damaged(folder, f"a class is not one of the {len(found.class_names)} that it names")
        layout.check((*found.images, *found.masks))
        return found


def locate(entry: DatasetInfo, split: str, root: Path) -> FolderSource | None:
    """The first of the folders that the entry may lie in, or None; what is in it, `listing` looks at."""
    folder = next((root / name for name in entry.folders if (root / name).is_dir()), None)
    return None if folder is None else FolderSource(entry.name, split, root, (folder,))


class _Layout:
    """What lies in a data set's folder; a part that is missing or damaged is a MissingDataError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def absent(self, path: Path, more: int = 0) -> MissingDataError:
        others = f" (and {more} more)" if more else ""
        return MissingDataError(
            f"{path.relative_to(self.folder).as_posix()}{others} is missing from {self.folder}; unpack the published "
            "archives there, as data/README.md shows."
        )

    def check(self, files: Sequence[Path]) -> None:
        """Whether all files are there, reading each folder once."""
        known: dict[Path, set[str]] = {}
        for file in files:
            if file.parent not in known:
                known[file.parent] = set(os.listdir(file.parent)) if file.parent.is_dir() else set()
        missing = [file for file in files if file.name not in known[file.parent]]
        if missing:
            raise self.absent(missing[0], len(missing) - 1)

    def stems(self, folder: str, suffix: str) -> list[str]:
        """Sorted names of the files with a suffix, without it; hidden ones left out."""
        path = self.folder / folder
        if not path.is_dir():
            raise self.absent(path)
        names = (name for name in os.listdir(path) if name.endswith(suffix) and not name.startswith("."))
        return sorted(name.removesuffix(suffix) for name in names)

    def lines(self, name: str) -> list[str]:
        """The lines of a text file that are not empty."""
        file = self.folder / name
        if not file.is_file():
            raise self.absent(file)
        try:
            return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise damaged(file, error) from error

    def mat(self, name: str, variable: str) -> np.ndarray:
        """One variable of a MATLAB file as a row (N,): numbers, texts, or records of a struct."""
        from scipy.io import loadmat

        file = self.folder / name
        if not file.is_file():
            raise self.absent(file)
        try:
            raw = read_bounded(file, MAX_MAT_BYTES)
            _check_unpacked(raw)
            row = np.atleast_1d(loadmat(io.BytesIO(raw), squeeze_me=True, variable_names=[variable])[variable])
        except KeyError as error:
            raise damaged(file, f"it has no {variable}") from error
        except Exception as error:  # scipy has no common class for what a foreign file raises
            raise damaged(file, error) from error
        if row.ndim != 1:
            raise damaged(file, f"{variable} has the shape {row.shape}, not one row")
        return row

    def whole(self, name: str, variable: str) -> np.ndarray:
        """A row of whole numbers (N,) int64 of a MATLAB file."""
        row = self.mat(name, variable)
        if not np.issubdtype(row.dtype, np.number) or (row != np.round(row)).any():
            raise damaged(self.folder / name, f"{variable} is not a row of whole numbers")
        return row.astype(np.int64)


# ------------------------------------------------------------------ readers: (layout, "train" or "test") -> Listing


def _food101(layout: _Layout, split: str) -> Listing:
    """Bossard et al. 2014: images/CLASS/NUMBER.jpg, meta/classes.txt, meta/train.txt and test.txt of CLASS/NUMBER."""
    names = tuple(layout.lines("meta/classes.txt"))
    number = {name: label for label, name in enumerate(names)}
    listed = layout.lines(f"meta/{split}.txt")
    labels = np.array([number.get(line.partition("/")[0], -1) for line in listed], dtype=np.int64)
    return Listing(tuple(layout.folder / "images" / f"{line}.jpg" for line in listed), names, labels)


def _flowers102(layout: _Layout, split: str) -> Listing:
    """Nilsback and Zisserman 2008: jpg/image_00001.jpg, imagelabels.mat, setid.mat.

    Training images are `trnid` and `valid` together, 2,040, as in work on transfer (Kornblith et al. 2019).
    """
    every = layout.whole("imagelabels.mat", "labels")
    parts = {"train": ("trnid", "valid"), "test": ("tstid",)}[split]
    rows = np.sort(np.concatenate([layout.whole("setid.mat", part) for part in parts]))
    if rows.min(initial=1) < 1 or rows.max(initial=1) > len(every):
        raise damaged(layout.folder / "setid.mat", f"it names images beyond the {len(every)} of imagelabels.mat")
    images = tuple(layout.folder / "jpg" / f"image_{row:05d}.jpg" for row in rows)
    return Listing(images, tuple(str(label) for label in range(1, 103)), every[rows - 1] - 1)


def _whole(value) -> int:
    if value != int(value):
        raise ValueError(f"{value} is no whole number")
    return int(value)


def _cars(layout: _Layout, split: str) -> Listing:
    """Krause et al. 2013: cars_train/, cars_test/, devkit/; the test labels in cars_test_annos_withlabels.mat."""
    file = "devkit/cars_train_annos.mat"
    if split == "test":
        file = "cars_test_annos_withlabels.mat"
        file = file if (layout.folder / file).is_file() else f"devkit/{file}"
    names = tuple(map(str, layout.mat("devkit/cars_meta.mat", "class_names")))
    records = layout.mat(file, "annotations")
    try:
        images = tuple(layout.folder / f"cars_{split}" / str(record["fname"]) for record in records)
        labels = np.array([_whole(record["class"]) - 1 for record in records], dtype=np.int64)
    except (KeyError, IndexError, ValueError, TypeError, OverflowError) as error:
        raise damaged(layout.folder / file, "an image has no fname and class") from error
    return Listing(images, names, labels)


def _pets(layout: _Layout, split: str) -> Listing:
    """Parkhi et al. 2012: images/Breed_7.jpg, annotations/trainval.txt and test.txt of NAME CLASS SPECIES BREED."""
    file = f"annotations/{'trainval' if split == 'train' else 'test'}.txt"
    rows = [line.split() for line in layout.lines(file) if not line.startswith("#")]
    try:
        labels = np.array([int(row[1]) - 1 for row in rows], dtype=np.int64)
    except (IndexError, ValueError, OverflowError) as error:
        raise damaged(layout.folder / file, "a line is not NAME CLASS SPECIES BREED") from error
    name_of = {label: row[0].rpartition("_")[0] for row, label in zip(rows, labels.tolist())}
    names = tuple(name_of.get(label, str(label + 1)) for label in range(37))
    return Listing(tuple(layout.folder / "images" / f"{row[0]}.jpg" for row in rows), names, labels)


VOC_CLASSES = tuple(
    (
        "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
        "pottedplant sheep sofa train tvmonitor"
    ).split()
)


def _voc(layout: _Layout, split: str) -> Listing:
    """Everingham et al. 2012, segmentation: JPEGImages/, SegmentationClass/ (255: ignored), ImageSets/Segmentation/.

    Labels of its own test images are not public: "test" are the 1,449 of `val`.
    """
    listed = layout.lines(f"ImageSets/Segmentation/{'train' if split == 'train' else 'val'}.txt")
    images = tuple(layout.folder / "JPEGImages" / f"{name}.jpg" for name in listed)
    masks = tuple(layout.folder / "SegmentationClass" / f"{name}.png" for name in listed)
    return Listing(images, VOC_CLASSES, masks=masks)


def _openeds(layout: _Layout, split: str) -> Listing:
    """Garbin et al. 2019, semantic segmentation: train/ and validation/, each with images/NAME.png and labels/NAME.npy.

    "test" are the 2,403 images of `validation`: not every copy has labels of the challenge's test images.
    """
    part = "train" if split == "train" else "validation"
    names, place = layout.stems(f"{part}/images", ".png"), layout.folder / part
    images = tuple(place / "images" / f"{name}.png" for name in names)
    masks = tuple(place / "labels" / f"{name}.npy" for name in names)
    return Listing(images, ("background", "sclera", "iris", "pupil"), masks=masks)


_READERS: dict[str, Callable[[_Layout, str], Listing]] = {
    "food101": _food101,
    "flowers102": _flowers102,
    "stanford-cars": _cars,
    "pets": _pets,
    "voc2012": _voc,
    "openeds": _openeds,
}
