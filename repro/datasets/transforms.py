"""Transforms on whole batches of images, seeded by a torch.Generator, without Python work per image.

Every transform is a frozen dataclass called as `transform(images, generator)`. `images` is (B, C, H, W), uint8 or
floating; the result is a new tensor of the same dtype (Normalize returns float32) and the input is left as it was.
Random numbers are drawn on the generator's device in one fixed order per batch, so a seed gives the same batch whatever
the number of threads. Without a generator torch's global one is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F

from repro.errors import InputError, check_choice, check_int, check_number

Generator: TypeAlias = torch.Generator | None


def _check_batch(images: torch.Tensor) -> None:
    if images.ndim != 4:
        raise InputError(f"images has the shape {tuple(images.shape)}; a batch (B, C, H, W) is needed.")


def _check_fill(values: tuple[float, ...], images: torch.Tensor) -> None:
    """Stored images hold 0..255; a larger fill would wrap around."""
    if not images.is_floating_point():
        for value in values:
            check_number("fill", value, minimum=0, maximum=255)


def _rand_int(high: int, shape: tuple[int, ...], generator: Generator, device: torch.device) -> torch.Tensor:
    where = generator.device if generator is not None else "cpu"
    return torch.randint(high, shape, generator=generator, device=where).to(device)


@dataclass(frozen=True)
class RandomCrop:
    """Pad every side by `padding` pixels of value `fill` and cut out a window of the old size at a random place."""

    padding: int = 4
    fill: float = 0

    def __post_init__(self) -> None:
        check_int("padding", self.padding, minimum=0)
        check_number("fill", self.fill)

    def __call__(self, images: torch.Tensor, generator: Generator = None) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, H, W), each image with its own offset, uniform over (2 * padding + 1)^2 places."""
        _check_batch(images)
        _check_fill((self.fill,), images)
        batch, _, height, width = images.shape
        top, left = _rand_int(2 * self.padding + 1, (2, batch), generator, images.device)
        padded = F.pad(images, (self.padding,) * 4, value=self.fill)
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (B, C, 2p+1, 2p+1, H, W), a view
        return windows[torch.arange(batch, device=images.device), :, top, left]


@dataclass(frozen=True)
class RandomFlip:
    """Mirror an image left to right with probability `probability`."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        check_number("probability", self.probability, minimum=0, maximum=1)

    def __call__(self, images: torch.Tensor, generator: Generator = None) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        _check_batch(images)
        where = generator.device if generator is not None else "cpu"
        chosen = torch.rand(len(images), generator=generator, device=where).to(images.device) < self.probability
        return torch.where(chosen[:, None, None, None], images.flip(3), images)


@dataclass(frozen=True)
class Cutout:
    """Blank a `size` x `size` square around a random pixel, cut off at the border (DeVries and Taylor 2017).

    `fill` is one value or one per channel, on the scale of the images; the paper's is the mean of the data.
    """

    size: int
    fill: float | tuple[float, ...] = 0

    def __post_init__(self) -> None:
        check_int("size", self.size, minimum=1)
        for value in self._values:
            check_number("fill", value)

    @property
    def _values(self) -> tuple[float, ...]:
        return self.fill if isinstance(self.fill, tuple) else (self.fill,)

    def __call__(self, images: torch.Tensor, generator: Generator = None) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, H, W), one square per image."""
        _check_batch(images)
        values = self._values
        _check_fill(values, images)
        batch, channels, height, width = images.shape
        inside = []
        for extent in (height, width):
            start = _rand_int(extent, (batch, 1), generator, images.device) - self.size // 2
            pixel = torch.arange(extent, device=images.device)
            inside.append((pixel >= start) & (pixel < start + self.size))
        square = inside[0][:, None, :, None] & inside[1][:, None, None, :]  # (B, 1, H, W)
        if len(values) not in (1, channels):
            raise InputError(f"fill={self.fill!r} has {len(values)} values; the images have {channels} channels.")
        fill = torch.tensor(values, dtype=torch.float64, device=images.device).view(1, -1, 1, 1)
        return torch.where(square, _as_dtype(fill, images.dtype), images)


@dataclass(frozen=True)
class Normalize:
    """uint8 or 0..255 values to float32 with zero mean and unit deviation: (x / 255 - mean) / std per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: torch.Tensor, generator: Generator = None) -> torch.Tensor:
        """(B, C, H, W) on the scale 0..255 -> (B, C, H, W) float32."""
        _check_batch(images)
        if images.shape[1] != len(self.mean):
            raise InputError(f"images has {images.shape[1]} channels; mean and std have {len(self.mean)}.")
        mean = torch.tensor(self.mean, dtype=torch.float64).mul_(255).to(images.device, torch.float32).view(1, -1, 1, 1)
        scale = torch.tensor(self.std, dtype=torch.float64).mul_(255).reciprocal_()
        scale = scale.to(images.device, torch.float32).view(1, -1, 1, 1)
        return images.to(torch.float32, copy=True).sub_(mean).mul_(scale)


@dataclass(frozen=True)
class Compose:
    """Transforms one after the other, sharing one generator."""

    transforms: tuple[Callable[[torch.Tensor, Generator], torch.Tensor], ...]

    def __call__(self, images: torch.Tensor, generator: Generator = None) -> torch.Tensor:
        """Apply every transform in order."""
        for transform in self.transforms:
            images = transform(images, generator)
        return images


def _as_dtype(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return values.to(dtype) if dtype.is_floating_point else values.round().to(dtype)


_STANDARD = {
    # CIFAR: pad 4, crop 32, flip, as in He et al. 2016, section 4.2, and in all four papers.
    "cifar10": (RandomCrop(4), RandomFlip()),
    "cifar100": (RandomCrop(4), RandomFlip()),
    "fashion-mnist": (RandomCrop(2), RandomFlip()),
    "digits": (RandomCrop(1),),  # a mirrored digit is another sign
    "glyphs": (RandomCrop(1),),
}


def standard_augmentation(name: str, *, size: int | None = None, cutout: int = 0, fill: float = 0) -> Compose:
    """The usual training transforms of a data set, for uint8 batches before they are normalised.

    Args:
        name: a data set of the registry whose labels are classes.
        size: the image size if the data were resized; the padding shrinks in proportion (at least 1 pixel).
        cutout: side of the Cutout square, 0 for none; `fill` is its value on the scale 0..255.
    """
    from repro.datasets.registry import REGISTRY

    parts: tuple[Any, ...] = _STANDARD[check_choice("dataset", name, _STANDARD)]
    if size is not None:
        check_int("size", size, minimum=1)
        crop = RandomCrop(max(1, round(parts[0].padding * size / REGISTRY[name].size)))
        parts = (crop, *parts[1:])
    if check_int("cutout", cutout, minimum=0):
        parts = (*parts, Cutout(cutout, check_number("fill", fill, minimum=0, maximum=255)))
    return Compose(parts)
