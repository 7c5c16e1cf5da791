"""A training of P and S: L2 in the step, P in its range, and what cell networks have beside it."""

from __future__ import annotations

import copy
import dataclasses
import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from repro.errors import InputError
from repro.layers import AdderConv2d, ShiftConv2d, ShiftLinear
from repro.models import create
from repro.train import TensorData, TrainRecipe, evaluate, fit
from repro.train.data import Batch
from repro.train.shift import adaptive_l2, clamp_shifts, shift_modules, shift_optimizer
from repro.train.shift_trainer import ShiftTrainer

RECIPE = TrainRecipe(epochs=4, batch_size=8, optimizer="radam", lr=0.5, weight_decay=0.1, adaptive="none")
BATCH = Batch(torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3, 1)


def cells(**options):
    torch.manual_seed(0)
    every = {"op": "shift", "keep": (), "op_options": {"shift": {"mode": "ps"}}}
    return create("cells", layers=3, channels=2, num_classes=3, in_channels=1, **every, **options)


def tiny():
    torch.manual_seed(0)
    conv = ShiftConv2d(1, 3, 3, bias=False, mode="ps", backend="reference")
    linear = ShiftLinear(3, 3, mode="ps", backend="reference")
    return nn.Sequential(conv, nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)


@pytest.mark.parametrize("form", ["code", "paper", "conventional", "none"])
def test_a_step_descends_loss_and_l2_and_puts_p_back(form):
    model = tiny()
    other = copy.deepcopy(model)
    trainer = ShiftTrainer(model, RECIPE, l2=form, examples=8, seed=0)
    optimizer = shift_optimizer(other, RECIPE.lr, RECIPE.weight_decay)
    for step in range(3):  # the third step still is a momentum step: no division that would hide a factor
        trainer.step(BATCH)
        optimizer.zero_grad()
        for group in optimizer.param_groups:
            group["lr"] = 0.5 * RECIPE.lr * (1 + torch.cos(torch.tensor(torch.pi * step / 4)).item())
        total = F.cross_entropy(other(BATCH.inputs), BATCH.labels)
        if form != "none":
            total = total + 0.1 / 2 * adaptive_l2(other, form)
        total.backward()
        optimizer.step()
        clamp_shifts(other, -14, 0)
    for mine, wanted in zip(model.parameters(), other.parameters()):
        torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-5)
    shifts = torch.cat([layer.shift.flatten() for layer in shift_modules(model)])
    assert shifts.min() >= -14 and shifts.max() <= 0


def test_momentum_alone_does_not_carry_p_out_of_what_the_bits_hold():
    """Steps that would leave the range end on its edge, the later ones by momentum; S has no range."""
    model = tiny()
    trainer = ShiftTrainer(model, dataclasses.replace(RECIPE, lr=6.0), l2="none", examples=8, seed=0)
    carried = []
    trainer.optimizer.register_step_pre_hook(lambda *_: carried.append([x.shift.detach().clone() for x in layers]))
    layers = list(shift_modules(model))
    for slope in (1.0, 1.0, -1.0, -1.0, 0.0, 0.0):
        for layer in layers:
            layer.shift.grad, layer.sign.grad = torch.full_like(layer.shift, slope), torch.full_like(layer.sign, -1.0)
        trainer.optimizer.step()
        assert all(-14 <= layer.shift.min() and layer.shift.max() <= 0 for layer in layers)
    reached = torch.cat([shift.flatten() for step in carried for shift in step])
    assert reached.min() == -14 and max(layer.sign.max() for layer in layers) > 1


def test_the_second_classifier_adds_its_loss_and_paths_are_dropped_more_as_epochs_pass():
    model = cells(auxiliary=True)
    other = copy.deepcopy(model)
    recipe = dataclasses.replace(RECIPE, channels_last=False)  # another layout rounds activations to other neighbours
    trainer = ShiftTrainer(model, recipe, l2="none", auxiliary_weight=0.4, drop_path=0.2, examples=8, seed=0)
    loss, *_ = trainer.step(BATCH)
    scores, auxiliary = other(BATCH.inputs)
    first = F.cross_entropy(scores, BATCH.labels)
    (first + 0.4 * F.cross_entropy(auxiliary, BATCH.labels)).backward()
    assert loss == pytest.approx(first.item(), rel=1e-5)
    for mine, wanted in zip(model.parameters(), other.parameters()):
        torch.testing.assert_close(mine.grad, wanted.grad, rtol=1e-4, atol=1e-5)
    trainer.epoch(TensorData(*BATCH[:2]), 3)
    assert model.drop_path == pytest.approx(0.2 * 3 / 4)


def test_batch_norm_is_re_estimated_before_a_test():
    data = TensorData(*BATCH[:2])
    found = {}
    for images in (0, 8):
        model = tiny()
        trainer = ShiftTrainer(model, RECIPE, calibration_images=images, examples=8, seed=0)
        trainer.epoch(data, 0)
        found[images] = trainer.evaluate(data)["loss"], evaluate(model, data)["loss"]
    assert found[8][0] == found[8][1] != found[0][0]


@pytest.mark.parametrize(
    "change", [{"l2": "none"}, {"drop_path": 0.1}, {"auxiliary_weight": 0.2}, {"calibration_images": 4}]
)
def test_a_training_does_not_go_on_with_other_settings(change, tmp_path):
    settings = {"l2": "code", "drop_path": 0.2, "auxiliary_weight": 0.4, "calibration_images": 0}

    def trained(**options):
        model, trainer = cells(auxiliary=True), functools.partial(ShiftTrainer, **{**settings, **change, **options})
        file = tmp_path / "training"
        return fit(
            model, TensorData(*BATCH[:2]), None, RECIPE, seed=0, checkpoint=file, stop_after=1, trainer_class=trainer
        )

    (name,) = change
    assert len(trained().rows) == 1
    with pytest.raises(InputError, match=f"training was written with another {name}; give a new place"):
        trained(**{name: settings[name]})
    assert trained().outcome == "finished"


def test_what_a_network_cannot_do_is_refused():
    with pytest.raises(InputError, match="optimizer='sgd' is not allowed; P and S are trained by radam"):
        ShiftTrainer(tiny(), TrainRecipe(optimizer="sgd"), examples=8, seed=0)
    with pytest.raises(InputError, match=r"auxiliary_weight=0\.4 needs a network with a second classifier"):
        ShiftTrainer(tiny(), RECIPE, auxiliary_weight=0.4, examples=8, seed=0)
    with pytest.raises(InputError, match="the network has no paths to drop"):
        ShiftTrainer(torch.nn.Linear(2, 2), RECIPE, drop_path=0.1, examples=8, seed=0)
    with pytest.raises(InputError, match=r"auxiliary_weight=0 is not allowed for a network with a second"):
        ShiftTrainer(cells(auxiliary=True), RECIPE, examples=8, seed=0)
    recipe = dataclasses.replace(RECIPE, adaptive="all")
    with pytest.raises(InputError, match="adaptive='all' is not allowed with radam here; give 'none'"):
        ShiftTrainer(tiny(), recipe, examples=8, seed=0)
    adders, recipe = nn.Sequential(AdderConv2d(1, 2, 3)), dataclasses.replace(RECIPE, adaptive="adder")
    with pytest.raises(InputError, match="adaptive='adder' is not allowed with radam here"):
        ShiftTrainer(adders, recipe, examples=8, seed=0)
    ShiftTrainer(tiny(), recipe, examples=8, seed=0)  # without adder layers there is nothing to leave out


def test_a_second_training_is_that_of_a_fresh_network():
    """The second classifier's loss was tied to the batches of the first training."""
    generator = torch.Generator().manual_seed(1)
    data = TensorData(torch.randn(16, 1, 8, 8, generator=generator), torch.arange(16) % 3)
    trainer = functools.partial(ShiftTrainer, auxiliary_weight=0.4)
    used = cells(auxiliary=True)
    before = copy.deepcopy(used)
    fit(used, data, None, dataclasses.replace(RECIPE, epochs=1), seed=0, trainer_class=trainer)
    assert not used._forward_hooks and isinstance(used.train()(data.images), tuple)
    used.load_state_dict(before.state_dict())
    later = dataclasses.replace(RECIPE, epochs=1, batch_size=4)
    fit(used, data, None, later, seed=3, trainer_class=trainer)
    fit(before, data, None, later, seed=3, trainer_class=trainer)
    for mine, wanted in zip(used.state_dict().values(), before.state_dict().values()):
        assert torch.equal(mine, wanted)


def test_frozen_exponents_and_signs_stay_as_they_are():
    model = tiny()
    for layer in shift_modules(model):
        layer.shift.requires_grad_(False), layer.sign.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    data = TensorData(BATCH.inputs, BATCH.labels)
    fit(model, data, None, dataclasses.replace(RECIPE, epochs=1), seed=0, trainer_class=ShiftTrainer)
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in after if name.endswith(("shift", "sign")))
    assert not torch.equal(after["1.weight"], before["1.weight"])


def test_a_module_of_ones_own_must_say_its_bits():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    model[1].shift, model[1].sign = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.ones(3))
    with pytest.raises(InputError, match="Linear has P and S but no `weight_bits`"):
        ShiftTrainer(model, RECIPE, examples=8, seed=0)


def test_two_sets_of_scores_are_one_sentence_for_the_plain_training():
    data = TensorData(BATCH.inputs, BATCH.labels)
    recipe = TrainRecipe(epochs=1, batch_size=8)
    with pytest.raises(InputError, match=r"built with `auxiliary`.*ShiftTrainer"):
        fit(cells(auxiliary=True), data, None, recipe, seed=0)
