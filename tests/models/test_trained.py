"""`create` with weights: those that come with the package, and files."""

import pytest
import torch

from repro.errors import InputError
from repro.models import create, list_weights, save_weights
from repro.papers.data import DataRecipe, load_splits
from repro.train import evaluate

NAMES = [f"resnet20-{op}-glyphs" for op in ("adder", "conv", "shift")]


@pytest.fixture(scope="module")
def glyphs():
    return load_splits(DataRecipe("glyphs", train_images=600, test_images=600)).test


def test_the_weights_that_come_with_the_package_are_listed():
    assert list_weights() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_they_are_about_as_accurate_as_their_card_says(name, glyphs):
    model = create("resnet20", weights=name)
    assert not model.training
    card, found = model.card["accuracy"], evaluate(model, glyphs)
    assert found["accuracy_pct"] == pytest.approx(card["top1_pct"], abs=4)  # 600 of its 4,000 images: 3 deviations
    assert card["low_pct"] < card["top1_pct"] < card["high_pct"]
    assert name.split("-")[1] == model.recipe["op"]


def test_weights_of_a_file_bring_its_options(tmp_path):
    torch.manual_seed(0)
    model = create("resnet20", width=0.25, num_classes=3, op="shift").eval()
    save_weights(model, tmp_path / "own.safetensors")
    loaded = create("resnet20", weights=tmp_path / "own.safetensors", num_classes=3)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(loaded(images), model(images))
    assert loaded.recipe == model.recipe


@pytest.mark.parametrize(
    "name, asked, sentence",
    [
        ("resnet32", {}, "belong to resnet20, not resnet32"),
        ("resnet20", {"width": 1.0}, "width=1.0 is not allowed .* they were saved with width=0.25"),
        ("resnet20", {"op": "conv"}, "op='conv' is not allowed .* op='adder'"),
        ("resnet200", {}, "Did you mean 'resnet20'"),
    ],
)
def test_other_networks_are_refused(name, asked, sentence):
    with pytest.raises(InputError, match=sentence):
        create(name, weights="resnet20-adder-glyphs", **asked)


def test_an_unknown_name_of_weights_is_refused_with_the_nearest():
    with pytest.raises(InputError, match=r"'resnet20-add-glyphs' are not known.*Did you mean 'resnet20-adder-glyphs'"):
        create("resnet20", weights="resnet20-add-glyphs")
    with pytest.raises(FileNotFoundError):
        create("resnet20", weights="absent.safetensors")
