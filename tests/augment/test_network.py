"""A target inside a wider and deeper network: groups of channels, samples, reordering, mutation, depth, export."""

import copy
import itertools

import pytest
import torch
from torch import nn

from repro.augment import Sample, augment
from repro.errors import InputError
from repro.layers import ShiftConv2d
from repro.papers.shiftaddaug.networks import SMALL, tiny


def network(model="MobileNetV2-w0.35", op="shift", **options):
    torch.manual_seed(0)
    settings = {"width": 2.2, "expand": 2.2} | options
    return augment(tiny(model, "small", in_channels=3, num_classes=10), op=op, **settings)


class Residual(nn.Module):
    """A network of a user: a residual addition, a gate, global pooling."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.inner = nn.Conv2d(6, 5, 1)
        self.back = nn.Conv2d(5, 6, 3, padding=1)
        self.gate = nn.Conv2d(6, 6, 1)
        self.classifier = nn.Linear(6, 4)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = x + self.back(torch.relu(self.inner(x)))
        x = x * torch.sigmoid(self.gate(x))
        return self.classifier(x.mean((2, 3)))


def images(n=4):
    return torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(5))


def trained_a_little(augmented):
    """Statistics and weights away from their start."""
    for seed in range(2):
        y = augmented(images(), augmented.sample(torch.Generator().manual_seed(seed)))
        y.square().mean().backward()
    with torch.no_grad():
        for parameter in augmented.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    return augmented.eval()


@pytest.mark.parametrize(("model", "op"), list(itertools.product(SMALL, ["conv", "shift", "adder"])))
def test_the_exported_target_computes_the_targets_numbers_bit_for_bit(model, op, tmp_path):
    augmented = trained_a_little(network(model, op))
    exported = augmented.export_target()
    assert torch.equal(exported(images()), augmented(images()))
    assert exported.recipe["op"] == op and sum(p.numel() for p in exported.parameters()) < 13_000
    torch.save(augmented.state_dict(), tmp_path / "wide.pt")
    again = network(model, op).eval()
    again.load_state_dict(torch.load(tmp_path / "wide.pt", weights_only=True))
    assert torch.equal(again.export_target()(images()), exported(images()))


@pytest.mark.parametrize("remap", ["laplace", "small_laplace"])
@pytest.mark.parametrize("op", ["shift", "adder"])
def test_remapped_weights_are_written_out(op, remap):
    augmented = trained_a_little(network(op=op, remap=remap))
    assert torch.equal(augmented.export_target()(images()), augmented(images()))


def test_a_network_of_a_user():
    torch.manual_seed(0)
    augmented = trained_a_little(augment(Residual(), width=2.0, op="shift"))
    exported = augmented.export_target()
    assert isinstance(exported.inner, ShiftConv2d) and type(exported) is Residual
    assert torch.equal(exported(images()), augmented(images()))
    assert [group.base for group in augmented.groups] == [3, 6, 5, 4]  # the gate's outputs are the channels it gates
    assert augmented(images(), "full").shape == (4, 4)
    assert augmented.network.first.weight.shape == (12, 3, 3, 3)


def test_kinds_of_groups():
    kinds = [group.kind for group in network("MobileNetV3-w0.35").groups]
    assert kinds.count("gate") == 2 and kinds[0] == kinds[-1] == "fixed"
    expansions = [group for group in network().groups if group.kind == "expand"]
    assert [group.base for group in expansions] == [24, 24, 24, 36]


def test_expansion_keeps_its_ratio_to_the_width_it_is_made_from():
    augmented = network(width=(1.0, 2.0), expand=(1.0, 3.0))
    sizes = augmented.sizes(augmented.full)
    for group, size in zip(augmented.groups, sizes):
        factor = {"fixed": 1, "width": 2, "expand": 6}[group.kind]
        assert size == factor * group.base


def test_samples_are_drawn_alike_from_alike_generators_and_every_multiple_appears():
    augmented = network()
    drawn = [augmented.sample(generator) for generator in [torch.Generator().manual_seed(1)] for _ in range(60)]
    generator = torch.Generator().manual_seed(1)
    assert drawn == [augmented.sample(generator) for _ in range(60)]
    for place, group in enumerate(augmented.groups):
        seen = {sample.multiples[place] for sample in drawn}
        assert seen == ({1.0} if group.kind == "fixed" else {1.0, 1.6, 2.2})
    narrow = augmented.sample(generator, width=False)
    assert all(m == 1 for m, group in zip(narrow.multiples, augmented.groups) if group.kind == "width")


@pytest.mark.parametrize("model", ["MobileNetV2-w0.35", "MobileNetV3-w0.35"])
def test_reordering_keeps_what_the_widest_network_of_convolutions_computes(model):
    augmented = trained_a_little(network(model, "conv"))
    before, target = augmented(images(), "full"), augmented(images())
    moved = augmented.reorder_()
    assert sum(moved.values()) > 20
    torch.testing.assert_close(augmented(images(), "full"), before, rtol=1e-4, atol=1e-6)
    assert (augmented(images()) - target).abs().max() > 1e-5
    assert sum(augmented.reorder_().values()) == 0


def test_reordering_brings_the_largest_projection_weights_into_the_target_and_momentum_along():
    augmented = network()
    optimizer = torch.optim.SGD(augmented.parameters(), lr=0.1, momentum=0.9)
    augmented(images(), "full").square().mean().backward()
    optimizer.step()
    block = augmented.network.blocks[1]
    pairs = [(p, optimizer.state[p]["momentum_buffer"]) for p in block.expand.parameters()]
    tagged = [(p.clone(), buffer.clone()) for p, buffer in pairs]
    importance = block.project.conv.weight.abs().sum((0, 2, 3))
    order = importance.argsort(descending=True, stable=True)
    augmented.reorder_(optimizer)
    assert block.project.conv.weight.abs().sum((0, 2, 3)).diff().le(1e-6).all()
    for (parameter, buffer), (old, old_buffer) in zip(pairs, tagged):
        assert torch.equal(parameter, old[order]) and torch.equal(buffer, old_buffer[order])


def test_blocks_mutate_from_shallow_to_deep():
    augmented = network()
    assert augmented.units == ["stem", "blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.4", "head", "classifier"]
    augmented.set_mutation(0)
    multiplicative = copy.deepcopy(augmented).eval().export_target()
    assert not any(isinstance(m, ShiftConv2d) for m in multiplicative.modules())
    augmented.set_mutation(2)
    mutated = {name for name, layer in augmented.wide_layers() if not layer.multiplicative}
    assert mutated == {"stem.conv", "blocks.0.depthwise.conv", "blocks.0.project.conv"}
    partly = augmented.eval().export_target()
    assert torch.equal(partly(images()), augmented(images()))


def test_extra_blocks_leave_the_target_from_deep_to_shallow():
    augmented = network(depth=2).eval()
    assert augmented.extra_blocks == 4
    plain = augmented(images())
    augmented.set_depth(3)
    assert augmented._kept == [2, 1]
    assert not torch.allclose(augmented(images()), plain)
    with pytest.raises(InputError, match="still has 3 extra blocks"):
        augmented.export_target()
    augmented.set_depth(0)
    assert torch.equal(augmented.export_target()(images()), plain)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0.5}, "width=0.5 is not allowed"),
        ({"expand": (1.5, 2.0)}, "holds 1.0, the target itself"),
        ({"op": "shfit"}, "Did you mean 'shift'"),
        ({"depth": -1}, "depth=-1"),
        ({"remap": "laplac"}, "Did you mean 'laplace'"),
    ],
    ids=str,
)
def test_bad_options_are_refused_in_a_sentence(options, message):
    with pytest.raises(InputError, match=message) as caught:
        network(**options)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_followed_is_named():
    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return torch.cat([self.a(x), self.b(x)], 1)

    with pytest.raises(InputError, match="'cat' in the forward of Joined"):
        augment(Joined())
    with pytest.raises(InputError, match="module '1' is a GroupNorm"):
        augment(nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)))
    with pytest.raises(InputError, match="takes 36 features of 4 channels"):
        augment(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(36, 2)))
    with pytest.raises(InputError, match="no residual block"):
        augment(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)), depth=1)
    with pytest.raises(InputError, match="sample has 1 multiples"):
        network()(images(), Sample((1.0,)))
