"""Glyphs: the same images everywhere, test glyphs from other digits, a clutter that is not trivial."""

import numpy as np
import torch

from repro.datasets import load
from repro.datasets.glyphs import draw_glyphs


def test_both_splits():
    train, test = load("glyphs", "train"), load("glyphs", "test")
    assert (len(train), len(test)) == (6000, 4000) and train.images.shape[1:] == (1, 16, 16)
    assert torch.bincount(train.labels).min() > 550 and torch.bincount(test.labels).min() > 350
    assert "scikit-learn" in train.provenance["source"]
    assert train.fingerprint.startswith("a58a5607d24b")  # the same images in every version and on every machine


def test_drawing_follows_the_generator_and_uses_the_digit():
    digits = np.random.RandomState(0).uniform(size=(5, 8, 8))
    first, again = (draw_glyphs(digits, np.random.RandomState(7)) for _ in range(2))
    assert first.shape == (5, 16, 16) and np.array_equal(first, again) and first.min() >= 0 and first.max() <= 1
    changed = draw_glyphs(np.zeros_like(digits), np.random.RandomState(7))
    difference = first - changed
    assert (difference >= -1e-12).all() and (difference.max(axis=(1, 2)) > 0.2).all()


def test_a_linear_classifier_does_not_read_them():
    train, test = load("glyphs", "train", limit=2000), load("glyphs", "test", limit=1000)
    x, y = (data.images.flatten(1).double() / 255 for data in (train, test))
    weights = torch.linalg.lstsq(
        torch.cat([x, torch.ones(len(x), 1)], 1), torch.eye(10).double()[train.labels]
    ).solution
    right = ((torch.cat([y, torch.ones(len(y), 1)], 1) @ weights).argmax(1) == test.labels).double().mean()
    assert 0.2 < right < 0.6
