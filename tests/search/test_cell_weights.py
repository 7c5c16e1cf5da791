"""Mixing and selection of operations and edges, against brute force."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from repro.errors import InputError
from repro.search.cell_supernet import CONVOLUTIONS, OPERATIONS, TOPOLOGY, edges_of
from repro.search.cell_weights import OperationWeights, TopologyWeights
from repro.search.topology import input_pairs

NODES = 4
KINDS = ("normal", "reduce")


def shuffled(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


def softmax(values: list[float]) -> list[float]:
    exponentials = [math.exp(value) for value in values]
    return [value / sum(exponentials) for value in exponentials]


def test_edges_are_listed_node_by_node():
    assert edges_of(2) == ((0, 0), (0, 1), (1, 0), (1, 1), (1, 2)) and len(edges_of(NODES)) == 14


def test_alphas_begin_even_in_their_groups_and_as_noise_in_one():
    even = OperationWeights(NODES).coefficients("normal")
    torch.testing.assert_close(even, torch.full((14, 8), 0.25))
    noise = OperationWeights(NODES, "one", torch.Generator().manual_seed(0))
    assert 0 < noise.normal.std() < 2e-3 and not torch.equal(noise.normal, noise.reduce)


@pytest.mark.parametrize("groups", ["topology and convolution", "one"])
def test_operations_are_mixed_and_kept_group_by_group(groups):
    weights = shuffled(OperationWeights(NODES, groups, torch.Generator().manual_seed(0)), seed=3)
    for kind in KINDS:
        found, alphas = weights.coefficients(kind), getattr(weights, kind).tolist()
        for row, values in enumerate(alphas):
            parts = [values] if groups == "one" else [values[:4], values[4:]]
            expected = [share for part in parts for share in softmax(part)]
            assert found[row].tolist() == pytest.approx(expected, rel=1e-5)
            best = (max(zip(values[:4], TOPOLOGY))[1], max(zip(values[4:], CONVOLUTIONS))[1])
            assert weights.kept()[kind][row] == best


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("groups", ["topology and convolution", "one"])
def test_dartss_cut_is_the_best_pair_of_edges_of_each_node(groups, seed):
    weights = shuffled(OperationWeights(NODES, groups, torch.Generator().manual_seed(0)), seed)
    cells = weights.genotype()
    for kind in KINDS:
        shares = weights.coefficients(kind).tolist()
        for node in range(NODES):
            mine = [
                (source, dict(zip(OPERATIONS, shares[row])))
                for row, (k, source) in enumerate(edges_of(NODES))
                if k == node
            ]
            best = {source: max(OPERATIONS[1:], key=own.get) for source, own in mine}
            score = {source: own[best[source]] for source, own in mine}
            pair = max(itertools.combinations(score, 2), key=lambda two: sum(score[source] for source in two))
            assert getattr(cells, kind)[2 * node : 2 * node + 2] == tuple((best[source], source) for source in pair)


def test_none_never_remains():
    weights = OperationWeights(NODES)
    with torch.no_grad():
        for kind in KINDS:
            getattr(weights, kind)[:, 0] = 50  # "none" everywhere
    assert {pair[0] for pair in weights.kept()["normal"]} == {"none"}
    assert "none" not in {operation for operation, _ in weights.genotype().normal}
    topology = TopologyWeights(NODES, weights.kept())
    with torch.no_grad():
        topology.normal_balance[:, 0] = 1
    assert {operation for operation, _ in topology.genotype().normal} == {CONVOLUTIONS[0]}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("normalize", [False, True])
def test_the_topology_that_remains_is_the_best_pair_and_the_larger_balance(normalize, seed):
    kept = shuffled(OperationWeights(NODES), seed + 10).kept()
    weights = shuffled(TopologyWeights(NODES, kept, balance_scale=0.5, normalize=normalize), seed)
    weights.temperature = 0.7
    cells = weights.genotype()
    for kind in KINDS:
        betas, balance = getattr(weights, f"{kind}_pairs").tolist(), getattr(weights, f"{kind}_balance").tolist()
        coefficients, row = weights.coefficients(kind), 0
        for node in range(NODES):
            pairs = [(first, second) for second in range(node + 2) for first in range(second)]
            own, betas = betas[: len(pairs)], betas[len(pairs) :]
            shares = softmax([value / 0.7 for value in own])
            chosen = []
            for source in range(node + 2):
                gamma = sum(s for pair, s in zip(pairs, shares) if source in pair) / (2 if normalize else 1)
                expected = [gamma * share for share in softmax([v / (0.5 * 0.7) for v in balance[row]])]
                assert coefficients[row].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-7)
                topology, convolution = kept[kind][row]
                larger = topology if balance[row][0] >= balance[row][1] else convolution
                if source in max(zip(own, pairs))[1]:
                    chosen.append((convolution if larger == "none" else larger, source))
                row += 1
            assert getattr(cells, kind)[2 * node : 2 * node + 2] == tuple(chosen)
        assert betas == []


def test_before_anything_is_learnt_every_pair_weighs_the_same():
    kept = OperationWeights(NODES).kept()
    gamma = TopologyWeights(NODES, kept).edge_weights("reduce")
    assert gamma.tolist() == pytest.approx([2 / (node + 2) for node in range(NODES) for _ in range(node + 2)])
    assert len(input_pairs(5)) == 10


def test_groups_that_do_not_exist_are_refused():
    with pytest.raises(InputError, match="groups='two' is not known"):
        OperationWeights(NODES, "two")


def test_the_coldest_temperature_chooses_instead_of_losing_itself():
    weights = shuffled(TopologyWeights(NODES, {kind: [("skip_connect", "sep_conv_3x3")] * 14 for kind in KINDS}), 0)
    weights.temperature = 1e-43
    for kind in KINDS:
        found = weights.coefficients(kind).detach()
        assert found.isfinite().all() and float(found.sum()) == pytest.approx(2 * NODES)
