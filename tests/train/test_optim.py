"""AdaptiveLR against the formula written out by hand."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations, prune

from repro.errors import InputError
from repro.layers import AdderConv2d, make_conv2d
from repro.models import create
from repro.train import AdaptiveLR
from repro.train.optim import rescaled_layers

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-2),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.1),
}


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        make_conv2d("adder", 4, 4, 3),
        nn.BatchNorm2d(4),
        nn.Flatten(),
        nn.Linear(4 * 4, 3),
    )


def backward(model: nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(5, 2, 6, 6, generator=generator)
    images = images.to(next(model.parameters()).dtype)
    nn.functional.cross_entropy(model(images), torch.tensor([0, 1, 2, 0, 1])).backward()


@pytest.mark.parametrize(("mode", "rescaled"), [("adder", [2]), ("all", [0, 2]), ("none", [])], ids=str)
def test_plain_sgd_moves_each_layer_by_lr_eta_sqrt_k_over_norm(mode, rescaled):
    model = small_network()
    before = copy.deepcopy(model)
    optimizer = AdaptiveLR(torch.optim.SGD(model.parameters(), lr=0.3), model, mode=mode, eta=0.2)
    backward(model)
    optimizer.step()
    for index in (0, 2, 5):
        gradient = model[index].weight.grad
        alpha = 0.2 * math.sqrt(gradient.numel()) / gradient.norm() if index in rescaled else 1.0
        expected = before[index].weight - 0.3 * alpha * gradient
        torch.testing.assert_close(model[index].weight, expected)


def test_convolutions_with_a_bias_follow_their_plain_gradient():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3, bias=False), make_conv2d("adder", 2, 2, 3, bias=True))
    assert list(rescaled_layers(model, "all")) == ["1.weight", "2.weight"]
    network = create("acghostnet", choices="ACg1", blocks="toy", num_classes=10, width=0.25)
    names = rescaled_layers(network, "all")
    assert "stem.conv.weight" in names and "blocks.0.ghost1.primary.conv.weight" in names
    assert not [name for name in names if ".se." in name or name.startswith("head")]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_optimizer_sees_the_rescaled_gradient_and_grad_is_put_back(name):
    # In float64: divisions by roots of small averages magnify rounding, which is not that of every processor.
    ours, by_hand = small_network().double(), small_network().double()
    wrapped = AdaptiveLR(OPTIMIZERS[name](ours.parameters()), ours, mode="all", eta=0.1)
    plain = OPTIMIZERS[name](by_hand.parameters())
    for step in range(3):
        wrapped.zero_grad()
        plain.zero_grad()
        backward(ours, step)
        backward(by_hand, step)
        untouched = ours[2].weight.grad.clone()
        for index in (0, 2):
            gradient = by_hand[index].weight.grad
            gradient.mul_(0.1 * math.sqrt(gradient.numel()) / gradient.norm())
        wrapped.step()
        plain.step()
        assert torch.equal(ours[2].weight.grad, untouched)
    for mine, theirs in zip(ours.parameters(), by_hand.parameters()):
        torch.testing.assert_close(mine, theirs)


def test_mode_none_is_the_plain_optimizer_exactly():
    ours, plain = small_network(), small_network()
    wrapped = AdaptiveLR(OPTIMIZERS["momentum"](ours.parameters()), ours, mode="none")
    optimizer = OPTIMIZERS["momentum"](plain.parameters())
    for step in range(3):
        for model, stepper in ((ours, wrapped), (plain, optimizer)):
            stepper.zero_grad()
            backward(model, step)
            stepper.step()
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(ours.parameters(), plain.parameters()))


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.floats(1e-12, 1e12), st.floats(1e-3, 10))
def test_step_length_does_not_depend_on_the_size_of_the_gradient(size, eta):
    layer = AdderConv2d(2, 3, 3)
    before = layer.weight.detach().clone()
    direction = torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(1))
    layer.weight.grad = (size * direction / direction.norm()).float()
    AdaptiveLR(torch.optim.SGD(layer.parameters(), lr=1.0), layer, eta=eta).step()
    moved = (layer.weight.detach() - before).double()
    assert moved.pow(2).mean().sqrt().item() == pytest.approx(eta, rel=1e-3)


def test_zero_and_absent_gradients_leave_a_layer_alone():
    model = nn.ModuleList([AdderConv2d(1, 2, 3), AdderConv2d(1, 2, 3), AdderConv2d(1, 2, 3)])
    before = copy.deepcopy(model.state_dict())
    optimizer = AdaptiveLR(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), model)
    model[0].weight.grad = torch.zeros_like(model[0].weight)
    model[2].weight.grad = torch.ones_like(model[2].weight)
    optimizer.step()
    assert torch.equal(model[0].weight, before["0.weight"])
    assert torch.equal(model[1].weight, before["1.weight"])
    assert not torch.equal(model[2].weight, before["2.weight"])
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_accumulated_micro_batches_are_rescaled_once():
    whole, parts = AdderConv2d(1, 2, 3), AdderConv2d(1, 2, 3)
    parts.load_state_dict(whole.state_dict())
    images = torch.randn(4, 1, 5, 5, generator=torch.Generator().manual_seed(3))
    for layer, pieces in ((whole, [images]), (parts, [images[:1], images[1:]])):
        optimizer = AdaptiveLR(torch.optim.SGD(layer.parameters(), lr=0.1), layer)
        for piece in pieces:
            layer(piece).square().sum().backward()
        optimizer.step()
    torch.testing.assert_close(parts.weight, whole.weight)


def test_schedulers_reach_the_wrapped_optimizer():
    model = small_network()
    optimizer = AdaptiveLR(torch.optim.SGD(model.parameters(), lr=1.0), model, eta=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2)
    before = model[2].weight.detach().clone()
    backward(model)
    optimizer.step()
    scheduler.step()
    assert optimizer.inner.param_groups[0]["lr"] == pytest.approx(0.5)
    first = (model[2].weight - before).norm()
    before = model[2].weight.detach().clone()
    optimizer.step()  # the same gradient, half the global rate: half the way
    torch.testing.assert_close((model[2].weight - before).norm(), first / 2)


def test_state_dict_round_trip_continues_the_same_way():
    ours = small_network()
    optimizer = AdaptiveLR(OPTIMIZERS["momentum"](ours.parameters()), ours)
    backward(ours)
    optimizer.step()
    other = copy.deepcopy(ours)
    resumed = AdaptiveLR(OPTIMIZERS["momentum"](other.parameters()), other)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for model, stepper in ((ours, optimizer), (other, resumed)):
        stepper.zero_grad()
        backward(model, 1)
        stepper.step()
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(ours.parameters(), other.parameters()))


@pytest.mark.parametrize(("options", "sentence"), [({"mode": "adders"}, "Did you mean 'adder'"), ({"eta": 0}, "eta=0")])
def test_bad_settings_are_named(options, sentence):
    model = small_network()
    with pytest.raises(InputError, match=sentence):
        AdaptiveLR(torch.optim.SGD(model.parameters(), lr=0.1), model, **options)


def test_what_is_no_model_number_or_fitting_optimizer_is_refused():
    model = nn.Sequential(AdderConv2d(1, 1, 1))
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(InputError, match="model is a NoneType"):
        AdaptiveLR(sgd, None)
    for eta in (True, "0.1", 0, math.inf):
        with pytest.raises(InputError, match=f"eta={eta!r} is not allowed"):
            AdaptiveLR(sgd, model, eta=eta)
    with pytest.raises(InputError, match="optimizer is a LBFGS, which evaluates a closure several times"):
        AdaptiveLR(torch.optim.LBFGS(model.parameters()), model)


class Bare(torch.optim.SGD):
    """An optimiser of somebody's own, whose step takes nothing."""

    def step(self):
        super().step()


def test_an_optimizer_whose_step_takes_no_closure_is_wrapped():
    model = nn.Sequential(AdderConv2d(1, 1, 1))
    before = model[0].weight.detach().clone()
    optimizer = AdaptiveLR(Bare(model.parameters(), lr=0.1), model, eta=0.5)
    model(torch.ones(1, 1, 1, 1)).sum().backward()
    optimizer.step()
    assert float((model[0].weight - before).detach().abs()) == pytest.approx(0.05)  # rate times eta


def test_an_optimizer_of_another_model_is_refused():
    with pytest.raises(InputError, match=r"does not hold 2\.weight"):
        AdaptiveLR(torch.optim.SGD(small_network().parameters(), lr=0.1), small_network())


# --- a full torch optimiser ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_steps_have_one_length_for_tiny_and_huge_gradients_of_every_type(dtype):
    for size in (1e-40, 1e-30, 1e-23, 1e-7, 1e-3, 1.0, 300.0, 1e19, 1e30):
        gradient = torch.full((8, 8), size, dtype=torch.float64).to(dtype)
        if not gradient.any() or gradient.isinf().any():  # not a number of this type
            continue
        layer = AdderConv2d(8, 8, 1, bias=False, dtype=dtype)
        nn.init.zeros_(layer.weight)
        layer.weight.grad = gradient.view_as(layer.weight)
        AdaptiveLR(torch.optim.SGD(layer.parameters(), lr=1.0), layer, eta=0.2).step()
        moved = layer.weight.detach().double().pow(2).mean().sqrt().item()
        assert moved == pytest.approx(0.2, rel=4 * torch.finfo(dtype).eps), size


def test_copies_and_pickles_step_like_the_original():
    ours = small_network()
    optimizer = AdaptiveLR(OPTIMIZERS["momentum"](ours.parameters()), ours, mode="all", eta=0.1)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)  # wraps step, which a copy must survive
    backward(ours)
    optimizer.step()
    pairs = [copy.deepcopy((ours, optimizer)), pickle.loads(pickle.dumps((ours, optimizer)))]
    for model, other in [*pairs, (ours, optimizer)]:
        assert type(other) is AdaptiveLR and other.mode == "all" and other.eta == 0.1
        other.zero_grad()
        backward(model, 1)
        other.step()
    for model, _ in pairs:
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(ours.parameters(), model.parameters()))


def test_hooks_run_once_and_may_change_what_is_stored():
    model, calls = small_network(), []
    optimizer = AdaptiveLR(OPTIMIZERS["momentum"](model.parameters()), model)
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    optimizer.register_state_dict_pre_hook(lambda *_: calls.append("storing"))
    optimizer.register_state_dict_post_hook(lambda _, state: {**state, "note": 1})
    optimizer.register_load_state_dict_pre_hook(lambda _, state: {k: v for k, v in state.items() if k != "note"})
    optimizer.register_load_state_dict_post_hook(lambda *_: calls.append("loaded"))
    backward(model)
    optimizer.step()
    assert optimizer.state_dict()["note"] == 1
    optimizer.load_state_dict(optimizer.state_dict())
    assert calls == ["before", "after", "storing", "storing", "loaded"]


def test_groups_state_and_defaults_can_be_set():
    model = small_network()
    optimizer = AdaptiveLR(OPTIMIZERS["momentum"](model.parameters()), model)
    assert isinstance(optimizer, torch.optim.Optimizer)
    optimizer.param_groups = [{**group, "lr": 0.5} for group in optimizer.param_groups]
    optimizer.defaults = {**optimizer.defaults, "lr": 0.5}
    optimizer.state = optimizer.state
    assert optimizer.inner.param_groups[0]["lr"] == optimizer.inner.defaults["lr"] == 0.5


def test_a_gradient_scaler_leaves_the_step_as_it_is():
    ours, plain = small_network(), small_network()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for model, scale in ((ours, True), (plain, False)):
        optimizer = AdaptiveLR(torch.optim.SGD(model.parameters(), lr=0.1), model)
        loss = model(torch.ones(2, 2, 6, 6) * torch.arange(2.0).view(2, 1, 1, 1)).square().sum()
        (scaler.scale(loss) if scale else loss).backward()
        scaler.step(optimizer) if scale else optimizer.step()
    for mine, theirs in zip(ours.parameters(), plain.parameters()):
        torch.testing.assert_close(mine, theirs)


REMADE = {
    "weight_orig": lambda layer: prune.l1_unstructured(layer, "weight", amount=0.5),
    "weight_v": nn.utils.weight_norm,
    "parametrizations.weight.original1": parametrizations.weight_norm,
    "parametrizations.weight.original": parametrizations.spectral_norm,
}


@pytest.mark.parametrize("name", REMADE)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_tensor_behind_a_remade_weight_moves_by_eta(name):
    model = nn.Sequential(AdderConv2d(3, 4, 3))
    REMADE[name](model[0])
    optimizer = AdaptiveLR(torch.optim.SGD(model.parameters(), lr=1.0), model, eta=0.2)
    assert list(optimizer.layers) == [f"0.{name}"]
    trained = dict(model.named_parameters())[f"0.{name}"]
    before = trained.detach().clone()
    model(torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    optimizer.step()
    assert (trained - before).detach().pow(2).mean().sqrt().item() == pytest.approx(0.2, rel=1e-3)


def test_frozen_layers_need_not_be_held_and_move_once_they_are():
    model = nn.Sequential(AdderConv2d(1, 2, 3), AdderConv2d(2, 2, 3))
    model[0].requires_grad_(False)
    optimizer = AdaptiveLR(torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0), model, eta=0.2)
    optimizer.add_param_group({"params": [model[0].weight.requires_grad_()]})
    before = model[0].weight.detach().clone()
    model(torch.randn(1, 1, 6, 6, generator=torch.Generator().manual_seed(0))).sum().backward()
    optimizer.step()
    assert (model[0].weight - before).detach().pow(2).mean().sqrt().item() == pytest.approx(0.2, rel=1e-3)
