"""`load` for every task. What `core.load` keeps of a data set it chooses by class, and a mask is of many classes."""

from __future__ import annotations

import os

import numpy as np

from repro.datasets import core
from repro.datasets.registry import SEGMENTATION, info
from repro.datasets.subset import stratified_order
from repro.errors import check_int


def load(
    name: str,
    split: str,
    root: str | os.PathLike | None = None,
    *,
    limit: int | None = None,
    subset_seed: int = 0,
    size: int | None = None,
) -> core.Dataset:
    """Load one split of a data set.

    Args:
        name: "digits", "glyphs", "fashion-mnist", "cifar10" or "cifar100"; "eyes", whose labels are masks (N, H, W)
            uint8. Data sets too large to be held are opened with `repro.train.folders.open_folder`.
        split: "train" or "test". For a validation part of the training data see `split_half`.
        root: the data root; default $REPRO_DATA, else data/raw.
        limit: keep this many images, classes in proportion (within one image), chosen by `subset_seed`; a smaller
            limit with the same seed is contained in a larger one. Rows keep their order. Images with masks are chosen
            without regard to classes.
        size: resize to size x size by exact area averages, masks to the class in the middle of each; mean and std
            are those of the resized training split.
    Returns:
        A Dataset. Whole splits are memory-mapped from the cache, which the first call fills.
    Raises: InputError for an unknown name or split or a bad number; MissingDataError if files are absent or damaged.
    """
    if limit is None or info(name).task != SEGMENTATION:
        return core.load(name, split, root, limit=limit, subset_seed=subset_seed, size=size)
    whole = core.load(name, split, root, subset_seed=subset_seed, size=size)
    limit = check_int("limit", limit, minimum=1, maximum=len(whole))
    rows = np.sort(stratified_order(np.zeros(len(whole)), subset_seed)[:limit])
    return whole.subset(rows, limit=limit, subset_seed=int(subset_seed))
