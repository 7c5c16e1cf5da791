"""ImageNet-style folders, root/split/class/image.jpeg, read batch by batch: too large to hold as one tensor.

Decoding, cropping and resizing run in a pool of threads (Pillow releases the interpreter lock), a few batches ahead.
Crops and flips are drawn from the epoch's generator for the whole global batch before any file is opened, so they do
not depend on the number of threads or processes; a process decodes its own share only.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Real
from pathlib import Path

import numpy as np
import torch

from repro.datasets.imagenet import SUFFIXES, _visible
from repro.datasets.transforms import Normalize
from repro.errors import InputError, MissingDataError, check_flag, check_int
from repro.train.data import WHOLE, Batch, Transform, steps_per_epoch

FORMATS = ("JPEG", "PNG", "WEBP")  # whatever a file is called: Pillow's other readers may start programs
MAX_PIXELS = 100_000_000  # an image of more is refused before it is decoded
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_AHEAD = 2  # batches that are decoded while another is in use


class ImageFolder:
    """One split of a folder of images; takes the place of TensorData in `fit`.

    Args:
        root: folder that holds the splits. split: e.g. "train" or "val"; its subfolders, sorted, are the classes
            (hidden ones, whose name begins with a dot, are not).
        size: side of the square inputs in pixels.
        scale: share of an image's area that a training crop covers, drawn uniformly (Inception's random resized crop).
        flip: mirror training crops with probability one half.
        threads: decoding threads; the number of processor cores if omitted.
    Evaluation resizes the shorter side to size * 256 / 224 and cuts the centre. Inputs are normalised with the usual
    ImageNet mean and deviation. Unreadable images raise MissingDataError naming the file.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        split: str,
        *,
        size: int = 224,
        scale: tuple[float, float] = (0.08, 1.0),
        flip: bool = True,
        threads: int | None = None,
    ):
        folder = Path(root).expanduser() / split
        if not folder.is_dir():
            raise MissingDataError(
                f"no folder {split} in {Path(root).name}; images are expected as {split}/class/image.jpeg."
            )
        whole = isinstance(scale, tuple | list) and len(scale) == 2 and all(isinstance(part, Real) for part in scale)
        if not whole or not 0 < scale[0] <= scale[1] <= 1:
            raise InputError(
                f"scale={scale!r} is not allowed; it must be two shares of the area, 0 < low <= high <= 1."
            )
        self.size, self.scale, self.flip = check_int("size", size, minimum=1), scale, check_flag("flip", flip)
        self.threads = check_int("threads", (os.cpu_count() or 1) if threads is None else threads, minimum=1)
        self.class_names = _visible(folder, os.DirEntry.is_dir)
        self.files: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(self.class_names):
            found = [file for file in _visible(folder / name, os.DirEntry.is_file) if file.lower().endswith(SUFFIXES)]
            if not found:
                raise MissingDataError(
                    f"class {split}/{name} holds no images ({', '.join(SUFFIXES)}); fill the folder or remove it."
                )
            self.files += [folder / name / file for file in found]
            labels += [label] * len(found)
        if not self.files:
            raise MissingDataError(f"folder {split} holds no images; they are expected as {split}/class/image.jpeg.")
        self.labels = torch.tensor(labels)
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)

    num_classes = property(lambda self: len(self.class_names))

    def __len__(self) -> int:
        return len(self.files)

    @property
    def digest(self) -> str:
        """SHA-256 of the files' names below their split, in order, their labels, and how they become inputs."""
        names = ["/".join(file.parts[-2:]) for file in self.files]
        about = (names, self.labels.tolist(), self.size, self.scale, self.flip)
        return hashlib.sha256(repr(about).encode()).hexdigest()

    def take(self, index: torch.Tensor | slice) -> ImageFolder:
        """The images at `index`, classes unchanged."""
        part = object.__new__(ImageFolder)
        part.__dict__.update(self.__dict__)
        rows = torch.arange(len(self))[index].tolist()
        part.files, part.labels = [self.files[row] for row in rows], self.labels[rows]
        return part

    def batches(
        self, batch_size: int, generator: torch.Generator, transform: Transform | None = None, share: slice = WHOLE
    ) -> Iterator[Batch]:
        """Shuffled training batches, random resized crops; see `TensorData.batches`.

        `transform` is applied to the share's uint8 images after the crop; flips belong to this class, so a recipe for
        it has `flip=False` and no `crop_padding`.
        """
        order = torch.randperm(len(self), generator=generator)
        jobs = []
        for start in range(0, steps_per_epoch(len(self), batch_size) * batch_size, batch_size):
            index = order[start : start + batch_size]
            draws = torch.rand(len(index), 5, generator=generator, dtype=torch.float64)
            jobs.append((index[share], draws[share], len(index)))
        for (rows, _, whole), images in zip(jobs, self._decoded([job[:2] for job in jobs])):
            if transform is not None:
                images = transform(images, generator)
            yield Batch(self.normalize(images), self.labels[rows], len(rows) / whole)

    def input_batches(self, batch_size: int, limit: int | None = None) -> Iterator[torch.Tensor]:
        """Evaluation inputs of the first `limit` images in order: resized, centre cropped, normalised."""
        stop = len(self) if limit is None else min(limit, len(self))
        rows = [torch.arange(start, min(start + batch_size, stop)) for start in range(0, stop, batch_size)]
        for images in self._decoded([(part, None) for part in rows]):
            yield self.normalize(images)

    def _decoded(self, jobs: Sequence[tuple[torch.Tensor, torch.Tensor | None]]) -> Iterator[torch.Tensor]:
        with ThreadPoolExecutor(self.threads) as pool:
            waiting: deque = deque()
            for rows, draws in jobs:
                numbers = [None] * len(rows) if draws is None else draws.tolist()
                waiting.append([pool.submit(self._read, row, draw) for row, draw in zip(rows.tolist(), numbers)])
                if len(waiting) > _AHEAD:
                    yield torch.stack([future.result() for future in waiting.popleft()])
            while waiting:
                yield torch.stack([future.result() for future in waiting.popleft()])

    def _read(self, row: int, draw: list[float] | None) -> torch.Tensor:
        """(3, size, size) uint8; `draw` holds the five random numbers of a training crop."""
        from PIL import Image

        try:
            with Image.open(self.files[row], formats=FORMATS) as file:
                if file.width * file.height > MAX_PIXELS:
                    raise OSError(f"{file.width}x{file.height} pixels are more than {MAX_PIXELS}")
                image = file.convert("RGB")
        except Exception as error:  # decoders raise nearly anything on a broken file
            raise MissingDataError(
                f"image {'/'.join(self.files[row].parts[-3:])} cannot be read ({error}); replace or remove it."
            ) from error
        mirrored = False
        if draw is None:
            box = _centre_box(*image.size, share=224 / 256)
        else:
            box, mirrored = _random_box(*image.size, self.scale, draw), self.flip and draw[4] < 0.5
        pixels = np.asarray(image.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box))
        pixels = pixels[:, ::-1] if mirrored else pixels
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _centre_box(width: int, height: int, share: float) -> tuple[float, float, float, float]:
    """The middle square with `share` of the shorter side: what remains after resizing to 256 and cutting out 224."""
    side = share * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _random_box(
    width: int, height: int, scale: tuple[float, float], draw: list[float]
) -> tuple[float, float, float, float]:
    """A box of random area, aspect ratio in [3/4, 4/3] (log-uniform) and place, shrunk to fit into the image."""
    area = width * height * (scale[0] + (scale[1] - scale[0]) * draw[0])
    ratio = math.exp(math.log(3 / 4) + math.log(16 / 9) * draw[1])
    box_width, box_height = min(width, math.sqrt(area * ratio)), min(height, math.sqrt(area / ratio))
    left, top = (width - box_width) * draw[2], (height - box_height) * draw[3]
    return left, top, left + box_width, top + box_height
