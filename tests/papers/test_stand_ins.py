"""Random data in place of those that are not here."""

import dataclasses
import sys

import pytest
import torch

from repro.cli import main as command_line
from repro.datasets import REGISTRY
from repro.datasets.imagenet import ROWS
from repro.errors import MissingDataError
from repro.papers import data, segmentation_jobs, stand_ins, text_data
from repro.papers import forecast as forecasting
from repro.papers.data import IMAGENET, DataRecipe, data_fingerprint, load_splits
from repro.papers.segmentation_jobs import mask_splits
from repro.papers.text_data import TextRecipe, load_text
from repro.runs import RunSpec
from repro.train import TrainRecipe
from repro.train.translation import TranslationRecipe
from tests.papers.test_forecast import Passes

TRAIN = TrainRecipe(epochs=3, batch_size=16)
TEXT = TextRecipe("wmt14", "en-de", vocabulary=300, max_tokens=250)


@pytest.fixture(autouse=True)
def nothing_here(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_DATA", str(tmp_path / "raw"))
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(stand_ins, "SENTENCES", 600)
    monkeypatch.setattr(stand_ins, "WORDS", 500)
    monkeypatch.setitem(ROWS, "train", 12_345)
    stand_ins._drawn_texts.cache_clear()
    yield
    stand_ins._drawn_texts.cache_clear()


def test_images_in_memory_have_the_shape_and_the_classes_of_the_published_ones():
    with stand_ins.stand_ins() as used:
        splits = load_splits(DataRecipe("cifar100", train_images=400, size=16, held_out=0.25))
        (batch,) = list(splits.train.batches(300, torch.Generator().manual_seed(0)))
        assert batch.inputs.shape == (300, 3, 16, 16) and batch.labels.max() == 99 and len(splits.held_out) == 100
        assert used == {"cifar100": 1.0}


@pytest.mark.parametrize(("name", "rows"), [(IMAGENET, 12_345), ("food101", REGISTRY["food101"].rows["train"])])
def test_files_are_as_many_as_published_and_none_is_read(name, rows):
    recipe = DataRecipe(name, size=24)
    with stand_ins.stand_ins() as used:
        train = load_splits(recipe).train
        batch = next(iter(train.batches(8, torch.Generator().manual_seed(0))))
        assert len(train) == rows and batch.inputs.shape == (8, 3, 24, 24)
        assert int(train.labels.max()) + 1 == recipe.facts["num_classes"] and len(data_fingerprint(recipe)) == 16
        assert used == {name: 1.0}


@pytest.mark.parametrize("name", ["voc2012", "openeds"])
def test_masks_have_the_classes_of_the_published_ones(name):
    with stand_ins.stand_ins() as used:
        train = mask_splits(DataRecipe(name, size=24, train_images=40)).train
        batch = next(iter(train.batches(8, torch.Generator().manual_seed(0))))
        assert batch.inputs.shape == (8, 3, 24, 24) and batch.labels.shape == (8, 24, 24)
        assert batch.labels.max() < REGISTRY[name].num_classes and used == {name: 1.0}


def test_sentences_are_fewer_and_it_is_said_by_how_much():
    with stand_ins.stand_ins() as used:
        text = load_text(TEXT)
        words = [len(sentence.split()) for sentence in stand_ins._drawn_texts(TEXT)["train"].of("en")]
        assert len(text.train) == 600 and used == {"wmt14-en-de": 4_500_000 / 600}
        assert sum(words) / 600 == pytest.approx(stand_ins.MEAN_WORDS, rel=0.05)
        assert len(text.vocabulary) == 300


def test_afterwards_data_that_are_not_here_are_missing_again():
    recipes = (DataRecipe("cifar100", train_images=64), DataRecipe(IMAGENET, size=8), DataRecipe("food101", size=8))
    asked = [(load_splits, recipe) for recipe in recipes]
    asked += [(mask_splits, DataRecipe("openeds", size=8)), (load_text, TEXT)]
    originals = (data._sources, data._imagenet, data.open_folder, segmentation_jobs.mask_splits, text_data._texts)
    with stand_ins.stand_ins():
        for read, recipe in asked:
            read(recipe)
    assert originals == (
        data._sources,
        data._imagenet,
        data.open_folder,
        segmentation_jobs.mask_splits,
        text_data._texts,
    )
    for read, recipe in asked:
        with pytest.raises(MissingDataError):
            read(recipe)


def test_data_that_are_here_are_used_and_incomplete_ones_refused(tmp_path):
    with stand_ins.stand_ins() as used:
        assert len(load_splits(DataRecipe("digits")).train) == 1437 and not used
        (tmp_path / "raw" / IMAGENET / "train").mkdir(parents=True)
        (tmp_path / "raw" / "VOCdevkit" / "VOC2012").mkdir(parents=True)
        (tmp_path / "raw" / "wmt14-en-de").mkdir()
        (tmp_path / "raw" / "wmt14-en-de" / "train.en").write_text("a\n")
        for read, recipe in (
            (load_splits, DataRecipe(IMAGENET, size=8)),
            (mask_splits, DataRecipe("voc2012", size=8)),
            (load_text, TEXT),
        ):
            with pytest.raises(MissingDataError):
                read(recipe)
        assert not used


def test_a_forecast_counts_the_batches_of_the_published_data(monkeypatch, capsys):
    text_train = dataclasses.replace(TranslationRecipe(epochs=2), batch_tokens=128)
    recipes = {
        "cifar100": Passes(DataRecipe("cifar100", size=8), TRAIN),
        IMAGENET: Passes(DataRecipe(IMAGENET, size=8), TRAIN),
        "wmt14-en-de": Passes(TEXT, text_train),
    }
    specs = {
        name: RunSpec(name, "tests.papers.test_forecast:pass_by_the_clock", recipe, 0)
        for name, recipe in recipes.items()
    }
    monkeypatch.setattr(forecasting, "planned", lambda name, *_: [specs[name]])
    found = forecasting.forecast(list(recipes), "paper")
    with stand_ins.stand_ins():
        sentences = load_text(TEXT).train.number_of_batches(128) * 4_500_000 / 600
    expected = {"cifar100": 3 * 50_000 / 16, IMAGENET: 3 * 12_345 / 16, "wmt14-en-de": 2 * sentences}
    hours = dict(zip(found["kind"], found["hours"]))
    assert hours == pytest.approx({name: seconds / 3600 for name, seconds in expected.items()}, rel=1e-3)
    assert found.attrs["stand_ins"] == ["cifar100", "imagenet", "wmt14-en-de"] and found.attrs["missing"] == {}

    monkeypatch.setattr(forecasting, "planned", lambda name, *_: [specs["cifar100"]])
    monkeypatch.setattr(sys, "argv", ["repro", "forecast", "shiftaddaug_t03", "--gpus", "1"])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert not ended.value.code and "cifar100 not here: random data" in " ".join(capsys.readouterr().out.split())
