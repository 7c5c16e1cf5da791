"""Pictures: each image at its place under its own mask, in colours that tell the classes apart."""

from __future__ import annotations

import numpy as np
import pytest

from repro.errors import InputError
from repro.report.pictures import OPACITY, class_colour, confusion_grid, image_grid, mask_grid, under_mask

IMAGES = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.full((1, 1, 4, 4), 100, dtype=np.uint8)
NAMES = ("background", "sclera", "iris")


def test_every_image_stands_below_its_class():
    axes = image_grid(IMAGES, [2, 0, 1], NAMES, columns=2).axes
    assert [place.get_title() for place in axes] == ["iris", "background", "sclera", ""]
    assert [float(place.images[0].get_array()[0, 0, 0]) for place in axes[:3]] == [0, 100 / 255, 200 / 255]
    assert not any(place.axison for place in axes)


def test_rows_are_the_images_and_then_each_kind_of_mask():
    masks = np.zeros((3, 4, 4), dtype=np.uint8)
    masks[1, 0, 0] = 2
    figure = mask_grid(IMAGES, {"mask": masks, "AugShift": 0 * masks}, NAMES)
    shown = [place.images[0].get_array() for place in figure.axes]
    assert len(shown) == 9 and [figure.axes[row].get_ylabel() for row in (0, 3, 6)] == ["image", "mask", "AugShift"]
    for image in range(3):
        assert np.array_equal(shown[image], shown[6 + image])
        changed = np.argwhere((shown[image] != shown[3 + image]).any(axis=-1))
        assert changed.tolist() == ([[0, 0]] if image == 1 else [])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sclera", "iris"]


def test_a_matrix_stands_for_each_name_true_classes_downwards():
    first = np.array([[90.0, 10.0, 0.0], [20.0, 70.0, 10.0], [np.nan] * 3])
    figure = confusion_grid({"Base": first, "Shift": np.eye(3) * 100}, NAMES)
    left, right = figure.axes
    assert (left.get_title(), right.get_title()) == ("Base", "Shift")
    assert [(text.get_position(), text.get_text()) for text in left.texts][:3] == [
        ((0, 0), "90"),
        ((1, 0), "10"),
        ((2, 0), "0"),
    ]
    assert len(left.texts) == 6 and np.array_equal(left.images[0].get_array().filled(np.nan), first, equal_nan=True)
    with pytest.raises(InputError, match="Shift has the shape"):
        confusion_grid({"Shift": first[:2]}, NAMES)


def test_the_background_stays_and_unknown_pixels_are_white():
    pictures, masks = np.full((1, 1, 4, 3), 0.5), np.array([[[0, 1, 2, 255]]])
    shown = under_mask(pictures, masks, 3)[0, 0]
    assert shown[0].tolist() == [0.5] * 3 and shown[3].tolist() == [1.0] * 3
    red = int(class_colour(1)[1:3], 16) / 255
    assert np.isclose(shown[1, 0], 0.5 * (1 - OPACITY) + red * OPACITY)
    assert len({class_colour(label) for label in range(1, 7)}) == 6 and class_colour(7) == class_colour(1)


def test_arrays_that_do_not_fit_are_named():
    with pytest.raises(InputError, match="labels has the shape"):
        image_grid(IMAGES, [0], NAMES)
    with pytest.raises(InputError, match="AugShift has the shape"):
        mask_grid(IMAGES, {"AugShift": np.zeros((2, 4, 4), dtype=np.uint8)}, NAMES)
    for wrong in (IMAGES[:, 0], IMAGES[:0], IMAGES.repeat(2, 1)):
        with pytest.raises(InputError, match="images has the shape"):
            image_grid(wrong, [0] * len(wrong), NAMES)
