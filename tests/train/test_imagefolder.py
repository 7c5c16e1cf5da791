"""The image folder reader: classes, crops, shares, training through `fit`."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from repro.errors import InputError, MissingDataError
from repro.train import TrainRecipe, evaluate, fit, imagefolder
from repro.train.data import generator_for
from repro.train.imagefolder import IMAGENET_MEAN, IMAGENET_STD, ImageFolder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 5)):
        for name, shade in (("dark", 60), ("light", 190)):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                size = (30 + number, 40 - number, 3)
                pixels = (shade + rng.integers(-40, 40, size)).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return root


def test_classes_are_the_sorted_folders(folder):
    data = ImageFolder(folder, "train", size=16)
    assert data.class_names == ["dark", "light"] and len(data) == 24 and data.num_classes == 2
    assert data.labels.tolist() == [0] * 12 + [1] * 12 and data.take(slice(0, None, 2)).labels.sum() == 6


def test_evaluation_cuts_the_centre_and_normalises(tmp_path):
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[4:60, 20:76] = 255  # the central 56 x 56: 7/8 of the shorter side
    (tmp_path / "val" / "one").mkdir(parents=True)
    Image.fromarray(pixels).save(tmp_path / "val" / "one" / "a.png")
    (inputs,) = ImageFolder(tmp_path, "val", size=28).input_batches(4)
    white = [(1 - mean) / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD)]
    expected = torch.tensor(white).view(1, 3, 1, 1).expand(1, 3, 28, 28)
    inner = (..., slice(1, -1), slice(1, -1))  # the outermost pixels blend with their surroundings
    torch.testing.assert_close(inputs[inner], expected[inner], rtol=1e-5, atol=1e-5)


def test_crops_depend_on_the_seed_and_not_on_threads_or_shares(folder):
    def whole(threads, seed="a", share=slice(None)):
        data = ImageFolder(folder, "train", size=8, threads=threads)
        return list(data.batches(10, generator_for(seed), share=share))

    one, four, other = whole(1), whole(4), whole(1, "b")
    assert [len(batch.labels) for batch in one] == [10, 10]
    assert all(torch.equal(a.inputs, b.inputs) and torch.equal(a.labels, b.labels) for a, b in zip(one, four))
    assert not torch.equal(one[0].inputs, other[0].inputs)
    for rank in (0, 1):
        for part, batch in zip(whole(2, share=slice(rank, None, 2)), one):
            assert part.share == 0.5 and torch.equal(part.inputs, batch.inputs[rank::2])


def test_a_network_trains_from_a_folder(folder):
    torch.manual_seed(0)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    train, val = (ImageFolder(folder, split, size=16) for split in ("train", "val"))
    history = fit(model, train, val, TrainRecipe(epochs=4, batch_size=8, lr=0.5, adaptive="none"), seed=0)
    assert history.outcome == "finished" and history.accuracy_pct == 100
    assert evaluate(model, val)["accuracy_pct"] == 100


def test_what_is_missing_or_broken_is_named(folder, tmp_path):
    with pytest.raises(MissingDataError, match="no folder test"):
        ImageFolder(folder, "test")
    (tmp_path / "train" / "a").mkdir(parents=True)
    with pytest.raises(MissingDataError, match="holds no images"):
        ImageFolder(tmp_path, "train")
    (tmp_path / "train" / "a" / "broken.jpeg").write_bytes(b"not an image")
    with pytest.raises(MissingDataError, match=r"train/a/broken\.jpeg cannot be read"):
        next(ImageFolder(tmp_path, "train").input_batches(1))
    with pytest.raises(InputError, match="scale="):
        ImageFolder(folder, "train", scale=(0.5, 0.1))


def test_hidden_folders_and_files_are_no_classes_and_no_images(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "train" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "copy" / "train" / "dark" / "._0.png").write_bytes(b"not an image")
    plain, copied = ImageFolder(folder, "train"), ImageFolder(tmp_path / "copy", "train")
    assert copied.class_names == plain.class_names and torch.equal(copied.labels, plain.labels)


def test_an_empty_class_is_named(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "val" / "empty").mkdir()
    with pytest.raises(MissingDataError, match="class val/empty holds no images"):
        ImageFolder(tmp_path / "copy", "val")


def test_only_the_formats_of_photographs_are_opened_whatever_the_name(tmp_path, monkeypatch):
    (tmp_path / "train" / "a").mkdir(parents=True)
    file = tmp_path / "train" / "a" / "picture.jpeg"
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(made) (w) file closefile showpage\n")
    monkeypatch.setattr(subprocess, "Popen", None)  # Pillow would start Ghostscript
    with pytest.raises(MissingDataError, match=r"train/a/picture\.jpeg cannot be read"):
        next(ImageFolder(tmp_path, "train", size=4).input_batches(1))


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(folder, monkeypatch):
    monkeypatch.setattr(imagefolder, "MAX_PIXELS", 100)
    monkeypatch.setattr(Image.Image, "convert", None)
    with pytest.raises(MissingDataError, match="are more than 100"):
        next(ImageFolder(folder, "train").input_batches(1))


@pytest.mark.parametrize("options", [{"threads": 0}, {"flip": "no"}, {"scale": 0.5}, {"scale": ("a", "b")}], ids=str)
def test_bad_settings_are_refused(folder, options):
    with pytest.raises(InputError, match=f"{next(iter(options))}="):
        ImageFolder(folder, "train", **options)
