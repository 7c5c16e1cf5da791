"""Segmentation runs: what a run says of itself, and mIoU with other test images."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from repro.datasets import REGISTRY
from repro.models.mobile import BlockSpec, MobileSpec
from repro.papers import segmentation_jobs as jobs
from repro.papers.data import DataRecipe, data_fingerprint, data_source
from repro.report.examples import pack_counts
from repro.runs import Outcome, RunContext
from repro.train.segmentation import SegmentationRecipe, measure, miou_pct

DATA = DataRecipe("eyes", train_images=24, test_images=12, size=16)
TINY = MobileSpec(stem=4, stem_stride=1, blocks=(BlockSpec(0, 3, 4, 8, 4, stride=2), BlockSpec(1, 3, 4, 8, 4)), head=0)
JOB = jobs.SegmentationJob(
    "mobilenet_v2_seg", {"spec": TINY, "channels": 8}, DATA, SegmentationRecipe(epochs=12, batch_size=6, lr=0.2)
)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPRO_CACHE", str(tmp_path_factory.mktemp("cache")))
        for split, number in (("train", 40), ("test", 20)):  # fewer eyes are drawn sooner
            patch.setitem(REGISTRY["eyes"].rows, split, number)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    context = RunContext(tmp_path_factory.mktemp("run"))
    return jobs.train_segmentation(JOB, 1, context), context


def outcome(value):
    return Outcome(None, "done", value)


def test_a_run_keeps_scores_and_a_matrix_of_every_test_image(run):
    value, context = run
    confusions = jobs.confusions_of(outcome(value))
    assert value["outcome"] == "done" and confusions.shape == (12, 4, 4) and value["examples"] == 12
    assert (confusions.sum((1, 2)) == 16 * 16).all()
    assert math.isclose(value["miou_pct"], miou_pct(confusions.sum(0))) and len(value["iou_pct"]) == 4
    assert [line["epoch"] for line in context.metrics()] == list(range(1, 13))
    assert 0 < value["test_loss"] < math.log(4) and value["pixel_accuracy_pct"] > 50


def test_a_seed_fixes_a_run(tmp_path):
    short = dataclasses.replace(JOB, train=dataclasses.replace(JOB.train, epochs=1))
    values = [jobs.train_segmentation(short, seed, RunContext(tmp_path / str(n))) for n, seed in enumerate((1, 1, 2))]
    assert values[0] == values[1] and values[0]["test_loss"] != values[2]["test_loss"]


def test_a_spec_names_images_and_code_of_its_network():
    spec = jobs.spec(JOB, 3)
    assert (
        spec.kind == "segmentation"
        and spec.data == data_fingerprint(DATA)
        and spec.uses == ("repro.models.segmentation",)
    )
    assert data_source(DATA)["source"] == "eyes 1, seed 17"


def test_settings_are_chosen_on_training_images_alone():
    both = jobs.mask_splits(DATA)
    chosen = jobs.mask_splits(DataRecipe("eyes", 24, 12, 16, held_out=0.25, tested_on="held out"))
    known = {image.numpy().tobytes() for image in both.train.images}
    held_out = {image.numpy().tobytes() for image in chosen.test.images}
    weights = {image.numpy().tobytes() for image in chosen.train.images}
    assert len(weights) == 18 and len(held_out) == 6 and weights | held_out == known and not weights & held_out


class Constant(nn.Module):
    """Calls every pixel background, or gives NaN."""

    def __init__(self, value=1.0):
        super().__init__()
        self.level = nn.Parameter(torch.tensor(value))

    def forward(self, images):
        scores = torch.zeros(len(images), 4, *images.shape[2:])
        scores[:, 0] = self.level
        return scores


def test_a_network_that_calls_all_the_same_is_dead_and_one_without_numbers_diverged():
    data = jobs.mask_splits(DATA).test
    dead = jobs.tested(Constant(), data)
    assert dead["outcome"] == "dead" and dead["detail"] == "every pixel is called class 0"
    assert dead["miou_pct"] == measure(Constant(), data).miou_pct and dead["iou_pct"][1:] == [0, 0, 0]
    diverged = jobs.tested(Constant(math.nan), data)
    assert diverged["outcome"] == "diverged" and diverged["miou_pct"] is None
    assert jobs.confusions_of(outcome(diverged)) is None


def drawn(*runs, dataset="OpenEDS", **key):
    return key, dataset, [outcome({"examples": len(c), "classes": 2, "confusions": pack_counts(c)}) for c in runs]


def confusions(seed: int, number: int = 50, right: float = 0.8) -> np.ndarray:
    rng = np.random.default_rng(seed)
    hits = rng.binomial(100, right, (number, 2))
    return np.stack([np.stack([hits[:, 0], 100 - hits[:, 0]], 1), np.stack([100 - hits[:, 1], hits[:, 1]], 1)], 1)


def test_draws_resample_images_and_average_seeds():
    one, two = confusions(0), confusions(1)
    frame = jobs.miou_draws([drawn(one, two, method="Base")], count=300)
    assert list(frame) == ["method", "column", "draw", "value"] and len(frame) == 300
    middle = (miou_pct(one.sum(0)) + miou_pct(two.sum(0))) / 2
    assert abs(frame["value"].mean() - middle) < 0.2 and 0.2 < frame["value"].std() < 1.5
    rows = np.random.default_rng(0).integers(50, size=(300, 50))[7]  # by hand: the images of one draw, one by one
    by_hand = np.mean([miou_pct(sum(run[row] for row in rows)) for run in (one, two)])
    assert math.isclose(frame["value"][7], by_hand)


def test_rows_of_one_data_set_share_their_resamples():
    same = confusions(2)
    frame = jobs.miou_draws(
        [drawn(same, method="Base"), drawn(same, method="NetAug"), drawn(dataset="VOC", method="none")]
    )
    values = frame.pivot(index="draw", columns="method", values="value")
    assert list(values) == ["Base", "NetAug"] and values["Base"].equals(values["NetAug"].rename("Base"))
    unequal = [drawn(same, method="Base"), drawn(same[:40], method="NetAug")]
    assert jobs.miou_draws(unequal).empty


def test_a_frame_of_classes_has_the_iou_of_each(run):
    frame = jobs.class_frame([({"method": "Base"}, 1, outcome(run[0]))], ("background", "sclera", "iris", "pupil"))
    assert frame["class"].tolist() == ["background", "sclera", "iris", "pupil"]
    known = [math.nan if share is None else share for share in run[0]["iou_pct"]]
    np.testing.assert_allclose(frame["iou_pct"], known)
