"""The data of an entry: a stated part of a data set at a stated size, loaded once per process."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

import torch

from repro.datasets import REGISTRY, SPLITS
from repro.datasets.imagenet import IMAGENET
from repro.datasets.registry import SEGMENTATION
from repro.errors import MissingDataError
from repro.papers.text_data import TextRecipe
from repro.paths import data_root
from repro.train.data import Batch, TensorData, prepare
from repro.train.folders import open_folder
from repro.train.imagefolder import ImageFolder


@dataclasses.dataclass(frozen=True)
class DataRecipe:
    """Which images an entry sees.

    Attributes:
        dataset: name in `repro.datasets`, or "imagenet" for the user's own folder.
        train_images, test_images: how many, classes in proportion; None for the whole split.
        size: side of the images in pixels after resizing; None for the data set's own.
        held_out: share of the training images that is kept from the weights (a supernet's warm-up threshold is measured
            there, never on the test images that a ranking is judged on).
        tested_on: "test", or "held out" where settings are chosen: the test images are then not looked at.
    """

    dataset: str
    train_images: int | None = None
    test_images: int | None = None
    size: int | None = None
    held_out: float = 0.0
    tested_on: str = "test"

    @property
    def facts(self) -> dict[str, int]:
        """side (pixels), in_channels and num_classes of the images, without loading them."""
        if self.dataset == IMAGENET:
            return {"side": self.size or 224, "in_channels": 3, "num_classes": 1000}
        info = REGISTRY[self.dataset]
        return {"side": self.size or info.size, "in_channels": info.channels, "num_classes": info.num_classes}


def device() -> torch.device:
    """The accelerator if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class OnDevice:
    """An ImageFolder whose batches and labels lie on `device`."""

    def __init__(self, folder: ImageFolder, device: torch.device):
        self.folder, self.device = folder, device
        self.labels = folder.labels.to(device)

    def __len__(self) -> int:
        return len(self.folder)

    def batches(self, *args, **options) -> Iterator[Batch]:
        """As `ImageFolder.batches`."""
        for images, labels, share in self.folder.batches(*args, **options):
            yield Batch(images.to(self.device), labels.to(self.device), share)

    def input_batches(self, *args, **options) -> Iterator[torch.Tensor]:
        """As `ImageFolder.input_batches`."""
        return (images.to(self.device) for images in self.folder.input_batches(*args, **options))


@dataclasses.dataclass(frozen=True)
class Splits:
    """Images ready for training: `train` for weights, `held_out` for choices during training, `test` for the result."""

    train: TensorData | OnDevice
    held_out: TensorData | None
    test: TensorData | OnDevice


def _imagenet(split: str, side: int) -> ImageFolder:
    root = data_root() / IMAGENET
    if not root.is_dir():
        raise MissingDataError(
            "ImageNet is not there; put it under imagenet/train/<class> and imagenet/val/<class> of the data folder "
            "(set by REPRO_DATA)."
        )
    return ImageFolder(root, split, size=side)


def _folders(recipe: DataRecipe):
    """Training and test images that are read file by file."""
    if recipe.dataset != IMAGENET:
        return (open_folder(recipe.dataset, split, size=recipe.facts["side"]) for split in SPLITS)
    train, test = (_imagenet(split, recipe.facts["side"]) for split in ("train", "val"))
    if train.class_names != test.class_names:
        raise MissingDataError("imagenet/train and imagenet/val hold different classes; copy what is missing.")
    return train, test


@functools.lru_cache(maxsize=4)
def _sources(recipe: DataRecipe):
    from repro.datasets.core import load

    train = load(recipe.dataset, "train", limit=recipe.train_images, size=recipe.size)
    return train, load(recipe.dataset, "test", limit=recipe.test_images, size=recipe.size)


def data_fingerprint(recipe: DataRecipe | TextRecipe) -> str:
    """Sixteen hex digits over all splits' contents; over the file names of sets whose reading takes an hour."""
    if isinstance(recipe, TextRecipe):
        return recipe.fingerprint
    if not _lazy(recipe):
        train, test = _whole_sources(recipe)
        return hashlib.sha256(f"{train.fingerprint}{test.fingerprint}".encode()).hexdigest()[:16]
    digest = hashlib.sha256()
    for files in _listed_files(recipe):
        digest.update("\n".join(f"{file.parent.name}/{file.name}" for file in files).encode())
    return digest.hexdigest()[:16]


def _lazy(recipe: DataRecipe) -> bool:
    """Whether the images are read file by file."""
    return recipe.dataset == IMAGENET or bool(REGISTRY[recipe.dataset].folders)


def _listed_files(recipe: DataRecipe) -> Iterator[list[Path]]:
    if recipe.dataset == IMAGENET:
        return (_imagenet(split, recipe.facts["side"]).files for split in ("train", "val"))
    return (open_folder(recipe.dataset, split, size=recipe.size).files for split in SPLITS)


def _whole_sources(recipe: DataRecipe):
    """Both splits in memory, of classes or of masks."""
    return _mask_sources(recipe) if REGISTRY[recipe.dataset].task == SEGMENTATION else _sources(recipe)


@functools.lru_cache(maxsize=4)
def _mask_sources(recipe: DataRecipe):
    from repro.datasets import load

    train = load(recipe.dataset, "train", limit=recipe.train_images, size=recipe.size)
    return train, load(recipe.dataset, "test", limit=recipe.test_images, size=recipe.size)


def data_source(recipe: DataRecipe | TextRecipe) -> dict[str, str]:
    """What a record says of its images: name, fingerprint, source, and a note if they are not the originals."""
    if isinstance(recipe, TextRecipe):
        return recipe.source
    about = {"dataset": recipe.dataset, "fingerprint": data_fingerprint(recipe)}
    if _lazy(recipe):
        return about | {"source": "folder of the user"}
    known = _whole_sources(recipe)[0].provenance
    return about | {name: known[name] for name in ("source", "note") if name in known}


@functools.lru_cache(maxsize=4)
def load_splits(recipe: DataRecipe) -> Splits:
    """The recipe's images as normalised float32 inputs; sets of files are read batch by batch."""
    from repro.datasets.subset import stratified_order

    if _lazy(recipe):
        train, test = _folders(recipe)
        return Splits(OnDevice(train, device()), None, OnDevice(test, device()))
    train, test = _sources(recipe)
    kept = round(len(train) * (1 - recipe.held_out))
    order = stratified_order(train.labels.numpy(), seed=0)
    weights, held_out = train.subset(sorted(order[:kept])), train.subset(sorted(order[kept:]))
    judges = prepare(held_out if recipe.tested_on == "held out" else test)
    return Splits(prepare(weights), prepare(held_out), judges)
