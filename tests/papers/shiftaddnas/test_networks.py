"""Rows with an arrow are the networks without one, tested on larger images."""

import dataclasses

import pytest
import torch

from repro.papers import jobs
from repro.papers.data import load_splits
from repro.papers.shiftaddnas import networks
from repro.papers.shiftaddnas.enlarged import EnlargedJob, train_enlarged
from repro.runs import RunContext

SMOKE = networks.RECIPES["smoke", "digits"]


def test_a_row_with_an_arrow_is_trained_as_the_one_without_and_tested_larger():
    for key, side in {("paper", "imagenet"): 256, ("quick", "digits"): 9, ("study", "cifar10"): 18}.items():
        recipe = networks.RECIPES[key]
        small, large = recipe.job("ShiftAddNAS-T0"), recipe.job("ShiftAddNAS-T0↑")
        fields = {field.name: getattr(large, field.name) for field in dataclasses.fields(jobs.Job)}
        assert jobs.Job(**fields) == small and type(small) is jobs.Job and large.test_size == side
    assert networks.energy(large)["energy_mj"] > networks.energy(small)["energy_mj"]
    assert recipe.job("ShiftAddNAS-T1↑^2").model == "shiftaddnas_t1_rank2"
    assert "ShiftAddNAS-T0↑" in networks.recipes_of("shiftaddnas_t04")["quick", "digits"].rows


def test_the_larger_images_judge_the_same_weights(tmp_path, monkeypatch):
    small, large = SMOKE.job("ShiftAddNAS-T0"), SMOKE.job("ShiftAddNAS-T0↑")
    assert type(large) is EnlargedJob
    seen = []
    tested = jobs.tested

    def watched(model, data, **options):
        seen.append((next(iter(data.input_batches(1))).shape[-1], model.classifier.weight.detach().clone()))
        return tested(model, data, **options)

    monkeypatch.setattr(jobs, "tested", watched)
    value = train_enlarged(large, 0, RunContext(tmp_path / "large"))
    model, _, _ = jobs.train_and_test(
        lambda: jobs.create(small.model, **small.model_options), small, 0, RunContext(tmp_path / "small")
    )
    assert [side for side, _ in seen] == [8, 9, 8]
    assert all(torch.equal(weight, model.classifier.weight) for _, weight in seen)
    assert value["examples"] == len(load_splits(small.data).test) and value["top1_pct"] == pytest.approx(
        tested(model, load_splits(dataclasses.replace(small.data, size=9)).test, classes=10)["top1_pct"]
    )
