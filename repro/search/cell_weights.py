"""What a search by gradient trains beside a supernet's weights, how that mixes the candidates, and what is kept.

Step one weighs operations (`OperationWeights`), step two pairs of incoming edges (`TopologyWeights`). Both give one
coefficient for every candidate of every edge, (edges, candidates), and cut a genotype out of what they learnt.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from repro.errors import check_choice, check_int, check_number
from repro.models.genotypes import Genotype
from repro.search.cell_supernet import KINDS, OPERATIONS, TOPOLOGY, Candidates, edges_of
from repro.search.topology import input_pairs, topology_weights

GROUPS = ("topology and convolution", "one")


def _genotype(edges: dict[str, list[tuple[str, int]]], nodes: int) -> Genotype:
    concat = tuple(range(2, nodes + 2))
    return Genotype(tuple(edges["normal"]), tuple(edges["reduce"]), concat, concat)


class OperationWeights(nn.Module):
    """One alpha for every operation of every edge: a softmax in each group of operations, or one over all (DARTS).

    Args:
        nodes: of a cell.
        groups: "topology and convolution" (AutoShiftNet sec. 4.2: a group each, alphas start at 0, so that a group
            begins even) or "one" (DARTS: 1e-3 times normal noise from `generator`).
    """

    def __init__(self, nodes: int, groups: str = GROUPS[0], generator: torch.Generator | None = None):
        super().__init__()
        self.nodes = check_int("nodes", nodes, minimum=1)
        self.groups = check_choice("groups", groups, GROUPS)
        shape = len(edges_of(nodes)), len(OPERATIONS)
        for kind in KINDS:
            noise = 1e-3 * torch.randn(shape, generator=generator) if groups == "one" else torch.zeros(shape)
            self.register_parameter(kind, nn.Parameter(noise))

    def coefficients(self, kind: str) -> Tensor:
        """(edges, 8), in the order of `OPERATIONS`."""
        alphas = getattr(self, kind)
        if self.groups == "one":
            return alphas.softmax(1)
        sizes = len(TOPOLOGY), len(OPERATIONS) - len(TOPOLOGY)
        return torch.cat([group.softmax(1) for group in alphas.split(sizes, 1)], dim=1)

    @torch.no_grad()
    def kept(self) -> dict[str, list[tuple[str, str]]]:
        """The best operation of each group on every edge (eq. 7), the candidates of step two."""
        found = {}
        for kind in KINDS:
            best = [group.argmax(1).tolist() for group in getattr(self, kind).split(len(TOPOLOGY), 1)]
            found[kind] = [(OPERATIONS[t], OPERATIONS[len(TOPOLOGY) + c]) for t, c in zip(*best)]
        return found

    @torch.no_grad()
    def genotype(self) -> Genotype:
        """DARTS's cut: each node keeps the two edges whose best operation but "none" has most weight."""
        edges: dict[str, list] = {}
        for kind in KINDS:
            weight, operation = self.coefficients(kind)[:, 1:].max(1)
            edges[kind] = []
            for node in range(self.nodes):
                first = sum(range(2, node + 2))
                best = weight[first : first + node + 2].argsort(descending=True, stable=True)[:2].sort().values
                edges[kind] += [(OPERATIONS[1 + int(operation[first + i])], int(i)) for i in best]
        return _genotype(edges, self.nodes)


class TopologyWeights(nn.Module):
    """One beta for every pair of edges into a node, and the balance of the two operations that an edge has kept.

    Args:
        candidates: two operations for every edge, the first of the topology group.
        balance_scale: the balance's softmax has this times the temperature of the pairs' (DOTS: 1e-3).
        normalize: 1 / N(c) of eq. 9 (`topology_weights`).
    `temperature` is set before each epoch.
    """

    def __init__(self, nodes: int, candidates: Candidates, *, balance_scale: float = 1e-3, normalize: bool = False):
        super().__init__()
        self.nodes = check_int("nodes", nodes, minimum=1)
        self.candidates = candidates
        self.balance_scale = check_number("balance_scale", balance_scale, above=0)
        self.normalize, self.temperature = normalize, 1.0
        edges, pairs = len(edges_of(nodes)), [len(input_pairs(node + 2)) for node in range(nodes)]
        self.pairs = pairs
        for kind in KINDS:
            self.register_parameter(f"{kind}_pairs", nn.Parameter(torch.zeros(sum(pairs))))
            self.register_parameter(f"{kind}_balance", nn.Parameter(torch.zeros(edges, 2)))

    def edge_weights(self, kind: str) -> Tensor:
        """gamma of every edge (eq. 9), (edges,)."""
        betas = getattr(self, f"{kind}_pairs").split(self.pairs)
        options: dict[str, Any] = {"temperature": self.temperature, "normalize": self.normalize}
        return torch.cat([topology_weights(beta, node + 2, **options) for node, beta in enumerate(betas)])

    def coefficients(self, kind: str) -> Tensor:
        """(edges, 2): eq. 10, the weight of the edge times the balance of its two operations."""
        balance = getattr(self, f"{kind}_balance")
        balance = balance - balance.detach().amax(1, keepdim=True)  # as in `topology_weights`
        divisor = max(self.balance_scale * self.temperature, torch.finfo(balance.dtype).tiny)
        return self.edge_weights(kind)[:, None] * (balance / divisor).softmax(1)

    @torch.no_grad()
    def genotype(self) -> Genotype:
        """Per node the pair of most weight, on its edges the operation of larger balance, never "none"."""
        edges: dict[str, list] = {}
        for kind in KINDS:
            edges[kind] = []
            larger = getattr(self, f"{kind}_balance").argmax(1).tolist()
            for node, beta in enumerate(getattr(self, f"{kind}_pairs").split(self.pairs)):
                for source in input_pairs(node + 2)[int(beta.argmax())]:
                    edge = sum(range(2, node + 2)) + source
                    topology, convolution = self.candidates[kind][edge]
                    chosen = convolution if larger[edge] or topology == "none" else topology
                    edges[kind].append((chosen, source))
        return _genotype(edges, self.nodes)
