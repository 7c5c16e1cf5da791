"""Forecasts: what is measured for a moment, and what it adds up to."""

import dataclasses
import sys

import pytest
import torch
from PIL import Image

from repro.cli import main as command_line
from repro.errors import InputError, MissingDataError
from repro.papers import entry, jobs
from repro.papers import forecast as forecasting
from repro.papers.data import IMAGENET, DataRecipe, load_splits
from repro.papers.text_data import TextRecipe, load_text
from repro.runs import RunSpec, execute
from repro.train import TrainRecipe
from repro.train.imagefolder import ImageFolder
from repro.train.text import TokenPairs
from repro.train.translation import TranslationRecipe

TRAIN = TrainRecipe(epochs=5, batch_size=16)


@dataclasses.dataclass(frozen=True)
class Timed:
    """A training whose epochs take a millisecond an image, the first one thrice as long, and some seconds each."""

    data: DataRecipe
    train: TrainRecipe
    ends_at: int = 99
    each_epoch_s: float = 0.0


def train_by_the_clock(recipe, seed, context):
    for epoch in range(min(recipe.train.epochs, recipe.ends_at)):
        seconds = 0.001 * len(load_splits(recipe.data).train) * (3 if epoch == 0 else 1)
        context.log(epoch=epoch, seconds=recipe.each_epoch_s + seconds)
    return {"outcome": "done"}


def spec_of(recipe, seed=0, function="train_by_the_clock"):
    return RunSpec("timed", f"{__name__}:{function}", recipe, seed)


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path))


@pytest.mark.parametrize("data", [DataRecipe("digits"), DataRecipe("digits", train_images=400, held_out=0.5)], ids=str)
def test_short_epochs_stand_for_whole_ones(data):
    images = len(load_splits(data).train)
    shortened, fewer, all_of_them = forecasting._shortened(Timed(data, TRAIN), 10)
    assert len(load_splits(shortened.data).train) == 160 and fewer / all_of_them == pytest.approx(160 / images)
    assert forecasting.seconds_of(spec_of(Timed(data, TRAIN))) == pytest.approx(0.001 * images * 5)


def test_what_is_done_once_an_epoch_counts_once():
    recipe = Timed(DataRecipe("digits", train_images=800), TRAIN, each_epoch_s=7.0)
    assert forecasting.seconds_of(spec_of(recipe)) == pytest.approx((7.0 + 0.8) * 5)


@pytest.mark.parametrize("seconds", [{32: 3.0, 160: 2.0}, {32: 2.0, 160: 2.0}], ids=["less", "the same"])
def test_a_longer_epoch_that_took_no_longer_is_taken_as_all_batches(seconds, monkeypatch):
    monkeypatch.setattr(forecasting, "_short_epoch", lambda spec, batches: (seconds[16 * batches], 16 * batches, 800))
    assert forecasting.seconds_of(spec_of(Timed(DataRecipe("digits"), TRAIN))) == pytest.approx(2.0 * 5 * 5)


def note_threads(recipe, seed, context):
    for epoch in range(2):
        context.log(epoch=epoch, seconds=float(torch.get_num_threads()))


def test_a_run_is_measured_on_the_one_thread_that_a_worker_gives_it():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seconds = forecasting.seconds_of(
            spec_of(Timed(DataRecipe("digits", train_images=16), TRAIN), 0, "note_threads")
        )
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seconds == TRAIN.epochs


def test_few_images_are_measured_as_they_are():
    few = Timed(DataRecipe("digits", train_images=64), TRAIN)
    assert forecasting._shortened(few, 10) == (few, 64, 64)
    assert forecasting.seconds_of(spec_of(dataclasses.replace(few, ends_at=1))) == pytest.approx(0.064 * 3 * 5)


CLOCK = [0]
"""Seconds of the stand-in for a clock: one for each batch, and five for the shuffling of all."""


@dataclasses.dataclass(frozen=True)
class Passes:
    """A training that goes through its files or sentences and does nothing with them."""

    data: DataRecipe | TextRecipe
    train: TrainRecipe | TranslationRecipe


def pass_by_the_clock(recipe, seed, context):
    text = isinstance(recipe.data, TextRecipe)
    data = load_text(recipe.data).train if text else load_splits(recipe.data).train
    for epoch in range(recipe.train.epochs):
        started = CLOCK[0]
        for _ in data.batches(recipe.train.batch_tokens if text else recipe.train.batch_size, torch.Generator()):
            CLOCK[0] += 1
        context.log(epoch=epoch, seconds=CLOCK[0] - started)


@pytest.fixture
def clock(monkeypatch):
    def shuffled(batches):
        def slowly(*args, **options):
            CLOCK[0] += 5
            yield from batches(*args, **options)

        return slowly

    for cls in (ImageFolder, TokenPairs):
        monkeypatch.setattr(cls, "batches", shuffled(cls.batches))


@pytest.fixture
def imagenet(tmp_path, monkeypatch):
    """A folder in ImageNet's layout: two classes of twenty small images each."""
    for split in ("train", "val"):
        for name, shade in (("dark", 60), ("light", 190)):
            (tmp_path / "raw" / IMAGENET / split / name).mkdir(parents=True)
            for number in range(20):
                image = Image.new("RGB", (8, 8), (shade, shade, shade))
                image.save(tmp_path / "raw" / IMAGENET / split / name / f"{number}.jpeg")
    monkeypatch.setenv("REPRO_DATA", str(tmp_path / "raw"))


@pytest.mark.parametrize(("batch_size", "batches"), [(2, 20), (8, 5), (40, 1)])
def test_some_batches_of_files_stand_for_all_and_shuffling_counts_once(batch_size, batches, clock, imagenet):
    train = dataclasses.replace(TRAIN, batch_size=batch_size)
    started = CLOCK[0]
    spec = spec_of(Passes(DataRecipe(IMAGENET, size=8), train), function="pass_by_the_clock")
    assert forecasting.seconds_of(spec) == pytest.approx(5 * (5 + batches))
    measured = sum(2 * (5 + min(some, batches)) for some in forecasting.BATCHES)
    assert CLOCK[0] - started == measured and ImageFolder.batches.__name__ == "slowly"


def test_some_batches_of_sentences_stand_for_all(clock):
    data, train = TextRecipe("grammar", train_sentences=200, vocabulary=100), TranslationRecipe(epochs=4)
    train = dataclasses.replace(train, batch_tokens=128)
    batches = load_text(data).train.number_of_batches(128)
    assert batches > 20
    spec = spec_of(Passes(data, train), function="pass_by_the_clock")
    assert forecasting.seconds_of(spec) == pytest.approx(4 * (5 + batches))


def test_tables_whose_data_are_not_here_are_left_out_and_named(monkeypatch, capsys):
    def planned(name, *_):
        if name != "acghostnet_t06":
            raise MissingDataError(f"no data for {name}")
        return [spec_of(Timed(DataRecipe("digits", train_images=64), TRAIN))]

    monkeypatch.setattr(forecasting, "planned", planned)
    found = forecasting.forecast(["acghostnet_t01", "acghostnet_t06"], "paper")
    assert found["runs"].tolist() == [1] and found.attrs["missing"] == {"acghostnet_t01": "no data for acghostnet_t01"}
    with pytest.raises(MissingDataError, match="no data for acghostnet_t01"):
        forecasting.forecast(["acghostnet_t01"], "paper")
    monkeypatch.setattr(sys, "argv", ["repro", "forecast", "acghostnet_t01", "acghostnet_t06", "--gpus", "1"])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    printed = capsys.readouterr().out
    assert not ended.value.code and "acghostnet_t01 is left out: no data for acghostnet_t01" in printed


def test_a_run_without_a_training_by_epochs_is_not_measured():
    assert forecasting.seconds_of(RunSpec("sums", "tests.runs.run_functions:add_up", _Sums(), 0)) is None


@dataclasses.dataclass(frozen=True)
class _Sums:
    terms: tuple[int, ...] = (1, 2)


def test_runs_are_counted_once_by_kind_and_finished_ones_are_left_out(monkeypatch):
    whole = Timed(DataRecipe("digits", train_images=320), TRAIN)
    asked = {"a": [spec_of(whole, seed) for seed in (0, 1)], "b": [spec_of(whole, 1), spec_of(whole, 2)]}
    asked["b"].append(RunSpec("sums", "tests.runs.run_functions:add_up", _Sums(), 0))
    monkeypatch.setattr(forecasting, "planned", lambda name, *_: asked[name])
    execute(asked["a"][0])
    found = forecasting.forecast(["a", "b"], "smoke").set_index("kind")
    assert found.loc["timed"].to_dict() == pytest.approx(
        {"runs": 2, "measured": 2, "hours": 2 * 1.6 / 3600, "longest": 1.6 / 3600}
    )
    assert found.loc["sums", ["runs", "measured"]].tolist() == [1, 0]


def test_devices_share_the_runs_and_none_is_split():
    found = forecasting.pd.DataFrame({"kind": ["a", "b"], "hours": [20.0, 12.0], "longest": [2.0, 6.0]})
    rows = forecasting.by_devices(found, [1, 4, 8], price=2.5)
    assert rows["hours"].tolist() == [32, 8, 6] and rows["cost"].tolist() == [80, 80, 120]
    with pytest.raises(InputError, match="gpus=0 is not allowed"):
        forecasting.by_devices(found, [0])


def test_a_tables_first_runs_are_those_that_it_does():
    seeds = entry("shiftaddaug_t03").seeds["smoke"]
    specs = forecasting.planned("shiftaddaug_t03", "smoke")
    assert {spec.kind for spec in specs} == {"tiny"} and {spec.seed for spec in specs} == set(seeds)
    assert forecasting.planned("shiftaddaug_t01", "smoke") == []


def test_the_command_says_hours_cost_and_what_they_were_measured_on(monkeypatch, capsys):
    job = jobs.Job("resnet20", {"width": 0.25}, DataRecipe("digits", train_images=64), TRAIN)
    monkeypatch.setattr(forecasting, "planned", lambda name, *_: [jobs.spec(job, 0)])
    command = ["repro", "forecast", "acghostnet_t06", "--preset", "smoke", "--gpus", "1 2", "--price", "3"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    printed = capsys.readouterr().out
    assert not ended.value.code and "network" in printed and "cost" in printed and "Measured on " in printed


def test_a_paper_whose_name_is_misspelt_is_told(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["repro", "forecast", "shiftaddau"])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 2 and "Did you mean 'shiftaddaug'" in capsys.readouterr().err


@pytest.mark.parametrize("gpus", ["none", "", "0"])
def test_numbers_of_gpus_are_checked_before_anything_is_measured(gpus, monkeypatch, capsys):
    monkeypatch.setattr(forecasting, "forecast", lambda *_, **__: 1 / 0)
    monkeypatch.setattr(sys, "argv", ["repro", "forecast", "acghostnet_t06", "--gpus", gpus])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 2 and "gpus=" in capsys.readouterr().err
