"""Images with their labels, or under their masks, as notebooks and the segmentation figure show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from repro.errors import InputError, check_int
from repro.report.figures import house_style, new_figure
from repro.report.palette import COLOURS, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OPACITY = 0.6
PANEL_IN = 0.85


def image_grid(images, labels, class_names: Sequence[str], *, columns: int = 10) -> Figure:
    """Images (N, C, H, W) of 0..255, `columns` to a row, each below the name of its class; labels (N,)."""
    pictures, labels = _as_pictures(images), np.asarray(labels)
    if labels.shape != (len(pictures),):
        raise InputError(f"labels has the shape {labels.shape}; {len(pictures)} images need one each.")
    columns = min(check_int("columns", columns, minimum=1), len(pictures))
    figure, axes = new_figure(-(-len(pictures) // columns), columns, width_in=PANEL_IN, height_in=PANEL_IN + 0.2)
    with house_style():
        for place in axes.flat:
            place.axis("off")
        for place, picture, label in zip(axes.flat, pictures, labels):
            _show(place, picture)
            place.set_title(class_names[int(label)], pad=2)
    return figure


def mask_grid(images, masks: Mapping[str, object], class_names: Sequence[str]) -> Figure:
    """Images in a row, and below it one row of the same images under each kind of mask, its name at the left.

    Args:
        images: (N, C, H, W) of 0..255.
        masks: name ("mask", "AugShift", …) -> classes (N, H, W), 255 where none is given: such pixels are white.
        class_names: the first is the background, which stays as it is; the others get a colour each.
    """
    from matplotlib.patches import Patch

    pictures = _as_pictures(images)
    rows = [("image", pictures)]
    for name, mask in masks.items():
        mask = np.asarray(mask)
        if mask.shape != pictures.shape[:3]:
            raise InputError(f"{name} has the shape {mask.shape}; these images need masks of {pictures.shape[:3]}.")
        rows.append((name, under_mask(pictures, mask, len(class_names))))
    figure, axes = new_figure(len(rows), len(pictures), width_in=PANEL_IN, height_in=PANEL_IN)
    with house_style():
        for places, (name, shown) in zip(axes, rows):
            for place, picture in zip(places, shown):
                _show(place, picture)
            places[0].axis("on")
            places[0].set(xticks=[], yticks=[], ylabel=name)
            places[0].spines[:].set_visible(False)
        patches = [Patch(color=class_colour(k), label=name) for k, name in enumerate(class_names) if k]
        figure.legend(handles=patches, loc="outside lower center", ncols=min(len(patches), 7))
    return figure


def confusion_grid(shares: Mapping[str, object], class_names: Sequence[str]) -> Figure:
    """A confusion matrix per name in a row: what share of the pixels of each class (rows) is called which (columns).

    shares: name -> (classes, classes) in percent, NaN where there are none.
    """
    places, side = range(len(class_names)), 0.4 + 0.3 * len(class_names)
    figure, axes = new_figure(1, len(shares), width_in=side, height_in=side + 1.3, share_y=True)
    with house_style():
        for place, (name, matrix) in zip(axes[0], shares.items(), strict=True):
            matrix = np.asarray(matrix, dtype=float)
            if matrix.shape != (len(class_names),) * 2:
                raise InputError(f"{name} has the shape {matrix.shape}; {len(class_names)} classes need a square.")
            place.imshow(matrix, cmap="Blues", vmin=0, vmax=100)
            for row, column in np.argwhere(np.isfinite(matrix)):
                share = matrix[row, column]
                colour = "white" if share > 60 else COLOURS["ink"]
                place.text(column, row, f"{share:.0f}", ha="center", va="center", color=colour, fontsize=7)
            place.set(title=name, xlabel="predicted class")
            place.set_xticks(places, class_names, rotation=90)
            place.set_yticks(places, class_names)
            place.grid(False)
        axes[0, 0].set_ylabel("true class")
    return figure


def class_colour(label: int) -> str:
    """The colour of a class that is not the background; they repeat after as many as the palette has."""
    return SERIES[(label - 1) % len(SERIES)]


def under_mask(pictures: np.ndarray, masks: np.ndarray, num_classes: int) -> np.ndarray:
    """Pictures (N, H, W, 3) of 0..1 under the colours of their classes (N, H, W); white where a class is unknown."""
    from matplotlib.colors import to_rgb

    colours = np.ones((256, 3))
    colours[1:num_classes] = [to_rgb(class_colour(label)) for label in range(1, num_classes)]
    covered = (masks != 0)[..., None] * np.where(masks >= num_classes, 1.0, OPACITY)[..., None]
    return (1 - covered) * pictures + covered * colours[masks]


def _as_pictures(images) -> np.ndarray:
    """(N, H, W, 3) of 0..1."""
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or len(images) == 0:
        raise InputError(f"images has the shape {images.shape}; pictures are (N, 1, H, W) or (N, 3, H, W), N above 0.")
    return np.repeat(images, 3 // images.shape[1], axis=1).transpose(0, 2, 3, 1) / 255


def _show(place: Axes, picture: np.ndarray) -> None:
    place.imshow(picture, interpolation="nearest", vmin=0, vmax=1)
    place.axis("off")
