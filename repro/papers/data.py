"""The data of an experiment: a stated part of a data set at a stated size, loaded once per process."""

from __future__ import annotations

import dataclasses
import functools
import hashlib

from repro.train.data import TensorData, prepare


@dataclasses.dataclass(frozen=True)
class DataRecipe:
    """Which images an experiment sees.

    Attributes:
        dataset: name in `repro.datasets`.
        train_images, test_images: how many, classes in proportion; None for the whole split.
        size: side of the images in pixels after resizing; None for the data set's own.
        held_out: share of the training images that is kept from the weights (a supernet's warm-up threshold is measured
            there, never on the test images that a ranking is judged on).
    """

    dataset: str
    train_images: int | None = None
    test_images: int | None = None
    size: int | None = None
    held_out: float = 0.0


@dataclasses.dataclass(frozen=True)
class Splits:
    """Prepared tensors: `train` for weights, `held_out` for choices during training, `test` for the result."""

    train: TensorData
    held_out: TensorData
    test: TensorData
    num_classes: int

    @property
    def in_channels(self) -> int:
        return self.train.images.shape[1]


@functools.lru_cache(maxsize=4)
def _sources(recipe: DataRecipe):
    from repro.datasets import load

    train = load(recipe.dataset, "train", limit=recipe.train_images, size=recipe.size)
    return train, load(recipe.dataset, "test", limit=recipe.test_images, size=recipe.size)


def data_fingerprint(recipe: DataRecipe) -> str:
    """Sixteen hex digits over both splits' contents."""
    train, test = _sources(recipe)
    return hashlib.sha256(f"{train.fingerprint}{test.fingerprint}".encode()).hexdigest()[:16]


@functools.lru_cache(maxsize=4)
def load_splits(recipe: DataRecipe) -> Splits:
    """The recipe's images as normalised float32 tensors."""
    from repro.datasets.subset import stratified_order

    train, test = _sources(recipe)
    kept = round(len(train) * (1 - recipe.held_out))
    order = stratified_order(train.labels.numpy(), seed=0)
    weights, held_out = train.subset(sorted(order[:kept])), train.subset(sorted(order[kept:]))
    return Splits(prepare(weights), prepare(held_out), prepare(test), train.num_classes)


def describe_data(recipe: DataRecipe) -> str:
    """For a table's label: "CIFAR-10-like name, images, size"."""
    train, test = _sources(recipe)
    side = train.images.shape[-1]
    return f"{recipe.dataset}, {len(train)} training and {len(test)} test images of {side}x{side}"
