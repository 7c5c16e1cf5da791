"""Data sets: one registry, one call.

    train = load("cifar10", "train", limit=6000, size=16)
    for images, labels in batches(train, 128, shuffle=True, generator=g, transform=standard_augmentation("cifar10")):
        ...

`digits`, `glyphs` and `eyes` need no network and no files; the others lie under the data root (see data/README.md) or
are fetched with `python -m repro data fetch NAME`.
"""

from repro.datasets.core import Dataset, batches, find, split_half
from repro.datasets.loading import load
from repro.datasets.manage import Presence, fetch, list_datasets, verify
from repro.datasets.parallel import ParallelText, load_parallel
from repro.datasets.registry import REGISTRY, SPLITS, DatasetInfo, info
from repro.datasets.vocabulary import Vocabulary

__all__ = [
    "REGISTRY",
    "SPLITS",
    "Dataset",
    "DatasetInfo",
    "ParallelText",
    "Presence",
    "Vocabulary",
    "batches",
    "fetch",
    "find",
    "info",
    "list_datasets",
    "load",
    "load_parallel",
    "split_half",
    "verify",
]
