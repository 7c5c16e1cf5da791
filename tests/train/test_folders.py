"""Published layouts, written tiny by the test: files, classes and masks that are found, and parts that are missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torch import nn

from repro.datasets import fetch, find, list_datasets, load, verify
from repro.datasets.folders import VOC_CLASSES
from repro.datasets.registry import REGISTRY
from repro.errors import InputError, MissingDataError
from repro.papers.data import DataRecipe, data_fingerprint, data_source, load_splits
from repro.papers.segmentation_jobs import mask_splits
from repro.train import TrainRecipe, fit
from repro.train.data import generator_for
from repro.train.folders import ListedImages, MaskFolder, open_folder
from repro.train.imagefolder import IMAGENET_MEAN, IMAGENET_STD
from repro.train.segmentation import SegmentationRecipe, fit_segmentation, measure


def picture(file, shade: int, size=(12, 10)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, shade, shade)).save(file)


def text(file, *lines: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")


def food101(top):
    names = [f"dish_{number:03d}" for number in range(101)]
    text(top / "meta" / "classes.txt", *names)
    text(top / "meta" / "train.txt", "dish_002/12", "dish_000/7", "dish_002/13")
    text(top / "meta" / "test.txt", "dish_100/1")
    for name, shade in (("dish_002/12", 12), ("dish_000/7", 7), ("dish_002/13", 13), ("dish_100/1", 1)):
        picture(top / "images" / f"{name}.jpg", shade)
    return {"train": ([12, 7, 13], [2, 0, 2]), "test": ([1], [100])}


def flowers102(top):
    for number in range(1, 7):
        picture(top / "jpg" / f"image_{number:05d}.jpg", number)
    savemat(top / "imagelabels.mat", {"labels": np.array([[5, 5, 102, 1, 2, 3]], dtype=np.uint8)})
    savemat(top / "setid.mat", {"trnid": [[6, 1]], "valid": [[3]], "tstid": [[2, 4, 5]]})
    return {"train": ([1, 3, 6], [4, 101, 2]), "test": ([2, 4, 5], [4, 0, 1])}


def stanford_cars(top):
    def annotations(*rows):
        kind = [("bbox_x1", "O"), ("class", "O"), ("fname", "O")]
        return {"annotations": np.array([[(1, label, name) for name, label in rows]], dtype=kind)}

    (top / "devkit").mkdir(parents=True)
    savemat(
        top / "devkit" / "cars_meta.mat", {"class_names": np.array([[f"car {n}" for n in range(196)]], dtype=object)}
    )
    savemat(top / "devkit" / "cars_train_annos.mat", annotations(("00001.jpg", 196), ("00002.jpg", 1)))
    savemat(top / "cars_test_annos_withlabels.mat", annotations(("00001.jpg", 3)))
    for file, shade in (("cars_train/00001.jpg", 1), ("cars_train/00002.jpg", 2), ("cars_test/00001.jpg", 3)):
        picture(top / file, shade)
    return {"train": ([1, 2], [195, 0]), "test": ([3], [2])}


def pets(top):
    text(top / "annotations" / "trainval.txt", "# NAME CLASS SPECIES BREED", "Egyptian_Mau_3 2 1 2", "pug_5 37 2 25")
    text(top / "annotations" / "test.txt", "pug_6 37 2 25")
    for name, shade in (("Egyptian_Mau_3", 3), ("pug_5", 5), ("pug_6", 6)):
        picture(top / "images" / f"{name}.jpg", shade)
    return {"train": ([3, 5], [1, 36]), "test": ([6], [36])}


CLASSIFIED = {"food101": food101, "flowers102": flowers102, "stanford-cars": stanford_cars, "pets": pets}


def mask_of(number: int, size=(16, 8)) -> np.ndarray:
    """A mask (8, 16) whose left half is class `number`, with an ignored column in the middle of the right."""
    mask = np.zeros(size[::-1], dtype=np.uint8)
    mask[:, : size[0] // 2] = number
    return mask


def shaded(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(np.where(mask == 255, 0, 40 + 10 * mask).astype(np.uint8)[..., None].repeat(3, 2))


def voc2012(top):
    text(top / "ImageSets" / "Segmentation" / "train.txt", "2007_000032", "2007_000039", "2007_000063")
    text(top / "ImageSets" / "Segmentation" / "val.txt", "2007_000033")
    for folder in ("JPEGImages", "SegmentationClass"):
        (top / folder).mkdir()
    for name, number in (("2007_000032", 1), ("2007_000039", 20), ("2007_000063", 5), ("2007_000033", 7)):
        mask = mask_of(number)
        mask[0, -1] = 255
        coloured = Image.fromarray(mask).convert("P")
        coloured.putdata(mask.flatten().tolist())
        coloured.putpalette([value % 256 for value in range(768)])  # numbers of a palette, as in the real files
        coloured.save(top / "SegmentationClass" / f"{name}.png")
        shaded(mask).save(top / "JPEGImages" / f"{name}.jpg", quality=100)


def openeds(top):
    for part, names in (("train", ("000000000002", "000000000001")), ("validation", ("000000000009",))):
        for folder in ("images", "labels"):
            (top / part / folder).mkdir(parents=True)
        for name in names:
            mask = mask_of(int(name) % 4)
            np.save(top / part / "labels" / f"{name}.npy", mask)
            shaded(mask).convert("L").save(top / part / "images" / f"{name}.png")


MASKED = {"voc2012": voc2012, "openeds": openeds}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_DATA", str(tmp_path / "raw"))
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "raw"


def written(root, name):
    top = root / REGISTRY[name].folders[0]
    top.mkdir(parents=True)
    return top, (CLASSIFIED | MASKED)[name](top)


@pytest.mark.parametrize("name", CLASSIFIED)
def test_a_published_layout_gives_its_images_with_their_classes(root, name):
    _, content = written(root, name)
    for split, (shades, labels) in content.items():
        data = open_folder(name, split, size=8, threads=1)
        assert isinstance(data, ListedImages) and data.labels.tolist() == labels and len(data) == len(shades)
        assert data.num_classes == REGISTRY[name].num_classes
        inputs = torch.cat(list(data.input_batches(2)))
        red = (inputs[:, 0] * IMAGENET_STD[0] + IMAGENET_MEAN[0]) * 255
        np.testing.assert_allclose(red.mean((1, 2)), shades, atol=1.5)  # JPEG changes a shade by one
    (row,) = [row for row in list_datasets() if row.name == name]
    assert row.present and "published layout in" in row.found
    assert not verify(name)[0][0] and f"has {len(content['train'][0])} of" in verify(name)[0][1]


def test_an_entry_reads_a_published_layout_batch_by_batch(root):
    _, content = written(root, "food101")
    splits = load_splits(DataRecipe("food101", size=8))
    assert splits.held_out is None and (len(splits.train), len(splits.test)) == (3, 1)
    batch = next(iter(splits.train.batches(3, generator_for(0))))
    assert batch.inputs.shape == (3, 3, 8, 8) and sorted(batch.labels.tolist()) == sorted(content["train"][1])


def test_names_of_classes_are_those_of_the_layout(root):
    for name in CLASSIFIED:
        written(root, name)
    names = {name: open_folder(name, "train").class_names for name in CLASSIFIED}
    assert names["food101"][100] == "dish_100" and names["stanford-cars"][0] == "car 0"
    assert names["pets"][36] == "pug" and names["pets"][1] == "Egyptian_Mau" and names["flowers102"][0] == "1"


@pytest.mark.parametrize(
    "name, gone, message",
    [
        ("food101", "meta/train.txt", "meta/train.txt is missing"),
        ("food101", "images/dish_000/7.jpg", "images/dish_000/7.jpg is missing"),
        ("flowers102", "setid.mat", "setid.mat is missing"),
        ("flowers102", "jpg/image_00003.jpg", "jpg/image_00003.jpg is missing"),
        ("stanford-cars", "devkit/cars_meta.mat", "devkit/cars_meta.mat is missing"),
        ("stanford-cars", "cars_train/00002.jpg", "cars_train/00002.jpg is missing"),
        ("pets", "annotations/trainval.txt", "annotations/trainval.txt is missing"),
        ("voc2012", "SegmentationClass/2007_000039.png", "SegmentationClass/2007_000039.png is missing"),
        ("openeds", "train/labels/000000000001.npy", "train/labels/000000000001.npy is missing"),
    ],
)
def test_a_missing_part_is_named_with_its_place(root, name, gone, message):
    top, _ = written(root, name)
    (top / gone).unlink()
    with pytest.raises(MissingDataError, match=message) as caught:
        open_folder(name, "train")
    assert str(top) in str(caught.value) and "data/README.md" in str(caught.value)
    (row,) = [row for row in list_datasets() if row.name == name]
    assert not row.present and message in row.found and REGISTRY[name].folders[0] in row.advice


def test_the_number_of_further_missing_files_is_said(root):
    top, _ = written(root, "food101")
    for file in (top / "images" / "dish_002").iterdir():
        file.unlink()
    with pytest.raises(MissingDataError, match=r"dish_002/12.jpg \(and 1 more\) is missing"):
        open_folder("food101", "train")


@pytest.mark.parametrize(
    "name, file, content, message",
    [
        ("flowers102", "setid.mat", b"MATLAB", "setid.mat is damaged"),
        ("pets", "annotations/trainval.txt", b"Egyptian_Mau_3\n", "a line is not NAME CLASS SPECIES BREED"),
        ("pets", "annotations/trainval.txt", b"Egyptian_Mau_3 38 1 2\n", "a class is not one of the 37"),
        ("food101", "meta/train.txt", b"dish_999/1\n", "a class is not one of the 101"),
        ("food101", "meta/train.txt", b"\n", "names no images"),
        ("food101", "meta/classes.txt", b"\xff\xfe", "classes.txt is damaged"),
    ],
)
def test_a_damaged_list_is_named(root, name, file, content, message):
    top, _ = written(root, name)
    (top / file).write_bytes(content)
    with pytest.raises(MissingDataError, match=message):
        open_folder(name, "train")


def test_lists_of_other_images_than_there_are_labels_for_are_refused(root):
    top, _ = written(root, "flowers102")
    savemat(top / "setid.mat", {"trnid": [[6, 1]], "valid": [[7]], "tstid": [[2]]})
    with pytest.raises(MissingDataError, match=r"it names images beyond the 6 of imagelabels\.mat"):
        open_folder("flowers102", "train")
    savemat(top / "setid.mat", {"trnid": [[6, 1]], "tstid": [[2]]})
    with pytest.raises(MissingDataError, match="it has no valid"):
        open_folder("flowers102", "train")
    savemat(top / "setid.mat", {"trnid": [[6.5, 1]], "valid": [[3]], "tstid": [[2]]})
    with pytest.raises(MissingDataError, match="trnid is not a row of whole numbers"):
        open_folder("flowers102", "train")


def test_a_list_beyond_any_that_is_known_is_refused_before_it_is_unpacked(root):
    top, _ = written(root, "flowers102")
    large = np.zeros(2**22 + 1)
    nested = np.empty((1, 1), dtype=object)
    nested[0, 0] = large
    for value in (large, nested):
        savemat(top / "setid.mat", {"trnid": value, "valid": [[7]], "tstid": [[2]]}, do_compression=True)
        with pytest.raises(MissingDataError, match="it unpacks to more than 33554432 bytes"):
            open_folder("flowers102", "train")
    (top / "setid.mat").write_bytes(bytes(2**25 + 1))
    with pytest.raises(MissingDataError, match="it holds more than 33554432 bytes"):
        open_folder("flowers102", "train")


def test_what_is_not_there_is_said_with_what_to_do(root):
    assert find("pets", "train") is None
    with pytest.raises(MissingDataError, match="pets was not found at oxford-iiit-pet in the data root"):
        open_folder("pets", "train")
    with pytest.raises(MissingDataError, match="accept its authors' terms and unpack it to oxford-iiit-pet"):
        fetch("pets")
    with pytest.raises(InputError, match="name='digits' is not known"):
        open_folder("digits", "train")
    with pytest.raises(InputError, match="split='val' is not known"):
        open_folder("pets", "val")
    assert [right for right, _ in verify("pets")] == [False, False]
    written(root, "pets")
    with pytest.raises(InputError, match=r"open it with repro.train.folders.open_folder\('pets', 'train'\)"):
        load("pets", "train")
    for scale, message in ((0.5, "two shares of the area"), ((0.5, 2), "high scale=2"), ((0, 1), "low scale=0")):
        with pytest.raises(InputError, match=message):
            open_folder("pets", "train", scale=scale)


def test_listed_images_train_through_fit(root):
    written(root, "food101")
    torch.manual_seed(0)
    net = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 101))
    recipe = TrainRecipe(epochs=2, batch_size=3, lr=0.1, adaptive="none")
    history = fit(net, open_folder("food101", "train", size=8), None, recipe, seed=0)
    assert history.rows[1]["train_loss"] < history.rows[0]["train_loss"]
    assert open_folder("food101", "train").take(slice(1, None)).labels.tolist() == [0, 2]


# ------------------------------------------------------------------ masks


@pytest.mark.parametrize("name", MASKED)
def test_a_test_reads_whole_images_and_their_masks_in_order(root, name):
    written(root, name)
    data = open_folder(name, "train", size=8, threads=2)
    assert isinstance(data, MaskFolder) and data.num_classes == REGISTRY[name].num_classes
    numbers = [1, 20, 5] if name == "voc2012" else [1, 2]
    (first, *_), pairs = data.pairs(2), list(data.pairs(2))
    masks = torch.cat([masks for _, masks in pairs])
    assert masks.shape == (len(numbers), 8, 8) and masks.dtype == torch.uint8 and len(first) == 2
    for mask, number in zip(masks, numbers):
        assert (mask[:, :4] == number).all() and (mask[1:, 4:] == 0).all()
    assert (masks[0] == 255).any() == (name == "voc2012")
    inputs = torch.cat([inputs for inputs, _ in pairs])
    assert torch.equal(inputs, torch.cat(list(data.input_batches(3))))
    shade = (inputs[:, 0, 4, 1] * IMAGENET_STD[0] + IMAGENET_MEAN[0]) * 255
    np.testing.assert_allclose(shade, [40 + 10 * number for number in numbers], atol=3)


def test_training_crops_move_image_and_mask_alike_whatever_the_threads(root):
    written(root, "openeds")

    def crops(threads, seed="a", share=slice(None)):
        data = open_folder("openeds", "train", size=8, threads=threads)
        both = lambda images, masks, generator: (images.flip(3), masks.flip(2))  # noqa: E731
        return next(iter(data.batches(2, generator_for(seed), both, share)))

    one, two, other = crops(1), crops(3), crops(1, "b")
    assert torch.equal(one.inputs, two.inputs) and torch.equal(one.labels, two.labels)
    assert not torch.equal(one.inputs, other.inputs)
    shade = (one.inputs[:, 0] * IMAGENET_STD[0] + IMAGENET_MEAN[0]) * 255
    same = (shade - 40 - 10 * one.labels).abs() < 2.5
    assert same.double().mean() > 0.8  # all but the columns that blend at the border
    assert torch.equal(crops(1, share=slice(1, 2)).labels, one.labels[1:])


def test_a_network_trains_and_is_tested_on_files_with_masks(root):
    written(root, "voc2012")
    torch.manual_seed(0)
    net = nn.Conv2d(3, 21, 1)
    train, test = open_folder("voc2012", "train", size=8), open_folder("voc2012", "test", size=8)
    history = fit_segmentation(net, train, test, SegmentationRecipe(epochs=2, batch_size=2, lr=0.5), seed=0)
    found = measure(net, test)
    assert history.rows[1]["train_loss"] < history.rows[0]["train_loss"]
    assert found.confusions.shape == (1, 21, 21) and found.confusion.sum() == 64 - (next(test.pairs(1))[1] == 255).sum()
    assert math.isclose(history.accuracy_pct, found.pixel_accuracy_pct) and len(VOC_CLASSES) == 21


@pytest.mark.parametrize(
    "mask, message",
    [
        (np.full((8, 16), 4, np.uint8), "a mask holds the class 4; with 4 classes"),
        (np.zeros((8, 15), np.uint8), "it has .* pixels, the image"),
        (np.zeros((8, 16), np.float32), "it holds float32 of shape"),
        (np.zeros((8, 16, 3), np.uint8), "not a class per pixel"),
        (np.full((8, 16), -1, np.int64), "a class is not one of 0..255"),
    ],
)
def test_a_mask_that_cannot_be_one_is_named(root, mask, message):
    top, _ = written(root, "openeds")
    np.save(top / "train" / "labels" / "000000000001.npy", mask)
    with pytest.raises(MissingDataError, match=f"train/labels/000000000001.npy cannot be read .*{message}"):
        list(open_folder("openeds", "train", size=8).pairs(2))


def test_a_recipe_of_files_has_splits_and_a_fingerprint_of_its_names(root):
    top, _ = written(root, "voc2012")
    recipe = DataRecipe("voc2012", train_images=2, size=8)
    splits = mask_splits(recipe)
    assert len(splits.train) == 2 and len(splits.test) == 1
    assert data_source(recipe)["source"] == "folder of the user" and recipe.facts["num_classes"] == 21
    before = data_fingerprint(recipe)
    text(top / "ImageSets" / "Segmentation" / "train.txt", "2007_000032")
    assert data_fingerprint(recipe) != before and len(before) == 16
    mask_splits.cache_clear()
