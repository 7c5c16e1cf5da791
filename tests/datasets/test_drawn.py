"""The drawn data sets: the same pixels everywhere, made of what their descriptions say, and not solved by a line."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from repro.datasets import batches, eyes, load, split_half
from repro.datasets.drawn import Stream, segments, to_bytes
from repro.datasets.subset import middle_resize
from repro.errors import InputError


class Middle:
    """A stream whose every number is the middle of its range: nothing is turned or shifted, noise is nothing."""

    def uniform(self, low, high, *shape):
        return np.full(shape, (low + high) / 2)

    def noise(self, deviation, *shape):
        return np.zeros(shape)

    def turn(self, largest_tangent, *shape):
        return np.ones(shape), np.zeros(shape)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPRO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield tmp_path_factory.mktemp("raw")


def test_a_stream_depends_on_seed_and_split_and_keeps_its_ranges():
    numbers = Stream(5, "train").uniform(-2.0, 3.0, 4, 500)
    assert np.array_equal(numbers, Stream(5, "train").uniform(-2.0, 3.0, 4, 500))
    assert not np.isin(numbers, Stream(5, "test").uniform(-2.0, 3.0, 4, 500)).any()
    assert not np.isin(numbers, Stream(6, "train").uniform(-2.0, 3.0, 4, 500)).any()
    assert numbers.min() >= -2 and numbers.max() < 3 and abs(numbers.mean() - 0.5) < 0.1
    noise = Stream(5, "train").noise(0.25, 20000)
    assert abs(noise.mean()) < 0.01 and abs(noise.std() - 0.25) < 0.01
    cosine, sine = Stream(5, "train").turn(math.tan(math.radians(12.5)), 2000)
    assert np.allclose(cosine**2 + sine**2, 1)
    assert 24 < np.degrees(np.arctan2(sine, cosine)).max() <= 25


def test_distances_from_strokes_by_hand():
    one = np.array([1.0])
    distance = segments(one, one, one, 4 * one, 6)[0]  # from (1, 1) to (1, 4)
    assert np.allclose(distance[1, 1:5], 0) and np.allclose(distance[3, 1:5], 2)
    assert math.isclose(distance[0, 0], math.sqrt(2)) and math.isclose(distance[4, 5], math.sqrt(10))
    assert np.allclose(segments(one, one, one, one, 3)[0, 1], [1, 0, 1])  # a stroke of no length is a point


def test_grey_values_are_rounded_half_up_and_cut_off():
    assert to_bytes(np.array([-1.0, 0.5 / 255, 1.4 / 255, 1.0, 7.0])).tolist() == [0, 1, 1, 255, 255]


@pytest.fixture(scope="module")
def eye_sets(folder):
    return load("eyes", "train", folder), load("eyes", "test", folder)


def test_eyes_are_these_pixels_on_every_machine(eye_sets):
    train, test = eye_sets
    assert train.images.shape == (1000, 1, 48, 48) and test.labels.shape == (400, 48, 48)
    assert test.labels.dtype == torch.uint8 and test.class_names == ("background", "sclera", "iris", "pupil")
    assert (train.fingerprint[:16], test.fingerprint[:16]) == ("483c00647d801368", "bbada58fc277ef81")
    assert train.provenance["source"] == "eyes 1, seed 17" and test.provenance["complete"]
    image, mask = test[3]
    assert image.shape == (1, 48, 48) and torch.equal(mask, test.labels[3])


def test_an_eye_in_the_middle_has_lids_and_circles_where_they_belong():
    (image,), (mask,) = eyes.draw(1, Middle())
    # Lids open 8 above and 4.5 below, 17.5 to each side of row 26, column 24; the iris of 7.75 lies 1.5 higher.
    assert [np.flatnonzero(mask.any(1))[[0, -1]].tolist(), np.flatnonzero(mask.any(0))[[0, -1]].tolist()] == [
        [19, 30],
        [7, 41],
    ]
    assert mask[24, 24] == 3 and mask[24, 29] == 2 and mask[26, 34] == 1 and mask[40, 24] == 0
    pupil = (mask == 3).sum()
    assert abs(pupil - math.pi * (0.45 * 7.75) ** 2) < 4
    assert np.array_equal(mask[:, 1:], mask[:, :0:-1])  # left and right alike
    grey = [image[mask == label].mean() for label in range(4)]
    assert grey[3] < grey[2] < grey[0] < grey[1]


def test_every_eye_shows_iris_and_pupil_and_few_pixels_tell_them(eye_sets):
    _, test = eye_sets
    share = torch.stack([(test.labels == label).flatten(1).double().mean(1) for label in range(4)])
    assert (share[1:].amin(1) > 0).all() and (share.mean(1) > torch.tensor([0.8, 0.04, 0.03, 0.01])).all()


def test_brightness_alone_does_not_find_the_parts_of_an_eye(eye_sets):
    train, test = eye_sets
    seen = torch.stack(
        [torch.bincount(train.images[:, 0][train.labels == label].int(), minlength=256) for label in range(4)]
    )
    found = seen.argmax(0)[test.images[:, 0].int()]
    overlap = [((found == c) & (test.labels == c)).sum() / ((found == c) | (test.labels == c)).sum() for c in range(4)]
    assert sum(overlap) / 4 < 0.45 and max(overlap[1:3]) < 0.15  # a pupil is dark, as under infrared light


def test_a_part_of_the_eyes_is_nested_and_resized_masks_keep_their_classes(folder, eye_sets):
    few, more = (load("eyes", "test", folder, limit=number, size=24) for number in (30, 60))
    assert few.labels.shape == (30, 24, 24) and few.labels.dtype == torch.uint8 and few.images.shape[2:] == (24, 24)
    known = {image.numpy().tobytes() for image in more.images}
    assert len(known) == 60 and all(image.numpy().tobytes() in known for image in few.images)
    whole = load("eyes", "test", folder, size=24)
    for label in range(4):  # a class keeps about its share of the pixels
        before, after = ((part.labels == label).double().mean() for part in (eye_sets[1], whole))
        assert abs(after / before - 1) < 0.02
    halves = split_half(more)
    assert [len(half) for half in halves] == [30, 30]
    with pytest.raises(InputError, match="limit=401 is not allowed"):
        load("eyes", "test", folder, limit=401)
    with pytest.raises(InputError, match="transform moves images alone"):
        next(batches(few, 10, transform=lambda images, generator: images))


def test_a_resized_mask_takes_the_class_in_the_middle_of_each_area():
    mask = np.array([[[0, 0, 1, 1], [0, 3, 2, 1], [2, 2, 9, 9], [2, 0, 9, 8]]], dtype=np.uint8)
    assert middle_resize(mask, 2).tolist() == [[[3, 1], [0, 8]]]
    assert middle_resize(mask, 1).tolist() == [[[9]]]
    assert np.array_equal(middle_resize(mask, 8), mask.repeat(2, 1).repeat(2, 2))
    assert middle_resize(np.arange(9, dtype=np.uint8).reshape(1, 3, 3), 1).tolist() == [[[4]]]
