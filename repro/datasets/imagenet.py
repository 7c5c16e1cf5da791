"""The user's own ImageNet, imagenet/train/CLASS and imagenet/val/CLASS: whether it is there and how much of it.

`repro.train.imagefolder.ImageFolder` reads it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from repro.errors import MissingDataError

IMAGENET = "imagenet"
SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")
ROWS = {"train": 1281167, "val": 50000}  # Russakovsky et al. 2015, table 2
NUM_CLASSES = 1000


def classes(root: Path) -> tuple[str, ...]:
    """Names of the classes, which both parts hold; () if there is no folder. MissingDataError if a part is missing."""
    folder = root / IMAGENET
    if not folder.is_dir():
        return ()
    found = {}
    for part in ROWS:
        if not (folder / part).is_dir():
            raise MissingDataError(f"{part} is missing from {folder}; images are expected as {part}/class/image.jpeg.")
        found[part] = tuple(_visible(folder / part, os.DirEntry.is_dir))
        if not found[part]:
            raise MissingDataError(f"{folder / part} is empty; images are expected as {part}/class/image.jpeg.")
    if found["train"] != found["val"]:
        raise MissingDataError(f"train and val in {folder} hold different classes; copy what is missing.")
    return found["train"]


def count(root: Path, part: str) -> int:
    """How many images a part holds; none is opened."""
    place = root / IMAGENET / part
    names = (name for one in _visible(place, os.DirEntry.is_dir) for name in _visible(place / one, os.DirEntry.is_file))
    return sum(name.lower().endswith(SUFFIXES) for name in names)


def _visible(folder: Path, kind: Callable[[os.DirEntry], bool]) -> list[str]:
    """Sorted names of what lies in `folder`, is of that kind and not hidden."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and kind(entry))
