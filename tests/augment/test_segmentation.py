"""Equation 3 on images with masks: one step by hand, ignored pixels, what is exported."""

import copy

import pytest
import torch

from repro.augment import AugmentRecipe, Window, augment
from repro.augment.segmentation import (
    AugmentedSegmentationTrainer,
    PlainSegmentationTrainer,
    fit_augmented_segmentation,
    fit_plain_segmentation,
)
from repro.errors import InputError
from repro.models.weights import load_weights, save_weights
from repro.papers.shiftaddaug.networks import segmenter
from repro.train import TrainRecipe
from repro.train.data import Batch, generator_for
from repro.train.segmentation import MaskData, SegmentationRecipe

RECIPE = SegmentationRecipe(
    epochs=2, batch_size=4, lr=0.1, nesterov=True, weight_decay=0.01, label_smoothing=0.1, channels_last=False, eta=0.2
)


def network(op="shift", **options):
    torch.manual_seed(0)
    model = segmenter("MobileNetV2-w0.35", "small", op, in_channels=1, num_classes=3)
    return augment(model, width=1.6, expand=1.6, op=op, **options)


def data(n=8):
    generator = torch.Generator().manual_seed(4)
    images = torch.randn(n, 1, 12, 12, generator=generator)
    masks = torch.randint(3, (n, 12, 12), generator=generator, dtype=torch.uint8)
    masks[:, :2] = 255
    return MaskData(images, masks, 3)


def by_hand(logits, masks, smoothing=0.1):
    """Smoothed cross entropy pixel by pixel: 0.9 of the true class and 0.1 of the mean over all, known pixels only."""
    known = masks != 255
    log = logits.log_softmax(1).permute(0, 2, 3, 1)[known]
    true = log.gather(1, masks[known].long()[:, None])[:, 0]
    return -((1 - smoothing) * true + smoothing * log.mean(1)).mean()


@pytest.mark.parametrize("alpha", [None, 0.5, 1.0], ids=["direct", "half", "one"])
def test_one_step_is_equation_3(alpha):
    model = (network() if alpha is not None else network().export_target()).double().train()
    copied = copy.deepcopy(model)
    x, masks = data().images.double(), data().masks
    options = {"examples": 8, "seed": 0}
    if alpha is None:
        trainer = PlainSegmentationTrainer(model, RECIPE, **options)
    else:
        trainer = AugmentedSegmentationTrainer(model, RECIPE, augmentation=AugmentRecipe(alpha=alpha), **options)
        trainer._samples = torch.Generator().manual_seed(9)
    loss, right, pixels = trainer.step(Batch(x, masks, 1.0))
    assert pixels == 8 * 10 * 12 and 0 <= right <= pixels

    augmented = 0.0
    if alpha is not None:
        augmented = by_hand(copied(x, copied.sample(torch.Generator().manual_seed(9))), masks)
    target = by_hand(copied(x), masks)
    assert loss == pytest.approx(target.item(), rel=1e-9)
    weights = dict(copied.named_parameters())
    total = target + (alpha or 0.0) * augmented
    gradients = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
    for (name, weight), gradient in zip(weights.items(), gradients):
        gradient = torch.zeros_like(weight) if gradient is None else gradient
        gradient = gradient + (0.01 * weight if weight.ndim > 1 else 0)  # norms and biases are not decayed
        wanted = weight - 0.1 * (gradient + 0.9 * gradient)  # Nesterov's first step
        torch.testing.assert_close(dict(model.named_parameters())[name], wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("op", ["shift", "adder"])
def test_what_is_exported_after_training_is_the_target_bit_for_bit(op, tmp_path):
    model = network(op, remap="laplace")
    history = fit_augmented_segmentation(
        model, data(), RECIPE, AugmentRecipe(mutation=Window(0.0, 0.5)), seed=1, checkpoint=tmp_path / "c"
    )
    assert [row["moved"] is not None for row in history.rows] == [True, False]  # width augmentation ends half-way
    assert all(0 <= row["augmented_accuracy_pct"] <= 100 for row in history.rows) and model.mutated == len(model.units)
    exported, x = model.export_target().eval(), data().images
    with torch.no_grad():
        assert torch.equal(exported(x), model.eval()(x))
        save_weights(exported, tmp_path / "deployed.safetensors")
        again = network(op, remap="laplace").export_target().eval()
        load_weights(again, tmp_path / "deployed.safetensors")
        assert torch.equal(again(x), exported(x))
    assert type(exported.gate).__name__ == ("ShiftConv2d" if op == "shift" else "Conv2d")  # a gate of adders is shut


def test_the_share_of_pixels_that_the_augmented_network_gets_right_is_of_those_that_count():
    model, whole = network("conv"), data()
    recipe = AugmentRecipe(alpha=0.0, reorder=False)
    still = SegmentationRecipe(epochs=1, batch_size=8, lr=0.0, weight_decay=0.0, channels_last=False)
    copied = copy.deepcopy(model).train()
    (row,) = fit_augmented_segmentation(model, whole, still, recipe, seed=3).rows
    order = torch.randperm(8, generator=generator_for("train", 3, 0))
    sample = copied.sample(generator_for("augmentation", 3, 0))
    known = whole.masks[order] != 255
    with torch.no_grad():
        right = copied(whole.images[order], sample).argmax(1)[known] == whole.masks[order][known]
    assert row["augmented_accuracy_pct"] == pytest.approx(100 * right.double().mean().item())


def test_a_plain_network_and_a_target_without_augmentation_learn_alike():
    wide = network("shift")
    plain = wide.export_target()
    fit_plain_segmentation(plain, data(), RECIPE, seed=2)
    fit_augmented_segmentation(wide, data(), RECIPE, AugmentRecipe(augmented=False), seed=2)
    for (name, ours), (_, target) in zip(plain.state_dict().items(), wide.export_target().state_dict().items()):
        torch.testing.assert_close(ours, target, msg=name)


def test_a_recipe_without_masks_is_refused():
    with pytest.raises(InputError, match=r"recipe is a TrainRecipe; it must be a repro\.train\.SegmentationRecipe"):
        fit_augmented_segmentation(None, None, TrainRecipe(), AugmentRecipe(), seed=0)


def test_distillation_needs_one_label_per_image():
    with pytest.raises(InputError, match="distillation='kl' is not allowed with masks"):
        fit_augmented_segmentation(network(), data(), RECIPE, AugmentRecipe(distillation="kl"), seed=0)
    for model, augmentation, words in (
        (torch.nn.Conv2d(1, 2, 1), AugmentRecipe(), "model is a Conv2d; it must be what repro.augment.augment returns"),
        (network(), None, "augmentation=None is not allowed"),
        (network(), AugmentRecipe(depth=Window(0.1, 0.6)), "the network has no extra blocks to lose"),
    ):
        with pytest.raises(InputError, match=words):
            fit_augmented_segmentation(model, data(), RECIPE, augmentation, seed=0)
