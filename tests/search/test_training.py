"""Supernet training, separate warm-up and the ranking of paths."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from repro.datasets import load, split_half
from repro.errors import InputError
from repro.papers.acghostnet.supernet import ghost_supernet
from repro.papers.acghostnet.toy import two_layer_space, two_layer_supernet
from repro.search.space import SearchSpace
from repro.search.train_supernet import SupernetRecipe, evaluate_paths, strategy, train_supernet
from repro.search.warmup import Warmup
from repro.train import TensorData, TrainRecipe, evaluate, prepare

TRAIN = TrainRecipe(epochs=6, batch_size=32, lr=0.05, adaptive="all")
MIXED = SearchSpace([("AAg1", "CCg1")] * 6)


@pytest.fixture(scope="module")
def digits():
    train, held_out = split_half(load("digits", "train", limit=320))
    return prepare(train), prepare(held_out)


def two_layers(seed: int = 0):
    torch.manual_seed(seed)
    return two_layer_supernet("conv", width=4, in_channels=1), two_layer_space("conv")


def six_blocks(seed: int = 0):
    torch.manual_seed(seed)
    options = {"blocks": "toy", "form": "cifar", "num_classes": 10, "in_channels": 1, "width": 0.25, "head": 32}
    return ghost_supernet(("AAg1", "CCg1"), **options, dropout=0.0), MIXED


def test_shared_training_makes_every_path_better_than_chance(digits):
    supernet, space = two_layers()
    recipe = SupernetRecipe(train=TrainRecipe(epochs=12, batch_size=16, lr=0.1, adaptive="all"))
    history = train_supernet(supernet, space, *digits, recipe, seed=0)
    assert history.outcome == "finished" and len(history.rows) == 12 and history.warmup == []
    ranked = evaluate_paths(supernet, list(space.all_paths()), digits[1], calibration=digits[0])
    assert [row["path"] for row in ranked] == list(space.all_paths())
    assert all(row["accuracy_pct"] > 40 for row in ranked)


def test_ranking_does_not_change_the_supernet_and_reestimates_batch_norm(digits):
    supernet, space = two_layers()
    train_supernet(supernet, space, *digits, SupernetRecipe(train=TRAIN), seed=0)
    before, path = copy.deepcopy(supernet.state_dict()), ("c3", "c5")
    inherited = evaluate_paths(supernet, [path], digits[1])[0]
    calibrated = evaluate_paths(supernet, [path], digits[1], calibration=digits[0])[0]
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
    assert inherited["loss"] == evaluate(supernet.subnet(path), digits[1])["loss"]
    assert calibrated["loss"] != inherited["loss"]


def test_same_seed_same_supernet(digits):
    weights = []
    for seed in (0, 0, 1):
        supernet, space = two_layers()
        train_supernet(supernet, space, *digits, SupernetRecipe(train=TRAIN), seed=seed)
        weights.append(list(supernet.state_dict().values()))
    assert all(map(torch.equal, weights[0], weights[1]))
    assert not all(map(torch.equal, weights[0], weights[2]))


@pytest.mark.parametrize("order", ["sequential", "interleaved"])
def test_an_unreachable_threshold_ends_at_its_limit_and_says_so(digits, order):
    supernet, space = six_blocks()
    recipe = SupernetRecipe(
        train=TRAIN, joint_epochs=2, warmup=Warmup(100.0, limit_epochs=1, order=order, probe_paths=1)
    )
    history = train_supernet(supernet, space, *digits, recipe, seed=0)
    assert [row.get("group") for row in history.rows[:3]] == ["many adders", "mixed", "few adders"]
    assert [row["phase"] for row in history.rows[3:]] == ["joint"] * 3
    assert all(not outcome.reached and outcome.epochs == 1 for outcome in history.warmup)
    assert "did not reach 100 % within its limit of 1 epochs" in history.warmup[0].sentence


def test_a_low_threshold_leaves_its_budget_to_joint_training(digits):
    supernet, space = six_blocks()
    recipe = SupernetRecipe(train=TRAIN, joint_epochs=0, warmup=Warmup(0.0, probe_paths=1))
    history = train_supernet(supernet, space, *digits, recipe, seed=0)
    assert [outcome.epochs for outcome in history.warmup] == [1, 1, 1] and all(o.reached for o in history.warmup)
    assert len(history.rows) == TRAIN.epochs and sum(row["phase"] == "joint" for row in history.rows) == 3


def test_the_four_strategies_spend_the_same_budget():
    recipe = SupernetRecipe(train=TRAIN, warmup=Warmup(50.0))
    made = [strategy(recipe, adaptive_lr=a, separate=s) for a in (False, True) for s in (False, True)]
    assert [m.train.adaptive for m in made] == ["adder", "adder", "all", "all"]
    assert [m.warmup is not None for m in made] == [False, True, False, True]
    assert {m.train.epochs for m in made} == {TRAIN.epochs}


class Killed(BaseException):
    """Raised where a kill strikes."""


@pytest.mark.parametrize("warmup", [None, Warmup(90.0, order="sequential", probe_paths=1)])
@pytest.mark.parametrize("strike", [1, 3, 5])
def test_a_killed_training_continues_to_the_same_weights(digits, tmp_path, warmup, strike):
    recipe = SupernetRecipe(train=TRAIN, joint_epochs=3, warmup=warmup)
    whole, space = six_blocks()
    history = train_supernet(whole, space, *digits, recipe, seed=0)

    def strikes(row):
        if row["epoch"] == strike:
            raise Killed

    file = tmp_path / "training"
    killed, _ = six_blocks()
    with pytest.raises(Killed):
        train_supernet(killed, space, *digits, recipe, seed=0, on_epoch=strikes, checkpoint=file)
    resumed, _ = six_blocks(seed=9)  # its weights are those of the file, not its own
    epochs = []
    again = train_supernet(
        resumed, space, *digits, recipe, seed=0, on_epoch=lambda row: epochs.append(row["epoch"]), checkpoint=file
    )
    assert epochs == list(range(strike + 1, TRAIN.epochs + 1))
    assert [row["train_loss"] for row in again.rows] == [row["train_loss"] for row in history.rows]
    assert again.warmup == history.warmup
    assert all(map(torch.equal, resumed.state_dict().values(), whole.state_dict().values()))


def test_a_checkpoint_of_another_recipe_is_refused(digits, tmp_path):
    supernet, space = two_layers()
    train_supernet(supernet, space, *digits, SupernetRecipe(train=TRAIN), seed=0, checkpoint=tmp_path / "training")
    with pytest.raises(InputError, match="was written with another seed; give"):
        train_supernet(supernet, space, *digits, SupernetRecipe(train=TRAIN), seed=1, checkpoint=tmp_path / "training")
    images, held_out = digits
    swapped = prepare(images).take(torch.arange(len(images)).flip(0))
    with pytest.raises(InputError, match="was written with another set of images; give"):
        again = SupernetRecipe(train=TRAIN)
        train_supernet(supernet, space, swapped, held_out, again, seed=0, checkpoint=tmp_path / "training")


def test_divergence_names_step_layer_and_path(digits):
    supernet, space = two_layers()
    with torch.no_grad():
        supernet.network[0].weight[0] = math.nan
    history = train_supernet(supernet, space, *digits, SupernetRecipe(train=TRAIN), seed=0)
    assert history.outcome == "diverged" and history.rows == []
    assert "layer network.0" in history.detail and "path c" in history.detail
    ranked = evaluate_paths(supernet, [("c3", "c3")], digits[1])
    assert math.isnan(ranked[0]["accuracy_pct"])


def test_a_warmup_without_room_is_refused(digits):
    supernet, space = six_blocks()
    recipe = SupernetRecipe(train=TRAIN, joint_epochs=4, warmup=Warmup())
    with pytest.raises(InputError, match="joint_epochs=4 leaves no epoch"):
        train_supernet(supernet, space, *digits, recipe, seed=0)


def test_paths_are_judged_on_prepared_data_with_examples():
    supernet, _ = two_layers()
    raw = load("digits", "test")
    empty = TensorData(torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.int64))
    for data in (raw, empty):
        with pytest.raises(InputError, match=r"repro\.train\.prepare"):
            evaluate_paths(supernet, [], data)
