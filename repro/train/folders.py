"""Sets of many files in their published layouts (`repro.datasets.folders`), read batch by batch like an ImageFolder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from repro.datasets.folders import Listing
from repro.datasets.registry import REGISTRY, SEGMENTATION, SPLITS, info
from repro.datasets.transforms import Normalize
from repro.errors import InputError, MissingDataError, check_choice, check_flag, check_int, check_number
from repro.train.data import WHOLE, Batch
from repro.train.imagefolder import FORMATS, IMAGENET_MEAN, IMAGENET_STD, MAX_PIXELS, ImageFolder, _random_box
from repro.train.segmentation import check_classes


def open_folder(
    name: str, split: str, root: str | os.PathLike | None = None, *, size: int | None = None, **options
) -> ListedImages | MaskFolder:
    """One split of "food101", "flowers102", "stanford-cars", "pets", "voc2012" or "openeds".

    Args:
        split: "train" or "test"; which images that is, each reader in `repro.datasets.folders` says.
        root: the data root; default $REPRO_DATA, else data/raw.
        size: side of the square inputs in pixels, 224 if omitted. options: scale, flip, threads of `ImageFolder`.
    Returns: ListedImages, or a MaskFolder where labels are masks; ready for `fit` and `fit_segmentation`.
    Raises: MissingDataError naming what is missing and where it should be; InputError for an unknown name or value.
    """
    from repro.datasets.core import find_or_explain

    entry = info(check_choice("name", name, [known for known, entry in REGISTRY.items() if entry.folders]))
    check_choice("split", split, SPLITS)
    listing = find_or_explain(entry, split, root).listing()  # type: ignore[attr-defined]
    cls = MaskFolder if entry.task == SEGMENTATION else ListedImages
    return cls(listing, size=entry.size if size is None else size, **options)


class ListedImages(ImageFolder):
    """An ImageFolder whose files and classes a Listing names; see there for the options."""

    def __init__(
        self,
        listing: Listing,
        *,
        size: int = 224,
        scale: tuple[float, float] = (0.08, 1.0),
        flip: bool = True,
        threads: int | None = None,
    ):
        if not isinstance(scale, tuple | list) or len(scale) != 2:
            raise InputError(f"scale={scale!r} is not allowed; it must be two shares of the area, (low, high).")
        check_number("low scale", scale[0], above=0)
        check_number("high scale", scale[1], minimum=scale[0], maximum=1)
        self.size, self.scale, self.flip = check_int("size", size, minimum=1), scale, check_flag("flip", flip)
        self.threads = check_int("threads", (os.cpu_count() or 1) if threads is None else threads, minimum=1)
        self.class_names, self.files = list(listing.class_names), list(listing.images)
        self.labels = None if listing.labels is None else torch.from_numpy(listing.labels)
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)


class MaskFolder(ListedImages):
    """Images and masks in files; takes the place of `MaskData`.

    Training reads a random box of the image, as ImageFolder does, and the same box of its mask at the nearest pixels. A
    test reads the whole image, squeezed to size x size, and is scored at that size.
    """

    def __init__(self, listing: Listing, *, scale: tuple[float, float] = (0.25, 1.0), **options):
        super().__init__(listing, scale=scale, **options)
        self.mask_files, self._as_inputs = list(listing.masks), self.normalize
        # Of images and masks, which `batches` and `pairs` take apart.
        self.normalize = lambda stacked: stacked  # type: ignore[assignment]
        # One per image, as an ImageFolder has; a Trainer compares the highest class with the network's outputs.
        self.labels = torch.full((len(self.files),), self.num_classes - 1)

    def take(self, index: torch.Tensor | slice) -> MaskFolder:
        """The images at `index`."""
        part = object.__new__(MaskFolder)
        part.__dict__.update(self.__dict__)
        rows = torch.arange(len(self))[index].tolist()
        part.files, part.mask_files = ([files[row] for row in rows] for files in (self.files, self.mask_files))
        part.labels = self.labels[rows]
        return part

    def batches(
        self, batch_size: int, generator: torch.Generator, transform=None, share: slice = WHOLE
    ) -> Iterator[Batch]:
        """Shuffled training batches with masks (B, size, size) uint8; see `MaskData.batches`."""

        def moved(stacked: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            images, masks = transform(stacked[:, :-1], stacked[:, -1], generator)
            return torch.cat([images, masks[:, None]], dim=1)

        for stacked, _, part in super().batches(batch_size, generator, moved if transform else None, share):
            yield Batch(self._as_inputs(stacked[:, :-1]), stacked[:, -1], part)

    def pairs(self, batch_size: int, limit: int | None = None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Inputs and masks of the first `limit` images in order."""
        for stacked in super().input_batches(batch_size, limit):
            yield self._as_inputs(stacked[:, :-1]), stacked[:, -1]

    def input_batches(self, batch_size: int, limit: int | None = None) -> Iterator[torch.Tensor]:
        """Inputs of the first `limit` images in order."""
        return (inputs for inputs, _ in self.pairs(batch_size, limit))

    def _read(self, row: int, draw: list[float] | None) -> torch.Tensor:
        """(4, size, size) uint8: red, green, blue, class."""
        from PIL import Image

        image, mask = _image(self.files[row]), _mask(self.mask_files[row])
        if image.size != mask.size:
            raise _unreadable(self.mask_files[row], f"it has {mask.size} pixels, the image {image.size}")
        if draw is None:
            box, mirrored = (0, 0, *image.size), False
        else:
            box, mirrored = _random_box(*image.size, self.scale, draw), self.flip and draw[4] < 0.5  # type: ignore[call-arg]
        side = (self.size, self.size)
        pixels = np.asarray(image.resize(side, Image.Resampling.BILINEAR, box=box))
        classes = torch.from_numpy(np.array(mask.resize(side, Image.Resampling.NEAREST, box=box)))
        try:
            check_classes(classes, self.num_classes)
        except InputError as error:
            raise _unreadable(self.mask_files[row], str(error).rstrip(".")) from error
        stacked = torch.cat([torch.from_numpy(pixels.transpose(2, 0, 1).copy()), classes[None]])
        return stacked.flip(2) if mirrored else stacked


def _unreadable(file: Path, reason: object) -> MissingDataError:
    return MissingDataError(f"{'/'.join(file.parts[-3:])} cannot be read ({reason}); replace or remove it.")


def _image(file: Path):
    """An image file as an RGB image."""
    from PIL import Image

    try:
        with Image.open(file, formats=FORMATS) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise OSError(f"{opened.width}x{opened.height} pixels are more than {MAX_PIXELS}")
            return opened.convert("RGB")
    except Exception as error:  # decoders raise nearly anything on a broken file
        raise _unreadable(file, error) from error


def _mask(file: Path):
    """A mask, a PNG of palette numbers or grey values or an .npy array (H, W), as a grey image of classes."""
    from PIL import Image

    try:
        if file.suffix == ".npy":
            classes = np.load(file, mmap_mode="r", allow_pickle=False)
        else:
            with Image.open(file, formats=FORMATS) as opened:
                if opened.mode not in ("P", "L") or opened.width * opened.height > MAX_PIXELS:
                    raise OSError(f"it is a {opened.mode} image of {opened.width}x{opened.height} pixels")
                classes = np.asarray(opened)
        if classes.ndim != 2 or not np.issubdtype(classes.dtype, np.integer) or classes.size > MAX_PIXELS:
            raise OSError(f"it holds {classes.dtype} of shape {classes.shape}, not a class per pixel")
        if classes.min() < 0 or classes.max() > 255:
            raise OSError("a class is not one of 0..255")
        return Image.fromarray(classes.astype(np.uint8))
    except Exception as error:
        raise _unreadable(file, error) from error
