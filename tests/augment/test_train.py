"""Equation 3 by hand, the schedule, distillation, resuming."""

import copy
import dataclasses
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from repro.augment import AugmentRecipe, Window, augment, fit_augmented, fit_plain
from repro.augment.network import AugmentedNetwork
from repro.augment.train import AugmentedTrainer, distillation_loss
from repro.errors import InputError
from repro.papers.shiftaddaug.networks import tiny
from repro.train import TensorData, TrainRecipe
from repro.train.data import Batch
from repro.train.evaluate import evaluate, reestimate_batch_norm

RECIPE = TrainRecipe(
    epochs=3, batch_size=16, lr=0.1, nesterov=True, weight_decay=0.01, label_smoothing=0.1, channels_last=False, eta=0.2
)


def network(op="shift", **options):
    torch.manual_seed(0)
    model = tiny("MobileNetV2-Tiny", "small", in_channels=1, num_classes=10)
    return augment(model, width=1.6, expand=1.6, op=op, **options)


def data(n=32):
    generator = torch.Generator().manual_seed(4)
    return TensorData(torch.randn(n, 1, 8, 8, generator=generator), torch.arange(n) % 10)


def trainer(model, recipe=RECIPE, augmentation=None):
    made = AugmentedTrainer(model, recipe, augmentation=augmentation or AugmentRecipe(), examples=32, seed=0)
    made._samples = torch.Generator().manual_seed(9)
    model.train()
    return made


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_one_step_is_equation_3(alpha):
    model = network().double()
    by_hand = copy.deepcopy(model)
    made = trainer(model, augmentation=AugmentRecipe(alpha=alpha))
    x, y = data(16).images.double(), data(16).labels
    made.step(Batch(x, y, 1.0))

    sample = by_hand.train().sample(torch.Generator().manual_seed(9))
    augmented = functional.cross_entropy(by_hand(x, sample), y, label_smoothing=0.1)
    target = functional.cross_entropy(by_hand(x), y, label_smoothing=0.1)
    weights = dict(by_hand.named_parameters())
    gradients = torch.autograd.grad(target + alpha * augmented, list(weights.values()), allow_unused=True)
    for (name, weight), gradient in zip(weights.items(), gradients):
        gradient = torch.zeros_like(weight) if gradient is None else gradient
        gradient = gradient + (0.01 * weight if weight.ndim > 1 else 0)  # norms and biases are not decayed
        wanted = weight - 0.1 * (gradient + 0.9 * gradient)  # Nesterov's first step
        torch.testing.assert_close(dict(model.named_parameters())[name], wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("remap", [None, "laplace"])
def test_adder_filters_take_one_step_of_root_mean_square_eta_in_the_weights_they_compute_with(remap):
    model = network("adder", remap=remap)
    recipe = TrainRecipe(epochs=1, batch_size=16, lr=0.01, momentum=0.0, weight_decay=0.0, channels_last=False, eta=0.2)
    before = copy.deepcopy(model)
    trainer(model, recipe).step(Batch(data(16).images, data(16).labels, 1.0))
    for (_, layer), (_, old) in zip(model.wide_layers(), before.wide_layers()):
        if layer.op == "adder":
            step = (layer.raw_target_weight() - old.raw_target_weight()).square().mean().sqrt()
            scale = float(old.memory_scale())
            assert float(step) == pytest.approx(0.01 * 0.2 * scale, rel=1e-3)
            assert scale == 1 if remap is None else scale < 1


def test_an_interrupted_training_continues_bit_for_bit(tmp_path):
    recipe = AugmentRecipe(mutation=Window(0.1, 0.6), depth=Window(0.2, 0.5))
    whole, parts = network(depth=1), network(depth=1)
    rows = fit_augmented(whole, data(), RECIPE, recipe, seed=1).rows
    fit_augmented(parts, data(), RECIPE, recipe, seed=1, checkpoint=tmp_path / "c", stop_after=2)
    resumed = network(depth=1)
    history = fit_augmented(resumed, data(), RECIPE, recipe, seed=1, checkpoint=tmp_path / "c")
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert [row["augmented_loss"] for row in history.rows] == [row["augmented_loss"] for row in rows]
    assert resumed.extra_blocks_of_target == 0 and not any(
        layer.multiplicative for name, layer in resumed.wide_layers() if layer.op != "conv"
    )
    assert torch.equal(resumed.eval().export_target()(data().images), resumed(data().images))


def test_channels_move_only_while_both_augmentations_run():
    history = fit_augmented(network(), data(), RECIPE, AugmentRecipe(width_ends=0.5), seed=0)
    assert [row["moved"] is not None for row in history.rows] == [True, True, False]
    still = fit_augmented(network(), data(), RECIPE, AugmentRecipe(reorder=False), seed=0)
    assert [row["moved"] for row in still.rows] == [None] * 3


def test_channels_move_before_the_steps_of_an_epoch_so_that_deployed_ones_are_trained(monkeypatch):
    done = []
    for kind, name in ((AugmentedNetwork, "reorder_"), (AugmentedTrainer, "step")):
        original = getattr(kind, name)

        def noted(self, *args, original=original, name=name):
            done.append(name)
            return original(self, *args)

        monkeypatch.setattr(kind, name, noted)
    fit_augmented(network(), data(), RECIPE, AugmentRecipe(width_ends=1.0), seed=0)
    assert done == ["reorder_", "step", "step"] * RECIPE.epochs


def test_without_an_augmented_pass_the_target_trains_as_by_itself():
    model = network()
    alone = model.export_target()
    fit_plain(alone, data(), RECIPE, seed=0)
    fit_augmented(model, data(), RECIPE, AugmentRecipe(augmented=False), seed=0)
    for name, value in model.export_target().state_dict().items():
        torch.testing.assert_close(alone.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_a_training_continues_only_under_the_augmentation_it_began_with(tmp_path):
    fit_augmented(network(), data(), RECIPE, AugmentRecipe(), seed=1, checkpoint=tmp_path / "c", stop_after=1)
    with pytest.raises(InputError, match="another augmentation"):
        fit_augmented(network(), data(), RECIPE, AugmentRecipe(alpha=0.5), seed=1, checkpoint=tmp_path / "c")
    torch.manual_seed(0)
    other = augment(tiny("MobileNetV2-Tiny", "small", in_channels=1, num_classes=10), width=(1, 1.6), expand=1.6)
    with pytest.raises(InputError, match="another multiples"):
        fit_augmented(other, data(), RECIPE, AugmentRecipe(), seed=1, checkpoint=tmp_path / "c")


@pytest.mark.parametrize("other", [{"op": "conv"}, {"remap": "small_laplace"}, {"around": "same", "remap": None}])
def test_a_training_continues_only_with_the_operators_it_began_with(other, tmp_path):
    begun = {"op": "shift", "remap": "laplace"}
    fit_augmented(network(**begun), data(), RECIPE, AugmentRecipe(), seed=1, checkpoint=tmp_path / "c", stop_after=1)
    with pytest.raises(InputError, match="another operator"):
        options = {**begun, "remap": None} if "op" in other else begun
        changed = network(**{**options, **other})
        fit_augmented(changed, data(), RECIPE, AugmentRecipe(), seed=1, checkpoint=tmp_path / "c")


def test_the_target_is_tested_with_its_own_batch_norm():
    model = network()
    history = fit_augmented(
        model, data(), RECIPE, AugmentRecipe(), seed=0, test_data=data(20), calibration_images=32, evaluate_every=2
    )
    assert ["test_loss" in row for row in history.rows] == [False, True, True]
    deployed = model.export_target()
    assert evaluate(deployed, data(20))["loss"] == pytest.approx(history.rows[-1]["test_loss"], rel=1e-5)
    reestimate_batch_norm(deployed, [data().images])  # the statistics of the training images, and no others
    assert evaluate(deployed, data(20))["loss"] == pytest.approx(history.rows[-1]["test_loss"], rel=1e-5)
    stale = fit_augmented(network(), data(), RECIPE, AugmentRecipe(), seed=0, test_data=data(20)).rows[-1]["test_loss"]
    assert stale != pytest.approx(history.rows[-1]["test_loss"], rel=1e-3)
    plain = fit_plain(network().export_target(), data(), RECIPE, seed=0, test_data=data(20), calibration_images=32)
    assert plain.rows[-1]["test_accuracy_pct"] >= 0


def test_windows_up_to_the_end_are_over_at_the_last_test():
    """No step follows the end of the training; what is tested then is what is deployed."""
    asked = AugmentRecipe(mutation=Window(0.0, 1.0), depth=Window(0.5, 1.0))
    model = network(depth=1)
    rows = fit_augmented(model, data(), RECIPE, asked, seed=0, test_data=data(20), calibration_images=32).rows
    assert [row["mutated"] for row in rows] == [2, 4, 6] and [row["extra_blocks"] for row in rows] == [2, 1, 1]
    assert evaluate(model.export_target(), data(20))["loss"] == pytest.approx(rows[-1]["test_loss"], rel=1e-5)


def test_where_both_augmentations_have_ended_the_target_is_alone():
    over = AugmentRecipe(width_ends=0.0, expand_ends=0.5)
    rows = fit_augmented(network(), data(), RECIPE, over, seed=0).rows
    assert ["augmented_loss" in row for row in rows] == [True, True, False] and rows[0]["moved"] is None
    deep = fit_augmented(network(depth=1), data(), RECIPE, over, seed=0).rows
    assert all("augmented_loss" in row for row in deep)  # extra blocks are still around the target


def test_strided_pointwise_convolutions_do_not_train_on_channels_last_tensors():
    """The form that has corrupted the heap (`repro.train.loop.unsafe_in_channels_last`), in a wide layer too."""
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1, stride=2), nn.BatchNorm2d(4)]
    recipe = TrainRecipe(epochs=1, batch_size=16)
    for stride, fast in ((2, False), (1, True)):
        layers[2].stride = (stride, stride)
        model = augment(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)), width=2.0)
        assert trainer(model, recipe).channels_last is fast


def test_the_adder_half_of_shiftadd_layers_takes_the_adaptive_rate():
    model = network("shiftadd")
    recipe = TrainRecipe(epochs=1, batch_size=16, lr=0.01, momentum=0.0, weight_decay=0.0, channels_last=False, eta=0.2)
    halves = {name: layer.add.weight for name, layer in model.wide_layers() if layer.add is not None}
    before = {name: weight.clone() for name, weight in halves.items()}
    trainer(model, recipe).step(Batch(data(16).images, data(16).labels, 1.0))
    assert len(halves) == 11  # stem, four expansions, five projections, head
    for name, weight in halves.items():
        assert float((weight - before[name]).square().mean().sqrt()) == pytest.approx(0.002, rel=1e-3)
    with pytest.raises(InputError, match="adaptive='all'"):
        trainer(network(), TrainRecipe(adaptive="all"))


def test_divergence_is_an_outcome():
    wild = TrainRecipe(epochs=2, batch_size=16, lr=1e30, weight_decay=0.0, channels_last=False)
    assert fit_augmented(network("conv"), data(), wild, AugmentRecipe(), seed=0).outcome == "diverged"


def test_kl_and_soft_cross_entropy_have_the_same_gradient_and_kl_mean_that_over_the_classes():
    logits, teacher = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    p, log_q = teacher.softmax(1), logits.log_softmax(1)
    gradients = {}
    for kind, entropy in (("kl", (p * p.log()).sum(1).mean()), ("soft_ce", 0.0)):
        student = logits.clone().requires_grad_()
        loss = distillation_loss(student, teacher.requires_grad_(), kind)
        assert float(loss) == pytest.approx(float(entropy - (p * log_q).sum(1).mean()))
        (gradients[kind],) = torch.autograd.grad(loss, student)
        assert torch.autograd.grad(distillation_loss(student, teacher, kind), teacher, allow_unused=True) == (None,)
    torch.testing.assert_close(gradients["kl"], gradients["soft_ce"])
    torch.testing.assert_close(gradients["kl"], (logits.softmax(1) - p.detach()) / 6)  # by hand
    student = logits.clone().requires_grad_()
    loss = distillation_loss(student, teacher, "kl_mean")
    torch.testing.assert_close(loss, nn.functional.kl_div(log_q, p, reduction="none").mean())
    torch.testing.assert_close(torch.autograd.grad(loss, student)[0], gradients["kl"] / 4)


def test_other_forms_of_the_distilled_loss_are_a_share_at_another_rate():
    logits, teacher, labels = torch.randn(6, 4), torch.randn(6, 4), torch.arange(6) % 4
    ce, soft = functional.cross_entropy(logits, labels), distillation_loss(logits, teacher, "kl")
    share = 0.9 / (1 + 0.9)
    torch.testing.assert_close(ce + 0.9 * soft, (1 + 0.9) * ((1 - share) * ce + share * soft))


def test_windows():
    window = Window(0.1, 0.6)
    assert [window.done(share, 6) for share in (0.0, 0.09, 0.1, 0.3, 0.59, 0.6, 1.0)] == [0, 0, 1, 3, 5, 6, 6]
    assert Window(0.3, 0.3).done(0.3, 4) == 4 and window.done(0.5, 0) == 0
    for start, stop in ((-0.1, 0.5), (0.5, 1.2), (0.6, 0.5)):
        with pytest.raises(InputError, match="is not allowed"):
            Window(start, stop)
    with pytest.raises(InputError, match="needs an augmented network"):
        AugmentRecipe(augmented=False, distillation="kl")
    with pytest.raises(InputError, match=r"mutation=\(0.1, 0.6\) is not allowed; it must be a repro.augment.Window"):
        AugmentRecipe(mutation=(0.1, 0.6))
    with pytest.raises(InputError, match=r"distillation_share=0\.5 is not allowed without distillation"):
        AugmentRecipe(distillation_share=0.5)


def test_parts_of_a_batch_learn_in_one_sample(monkeypatch):
    drawn = []
    original = AugmentedNetwork.sample
    monkeypatch.setattr(AugmentedNetwork, "sample", lambda *a, **b: drawn.append(0) or original(*a, **b))
    fit_augmented(network(), data(), dataclasses.replace(RECIPE, accumulate=2), AugmentRecipe(), seed=0)
    assert len(drawn) == 2 * RECIPE.epochs


def test_data_that_do_not_fit_are_refused_as_a_network_by_itself_refuses_them():
    few = TensorData(data().images, torch.arange(32) % 12)
    for fitted in (partial(fit_augmented, augmentation=AugmentRecipe()), fit_plain):
        model = network() if fitted is not fit_plain else network().export_target()
        with pytest.raises(InputError, match="the network has 10 outputs, but labels go up to 11"):
            fitted(model, few, RECIPE, seed=0)


def test_a_recipe_that_is_none_is_refused():
    with pytest.raises(InputError, match=r"recipe=None is not allowed; it must be a repro\.train\.TrainRecipe"):
        fit_augmented(network(), data(), None, AugmentRecipe(), seed=0)


def test_the_order_of_channels_is_told_and_kept(tmp_path):
    torch.manual_seed(0)
    model = network()
    start = {name: layer.weight.detach().clone() for name, layer in model.wide_layers()}
    with torch.no_grad():
        for name, layer in model.wide_layers():
            if name.endswith("project.conv"):
                layer.weight.copy_(layer.weight[:, torch.randperm(layer.weight.shape[1])])
                start[name] = layer.weight.detach().clone()
    assert sum(model.reorder_().values()) > 0
    again = network()
    again.load_state_dict(model.state_dict())
    for name, layer in model.wide_layers():
        rows, columns = model.channels_of(name)
        assert torch.equal(layer.weight, start[name][rows][:, columns])
        assert all(map(torch.equal, (rows, columns), again.channels_of(name)))


def test_what_cannot_be_trained_so_is_said():
    bare = augment(tiny("MobileNetV2-Tiny", "small", in_channels=1, num_classes=10))
    for model, augmentation, words in (
        (nn.Linear(2, 2), AugmentRecipe(), "model is a Linear; it must be what repro.augment.augment returns"),
        (network(), None, "augmentation=None is not allowed"),
        (bare, AugmentRecipe(distillation="kl", distillation_share=0.5), "nothing lies around the target"),
        (network(), AugmentRecipe(depth=Window(0.1, 0.6)), "the network has no extra blocks to lose"),
    ):
        with pytest.raises(InputError, match=words):
            fit_augmented(model, data(), RECIPE, augmentation, seed=0)
