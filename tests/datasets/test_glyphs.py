"""Glyphs: the same pixels everywhere, test glyphs from other digits, a clutter that is not trivial."""

import numpy as np
import torch

from repro.datasets import glyphs, load
from repro.datasets.drawn import Stream
from tests.datasets.test_drawn import Middle


def test_both_splits_are_these_pixels_on_every_machine():
    train, test = load("glyphs", "train"), load("glyphs", "test")
    assert (len(train), len(test)) == (6000, 4000) and train.images.shape[1:] == (1, 16, 16)
    assert torch.bincount(train.labels).min() > 550 and torch.bincount(test.labels).min() > 350
    assert train.provenance["source"].startswith("glyphs 2, seed 11, from the digits of scikit-learn ")
    assert (train.fingerprint[:16], test.fingerprint[:16]) == ("1fd3cf0d04168b75", "40b0bc8da733f361")


def test_drawing_follows_the_stream_and_uses_the_digit():
    digits = np.random.RandomState(0).uniform(size=(5, 8, 8))
    first, again, other = (glyphs.draw(digits, Stream(seed, "train")) for seed in (7, 7, 8))
    assert first.shape == (5, 16, 16) and np.array_equal(first, again) and not np.array_equal(first, other)
    empty = glyphs.draw(np.zeros_like(digits), Stream(7, "train"))
    difference = first.astype(int) - empty
    assert (difference >= 0).all() and (difference.max(axis=(1, 2)) > 50).all()


def test_a_digit_that_nothing_moves_keeps_its_place_and_shape():
    digit = np.zeros((1, 8, 8))
    digit[0, 1:7, 3:5] = 1.0  # a bar, as high as six of eight rows
    warped = glyphs._warped(digit, Middle())[0]
    # One pixel of the image is 8 / (16 x 0.85) of the digit's: the bar is 10.2 pixels high and 3.4 wide.
    assert np.allclose(warped, warped[::-1]) and np.allclose(warped, warped[:, ::-1])
    assert np.isclose(warped.sum(), 10.2 * 3.4, rtol=0.03) and warped.max() == 1.0


def test_a_linear_classifier_does_not_read_them():
    train, test = load("glyphs", "train", limit=2000), load("glyphs", "test", limit=1000)
    x, y = (data.images.flatten(1).double() / 255 for data in (train, test))
    weights = torch.linalg.lstsq(
        torch.cat([x, torch.ones(len(x), 1)], 1), torch.eye(10).double()[train.labels]
    ).solution
    right = ((torch.cat([y, torch.ones(len(y), 1)], 1) @ weights).argmax(1) == test.labels).double().mean()
    assert 0.2 < right < 0.6
