"""Random images and sentences in place of data sets that are not here: enough to measure what a training takes.

They are as many and as large as the published ones (sentences: as long, but fewer, see `stand_ins`), and show nothing.
Reading and decoding files is not part of what they take.
"""

from __future__ import annotations

import contextlib
import functools
import string
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from repro.datasets import REGISTRY, ParallelText
from repro.datasets.core import Dataset, find
from repro.datasets.imagenet import IMAGENET, NUM_CLASSES, ROWS
from repro.datasets.parallel import text_files
from repro.datasets.registry import SEGMENTATION, SPLITS
from repro.datasets.transforms import Normalize
from repro.papers import data, segmentation_jobs, text_data
from repro.papers.data import DataRecipe
from repro.papers.text_data import TextRecipe
from repro.paths import data_root
from repro.train import folders
from repro.train.folders import ListedImages, MaskFolder
from repro.train.imagefolder import ImageFolder

FEW = 256
"""Images of a split of which no number is asked for."""
WMT14_PAIRS = {"wmt14-en-de": 4_500_000, "wmt14-en-fr": 36_300_000}
"""Pairs of training sentences (ShiftAddNAS, Sec. 4.1)."""
SENTENCES, WORDS, MEAN_WORDS = 20_000, 60_000, 25
"""Pairs drawn, different words of a language, and mean words of a sentence."""
NORMALIZE = Normalize((0.5,) * 3, (0.25,) * 3)


@contextlib.contextmanager
def stand_ins() -> Iterator[dict[str, float]]:
    """For the time of a measurement, a recipe whose data are not here gets random ones; damaged data raise as ever.

    Yields: by the name of every data set that was stood in for, how many times longer an epoch of the published one is
    (1 but for sentences).
    """
    used: dict[str, float] = {}
    places = [
        (data, "_sources", functools.partial(_sources, data._sources, used)),
        (data, "_imagenet", functools.partial(_imagenet, data._imagenet, used)),
        (data, "open_folder", functools.partial(_open_folder, data.open_folder, used)),
        (data, "_listed_files", functools.partial(_listed_files, data._listed_files, used)),
        (folders, "open_folder", functools.partial(_open_folder, folders.open_folder, used)),
        (text_data, "_texts", functools.partial(_texts, text_data._texts, used)),
    ]
    kept = [(module, name, getattr(module, name)) for module, name, _ in places]
    loaded = (data.load_splits, text_data.load_text, segmentation_jobs.mask_splits)
    try:
        for module, name, replacement in places:
            setattr(module, name, replacement)
        yield used
    finally:
        for module, name, original in kept:
            setattr(module, name, original)
        for cached in (*loaded, _images):
            cached.cache_clear()


def _sources(original: Callable, used: dict[str, float], recipe: DataRecipe) -> tuple[Dataset, Dataset]:
    if find(recipe.dataset, "train") is not None:
        return original(recipe)
    used[recipe.dataset] = 1.0
    return _images(recipe, "train", recipe.train_images), _images(recipe, "test", FEW)


@functools.lru_cache(maxsize=4)
def _images(recipe: DataRecipe, split: str, number: int | None) -> Dataset:
    entry, facts, number = REGISTRY[recipe.dataset], recipe.facts, number or FEW
    shape = (number, facts["in_channels"], facts["side"], facts["side"])
    return Dataset(
        name=entry.name,
        split=split,
        images=torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
        labels=torch.arange(number) % entry.num_classes,
        num_classes=entry.num_classes,
        mean=(0.5,) * entry.channels,
        std=(0.25,) * entry.channels,
        class_names=entry.class_names or _names(entry.num_classes),
        provenance={"source": "random numbers"},
    )


def _names(number: int) -> tuple[str, ...]:
    return tuple(map(str, range(number)))


def _folder(cls: type[ImageFolder], number: int, num_classes: int, size: int) -> ImageFolder:
    """An ImageFolder or a MaskFolder that reads nothing: every image has the same random pixels (and classes)."""
    masks = issubclass(cls, MaskFolder)
    read = torch.randint(0, 256, (3, size, size), dtype=torch.uint8)
    if masks:
        read = torch.cat([read, torch.randint(0, num_classes, (1, size, size), dtype=torch.uint8)])
    files = [Path("class/image")] * number
    folder = object.__new__(cls)
    folder.size, folder.threads, folder.class_names, folder.files = size, 1, list(_names(num_classes)), files
    folder.labels = torch.full((number,), num_classes - 1) if masks else torch.arange(number) % num_classes
    folder.normalize = (lambda stacked: stacked) if masks else NORMALIZE
    if masks:
        folder.mask_files, folder._as_inputs = files, NORMALIZE
    folder._read = lambda row, draw: read  # of the object, so that a part of it (`take`) has it, too
    return folder


def _imagenet(original: Callable, used: dict[str, float], split: str, side: int) -> ImageFolder:
    if (data_root() / IMAGENET).exists():
        return original(split, side)
    used[IMAGENET] = 1.0
    return _folder(ImageFolder, ROWS[split] if split == "train" else FEW, NUM_CLASSES, side)


def _open_folder(
    original: Callable, used: dict[str, float], name: str, split: str, root=None, *, size: int | None = None, **options
) -> ImageFolder:
    if find(name, split, root) is not None:
        return original(name, split, root, size=size, **options)
    used[name] = 1.0
    entry = REGISTRY[name]
    number = entry.rows["train"] if split == SPLITS[0] else FEW
    cls = MaskFolder if entry.task == SEGMENTATION else ListedImages
    return _folder(cls, number, entry.num_classes, size or entry.size)


def _listed_files(original: Callable, used: dict[str, float], recipe: DataRecipe) -> Iterable[list[Path]]:
    """One name for all files, where a fingerprint would read a million."""
    here = (data_root() / IMAGENET).exists() if recipe.dataset == IMAGENET else find(recipe.dataset, "train")
    if here:
        return original(recipe)
    used[recipe.dataset] = 1.0
    return ([Path("class/image")] for _ in SPLITS)


def _texts(original: Callable, used: dict[str, float], recipe: TextRecipe) -> dict[str, ParallelText]:
    if recipe.dataset not in WMT14_PAIRS or any(text_files(recipe.dataset).values()):
        return original(recipe)
    used[recipe.dataset] = WMT14_PAIRS[recipe.dataset] / SENTENCES
    return _drawn_texts(recipe)


@functools.lru_cache(maxsize=2)
def _drawn_texts(recipe: TextRecipe) -> dict[str, ParallelText]:
    """Words of Zipf's frequencies; a sentence and its translation have about as many."""
    draw = np.random.default_rng(0)
    letters = np.array(list(string.ascii_lowercase))
    words = ["".join(draw.choice(letters, size)) for size in draw.integers(2, 11, WORDS)]
    frequency = 1 / np.arange(1, WORDS + 1)
    frequency /= frequency.sum()
    ends = np.maximum(1, draw.poisson(MEAN_WORDS, SENTENCES)).cumsum()

    def side() -> tuple[str, ...]:
        chosen = draw.choice(WORDS, ends[-1], p=frequency)
        return tuple(" ".join(words[i] for i in part) for part in np.split(chosen, ends[:-1]))

    sides = tuple(side() for _ in recipe.languages)
    whole = ParallelText(recipe.dataset, "train", recipe.languages, sides, "random", {"files": [], "rows": SENTENCES})
    return {"train": whole, "validation": whole.first(FEW), "test": whole.first(FEW)}
