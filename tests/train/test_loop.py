"""The training loop: learns, is deterministic, resumes bit for bit, records divergence."""

from __future__ import annotations

import dataclasses
import itertools
import os

import pytest
import torch
from torch import nn

from repro.datasets import load
from repro.errors import InputError
from repro.layers import make_conv2d
from repro.train import TensorData, TrainRecipe, fit, prepare, profile_step
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


class Command:
    """Unpickled, it would run a command; reading a checkpoint must not."""

    def __reduce__(self):
        return (os.mkdir, ("made_by_a_checkpoint",))


@pytest.mark.parametrize("damage", ["cut short", "no checkpoint", "other contents", "a command"])
def test_a_damaged_checkpoint_is_one_sentence(tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "run.pt"
    fit(network(), stripes(32), None, RECIPE, seed=1, checkpoint=file)
    if damage == "cut short":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "no checkpoint":
        file.write_text("something else")
    else:
        torch.save({"weights": torch.zeros(1)} if damage == "other contents" else {"model": Command()}, file)
    with pytest.raises(InputError, match=r"^checkpoint run\.pt cannot be read; delete it and start the run again\.$"):
        fit(network(), stripes(32), None, RECIPE, seed=1, checkpoint=file)
    assert not (tmp_path / "made_by_a_checkpoint").exists()


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
    ],
)
def test_bad_recipes_are_named(options, sentence):
    with pytest.raises(InputError, match=sentence):
        TrainRecipe(**options)
