"""Segmentation: the loss and the confusion matrix against loops, masks that move with images, training that resumes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from repro.datasets.transforms import Compose, Cutout, RandomCrop, RandomFlip
from repro.errors import InputError
from repro.train import segmentation
from repro.train.data import generator_for
from repro.train.loop import Divergence
from repro.train.segmentation import (
    IGNORED,
    MaskData,
    RandomZoom,
    SegmentationRecipe,
    Segmented,
    WithMasks,
    as_masks,
    confusion_matrices,
    fit_segmentation,
    iou_pct,
    measure,
    miou_pct,
    pixel_cross_entropy,
)


def random_masks(*shape: int, classes: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randint(classes, shape, generator=generator)
    ignored = torch.rand(shape, generator=generator) < 0.2
    return masks.masked_fill(ignored, IGNORED).to(torch.uint8)


def blobs(number: int = 12, size: int = 16, seed: int = 0) -> MaskData:
    """Dark and bright rectangles (classes 1 and 2) on grey; the image tells the class."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(number, size, size, dtype=torch.uint8)
    for mask in masks:
        for label in (1, 2):
            top, left = torch.randint(size - 6, (2,), generator=generator).tolist()
            mask[top : top + 6, left : left + 6] = label
    shades = torch.tensor([128, 20, 230], dtype=torch.uint8)
    return MaskData(shades[masks.long()][:, None], masks, 3, lambda images: images.float() / 128 - 1)


def small_net(classes: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, classes, 1))


# ------------------------------------------------------------------ scores


def test_confusion_matrices_are_what_a_loop_counts():
    masks, predicted = random_masks(4, 5, 7), random_masks(4, 5, 7, seed=1).clamp(max=2)
    expected = np.zeros((4, 3, 3), dtype=np.int64)
    for image in range(4):
        for truth, called in zip(masks[image].flatten().tolist(), predicted[image].flatten().tolist()):
            if truth != IGNORED:
                expected[image, truth, called] += 1
    found = confusion_matrices(predicted, masks, 3)
    assert found.dtype == torch.int64 and np.array_equal(found.numpy(), expected)
    assert found.sum() == (masks != IGNORED).sum() < masks.numel()


@pytest.mark.parametrize(
    "confusion, shares, mean",
    [
        ([[6, 0], [0, 4]], [100, 100], 100),
        ([[5, 1], [2, 2]], [62.5, 40], 51.25),  # 5 of 8 and 2 of 5
        ([[5, 0, 1], [0, 0, 0], [0, 0, 4]], [100 * 5 / 6, math.nan, 80], (100 * 5 / 6 + 80) / 2),  # class 1 is nowhere
        ([[5, 1, 0], [0, 0, 0], [0, 0, 4]], [100 * 5 / 6, 0, 100], (100 * 5 / 6 + 100) / 3),  # called, and not there
        ([[0, 0], [0, 0]], [math.nan, math.nan], math.nan),
    ],
)
def test_scores_of_known_matrices(confusion, shares, mean):
    matrix = np.array(confusion)
    np.testing.assert_allclose(iou_pct(matrix), shares)
    np.testing.assert_allclose(miou_pct(matrix), mean)
    np.testing.assert_allclose(miou_pct(np.stack([matrix, 3 * matrix])), [mean, mean])


def test_scores_come_of_all_pixels_and_not_of_the_mean_over_images():
    found = Segmented(np.array([[[9, 1], [0, 0]], [[1, 3], [2, 4]]]))
    assert found.confusion.tolist() == [[10, 4], [2, 4]]
    assert found.iou_pct.tolist() == [62.5, 40.0] and found.miou_pct == 51.25
    assert found.pixel_accuracy_pct == 70.0


def test_measure_tests_every_image_once_in_any_batch_size():
    data, net = blobs(), small_net()
    whole, parts = measure(net, data), measure(net, data, batch_size=5)
    assert np.array_equal(whole.confusions, parts.confusions) and math.isclose(whole.loss, parts.loss, rel_tol=1e-6)
    with torch.no_grad():
        logits = net.eval()(data.as_inputs(data.images))
    expected = pixel_cross_entropy(logits, data.masks).item()
    assert math.isclose(whole.loss, expected, rel_tol=1e-6) and whole.confusions.shape == (12, 3, 3)
    assert (whole.confusion.trace() == (logits.argmax(1) == data.masks).sum()).item()
    with pytest.raises(InputError, match="the network has 4 outputs; the masks have 3 classes"):
        measure(small_net(4), data)
    with pytest.raises(InputError, match="holds no examples"):
        measure(net, data.take(slice(0, 0)))


def test_outputs_that_are_not_finite_have_no_score():
    net = small_net()
    net[0].weight.data[3] = math.inf
    with pytest.raises(Divergence, match="first bad output in layer 0"):
        measure(net, blobs())
    net = small_net()
    history = fit_segmentation(net, blobs(), blobs(), SegmentationRecipe(epochs=1, batch_size=4, lr=1e30), seed=0)
    assert history.diverged and "at step" in history.detail


# ------------------------------------------------------------------ loss


def test_the_loss_is_the_mean_over_the_pixels_that_count():
    masks, logits = random_masks(2, 4, 5), torch.randn(2, 3, 4, 5, dtype=torch.double, requires_grad=True)
    for smoothing in (0.0, 0.1):
        total, count = 0.0, 0
        for image in range(2):
            for row in range(4):
                for column in range(5):
                    if masks[image, row, column] != IGNORED:
                        chances = logits[image, :, row, column].log_softmax(0)
                        target = (1 - smoothing) * chances[masks[image, row, column].long()]
                        total, count = total - target - smoothing * chances.mean(), count + 1
        torch.testing.assert_close(pixel_cross_entropy(logits, masks, smoothing), total / count)
    gradient = torch.autograd.grad(pixel_cross_entropy(logits, masks), logits)[0]
    assert (gradient.abs().sum(1)[masks == IGNORED] == 0).all() and (gradient.abs().sum(1)[masks != IGNORED] > 0).all()


def test_a_batch_of_ignored_pixels_neither_costs_nor_moves_anything():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = pixel_cross_entropy(logits, torch.full((1, 2, 2), IGNORED, dtype=torch.uint8))
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()


# ------------------------------------------------------------------ transforms


def coded(number: int = 6, size: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Images whose grey value is 40 times the class + 40, so that a mask can be read off its image."""
    masks = torch.randint(3, (number, size // 4, size // 4), generator=torch.Generator().manual_seed(2))
    masks = masks.repeat_interleave(4, 1).repeat_interleave(4, 2).to(torch.uint8)
    return (40 * masks + 40)[:, None].repeat(1, 2, 1, 1), masks


@pytest.mark.parametrize(
    "transform", [RandomFlip(), RandomCrop(3), Cutout(4), Compose((RandomCrop(2), RandomFlip()))], ids=str
)
def test_a_mask_moves_with_its_image_and_what_is_filled_in_is_ignored(transform):
    images, masks = coded()
    moved, classes = WithMasks(transform)(images, masks, generator_for(1))
    assert moved.dtype == classes.dtype == torch.uint8 and not torch.equal(moved, images)
    filled = moved[:, 0] == 0
    assert torch.equal(filled, classes == IGNORED) and torch.equal(moved[:, 0], moved[:, 1])
    assert torch.equal(moved[:, 0][~filled], 40 * classes[~filled] + 40)
    assert torch.equal(classes, WithMasks(transform)(images, masks, generator_for(1))[1])


def test_a_zoom_of_one_changes_nothing():
    images, masks = coded()
    zoomed, classes = RandomZoom(1.0, 1.0)(images, masks, generator_for(0))
    assert torch.equal(zoomed, images) and torch.equal(classes, masks)


def test_a_zoomed_mask_fits_its_image_and_has_the_right_share_of_it():
    masks = torch.zeros(40, 24, 24, dtype=torch.uint8)
    masks[:, 8:16, 8:16] = 1
    images = (100 * masks + 100)[:, None]
    larger, classes = RandomZoom(1.5, 1.5)(images, masks, generator_for(0))
    inside = classes[:, 2:-2, 2:-2] == 1
    assert (classes != IGNORED).all() and ((larger[:, 0, 2:-2, 2:-2] > 150) == inside).double().mean() > 0.97
    full = classes.flatten(1).eq(1).sum(1).max().item()
    assert abs(full - 12 * 12) <= 2 * 12  # 8 pixels become 12, give or take one at each border
    smaller, classes = RandomZoom(0.5, 0.5)(images, masks, generator_for(0))
    assert ((classes != IGNORED).flatten(1).sum(1) - 12 * 12).abs().max() <= 2 * 12
    assert (smaller[:, 0][classes == IGNORED] <= 110).all()  # black, or half blended with the border
    places = {tuple(torch.nonzero(one != IGNORED)[0].tolist()) for one in classes}
    assert len(places) > 10


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"zoom": (1.2, 0.8)}, "high=0.8 is not allowed"),
        ({"zoom": (0.0, 1.0)}, "low=0.0 is not allowed"),
        ({"zoom": 1.0}, "zoom=1.0 is not allowed; it must be two factors"),
        ({"epochs": -1}, "epochs=-1 is not allowed"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        SegmentationRecipe(**settings)


# ------------------------------------------------------------------ data and training


def test_masks_and_images_must_fit():
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    masks = torch.zeros(2, 4, 4, dtype=torch.uint8)
    for wrong in (masks[:1], masks[:, :3], masks.long()):
        with pytest.raises(InputError, match="do not fit"):
            MaskData(images, wrong, 3)
    masks[1, 2, 2] = 7
    with pytest.raises(InputError, match=r"holds the class 7; with 3 classes allowed are 0..2, and 255"):
        MaskData(images, masks, 3)
    masks[1, 2, 2] = IGNORED
    data = MaskData(images, masks, 3)
    assert len(data.take(torch.tensor([1]))) == 1 and data.labels.tolist() == [0, 1, 2]


def test_a_data_set_of_classes_is_refused():
    from repro.datasets import load

    with pytest.raises(InputError, match="one label per image; segmentation needs a mask"):
        as_masks(load("digits", "test"))


def test_batches_shuffle_images_and_masks_alike_and_shares_are_rows_of_them():
    data = MaskData(*coded(10), 3)
    whole = list(data.batches(4, generator_for(3), WithMasks(RandomCrop(2))))
    assert [len(batch.labels) for batch in whole] == [4, 4, 2] and whole[0].share == 1
    for batch in whole:
        known = batch.labels != IGNORED
        assert torch.equal(batch.inputs[:, 0][known], 40 * batch.labels[known] + 40)
    halves = [list(data.batches(4, generator_for(3), WithMasks(RandomCrop(2)), slice(k, None, 2))) for k in (0, 1)]
    assert torch.equal(halves[1][0].labels, whole[0].labels[1::2]) and halves[1][0].share == 0.5


RECIPE = SegmentationRecipe(
    epochs=6, batch_size=4, lr=0.2, adaptive="none", flip=True, crop_padding=1, zoom=(0.9, 1.1), weight_decay=0.0
)


def test_a_network_learns_what_the_image_tells():
    net, test = small_net(), blobs(seed=5)
    before = measure(net, test).miou_pct
    history = fit_segmentation(net, blobs(24), test, RECIPE, seed=0)
    after = measure(net, test)
    assert history.outcome == "finished" and history.rows[-1]["train_loss"] < 0.5 * history.rows[0]["train_loss"]
    assert after.miou_pct > 90 > before and history.accuracy_pct == after.pixel_accuracy_pct
    assert math.isclose(history.rows[-1]["test_loss"], after.loss)


def test_an_interrupted_training_continues_bit_for_bit(tmp_path):
    whole, cut, resumed = small_net(), small_net(), small_net()
    through = fit_segmentation(whole, blobs(), None, RECIPE, seed=3)
    file = tmp_path / "training"
    assert fit_segmentation(cut, blobs(), None, RECIPE, seed=3, checkpoint=file, stop_after=2).outcome == "stopped"
    continued = fit_segmentation(resumed, blobs(), None, RECIPE, seed=3, checkpoint=file)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values()))
    assert [row["train_loss"] for row in continued.rows] == [row["train_loss"] for row in through.rows]
    with pytest.raises(InputError, match="another seed"):
        fit_segmentation(small_net(), blobs(), None, RECIPE, seed=4, checkpoint=file)


def test_outputs_that_are_no_maps_of_every_class_are_refused():
    pooled = nn.Sequential(small_net(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for net in (pooled, small_net(2), nn.Sequential(small_net(), nn.MaxPool2d(2))):
        with pytest.raises(InputError, match=r"3 classes need a map each of the images' 16x16 pixels"):
            fit_segmentation(net, blobs(), None, RECIPE, seed=0)


def test_the_loss_of_a_step_is_that_of_its_pixels():
    data, net = blobs(4), small_net()
    recipe = SegmentationRecipe(epochs=1, batch_size=4, lr=0.0, adaptive="none", label_smoothing=0.1)
    trainer = segmentation.SegmentationTrainer(net, recipe, examples=4, seed=0)
    trainer.highest_label = 2
    (batch,) = data.batches(4, generator_for(0))
    expected = pixel_cross_entropy(net.train()(batch.inputs), batch.labels, 0.1).item()
    loss, right, count = trainer.step(batch)
    assert math.isclose(loss, expected, rel_tol=1e-5) and count == 4 * 16 * 16 and 0 <= right <= count
