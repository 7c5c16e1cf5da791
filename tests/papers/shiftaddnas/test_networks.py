"""Searched networks are trained as paths are; rows with an arrow are those without one, tested on larger images."""

import dataclasses

import pytest
import torch

from repro.models import create
from repro.models.shiftaddnas import AttentionBlock, ConvBlock, zero_last_gammas
from repro.papers import jobs
from repro.papers.data import load_splits
from repro.papers.shiftaddnas import hybrid_jobs, networks
from repro.papers.shiftaddnas.hybrid_jobs import HybridJob, train_hybrid
from repro.papers.tuning import tuning_of
from repro.runs import RunContext

SMOKE = networks.RECIPES["smoke", "digits"]


def test_residual_networks_are_trained_by_sgd_and_searched_ones_by_adamw():
    for recipe in networks.RECIPES.values():
        made = {row: recipe.job(row) for row in networks.ALL}
        assert {row for row, job in made.items() if isinstance(job, HybridJob)} == set(networks.SEARCHED)
        for job in made.values():
            assert job.train.optimizer == ("adam" if isinstance(job, HybridJob) else "sgd")
            assert job.train.epochs == recipe.train.epochs


def test_each_kind_of_network_takes_the_rate_that_it_chose_by_itself():
    rates = networks.SGD_RATES | networks.ADAMW_RATES
    tuned = {kind: rates[name]["lr"] for kind, name in networks.TUNED["digits"].items()}
    recipe = networks.RECIPES["study", "digits"]
    assert {networks.kind_of(row) for row in networks.ALL} == set(tuned) == {*recipe.rates, "searched"}
    assert {row: recipe.job(row).train.lr for row in networks.ALL} == {
        row: tuned[networks.kind_of(row)] for row in networks.ALL
    }
    residual = [row for row in networks.ALL if row not in networks.SEARCHED]
    paper = networks.RECIPES["paper", "imagenet"]
    assert {paper.job(row).train.lr for row in residual} == {0.4}


def test_every_kind_of_network_is_tuned_by_its_own_optimiser():
    asked = tuning_of("shiftaddnas_networks", "digits")
    assert {name.split(": ")[0] for name in asked.jobs} == set(networks.TUNED["digits"])
    assert {job.data.tested_on for job in asked.jobs.values()} == {"held out"}
    for (name, setting), job in asked.candidates().items():
        assert job.train.optimizer == ("adam" if setting.startswith("adamw") else "sgd"), name
        assert isinstance(job, HybridJob) == name.startswith("searched")
        assert asked.spec(job, 0).kind == ("shiftaddnas_hybrid" if isinstance(job, HybridJob) else "network")


def test_a_row_with_an_arrow_is_trained_as_the_one_without_and_tested_larger():
    for key, side in {("paper", "imagenet"): 256, ("quick", "digits"): 9, ("study", "cifar10"): 18}.items():
        recipe = networks.RECIPES[key]
        small, large = recipe.job("ShiftAddNAS-T0"), recipe.job("ShiftAddNAS-T0↑")
        assert dataclasses.replace(large, test_size=0) == small and large.test_size == side
    assert networks.energy(large)["energy_mj"] > networks.energy(small)["energy_mj"]
    assert recipe.job("ShiftAddNAS-T1↑^2").model == "shiftaddnas_t1_rank2"
    assert "ShiftAddNAS-T0↑" in networks.recipes_of("shiftaddnas_t04")["quick", "digits"].rows


def test_every_block_begins_as_its_shortcut():
    model = create("shiftaddnas_t1_rank2", width=0.125, form="cifar")
    blocks = [module for module in model.modules() if isinstance(module, ConvBlock | AttentionBlock)]
    model.eval()
    assert zero_last_gammas(model) is model and len(blocks) == 16
    for block in blocks:
        x = torch.randn(1, block.enter.reduce.in_channels, 4, 4)
        torch.testing.assert_close(block(x), torch.nn.functional.silu(block.shortcut(x)))


def test_the_larger_images_judge_the_same_weights(tmp_path, monkeypatch):
    seen = []
    tested = jobs.tested

    def watched(model, data, **options):
        seen.append((next(iter(data.input_batches(1))).shape[-1], model))
        return tested(model, data, **options)

    monkeypatch.setattr(hybrid_jobs.jobs, "tested", watched)
    small, large = (
        train_hybrid(SMOKE.job(f"ShiftAddNAS-T0{arrow}"), 0, RunContext(tmp_path / f"{arrow}x")) for arrow in ("", "↑")
    )
    (side, model), (larger, other) = seen
    assert (side, larger) == (8, 9) and large["examples"] == small["examples"]
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values()))
    data = load_splits(dataclasses.replace(SMOKE.data, size=9)).test
    assert large["top1_pct"] == pytest.approx(tested(model, data, classes=10)["top1_pct"])


def test_a_training_that_diverges_has_no_accuracy(tmp_path):
    job = SMOKE.job("ShiftAddNAS-T0")
    value = train_hybrid(
        dataclasses.replace(job, train=dataclasses.replace(job.train, lr=1e30)), 0, RunContext(tmp_path)
    )
    assert value["outcome"] == "diverged" and value["top1_pct"] is None and "loss" in value["detail"]
