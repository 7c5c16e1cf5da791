"""Elastic networks: slices, exports, genomes and specs, costs, training, refusals."""

from __future__ import annotations

import dataclasses
import random

import pytest
import torch

from repro.cost import count, layers_cost
from repro.cost.mobile import MobileCosts
from repro.cost.skeleton import skeleton
from repro.errors import InputError
from repro.models.mobile import BlockSpec, mobile_spec
from repro.models.trace import trace
from repro.search.elastic import ElasticNetwork, ElasticSpace, fit_elastic
from repro.search.inherit import evaluate_paths
from repro.train import TensorData, TrainRecipe

SPACE = ElasticSpace(
    stem=8, first=8, stages=((8, 2), (12, 2)), widths=(0.5, 1.0), expansions=(2, 3), depths=(1, 2), head=10
)
RECIPE = TrainRecipe(epochs=2, batch_size=16, lr=0.05, weight_decay=0.0)


def network(seed=0, space=SPACE):
    torch.manual_seed(seed)
    model = ElasticNetwork(space, in_channels=1, num_classes=4)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                for tensor in (module.running_mean, module.running_var, module.weight, module.bias):
                    tensor.uniform_(0.5, 1.5)
    return model


def data(count=48, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    patterns = torch.randn(4, 1, 12, 12, generator=torch.Generator().manual_seed(9))
    return TensorData(patterns[labels] + 0.3 * torch.randn(count, 1, 12, 12, generator=generator), labels)


def genomes(count, seed=0):
    draw = random.Random(seed)
    return [SPACE.smallest, SPACE.largest, *(SPACE.sample(draw) for _ in range(count))]


@pytest.mark.parametrize("channels_last", [False, True])
def test_an_exported_network_computes_what_the_slice_computes_bit_for_bit(channels_last):
    model, x = network().eval(), torch.randn(3, 1, 12, 12)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    for genome in genomes(8):
        model.activate(genome)
        assert torch.equal(model(x), model.subnet(genome)(x))
        assert model.subnet(genome).spec == model.spec == SPACE.spec(genome)


def test_a_slice_takes_first_channels_first_blocks_and_the_centre_of_filters():
    model = network()
    genome = SPACE.genes.check((0.5, 1, 3, 2, 3, 2, 2, 5, 3, 3, 2))
    small, whole = model.subnet(genome).state_dict(), model.network.state_dict()
    assert len(model.subnet(genome).blocks) == 4 and len(model.network.blocks) == 5
    assert torch.equal(
        small["blocks.1.depthwise.conv.weight"], whole["blocks.1.depthwise.conv.weight"][:8, :, 2:5, 2:5]
    )
    # the first stage has one block of two, so that the second begins with the largest network's block 3
    assert torch.equal(
        small["blocks.2.depthwise.conv.weight"], whole["blocks.3.depthwise.conv.weight"][:12, :, 1:6, 1:6]
    )
    assert torch.equal(small["blocks.2.project.conv.weight"], whole["blocks.3.project.conv.weight"][:6, :12])
    assert torch.equal(small["blocks.3.expand.norm.running_var"], whole["blocks.4.expand.norm.running_var"][:12])
    assert torch.equal(small["head.conv.weight"], whole["head.conv.weight"][:, :6])


def test_only_the_slice_gets_a_gradient_and_it_is_that_of_the_exported_network():
    model, batch = network(), data()
    genome = genomes(1)[2]
    model.activate(genome)
    alone = model.subnet(genome)
    for each in (model, alone):
        torch.nn.functional.cross_entropy(each(batch.images), batch.labels).backward()
    own = dict(alone.named_parameters())
    total = sum(p.grad.abs().sum() for p in model.parameters() if p.grad is not None)
    torch.testing.assert_close(total, sum(p.grad.abs().sum() for p in own.values()), rtol=1e-5, atol=0)
    torch.testing.assert_close(
        model.network.head.conv.weight.grad[:, : own["head.conv.weight"].shape[1]], own["head.conv.weight"].grad
    )
    ours, theirs = model.network.stem.norm, alone.stem.norm  # running statistics move in the shared tensors
    assert torch.equal(ours.running_mean[: len(theirs.running_mean)], theirs.running_mean)


def test_genomes_and_networks_name_each_other():
    for genome in genomes(40, seed=1):
        assert SPACE.genome(SPACE.spec(genome)) == genome
    with pytest.raises(InputError, match="no network of this space"):
        SPACE.genome(mobile_spec("mcunet_in3"))


def test_a_network_by_hand():
    genome = SPACE.genes.check((0.5, 1, 5, 3, 3, 2, 2, 3, 2, 7, 3))
    assert SPACE.spec(genome).blocks == (
        BlockSpec(0, 3, 4, 4, 4, expand=False),
        BlockSpec(1, 5, 4, 12, 4, 2),
        BlockSpec(2, 3, 4, 8, 6, 2),
        BlockSpec(2, 7, 6, 18, 6, 1, residual=True),
    )
    assert SPACE.genes.size == 2 * (2 * (3 * 2) ** 2) ** 2
    assert SPACE.genes.normal((0.5, 1, 5, 3, 7, 3, 2, 3, 2, 7, 3)) == genome  # genes of a block that is not there


@pytest.mark.parametrize(
    "op", ["conv", "shift", "adder", {"blocks.1.*": "adder", "stem": "shift", "classifier": "shift"}], ids=str
)
def test_the_lookup_prices_as_the_whole_network_does(op):
    lookup = MobileCosts(16, in_channels=1, num_classes=4, convention="shiftaddaug")
    for genome in genomes(2, seed=2):
        spec = SPACE.spec(genome)
        model = skeleton("mobilenet_v2", op=op, spec=spec, in_channels=1, num_classes=4)
        layers = trace(model, (1, 16, 16))
        assert lookup.layers(spec, op) == layers
        counted, cost = count(model, convention="shiftaddaug", layers=layers), layers_cost(layers)
        expected = {name: getattr(counted, name) for name in ("mults", "shifts", "adds", "macs")}
        assert lookup.costs(spec, op) == expected | {"energy_mj": cost.energy_mj, "latency_ms": cost.latency_ms}


def test_the_lookup_traces_no_network_whose_blocks_it_knows(monkeypatch):
    lookup, mixed = MobileCosts(16), SPACE.genes.check((1.0, 2, 3, 2, 7, 3, 2, 7, 3, 3, 2))
    expected = trace(skeleton("mobilenet_v2", spec=SPACE.spec(mixed), num_classes=10), 16)
    for genome in [(1.0, 2, *(3, 2) * 2, 2, *(3, 2) * 2), SPACE.largest]:
        lookup.layers(SPACE.spec(genome))
    monkeypatch.setattr("repro.cost.mobile.trace", None)
    assert lookup.layers(SPACE.spec(mixed)) == expected


def test_the_lookup_knows_every_part_of_a_published_network():
    for name in ("mobilenet_v3_large", "mcunet_in3"):  # SE, a hidden layer, no head
        spec = mobile_spec(name, 0.35)
        layers = trace(skeleton(name, spec=spec, op="adder", num_classes=100), 64)
        assert MobileCosts(64, num_classes=100).layers(spec, "adder") == layers


@pytest.mark.parametrize("sampling", ["random", "sandwich"])
def test_training_teaches_many_networks_and_resumes(tmp_path, sampling):
    train = data(32)
    asked = {"seed": 0, "networks": 2, "sampling": sampling}
    whole, stopped, resumed = network(), network(), network()
    history = fit_elastic(whole, train, RECIPE, **asked)
    fit_elastic(stopped, train, RECIPE, **asked, checkpoint=tmp_path / "c", stop_after=1)
    again = fit_elastic(resumed, train, RECIPE, **asked, checkpoint=tmp_path / "c")
    assert history.outcome == again.outcome == "finished"
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    with pytest.raises(InputError, match="another networks"):
        fit_elastic(network(), train, RECIPE, **(asked | {"networks": 3}), checkpoint=tmp_path / "c")


def test_inherited_accuracies_are_those_of_exported_networks_and_above_chance_after_training():
    model, train, held_out = network(), data(), data(32, seed=1)
    fit_elastic(model, train, dataclasses.replace(RECIPE, epochs=8), seed=0)
    chosen = genomes(2, seed=3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    judged = evaluate_paths(model, chosen, held_out, calibration=train)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [each["path"] for each in judged] == chosen
    assert sum(each["accuracy_pct"] for each in judged) / 4 > 50
    uncalibrated = evaluate_paths(model, chosen, held_out)
    assert sum(each["loss"] for each in uncalibrated) > sum(each["loss"] for each in judged)


@pytest.mark.parametrize(
    ("refused", "sentence"),
    [
        (lambda: SPACE.spec((0.5, 1)), "must have 11 genes"),
        (lambda: SPACE.spec((0.7, *SPACE.largest[1:])), "gene width=0.7 is not known; allowed are: 0.5, 1.0"),
        (lambda: network().activate((0.7, *SPACE.largest[1:])), "gene width=0.7"),
        (lambda: ElasticSpace(widths=(1.0, 0.5)), "give different options, rising"),
        (lambda: ElasticSpace(depths=()), "depths=.. is not allowed"),
        (lambda: ElasticSpace(kernels=(3, 4)), "kernels holds 4; only odd kernels have a centre"),
        (lambda: ElasticSpace(stem=2, first=2, stages=((2, 2),), widths=(0.9, 1.0)), "round to the same channels"),
        (lambda: ElasticSpace(stages=()), "stages is empty"),
        (lambda: fit_elastic(network(), data(), RECIPE, seed=0, networks=0), "networks=0 is not allowed"),
    ],
)
def test_what_is_no_elastic_network_is_said(refused, sentence):
    with pytest.raises(InputError, match=sentence):
        refused()
