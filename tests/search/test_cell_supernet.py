"""The supernet of cells: batched edges equal single ones, and the operations of the network that a genotype makes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from repro.errors import InputError
from repro.models.build import Builder
from repro.models.cells import make_operation
from repro.search.cell_supernet import (
    OPERATIONS,
    CellSupernet,
    EdgeGroup,
    FlatWeights,
    SupernetCell,
    _Rounded,
    all_operations,
    depthwise,
    edges_of,
    pointwise,
)
from repro.search.cell_weights import OperationWeights, TopologyWeights
from repro.train.diagnose import profile_step


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exact_values(*shape: int, seed: int = 0) -> torch.Tensor:
    """Multiples of 1/64 in float64: sums of products with powers of two are exact, in any order."""
    return torch.randint(-128, 129, shape, generator=seeded(seed)).double() / 64


def make_flat(space: str = "shift") -> _Rounded:
    return _Rounded(FlatWeights(space, 5, None, "paper"), (16, 16))


def close(flat: FlatWeights) -> list[torch.Tensor]:
    flat.close(seeded())
    return flat.double()()


# --- convolutions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [(1, 1), (2, 2), (5, 4), (7, 8)], ids=str)
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_depthwise_equals_the_library(kernel, stride, dilation, side):
    x = exact_values(2, 3, *side).requires_grad_()
    weight = exact_values(3, 1, kernel, kernel, seed=1).requires_grad_()
    padding = dilation * (kernel // 2)
    expected = F.conv2d(x, weight, stride=stride, padding=padding, dilation=dilation, groups=3)
    found = depthwise(x, weight, stride=stride, dilation=dilation)
    assert torch.equal(found, expected)
    upward = exact_values(*expected.shape, seed=2)
    ours, theirs = (torch.autograd.grad(y, (x, weight), upward) for y in (found, expected))
    assert all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("groups", [1, 3])
def test_pointwise_equals_the_library(groups):
    x, weight = exact_values(2, 6, 3, 2), exact_values(9, 6 // groups, 1, 1, seed=1)
    assert torch.equal(pointwise(x, weight, groups), F.conv2d(x, weight, groups=groups))


# --- weights ---------------------------------------------------------------------------------------------------------


def test_gradients_of_exponents_and_signs_are_equations_5_and_6():
    flat = FlatWeights("shift", 5, None, "paper")
    first, second = flat.add(2, 3, 1, 1), flat.add(2, 2, 1, 1)
    weights = close(flat)
    x, upward = exact_values(4, 3, 2, 2), exact_values(4, 2, 2, 2, seed=1)
    hidden = F.conv2d(x, weights[first])
    F.conv2d(hidden, weights[second]).backward(upward)
    sizes = flat.sizes
    shifts, signs = flat.shift.split(sizes), flat.sign.split(sizes)
    grad_p, grad_s = flat.shift.grad.split(sizes)[second], flat.sign.grad.split(sizes)[second]
    for out in range(2):
        for channel in range(2):
            place = 2 * out + channel
            p, s = round(shifts[second][place].item()), signs[second][place].item()
            w = math.copysign(2.0**p, s) if abs(s) >= 0.5 else 0.0
            assert weights[second].flatten()[place].item() == w
            products = (upward[:, out] * hidden[:, channel]).flatten().tolist()
            expected = math.fsum(products)  # dL/dw, written out
            assert grad_s[place].item() == pytest.approx(expected, rel=1e-12)
            assert grad_p[place].item() == pytest.approx(expected * w * 2.0**p * math.log(2), rel=1e-12, abs=0)


def test_the_start_is_deepshifts_or_he_normal():
    flat = FlatWeights("shift", 5, None, "paper")
    flat.add(64, 64, 1, 1)
    flat.close(seeded())
    assert flat.shift.min() >= -10 and flat.shift.max() <= -1 and flat.sign.abs().max() <= 1
    assert flat.shift.mean().item() == pytest.approx(-5.5, abs=0.2)
    real = FlatWeights("real", 5, None, "paper")
    real.add(4, 1, 16, 16, groups=4), real.add(64, 16, 8, 8)
    real.close(seeded())
    deep, plain = (part.std().item() for part in real.weight.detach().split(real.sizes))
    assert deep == pytest.approx((2 / 256) ** 0.5, rel=0.1) and plain == pytest.approx((2 / 4096) ** 0.5, rel=0.1)


@pytest.mark.parametrize(
    ("bits", "shift_range", "low", "high"),
    [
        (5, None, -10, -1),
        (5, (-14, -12), -12, -12),
        (5, (-3, 0), -3, -1),
        (5, (-14, -8), -10, -8),
        (3, None, -2, -1),
        (2, None, 0, 0),
    ],
)
def test_exponents_start_inside_a_narrower_range(bits, shift_range, low, high):
    flat = FlatWeights("shift", bits, shift_range, "paper")
    flat.add(64, 64, 1, 1)
    flat.close(seeded())
    expected = torch.empty(64 * 64).uniform_(low, high, generator=seeded())
    assert flat.shift_range[0] <= flat.shift.min() and flat.shift.max() <= flat.shift_range[1]
    assert torch.equal(flat.shift, expected)


# --- edges -----------------------------------------------------------------------------------------------------------


def parts_of(group: EdgeGroup, weights: list[torch.Tensor], edge: int) -> list[torch.Tensor]:
    """The weights of one edge of a group, in the order of the layers of `make_operation`."""
    if group.operation == "skip_connect" and group.reduce is not None:
        numbers = [group.reduce.even, group.reduce.odd]
    elif "conv" in group.operation:
        numbers = [n for part in (group.first, group.second) if part for n in (part.depthwise, part.pointwise)]
    else:
        numbers = []
    return [weights[n].chunk(group.edges)[edge] for n in numbers]


def single(group: EdgeGroup, flat: FlatWeights, edge: int) -> torch.nn.Module:
    """The operation of one edge as the cell network builds it, with P and S of that edge."""
    build = Builder("shift", keep=(), op_options={"shift": {"mode": "ps"}})
    operation = make_operation(build, group.operation, group.channels, group.stride).double()
    views = [
        [part.view(shape) for part, shape in zip(p.split(flat.sizes), flat.shapes)] for p in (flat.shift, flat.sign)
    ]
    layers = [module for module in operation.modules() if hasattr(module, "shift")]
    shifts, signs = (parts_of(group, view, edge) for view in views)
    with torch.no_grad():
        for layer, shift, sign in zip(layers, shifts, signs, strict=True):
            layer.shift.copy_(shift), layer.sign.copy_(sign)
    pooled = group.operation.endswith("pool_3x3")
    norm = torch.nn.BatchNorm2d(group.channels, affine=False).double()
    return torch.nn.Sequential(operation, norm) if pooled else operation


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("operation", OPERATIONS[1:])
def test_batched_edges_equal_single_edges_exactly(operation, stride):
    make, edges = make_flat(), [(0, 0), (1, 0), (2, 0)]
    group = EdgeGroup(make, operation, 4, stride, edges).double()
    weights = close(make.flat)
    state = exact_values(3, 4, 5, 6)
    rounded = make(F.relu(state))
    found = group(state, rounded, weights).expand(-1, 3, -1, -1, -1)
    for edge in range(3):
        alone = make_flat()
        lone = EdgeGroup(alone, operation, 4, stride, [edges[edge]]).double()
        own = parts_of(group, weights, edge)
        assert torch.equal(found[:, edge], lone(state, rounded, own)[:, 0])
        torch.testing.assert_close(found[:, edge], single(group, make.flat, edge)(state), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("operation", OPERATIONS[1:])
def test_batched_edges_have_the_gradients_of_single_edges(operation, stride):
    """Of the inputs, and of every edge's rounded weights."""
    make = make_flat()
    group = EdgeGroup(make, operation, 4, stride, [(0, 0), (1, 0), (2, 0)]).double()
    weights = [part.detach().requires_grad_() for part in close(make.flat)]
    inputs = [exact_values(3, 4, 5, 6).requires_grad_() for _ in range(4)]
    found = group(inputs[0], make(F.relu(inputs[0])), weights).expand(-1, 3, -1, -1, -1)
    alone = torch.stack([single(group, make.flat, edge)(inputs[1 + edge]) for edge in range(3)], dim=1)
    upstream = torch.arange(found.numel(), dtype=torch.float64).reshape(found.shape).sin()
    (found * upstream).sum().backward(), (alone * upstream).sum().backward()
    expected = sum(each.grad for each in inputs[1:])
    torch.testing.assert_close(inputs[0].grad, expected, rtol=1e-12, atol=1e-12)
    state = exact_values(3, 4, 5, 6)
    for edge, over in enumerate(upstream.unbind(1) if "conv" in operation else ()):  # nothing else has weights
        lone = EdgeGroup(make_flat(), operation, 4, stride, [(edge, 0)]).double()
        own = [part.detach().requires_grad_() for part in parts_of(group, weights, edge)]
        (lone(state, make(F.relu(state)), own)[:, 0] * over).sum().backward()
        told = parts_of(group, [part.grad for part in weights], edge)
        assert len(told) == len(own)
        for found_grad, grad in zip(told, (part.grad for part in own)):
            torch.testing.assert_close(found_grad, grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reduction", [False, True])
def test_a_cell_is_the_weighted_sum_over_edges_and_operations(reduction):
    """Eq. 10 with loops, over the operations of the cell network."""
    nodes, make = 2, make_flat()
    edges, candidates = edges_of(nodes), all_operations(nodes)["normal"]
    options = {"reduction": reduction, "reduction_before": False}
    cell = SupernetCell(make, candidates, (3, 5), 4, nodes, **options).double()
    weights = close(make.flat)
    x0, x1 = exact_values(3, 3, 6, 6), exact_values(3, 5, 6, 6, seed=1)
    coefficients = torch.rand(len(edges), len(OPERATIONS), dtype=torch.float64, generator=seeded(5))
    found = cell(x0, x1, coefficients, weights)
    states = [module(make(F.relu(x)), weights) for module, x in ((cell.input0, x0), (cell.input1, x1))]
    for node in range(nodes):
        total = 0
        for row, (into, source) in enumerate(edges):
            if into != node:
                continue
            for group in cell.states[source]:
                edge = group.nodes.index(node)
                column = OPERATIONS.index(group.operation)
                total = total + coefficients[row, column] * single(group, make.flat, edge)(states[source])
        states.append(total)
    torch.testing.assert_close(found, torch.cat(states[2:], dim=1), rtol=1e-10, atol=1e-10)


# --- the network -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> CellSupernet:
    options = {"generator": seeded(), "in_channels": 1, "layers": 3, "channels": 2, "nodes": 2, "num_classes": 3}
    return CellSupernet(all_operations(2), OperationWeights(2), **options)


def test_every_layer_with_weights_is_in_the_shift_domain_and_norms_inside_cells_have_no_gain(small):
    names = {name for name, _ in small.named_parameters()}
    norms = {f"{name}.{kind}" for name in ("stem_norm", "last_norm") for kind in ("weight", "bias")}
    assert names == {"flat.shift", "flat.sign", "classifier_bias", "architecture.normal", "architecture.reduce", *norms}
    assert small.kinds == ["normal", "reduce", "reduce"]


def test_edges_are_batched_by_source_and_all_weights_lie_in_one_tensor_of_p_and_one_of_s():
    architecture = OperationWeights(4)
    options = {"generator": seeded(), "in_channels": 1, "layers": 8, "channels": 2, "nodes": 4, "num_classes": 3}
    net = CellSupernet(all_operations(4), architecture, **options)
    assert [place for place, kind in enumerate(net.kinds) if kind == "reduce"] == [2, 5]
    assert [cell.out_channels // 4 for cell in net.cells] == [
        2,
        2,
        4,
        4,
        4,
        8,
        8,
        8,
    ]  # a reduction doubles the channels
    for cell in net.cells:
        for operation in OPERATIONS[1:]:
            sizes = [group.edges for group in cell.groups if group.operation == operation]
            assert sizes == [4, 4, 3, 2, 1]  # five convolutions for 14 edges
    other = {id(p) for p in architecture.parameters()}
    large = [name for name, value in net.named_parameters() if value.ndim == 1 and value.numel() > 100]
    assert large == ["flat.shift", "flat.sign"]
    assert {value.ndim for value in net.parameters() if id(value) not in other} == {1}  # norms, a bias, P and S
    assert sum(net.flat.sizes) == net.flat.shift.numel() == net.flat.sign.numel()


@pytest.mark.parametrize("space", ["shift", "real"])
def test_the_network_is_stem_cells_norm_pooling_and_classifier(space):
    """In float64 by the library's functions, cells as tested above; each cell reads the two before it."""
    architecture = OperationWeights(1)
    options = {"generator": seeded(), "in_channels": 2, "layers": 3, "channels": 2, "nodes": 1, "num_classes": 3}
    net = CellSupernet(all_operations(1), architecture, space=space, **options).double()
    with torch.no_grad():
        net.stem_norm.weight.uniform_(0.5, 1.5, generator=seeded(1)), net.classifier_bias.normal_(generator=seeded(2))
        architecture.normal.normal_(generator=seeded(3)), architecture.reduce.normal_(generator=seeded(4))

    def rounded(values: torch.Tensor) -> torch.Tensor:
        return values if space == "real" else (values * 2.0**16).round() / 2.0**16

    def normed(values: torch.Tensor, norm: torch.nn.BatchNorm2d) -> torch.Tensor:
        mean, variance = values.mean((0, 2, 3)), values.var((0, 2, 3), correction=0)
        shape = (1, -1, 1, 1)
        scaled = (values - mean.view(shape)) / (variance + norm.eps).sqrt().view(shape)
        return scaled * norm.weight.view(shape) + norm.bias.view(shape)

    x = torch.rand(4, 2, 8, 8, dtype=torch.float64, generator=seeded(5))
    weights = net.flat()
    before = state = normed(F.conv2d(rounded(x), weights[0], padding=1), net.stem_norm)
    for kind, cell in zip(("normal", "reduce", "reduce"), net.cells):
        alphas = getattr(architecture, kind)
        mixed = torch.cat([alphas[:, :4].softmax(1), alphas[:, 4:].softmax(1)], dim=1)
        before, state = state, cell(before, state, mixed, weights)
    pooled = normed(state, net.last_norm).clamp(min=0).sum((2, 3)) / (state.shape[2] * state.shape[3])
    expected = rounded(pooled) @ weights[-1].T + net.classifier_bias
    torch.testing.assert_close(net(x), expected, rtol=1e-9, atol=1e-9)
    powers = {0.0, *(sign * 2.0**p for sign in (-1, 1) for p in range(-14, 1))}
    assert {*torch.cat([w.flatten() for w in weights]).tolist()} <= powers or space == "real"


def test_two_kept_operations_an_edge_make_the_network_of_step_two():
    kept = {kind: [("none", "sep_conv_3x3"), ("skip_connect", "dil_conv_5x5")] for kind in ("normal", "reduce")}
    weights = TopologyWeights(1, kept)
    net = CellSupernet(kept, weights, generator=seeded(), in_channels=1, layers=3, channels=2, nodes=1, num_classes=3)
    x = torch.rand(2, 1, 8, 8)
    net(x).sum().backward()
    assert weights.normal_pairs.grad.shape == (1,) and weights.normal_balance.grad.abs().sum() > 0
    operations = [group.operation for group in net.cells[0].groups]
    assert operations == ["sep_conv_3x3", "skip_connect", "dil_conv_5x5"]
    assert 0.05 < profile_step(net, x, torch.tensor([0, 2]))["operator_share"] < 1


def test_a_node_without_any_operation_is_refused():
    none = {kind: [("none",)] * 2 for kind in ("normal", "reduce")}
    with pytest.raises(InputError, match="node 1 has no candidate but 'none'"):
        CellSupernet(none, OperationWeights(1), generator=seeded(), layers=3, channels=2, nodes=1)
