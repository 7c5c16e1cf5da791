"""Batched transforms: what they do to each image, that a seed fixes them, and that nothing else does."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.datasets import REGISTRY
from repro.datasets.transforms import Compose, Cutout, Normalize, RandomCrop, RandomFlip, standard_augmentation
from repro.errors import InputError


def make_images(batch: int = 32, channels: int = 3, size: int = 8, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, 256, (batch, channels, size, size), generator=generator).to(torch.uint8)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


ALL = [RandomCrop(2), RandomFlip(), Cutout(3), standard_augmentation("cifar10", cutout=4)]


@pytest.mark.parametrize("transform", ALL, ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
def test_dtype_and_batch_are_kept_and_the_input_is_left_alone(transform, dtype):
    images = make_images().to(dtype)
    before = images.clone()
    out = transform(images, seeded())
    assert out.dtype == dtype and out.shape[:2] == images.shape[:2]
    assert torch.equal(images, before)


@pytest.mark.parametrize("transform", [RandomCrop(2), RandomFlip(), Cutout(3)], ids=lambda t: type(t).__name__)
def test_a_seed_fixes_the_result_whatever_the_threads(transform):
    images = make_images()
    expected = transform(images, seeded(1))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        torch.manual_seed(5)  # the global stream must not matter
        assert torch.equal(transform(images, seeded(1)), expected)
    finally:
        torch.set_num_threads(threads)
    assert not torch.equal(transform(images, seeded(2)), expected)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(
    batch=st.integers(0, 5),
    channels=st.integers(1, 3),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    padding=st.integers(0, 3),
    seed=st.integers(0, 9),
)
def test_a_crop_is_a_window_of_the_padded_image(batch, channels, height, width, padding, seed):
    images = torch.randint(1, 256, (batch, channels, height, width), generator=seeded(seed)).to(torch.uint8)
    out = RandomCrop(padding)(images, seeded(seed))
    assert out.shape == images.shape
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    for image, window in zip(padded, out):
        places = [
            image[:, y : y + height, x : x + width] for y in range(2 * padding + 1) for x in range(2 * padding + 1)
        ]
        assert any(torch.equal(window, place) for place in places)


def test_crops_reach_every_offset_about_equally_often():
    ramp = torch.arange(25, dtype=torch.uint8).view(1, 1, 5, 5).add(1).expand(9000, 1, 5, 5)
    middle = RandomCrop(1)(ramp, seeded())[:, 0, 2, 2]
    counts = torch.bincount(middle.long(), minlength=26)
    assert (counts > 0).sum() == 9 and (counts[counts > 0] - 1000).abs().max() < 150  # five standard deviations


def test_flip_mirrors_about_half_of_the_images_and_only_left_to_right():
    images = make_images(batch=1000)
    out = RandomFlip()(images, seeded())
    mirrored = (out == images.flip(3)).flatten(1).all(1)
    kept = (out == images).flatten(1).all(1)
    assert bool((mirrored | kept).all()) and 420 < int(mirrored.sum()) < 580
    assert torch.equal(RandomFlip(0.0)(images, seeded()), images)
    assert torch.equal(RandomFlip(1.0)(images, seeded()), images.flip(3))


def test_cutout_blanks_one_square_per_image_cut_off_at_the_border():
    images = make_images(batch=500, size=9)
    out = Cutout(3)(images, seeded())
    blank = (out == 0).all(1)
    assert torch.equal(torch.where(blank[:, None], images, out), images)
    rows, columns = blank.any(2).sum(1), blank.any(1).sum(1)
    assert torch.equal(blank.sum((1, 2)), rows * columns)  # a rectangle
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3}


def test_cutout_fills_with_one_value_per_channel():
    images = make_images(batch=1, size=4)
    assert Cutout(9, (1, 2, 3))(images, seeded())[0].flatten(1).unique(dim=1).tolist() == [[1], [2], [3]]
    with pytest.raises(InputError, match=r"fill=\(1, 2\) has 2 values; the images have 3 channels"):
        Cutout(2, (1, 2))(images, seeded())


def test_normalize_is_the_textbook_formula():
    images, mean, std = make_images(), (0.1, 0.5, 0.9), (0.2, 0.25, 0.3)
    exact = (images.double() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    out = Normalize(mean, std)(images)
    assert out.dtype == torch.float32 and (out - exact).abs().max() < 1e-5
    with pytest.raises(InputError, match="1 channels; mean and std have 3"):
        Normalize(mean, std)(make_images(channels=1))


def test_compose_shares_one_generator_in_order():
    images, generator = make_images(), seeded(3)
    by_hand = RandomFlip()(RandomCrop(2)(images, generator), generator)
    assert torch.equal(Compose((RandomCrop(2), RandomFlip()))(images, seeded(3)), by_hand)


def test_every_data_set_in_memory_with_classes_has_a_standard_augmentation_that_scales_with_its_size():
    for name, entry in REGISTRY.items():
        if entry.task == "segmentation" or entry.folders:  # masks move along; a folder draws its own crops
            with pytest.raises(InputError, match=f"dataset='{name}' is not known"):
                standard_augmentation(name)
            continue
        images = make_images(channels=entry.channels, size=entry.size)
        assert standard_augmentation(name)(images, seeded()).shape == images.shape
    assert standard_augmentation("cifar10", size=16).transforms[0] == RandomCrop(2)
    assert standard_augmentation("cifar10", cutout=8).transforms[-1] == Cutout(8)
    assert RandomFlip() not in standard_augmentation("digits").transforms  # a mirrored digit is another sign


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: RandomCrop(-1), "padding=-1 is not allowed"),
        (lambda: RandomFlip(1.5), "probability=1.5 is not allowed"),
        (lambda: Cutout(0), "size=0 is not allowed"),
        (lambda: standard_augmentation("cifar"), "Did you mean 'cifar10'"),
        (lambda: RandomFlip()(torch.zeros(3, 8, 8)), "a batch .* is needed"),
    ],
)
def test_bad_settings_give_one_sentence(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("kind", [RandomCrop, Cutout])
def test_a_fill_that_stored_images_cannot_hold_is_refused(kind):
    stored = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    for fill in (300, -1):
        with pytest.raises(InputError, match=f"fill={fill} is not allowed"):
            kind(2, fill)(stored)
        assert kind(2, fill)(stored.float()).shape == stored.shape  # inputs may hold any number
    with pytest.raises(InputError, match="fill='grey'"):
        kind(2, "grey")
    with pytest.raises(InputError, match="fill=300"):
        standard_augmentation("cifar10", cutout=4, fill=300)
