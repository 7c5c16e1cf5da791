"""Mini-batches of whole tensors: no Python work per sample, every order and transform a function of (seed, epoch)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import torch

from repro.datasets import Dataset
from repro.errors import InputError, refuse

Transform = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
WHOLE = slice(None)


class Batch(NamedTuple):
    """Inputs (B, C, H, W) float32, labels (B,), and which share of the global batch they are (1 in one process)."""

    inputs: torch.Tensor
    labels: torch.Tensor
    share: float

    def parts(self, count: int) -> list[Batch]:
        """At most `count` parts of about equal size, whose shares add up to this one's."""
        if count == 1:
            return [self]
        pieces = zip(self.inputs.chunk(count), self.labels.chunk(count))
        return [Batch(inputs, labels, self.share * len(labels) / len(self.labels)) for inputs, labels in pieces]


class Examples(Protocol):
    """What networks learn from and are tested on: a data set of `repro.datasets`, TensorData or an ImageFolder."""

    @property
    def labels(self) -> Any: ...

    def __len__(self) -> int: ...


class Prepared(Examples, Protocol):
    """Examples that hand out batches: TensorData, an ImageFolder, or a class of yours that does the same."""

    def batches(
        self, batch_size: int, generator: torch.Generator, transform: Transform | None = None, share: slice = WHOLE
    ) -> Iterator[Batch]: ...

    def input_batches(self, batch_size: int, limit: int | None = None) -> Iterator[torch.Tensor]: ...


@dataclass(frozen=True)
class TensorData:
    """Examples ready for training: images (N, C, H, W), labels (N,) int64, and how stored images become inputs.

    `normalize` turns a stored batch (uint8) into float32 inputs; None says that the images are inputs already.
    """

    images: torch.Tensor
    labels: torch.Tensor
    normalize: Callable[[torch.Tensor], torch.Tensor] | None = None

    def __post_init__(self):
        for name, value in (("images", self.images), ("labels", self.labels)):
            if not hasattr(value, "shape"):
                raise InputError(f"{name} is a {type(value).__name__}; it must be a tensor.")
        if self.images.ndim != 4 or self.labels.shape != self.images.shape[:1]:
            raise InputError(
                f"images of shape {tuple(self.images.shape)} with labels of shape {tuple(self.labels.shape)} "
                "do not fit; expected (N, C, H, W) and (N,)."
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def digest(self) -> str:
        """SHA-256 of images, labels and how images become inputs."""
        return digest_of(self.images, self.labels, self.inputs(slice(0, 1)))

    def take(self, index: torch.Tensor | slice) -> TensorData:
        """The examples at `index`."""
        return replace(self, images=self.images[index], labels=self.labels[index])

    def inputs(self, index: torch.Tensor | slice) -> torch.Tensor:
        """Network inputs of the examples at `index`, float32."""
        return self.as_inputs(self.images[index])

    def as_inputs(self, images: torch.Tensor) -> torch.Tensor:
        """Network inputs of stored images."""
        return images if self.normalize is None else self.normalize(images)

    def input_batches(self, batch_size: int, limit: int | None = None) -> Iterator[torch.Tensor]:
        """Inputs of the first `limit` examples in order, in batches."""
        stop = len(self) if limit is None else min(limit, len(self))
        for start in range(0, stop, batch_size):
            yield self.inputs(slice(start, min(start + batch_size, stop)))

    def batches(
        self, batch_size: int, generator: torch.Generator, transform: Transform | None = None, share: slice = WHOLE
    ) -> Iterator[Batch]:
        """One shuffled pass in batches of `batch_size`; `transform(images, generator)` sees the stored images (uint8).

        A last batch smaller than half a batch is left out of the epoch: its few examples would weigh more in batch
        norm and in the adaptive rate than all others. With fewer examples than one batch, one batch holds them all.
        `share` cuts one process's rows out of each batch after its transforms, so that these do not depend on it.
        """
        order = torch.randperm(len(self), generator=generator).to(self.labels.device)
        for start in range(0, steps_per_epoch(len(self), batch_size) * batch_size, batch_size):
            index = order[start : start + batch_size]
            images = self.images[index]
            if transform is not None:
                images = transform(images, generator)
            labels = self.labels[index][share]
            yield Batch(self.as_inputs(images[share]), labels, len(labels) / len(index))


def prepare(data: Examples, device: torch.device | str = "cpu") -> Prepared:
    """TensorData of a data set from `repro.datasets` (kept as uint8, normalised batch by batch) on `device`.

    TensorData is moved to `device`; anything else that brings its own `batches` and `input_batches` (an ImageFolder)
    passes through. Raises: InputError for what is no data, for labels that are not whole numbers, and for a data set
    whose `__getitem__` does something of its own, since whole tensors are taken and it would never be called.
    """
    if hasattr(data, "input_batches") and not isinstance(data, TensorData):
        return data  # type: ignore[return-value]
    if not (hasattr(data, "images") and hasattr(data, "labels")):
        raise InputError(
            f"data is a {type(data).__name__}; it must be what repro.datasets.load gives, TensorData(images, labels) "
            "or an ImageFolder."
        )
    refuse_own_items(data)
    images, labels = torch.as_tensor(data.images), torch.as_tensor(data.labels)
    if labels.dtype.is_floating_point and not torch.equal(labels, labels.round()):
        raise InputError("labels hold numbers that are not whole; a label is the number of a class.")
    labels = labels.long()
    return TensorData(images.to(device), labels.to(device), getattr(data, "normalize", None))


def refuse_own_items(data: Examples) -> None:
    """Raises: InputError for a torch Dataset that makes its items in a `__getitem__` of its own."""
    items = type(data).__getitem__ if isinstance(data, torch.utils.data.Dataset) else None
    refuse(
        items not in (None, Dataset.__getitem__, torch.utils.data.Dataset.__getitem__),
        f"data is a {type(data).__name__} with a __getitem__ of its own, which is not called here; give what it "
        "makes as TensorData(images, labels), or bring `batches` and `input_batches`.",
    )


def digest_of(*tensors: torch.Tensor) -> str:
    """SHA-256 of values, dtypes and shapes."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).contiguous().cpu().view(torch.uint8).numpy())
    return digest.hexdigest()


def seen_by(data: Examples) -> dict[str, str]:
    """What a training that continues from a checkpoint must have in common with it, of its data: the set of images.

    Data of a class that has no `digest` say nothing.
    """
    return {"set of images": data.digest} if hasattr(data, "digest") else {}


def mixed_seed(*parts: object) -> int:
    """One 63-bit seed from several values, equal on every machine and process."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator_for(*parts: object) -> torch.Generator:
    """A CPU generator seeded from `parts`, so that epoch 7 is the same whether or not epochs 0 to 6 ran before it."""
    return torch.Generator().manual_seed(mixed_seed(*parts))


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Batches that `TensorData.batches` yields: full ones, and a last one of at least half a batch."""
    full, rest = divmod(examples, batch_size)
    return max(1, full + (2 * rest >= batch_size)) if examples else 0
