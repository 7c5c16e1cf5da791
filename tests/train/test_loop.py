"""The training loop: learns, is deterministic, resumes bit for bit, records divergence."""

from __future__ import annotations

import dataclasses
import io
import itertools
import os

import pytest
import torch
from torch import nn

from repro.datasets import load
from repro.errors import DamagedError, InputError
from repro.layers import make_conv2d
from repro.paths import write_sealed
from repro.train import (
    TensorData,
    TrainRecipe,
    evaluate,
    fit,
    load_checkpoint,
    prepare,
    profile_step,
    save_checkpoint,
)
from repro.train.data import generator_for, steps_per_epoch
from repro.train.recipe import learning_rate

RECIPE = TrainRecipe(epochs=4, batch_size=16, lr=0.1, crop_padding=1, flip=True, cutout=2)


def network(op: str = "adder", *, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        make_conv2d(op, 4, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    )


def stripes(count: int, seed: int = 0) -> TensorData:
    """Horizontal against vertical stripes under noise: a task that a tiny network learns in seconds."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    wave = torch.tensor([1.0, -1.0]).repeat(4)
    images = torch.where(labels.view(-1, 1, 1, 1) == 0, wave.view(1, 1, 8, 1), wave.view(1, 1, 1, 8))
    return TensorData(images + 0.5 * torch.randn(count, 1, 8, 8, generator=generator), labels)


def weights_equal(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("op", ["conv", "adder"])
def test_a_tiny_network_learns_stripes(op):
    recipe = TrainRecipe(epochs=12, batch_size=16, lr=0.1)
    history = fit(network(op), stripes(128), stripes(100, seed=1), recipe, seed=0)
    assert history.outcome == "finished"
    assert len(history.rows) == 12
    assert history.accuracy_pct > 90
    assert history.rows[-1]["train_loss"] < history.rows[0]["train_loss"]


def test_same_seed_same_weights_even_if_the_global_generator_moved():
    one, other, third = network(), network(), network()
    fit(one, stripes(64), None, RECIPE, seed=3)
    torch.rand(17)
    fit(other, stripes(64), None, RECIPE, seed=3)
    fit(third, stripes(64), None, RECIPE, seed=4)
    assert weights_equal(one, other)
    assert not weights_equal(one, third)


def test_training_leaves_the_global_generator_where_it_was():
    model = network()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(model, stripes(32), None, dataclasses.replace(RECIPE, epochs=1), seed=0)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("options", [{}, {"optimizer": "radam", "lr": 0.01}, {"channels_last": False}], ids=str)
def test_an_interrupted_run_continues_bit_for_bit(tmp_path, options):
    recipe = dataclasses.replace(RECIPE, **options)
    whole, part, resumed = network(), network(), network(seed=9)
    expected = fit(whole, stripes(64), stripes(32, 1), recipe, seed=1)
    file = tmp_path / "run.pt"
    stopped = fit(part, stripes(64), stripes(32, 1), recipe, seed=1, checkpoint=file, stop_after=2)
    assert stopped.outcome == "stopped" and len(stopped.rows) == 2
    history = fit(resumed, stripes(64), stripes(32, 1), recipe, seed=1, checkpoint=file)
    assert weights_equal(whole, resumed)
    assert [row["test_loss"] for row in history.rows] == [row["test_loss"] for row in expected.rows]


def test_a_finished_run_is_not_repeated(tmp_path):
    file, epochs = tmp_path / "run.pt", []
    first = network()
    fit(first, stripes(32), None, RECIPE, seed=1, checkpoint=file)
    second = network(seed=4)
    fit(second, stripes(32), None, RECIPE, seed=1, checkpoint=file, on_epoch=epochs.append)
    assert epochs == [] and weights_equal(first, second)


def test_checkpoints_of_another_run_are_refused(tmp_path):
    file = tmp_path / "run.pt"
    fit(network(), stripes(32), None, RECIPE, seed=1, checkpoint=file)
    longer, fresh, same = dataclasses.replace(RECIPE, epochs=RECIPE.epochs + 1), network(seed=4), network(seed=4)
    for recipe, seed, what in ((RECIPE, 2, "seed"), (longer, 1, "recipe"), (longer, 2, "recipe and another seed")):
        with pytest.raises(InputError, match=f"was written with another {what}; give"):
            fit(fresh, stripes(32), None, recipe, seed=seed, checkpoint=file)
    assert weights_equal(fresh, same)  # refused before anything was taken over
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with pytest.raises(InputError, match="does not fit this network"):
        fit(other, stripes(32), None, RECIPE, seed=1, checkpoint=file)


def test_a_checkpoint_of_other_images_is_refused(tmp_path):
    file, seen = tmp_path / "run.pt", stripes(32)
    fit(network(), seen, None, RECIPE, seed=1, checkpoint=file, stop_after=1)
    swapped = seen.take(torch.arange(32).flip(0))
    relabelled = dataclasses.replace(seen, labels=1 - seen.labels)
    scaled = dataclasses.replace(seen, normalize=lambda images: 2 * images)
    strided = TensorData(seen.images[::1], torch.stack([seen.labels, seen.labels], 1)[:, 0])
    assert not strided.labels.is_contiguous() and strided.digest == seen.digest
    for other in (swapped, relabelled, scaled):
        with pytest.raises(InputError, match="was written with another set of images; give"):
            fit(network(), other, None, RECIPE, seed=1, checkpoint=file)
    assert len(fit(network(), seen, None, RECIPE, seed=1, checkpoint=file).rows) == RECIPE.epochs


def test_a_checkpoint_that_says_less_than_is_asked_for_is_told_from_one_that_says_something_else(tmp_path):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    save_checkpoint(tmp_path / "c", model, optimizer, progress={}, identity={"recipe": "a"})
    with pytest.raises(InputError, match="does not say with which set of images it was written; an earlier version"):
        load_checkpoint(tmp_path / "c", model, optimizer, identity={"recipe": "a", "set of images": "b"})


class Command:
    """Unpickled, it would run a command; reading a checkpoint must not."""

    def __reduce__(self):
        return (os.mkdir, ("made_by_a_checkpoint",))


@pytest.mark.parametrize("damage", ["cut short", "one byte", "no checkpoint", "other contents", "a command"])
def test_a_checkpoint_that_cannot_be_read_is_set_aside_and_the_training_begins_again(
    tmp_path, monkeypatch, capsys, damage
):
    monkeypatch.chdir(tmp_path)
    file, expected, again = tmp_path / "run.pt", network(), network()
    fit(expected, stripes(32), None, RECIPE, seed=1, checkpoint=file)
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    body = io.BytesIO()
    torch.save({"weights": torch.zeros(1)} if damage == "other contents" else {"model": Command()}, body)
    if damage in ("other contents", "a command"):  # whole, by their digest
        write_sealed(file, body.getvalue())
    else:
        file.write_bytes({"cut short": raw[:-100], "one byte": raw, "no checkpoint": b"something else"}[damage])
    damaged = file.read_bytes()
    with pytest.raises(DamagedError, match=r"^checkpoint run\.pt cannot be read: .*\.$"):
        load_checkpoint(file, network())
    fit(again, stripes(32), None, RECIPE, seed=1, checkpoint=file)
    assert weights_equal(again, expected)
    assert "checkpoint run.pt cannot be read" in (told := capsys.readouterr().err) and "begins again" in told
    (aside,) = tmp_path.glob("run.pt.damaged-*")
    assert aside.read_bytes() == damaged and load_checkpoint(file, again)["steps_done"] == 8
    assert not (tmp_path / "made_by_a_checkpoint").exists()


def test_every_flipped_byte_of_a_checkpoint_is_noticed(tmp_path):
    file = save_checkpoint(tmp_path / "run.pt", nn.Linear(2, 2), progress={"steps_done": 3})
    raw = file.read_bytes()
    for place in range(0, len(raw), 7):
        file.write_bytes(raw[:place] + bytes([raw[place] ^ 16]) + raw[place + 1 :])
        with pytest.raises(DamagedError):
            load_checkpoint(file, nn.Linear(2, 2))


def test_an_optimiser_that_does_not_fit_changes_nothing(tmp_path):
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    sgd.step()
    before = {name: value.clone() for name, value in other.state_dict().items()}
    refused = {
        "holds no optimiser state": (None, torch.optim.SGD(other.parameters(), lr=0.1)),
        "another number of parameters": (sgd, torch.optim.SGD([other.weight], lr=0.1)),
        "other groups": (sgd, torch.optim.SGD([{"params": [other.weight]}, {"params": [other.bias]}], lr=0.1)),
        "has shape": (sgd, torch.optim.SGD([other.bias, other.weight], lr=0.1)),
        "other settings": (sgd, torch.optim.Adam(other.parameters())),
    }
    for sentence, (written, optimizer) in refused.items():
        file = save_checkpoint(tmp_path / "run.pt", model, written)
        with pytest.raises(InputError, match=sentence):
            load_checkpoint(file, other, optimizer)
        assert not optimizer.state and all(torch.equal(before[name], own) for name, own in other.state_dict().items())


class Described(nn.Linear):
    """A layer whose state holds more than tensors."""

    extra: object = None

    def get_extra_state(self):
        return self.extra

    def set_extra_state(self, state):
        self.extra = state


def test_what_a_checkpoint_cannot_hold_is_named_before_anything_is_written(tmp_path):
    model, file = Described(2, 2), tmp_path / "run.pt"
    model.extra = {"version": 1, "scales": [0.5, torch.ones(2)]}
    save_checkpoint(file, model)
    again = Described(2, 2)
    again.extra = {}
    load_checkpoint(file, again)
    assert again.extra["version"] == 1
    model.extra = {"made_by": Command()}
    with pytest.raises(InputError, match=r"model\._extra_state\.made_by is a Command, which a checkpoint cannot hold"):
        save_checkpoint(file, model)
    load_checkpoint(file, again)  # the old file is still there


@pytest.mark.parametrize("labels", [[0, 1, 7, 1], [0, 1, -1, 1], [0.0, 1.0, 0.5, 1.0]], ids=str)
@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_that_are_no_class_are_refused(labels, split):
    good, bad = stripes(4), TensorData(torch.randn(4, 1, 8, 8), torch.tensor(labels))
    data = {"train": (bad, None), "test": (good, bad)}[split]
    with pytest.raises(InputError, match="label"):
        fit(network("conv"), *data, RECIPE, seed=0)


def test_data_that_cannot_be_trained_on_is_one_sentence():
    norm = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(1, 2))
    with pytest.raises(InputError, match="batch_size=2 leaves a batch of one example"):
        fit(norm, stripes(3), None, TrainRecipe(epochs=1, batch_size=2), seed=0)
    stored = TensorData(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))
    with pytest.raises(InputError, match=r"inputs are torch\.uint8"):
        fit(network("conv"), stored, None, RECIPE, seed=0)
    for options in ({"seed": "a"}, {"seed": -1}, {"seed": 0, "evaluate_every": 0}, {"seed": 0, "stop_after": "2"}):
        with pytest.raises(InputError, match=f"{list(options)[-1]}="):
            fit(network("conv"), stripes(4), None, RECIPE, **options)


def test_callback_can_stop_a_run():
    history = fit(network(), stripes(32), None, RECIPE, seed=0, on_epoch=lambda row: row["epoch"] < 2)
    assert history.outcome == "stopped" and len(history.rows) == 2


class Poison(nn.Module):
    """Passes its input through, but its output (or only its gradient) is NaN from a given call on."""

    def __init__(self, after: int, gradient_only: bool):
        super().__init__()
        self.after, self.gradient_only, self.calls = after, gradient_only, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls <= self.after:
            return x
        if self.gradient_only:
            x.register_hook(lambda gradient: gradient * float("nan"))
            return x
        return x * float("nan")


@pytest.mark.parametrize(("gradient_only", "where"), [(False, "layer 4"), (True, "layer 3")])
def test_divergence_is_recorded_with_the_layer_and_not_raised(gradient_only, where):
    model = network("conv")
    model.insert(4, Poison(after=6, gradient_only=gradient_only))
    history = fit(model, stripes(64), None, RECIPE, seed=0)
    assert history.diverged and len(history.rows) == 1
    assert where in history.detail and "step 6" in history.detail
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_rate_warms_up_linearly_then_follows_a_cosine():
    recipe = TrainRecipe(epochs=10, lr=0.4, warmup_epochs=2)
    rates = [learning_rate(recipe, step, 100, 10) for step in range(101)]
    assert rates[0] == pytest.approx(0.4 / 20) and rates[19] == pytest.approx(0.4)
    assert rates[20] == pytest.approx(0.4) and rates[60] == pytest.approx(0.2) and rates[100] == pytest.approx(0)
    assert all(earlier >= later for earlier, later in itertools.pairwise(rates[20:]))


@pytest.mark.parametrize(("count", "size", "expected"), [(64, 16, 4), (70, 16, 4), (72, 16, 5), (5, 16, 1)], ids=str)
def test_a_last_batch_below_half_size_is_left_out(count, size, expected):
    parts = list(stripes(count).batches(size, generator_for("test")))
    assert len(parts) == expected == steps_per_epoch(count, size)


def test_real_digits_are_normalised_batch_by_batch():
    data = load("digits", "train", limit=200)
    prepared = prepare(data)
    assert prepared.images.dtype == torch.uint8
    inputs, labels, _ = next(prepared.batches(200, generator_for("digits")))
    order = torch.randperm(200, generator=generator_for("digits"))
    assert torch.equal(labels, data.labels[order])
    assert torch.equal(inputs, data.normalize(data.images[order]))


class Mirrored(torch.utils.data.Dataset):
    """A torch Dataset of a user's own, with or without items that it makes itself."""

    def __init__(self, data):
        self.images, self.labels = data.images, data.labels


class MirroredItems(Mirrored):
    def __getitem__(self, index):
        return self.images[index].flip(-1), self.labels[index]


def test_items_that_a_data_set_makes_itself_are_not_skipped_without_a_word():
    data = stripes(32)
    assert torch.equal(prepare(Mirrored(data)).images, data.images)
    assert prepare(load("digits", "test", limit=8)).images.shape == (8, 1, 8, 8)
    with pytest.raises(InputError, match="MirroredItems with a __getitem__ of its own, which is not called here"):
        prepare(MirroredItems(data))


def test_profile_finds_the_operators_share():
    data = stripes(32)
    figures = profile_step(network(), data.images, data.labels)
    assert 0 < figures["operator_share"] < 1
    assert figures["operator_ms"] < figures["step_ms"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"optimizer": "sdg"}, "Did you mean 'sgd'"),
        ({"adaptive": "both"}, "adaptive='both'"),
        ({"epochs": 1.5}, "epochs=1.5"),
        ({"lr": float("nan")}, "lr=nan"),
        ({"lr": "0.1"}, "lr='0.1'"),
        ({"momentum": 2}, "momentum=2 is not allowed; it must be a finite number at least 0 and below 1"),
        ({"label_smoothing": 1.5}, "label_smoothing=1.5"),
        ({"eta": 0}, "eta=0 is not allowed; it must be a finite number above 0"),
        ({"flip": "no"}, "flip='no' is not allowed; it must be True or False"),
        ({"nesterov": True, "momentum": 0.0}, "nesterov=True needs a momentum"),
    ],
)
def test_bad_recipes_are_named(options, sentence):
    with pytest.raises(InputError, match=sentence):
        TrainRecipe(**options)


@pytest.mark.parametrize("wrap", [tuple, list], ids=["tuple", "list"])
def test_what_is_no_data_is_refused_in_one_sentence(wrap):
    data = stripes(16)
    pair, recipe = wrap([data.images, data.labels]), TrainRecipe(epochs=1, batch_size=8)
    for train, test in ((pair, None), (data, pair)):
        with pytest.raises(InputError, match=rf"data is a {wrap.__name__}; it must be .* TensorData\(images, labels\)"):
            fit(_plain(), train, test, recipe, seed=0)
    with pytest.raises(InputError, match=f"data is a {wrap.__name__}; it must be TensorData"):
        evaluate(_plain(), pair)
    with pytest.raises(InputError, match="images is a list; it must be a tensor"):
        TensorData(data.images.tolist(), data.labels)
    with pytest.raises(InputError, match="labels is a list; it must be a tensor"):
        TensorData(data.images, data.labels.tolist())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_images_of_another_dtype_than_the_weights_are_refused_before_training(dtype):
    data, recipe = stripes(16), TrainRecipe(epochs=1, batch_size=8)
    plain = TensorData(data.inputs(slice(None)), data.labels)
    other = TensorData(plain.images.to(dtype), data.labels)
    for train, test in ((other, None), (plain, other)):
        with pytest.raises(InputError, match=f"images are {dtype}, but the network's weights are torch.float32; give"):
            fit(_plain(), train, test, recipe, seed=0)
    assert fit(_plain().double(), TensorData(plain.images.double(), data.labels), None, recipe, seed=0).rows


def _plain(seed: int = 0) -> nn.Sequential:
    """Without batch norm and dropout, whose parts of a batch are not the batch."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))


def test_parts_of_a_batch_make_the_update_of_the_whole():
    recipe = TrainRecipe(epochs=2, batch_size=16, lr=0.1, momentum=0.9)
    one, many = _plain(), _plain()
    alone = fit(one, stripes(40), stripes(16, 1), recipe, seed=0)
    parts = fit(many, stripes(40), stripes(16, 1), dataclasses.replace(recipe, accumulate=3), seed=0)
    for mine, theirs in zip(alone.rows, parts.rows, strict=True):
        assert theirs == pytest.approx(mine | {"seconds": theirs["seconds"]}, rel=1e-4)
    for mine, theirs in zip(one.parameters(), many.parameters()):
        torch.testing.assert_close(theirs, mine, rtol=1e-4, atol=1e-6)
    with pytest.raises(InputError, match="accumulate=17 is not allowed; a batch of 16 has no so many parts"):
        dataclasses.replace(recipe, accumulate=17)


@pytest.mark.parametrize("op", ["conv", "shift", "adder"])
def test_bfloat16_computes_the_forward_pass_and_leaves_weights_and_tests_in_float32(op):
    seen = []
    recipe = TrainRecipe(epochs=1, batch_size=16, lr=0.05)
    exact, rounded = network(op), network(op)
    rounded[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    history = fit(exact, stripes(64), stripes(32, 1), recipe, seed=0)
    other = fit(rounded, stripes(64), stripes(32, 1), dataclasses.replace(recipe, precision="bfloat16"), seed=0)
    assert set(seen) == {torch.bfloat16, torch.float32}, "training and test"
    assert {parameter.dtype for parameter in rounded.parameters()} == {torch.float32}
    assert other.last("train_loss") == pytest.approx(history.last("train_loss"), rel=0.05)
    assert other.last("train_loss") != history.last("train_loss")
    with pytest.raises(InputError, match="precision='float8' is not known"):
        dataclasses.replace(recipe, precision="float8")
