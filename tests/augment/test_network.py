"""A target inside a wider and deeper network: groups of channels, samples, reordering, mutation, depth, export."""

import contextlib
import copy
import inspect
import itertools
import math
from collections import Counter

import pytest
import torch
from torch import nn

from repro.augment import REMAPPINGS, Sample, augment, gaussian_to_laplacian, remapping
from repro.augment.network import _target_name, is_extra
from repro.augment.remapping import LaplaceRemap
from repro.errors import InputError
from repro.layers import ShiftConv2d, convert
from repro.models import create, load_weights, save_weights
from repro.models.build import Builder
from repro.models.mobile import MobileNet
from repro.papers.shiftaddaug.networks import SMALL, tiny


def network(model="MobileNetV2-w0.35", op="shift", **options):
    torch.manual_seed(0)
    settings = {"width": 2.2, "expand": 2.2} | options
    return augment(tiny(model, "small", in_channels=3, num_classes=10), op=op, **settings)


def multiplicative_start(augmented):
    """Of every layer the weights that the wide network of convolutions begins with, NaN where bare adders begin."""
    weights = {}
    for name, layer in augmented.wide_layers():
        weights[name] = layer.weight.detach().clone()
        if layer.op == "adder" and layer.remap is None:
            layer.target_part(weights[name]).fill_(torch.nan)
    return weights


def test_every_way_of_training_starts_from_the_same_multiplicative_weights():
    plain = multiplicative_start(network(op="conv"))
    trained = {
        name: torch.randn(layer.target[::-1] + layer.weight.shape[2:]) for name, layer in network().wide_layers()
    }
    ways = [("shift", name) for name in REMAPPINGS] + [("adder", None), ("adder", "laplace"), ("shiftadd", None)]
    for op, name in ways:
        remap = None if name is None else remapping(name, trained=trained)
        for layer, weight in multiplicative_start(network(op=op, remap=remap)).items():
            here = ~weight.isnan()
            assert torch.equal(weight[here], plain[layer][here]) and (here.all() or (op, name) == ("adder", None))
    bare = dict(network(op="adder").wide_layers())["blocks.1.expand.conv"]
    assert bare.raw_target_weight().std() > 0.8 > 0.2 > plain["blocks.1.expand.conv"].std()


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


class Block(nn.Module):
    """A residual block that ends in an activation and has no norm."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return torch.relu(self.conv(x) + x)


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


@pytest.mark.parametrize(
    ("model", "op"), [*itertools.product(SMALL, ["conv", "shift", "adder"]), ("MCUNet-in3", "shiftadd")]
)
def test_the_exported_target_computes_the_targets_numbers_bit_for_bit(model, op, tmp_path):
    augmented = trained_a_little(network(model, op).to(memory_format=torch.channels_last))
    exported = augmented.export_target()
    for layout in (torch.contiguous_format, torch.channels_last):
        x = images().contiguous(memory_format=layout)
        assert torch.equal(exported(x), augmented(x))
    assert exported.recipe["op"] == op and sum(p.numel() for p in exported.parameters()) < 26_000
    torch.save(augmented.state_dict(), tmp_path / "wide.pt")
    again = network(model, op).eval()
    again.load_state_dict(torch.load(tmp_path / "wide.pt", weights_only=True))
    assert torch.equal(again.export_target()(images()), exported(images()))


@pytest.mark.parametrize("op", ["conv", "shift", "adder", "shiftadd"])
def test_a_target_in_float64_is_exported_in_float64(op):
    augmented = trained_a_little(network(op=op)).double()
    exported = augmented.export_target()
    assert all(tensor.dtype is torch.float64 for tensor in exported.parameters())
    assert torch.equal(exported(images().double()), augmented(images().double()))


class Scaled(nn.Module):
    """A residual block that begins as its shortcut (Bachlechner et al. 2020, ReZero), and counts its passes."""

    def __init__(self, shape=()):
        super().__init__()
        self.conv, self.scale = nn.Conv2d(4, 4, 3, padding=1), nn.Parameter(torch.zeros(shape))
        self.register_buffer("temperature", torch.ones(1))

    def forward(self, x):
        return x + self.scale * torch.relu(self.conv(x)) / self.temperature


@pytest.mark.parametrize("depth", [0, 1])
def test_parameters_of_the_users_own_are_deployed_as_they_were_trained(depth):
    augmented = augment(nn.Sequential(nn.Conv2d(3, 4, 1), Scaled()), width=2.0, depth=depth)
    with torch.no_grad():
        for name, tensor in (*augmented.named_parameters(), *augmented.named_buffers()):
            if name.endswith(("scale", "temperature")):
                tensor.fill_(0.7 if name.endswith("scale") else 2.0)
    augmented.set_depth(0)
    exported = augmented.export_target()
    for deployed in (exported, augmented.alone()):
        assert torch.equal(deployed(images()), augmented(images()))
    assert exported[1].scale.item() == pytest.approx(0.7) and exported[1].temperature.item() == 2
    with torch.no_grad():
        exported[1].scale.zero_()  # a copy
    assert augmented.export_target()[1].scale.item() == pytest.approx(0.7)


@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (4, 1, 1), (1, 1, 1, 4)])
def test_a_parameter_for_single_channels_is_refused(shape):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), Scaled(shape))
    if shape[-3] == 1:
        assert augment(model, width=2.0)(torch.ones(1, 3, 4, 4)).shape == (1, 4, 4, 4)
        return
    with pytest.raises(InputError, match=r"'1\.scale' has the shape .*, with numbers for single channels"):
        augment(model, width=2.0)


def test_a_recipe_of_the_users_own_is_left_alone():
    model = nn.Sequential(nn.Conv2d(3, 4, 1))
    model.recipe = {"lr": 0.1}
    assert augment(model, width=2.0).export_target().recipe == {"lr": 0.1}


@pytest.mark.parametrize("remap", ["laplace", "small_laplace"])
@pytest.mark.parametrize("op", ["shift", "adder"])
def test_remapped_weights_are_written_out(op, remap):
    augmented = trained_a_little(network(op=op, remap=remap))
    assert torch.equal(augmented.export_target()(images()), augmented(images()))


@pytest.mark.parametrize("op", ["conv", "shift", "adder", "shiftadd"])
def test_the_target_alone_is_the_target_without_what_is_around(op):
    augmented = trained_a_little(network("MobileNetV3-w0.35", op, depth=1))
    augmented.reorder_()
    alone = augmented.alone()
    assert not alone.training and torch.equal(alone(images()), augmented(images()))
    assert alone.parameter_counts()["training"] == sum(p.numel() for p in alone.export_target().parameters())
    assert alone.extra_blocks == 0 and not alone.widens("width", "expand", "gate")


def test_alone_r_goes_by_the_weights_of_the_target():
    augmented = network(remap="laplace")
    with torch.no_grad():
        for _, layer in augmented.wide_layers():
            layer.raw_target_weight().mul_(10)  # the target has been trained, what is around has not
    spread = {}
    for name, part in (("inside", augmented), ("alone", augmented.alone())):
        layers = [(layer.target_weight(), layer.raw_target_weight()) for _, layer in part.wide_layers()]
        spread[name] = [float((used.std() / raw.std()).detach()) for used, raw in layers]
    assert max(spread["inside"]) > 1.5
    assert spread["alone"] == pytest.approx([1.0] * len(spread["alone"]), abs=0.25)
    part = augmented.alone().eval()
    assert torch.equal(part.export_target()(images()), part(images()))


def test_a_network_of_a_user():
    torch.manual_seed(0)
    augmented = trained_a_little(augment(Residual(), width=2.0, op="shift"))
    exported = augmented.export_target()
    assert isinstance(exported.inner, ShiftConv2d) and type(exported) is Residual
    assert torch.equal(exported(images()), augmented(images()))
    assert [group.base for group in augmented.groups] == [3, 6, 5, 4]  # the gate's outputs are the channels it gates
    assert augmented(images(), "full").shape == (4, 4)
    assert augmented.network.first.weight.shape == (12, 3, 3, 3)


def computed_alike(model, n=4, **options):
    """Export of an augmented network of a user; its target computes the same numbers, bit for bit."""
    torch.manual_seed(0)
    augmented = augment(model, width=2.0, **options).eval()
    x, exported = images(n), augmented.export_target()
    assert torch.equal(exported(x), augmented(x))
    with torch.no_grad():
        assert torch.equal(exported(x), augmented(x))
    assert augmented(x, "full").shape == exported(x).shape
    return augmented, exported


@pytest.mark.parametrize("op", ["shift", "adder", "shiftadd"])
def test_a_users_network_with_flattened_pixels_deploys_the_layers_of_convert(op):
    def build():
        norm = nn.BatchNorm2d(4)
        stem = [nn.Conv2d(3, 4, 3, padding="same", bias=False), norm, nn.ReLU(), nn.MaxPool2d(4)]
        return nn.Sequential(*stem, nn.Flatten(), nn.Linear(64, 6, bias=False), nn.Linear(6, 2))

    with pytest.warns(UserWarning, match="without a normalisation") if op != "shift" else contextlib.nullcontext():
        augmented, exported = computed_alike(build(), op=op)
        converted = convert(build(), op)
    assert [type(m) for m in exported.modules()] == [type(m) for m in converted.modules()]
    assert [tuple(v.shape) for v in exported.state_dict().values()] == [
        tuple(v.shape) for v in converted.state_dict().values()
    ]
    assert [group.base for group in augmented.groups] == [3, 4, 6, 2]
    assert augmented.network[5].weight.shape == (12, 8 * 16)  # sixteen features of every channel
    assert augmented.parameter_counts()["deployed"] == sum(p.numel() for p in exported.parameters())


def test_a_channel_is_all_its_flattened_features():
    """Only channels of the target count: what a wide linear layer reads of the others is the last features."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4 * 256, 2))
    augmented = augment(model, width=2.0, op="conv").eval()
    with torch.no_grad():
        augmented.network[2].weight[:, 4 * 256 :] = 0
    torch.testing.assert_close(augmented(images(), "full"), augmented(images()))


def test_layers_that_are_called_twice_and_inputs_that_are_added():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.first, self.other = nn.BatchNorm2d(3), nn.Conv2d(3, 6, 1), nn.Conv2d(3, 6, 1)
            self.shared, self.image = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 3, 1)
            self.last = nn.Linear(3, 2)

        def forward(self, x):
            x = self.norm(x)
            y = self.shared(self.first(x)) * self.shared(self.other(x)).sigmoid() / 2
            return self.last((x + self.image(y)).mean(dim=(2, 3)))

    augmented, _ = computed_alike(Twice(), op="shift")
    bases = {(group.kind, group.base) for group in augmented.groups}
    assert bases == {("fixed", 3), ("width", 6), ("fixed", 2)}  # what is added to the image is as wide as it is


def test_segmentation_networks_widen_the_backbone_only():
    torch.manual_seed(0)
    model = create("mobilenet_v2_seg", num_classes=4, channels=16)
    augmented = augment(model, width=1.5, expand=1.5, depth=(0, 1, 0, 0, 0), op="shift").eval()
    exported = augmented.export_target()
    assert torch.equal(exported(images(1)), augmented(images(1)))
    assert augmented(images(1), "full").shape == (1, 4, 16, 16)
    assert augmented.network.branch.conv.weight.shape[0] == 16 and augmented.network.stem.conv.weight.shape[0] == 24


@pytest.mark.parametrize("op", ["conv", "shift", "adder", "shiftadd"])
@pytest.mark.parametrize("mutated", ["all", "some"])
def test_the_recipe_of_an_export_builds_it_again(op, mutated, tmp_path):
    augmented = network(op=op).eval()
    if mutated == "some":
        augmented.set_mutation(len(augmented.units) // 2)
    exported = augmented.export_target()
    again = create(exported.recipe["name"], **{k: v for k, v in exported.recipe.items() if k != "name"}).eval()
    assert [type(m) for m in again.modules()] == [type(m) for m in exported.modules()]
    save_weights(exported, tmp_path / "deployed.safetensors")
    load_weights(again, tmp_path / "deployed.safetensors")
    assert torch.equal(again(images()), augmented(images()))


def test_operators_by_role_and_networks_that_no_recipe_made():
    augmented = network(op={"depthwise": "shift", "blocks.1.*": "adder"}).eval()
    ops = {name: layer.op for name, layer in augmented.wide_layers()}
    assert ops["blocks.1.expand.conv"] == "adder" and ops["blocks.2.depthwise.conv"] == "shift"
    assert ops["blocks.2.expand.conv"] == "conv"
    assert torch.equal(augmented.export_target()(images()), augmented(images()))
    bare = MobileNet(Builder(), SMALL["MobileNetV2-w0.35"], num_classes=10)
    kept = [name for name, layer in augment(bare, op="adder").wide_layers() if layer.op == "conv"]
    assert kept == [*(f"blocks.{block}.depthwise.conv" for block in range(5)), "classifier"]


@pytest.mark.parametrize("model", SMALL)
def test_each_network_of_the_paper_is_widened_and_deepened_at_its_printed_size(model):
    torch.manual_seed(0)
    target = tiny(model, "paper", in_channels=3, num_classes=10)
    augmented = augment(target, width=(1.0, 1.5), expand=(1.0, 1.5), depth=1, op="shift", remap="laplace")
    x = images(2)
    with (
        torch.no_grad()
    ):  # in training mode: without statistics of its own nothing is left of the images behind 50 layers
        deployed, whole = augmented(x), augmented(x, "full")
        assert torch.equal(augmented.export_target()(x), deployed) and augmented.extra_blocks >= 4
    assert whole.shape == (2, 10) and not torch.allclose(whole, deployed, rtol=0.01)
    counts = augmented.parameter_counts()
    assert counts["deployed"] == sum(p.numel() for p in target.parameters()) < counts["training"] / 2


def test_others_call_augment_by_these_names():
    """Names that other parts of the package, and users, rely on."""
    asked = {name: p for name, p in inspect.signature(augment).parameters.items() if name != "around"}
    assert list(asked) == ["model", "width", "expand", "depth", "op", "remap"]
    assert [p.default for p in asked.values()][1:] == [1.0, 1.0, 0, "shift", None]
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for name, p in asked.items() if name != "model")


def test_kinds_of_groups():
    kinds = [group.kind for group in network("MobileNetV3-w0.35").groups]
    assert kinds.count("gate") == 2 and kinds[0] == kinds[-1] == "fixed"
    expansions = [group for group in network().groups if group.kind == "expand"]
    assert [group.base for group in expansions] == [24, 24, 24, 36]


def test_separable_convolutions_in_a_row_do_not_multiply_their_widths():
    def separable(a, b):
        return [nn.Conv2d(a, b, 1), nn.ReLU(), nn.Conv2d(b, b, 3, padding=1, groups=b), nn.ReLU()]

    layers = [nn.Conv2d(3, 4, 3), *separable(4, 8), *separable(8, 8), *separable(8, 16), nn.Conv2d(16, 8, 1)]
    augmented = augment(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)), expand=2.0)
    assert [group.kind for group in augmented.groups] == ["fixed", *["width"] * 3, "expand", "width", "fixed"]


def test_gates_hide_a_fourth_of_what_they_gate_and_no_less_than_in_the_target():
    """NetAug: max(active / reduction, 16); the small network gates 24 and 36 channels by 16 hidden ones."""
    augmented = network("MobileNetV3-w0.35", width=1.0, expand=(1.0, 2.0, 4.0))
    gates = [place for place, group in enumerate(augmented.groups) if group.kind == "gate"]
    gated = [augmented.groups[place].source for place in gates]
    for multiple in (1.0, 2.0, 4.0):
        wide = [multiple if group.kind == "expand" else 1.0 for group in augmented.groups]
        sizes = augmented.sizes(Sample(tuple(wide)))
        assert [sizes[place] for place in gates] == [max(16, round(sizes[place] / 4)) for place in gated]
    assert augmented(images(), augmented.full).shape == (4, 10)


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


def test_multiples_are_drawn_alike_often_and_each_by_itself():
    """600 draws of three multiples: each 200 times, give or take 4.5 deviations of a binomial."""
    augmented, generator = network(), torch.Generator().manual_seed(2)
    drawn = [augmented.sample(generator).multiples for _ in range(600)]
    places = [place for place, group in enumerate(augmented.groups) if group.kind != "fixed"]
    for place in places:
        counts = Counter(multiples[place] for multiples in drawn)
        assert all(abs(counts[multiple] - 200) < 52 for multiple in (1.0, 1.6, 2.2))
    for one, other in itertools.combinations(places, 2):
        assert abs(sum(multiples[one] == multiples[other] for multiples in drawn) - 200) < 60


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


@pytest.mark.parametrize("model", ["MobileNetV2-w0.35", "MobileNetV3-w0.35"])
def test_everything_that_belongs_to_a_channel_moves_with_its_momentum_and_nothing_else_moves(model):
    augmented = network(model, depth=1)
    optimizer = torch.optim.SGD(augmented.parameters(), lr=0.1, momentum=0.9)
    with torch.no_grad():
        for parameter in augmented.parameters():
            if parameter.ndim == 1:
                parameter.normal_()
            optimizer.state[parameter]["momentum_buffer"] = 3 * parameter + 1
    old = {name: tensor.clone() for name, tensor in augmented.network.named_parameters()}
    assert sum(augmented.reorder_(optimizer).values()) > 20
    moved = set()
    for name, parameter in augmented.network.named_parameters():
        assert torch.equal(optimizer.state[parameter]["momentum_buffer"], 3 * parameter + 1), name
        moved |= {name} if not torch.equal(parameter, old[name]) else set()
    inside = {name for name in old if name.startswith("blocks.") and not name.startswith("blocks.0.")}
    outside = {name for name in inside if "project.norm" in name}
    assert moved == inside - outside


def test_blocks_mutate_from_shallow_to_deep():
    augmented = network()
    assert augmented.units == ["stem", "blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.4", "head", "classifier"]
    assert augmented.mutated == 8
    augmented.set_mutation(0)
    assert augmented.mutated == 0
    multiplicative = copy.deepcopy(augmented).eval().export_target()
    assert not any(isinstance(m, ShiftConv2d) for m in multiplicative.modules())
    augmented.set_mutation(2)
    assert augmented.mutated == 2
    mutated = {name for name, layer in augmented.wide_layers() if not layer.multiplicative}
    assert mutated == {"stem.conv", "blocks.0.depthwise.conv", "blocks.0.project.conv"}
    partly = augmented.eval().export_target()
    assert torch.equal(partly(images()), augmented(images()))


def test_what_multiplies_in_the_end_is_no_unit():
    assert network(op="adder").units == ["stem", *(f"blocks.{block}" for block in range(5)), "head"]
    assert network(op="conv").units == []


def test_extra_blocks_leave_the_target_from_deep_to_shallow():
    augmented = network(depth=2).eval()
    assert augmented.extra_blocks == 4
    augmented.reestimate_([images()], part="full")  # else activations shrink below the steps of fixed point
    plain = augmented(images())
    augmented.set_depth(3)
    assert augmented._kept == [2, 1]
    assert not torch.allclose(augmented(images()), plain)
    with pytest.raises(InputError, match="still has 3 extra blocks"):
        augmented.export_target()
    augmented.set_depth(0)
    assert torch.equal(augmented.export_target()(images()), plain)


def test_all_but_extra_blocks_start_alike_with_and_without_them():
    shallow = dict(network().wide_layers())
    deep = [(name, layer) for name, layer in network(depth=(1, 2)).wide_layers() if not is_extra(name)]
    assert len(deep) == len(shallow)
    for name, layer in deep:
        assert torch.equal(layer.weight, shallow[_target_name(name)].weight), name


def test_mutation_and_depth_are_part_of_the_state():
    half, other = network(depth=1).eval(), network(depth=1).eval()
    half.set_mutation(2)
    half.set_depth(1)
    other.load_state_dict(half.state_dict())
    assert (other.mutated, other.extra_blocks_of_target) == (2, 1)
    assert torch.equal(other(images()), half(images()))


@pytest.mark.parametrize("multiple", [math.inf, math.nan, "2", None])
def test_multiples_of_a_sample_are_numbers(multiple):
    augmented = network()
    with pytest.raises(InputError, match=r"multiple .* is not allowed; it must be a number of at least 1"):
        augmented.sizes(Sample((multiple,) * len(augmented.groups)))


def test_an_operator_is_a_name_or_a_mapping():
    with pytest.raises(InputError, match="op=None is not allowed"):
        network(op=None)


def test_extra_blocks_for_each_stage():
    augmented = network(depth=(2, 0))
    assert augmented.extra_blocks == 2 and augmented._kept == [0]
    assert network(depth=(0, 1)).extra_blocks == 1
    stages = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Sequential(Block(6), Block(6)), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    deep, _ = computed_alike(nn.Sequential(*stages, nn.Linear(6, 2)), depth=3, op="shift")
    assert deep.extra_blocks == 3 and isinstance(deep.network[1][0], Block)
    with pytest.raises(InputError, match=r"depth has 3 numbers; MobileNet has 2 stages"):
        network(depth=(1, 1, 1))


def test_samples_between_target_and_widest_network():
    augmented = network()
    ones = (1.0,) * len(augmented.groups)
    assert augmented.sizes(Sample(ones)) == tuple(group.base for group in augmented.groups)
    assert hash(Sample(ones)) == hash(Sample(ones)) and torch.equal(
        augmented(images(), Sample(ones)), augmented(images())
    )
    with pytest.raises(
        InputError, match=r"multiple 0\.9 of the channels of stem\.conv is not .* the target would be wider"
    ):
        augmented(images(), Sample((1.0, 0.9, *ones[2:])))
    with pytest.raises(InputError, match=r"24 channels of stem\.conv; the widest network has 18"):
        augmented(images(), Sample((1.0, 3.0, *ones[2:])))


@pytest.mark.parametrize("part", ["target", "full"])
def test_batch_norm_is_re_estimated_for_a_part(part):
    augmented = trained_a_little(network())
    assert augmented.reestimate_([images(64)], part) == 1
    after = augmented.network.stem.norm.running_mean.clone()
    y = augmented.network.stem.conv(images(64))
    channels = 8 if part == "target" else 18
    assert y.shape[1] == channels
    torch.testing.assert_close(after[:channels], y.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    spread = augmented.network.stem.norm.running_var[:channels]
    torch.testing.assert_close(spread, y.var((0, 2, 3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0.5}, "width=0.5 is not allowed"),
        ({"expand": (1.5, 2.0)}, "holds 1.0, the target itself"),
        ({"op": "shfit"}, "Did you mean 'shift'"),
        ({"depth": -1}, "depth=-1"),
        ({"remap": "laplac"}, "^remap='laplac' is not known.* Did you mean 'laplace'"),
        ({"remap": 3}, "remap=3 is not allowed"),
        ({"op": "shiftadd", "around": "same"}, "around='same' is not allowed with op='shiftadd'"),
        (
            {"op": "shift", "around": "same", "remap": "laplace"},
            "around='shift' is not allowed with a remap of op='shift'",
        ),
        ({"depth": (1, -2)}, r"depth\[1\]=-2"),
    ],
    ids=str,
)
def test_bad_options_are_refused_in_a_sentence(options, message):
    with pytest.raises(InputError, match=message) as caught:
        network(**options)
    assert "\n" not in str(caught.value)


def test_what_makes_no_remap_is_refused_in_a_sentence():
    with pytest.raises(InputError, match=r"^remap=<function .* is not allowed; it must be a name \(laplace, "):
        network(remap=gaussian_to_laplacian)
    with pytest.raises(InputError, match=r"^remap gave 3 for layer stem\.conv; it must give a module or None"):
        network(remap=lambda name, op, layer: 3)
    with pytest.raises(InputError, match=r"^remap is one LaplaceRemap; .* lambda name, op, layer: LaplaceRemap\(\)"):
        network(remap=LaplaceRemap())
    with pytest.raises(InputError, match=r"^remap gave a Identity for layer stem\.conv, which has no method deviation"):
        network(remap=lambda name, op, layer: nn.Identity())


@pytest.mark.parametrize("op", ["shift", "adder", "shiftadd"])
def test_a_network_that_shifts_or_adds_already_is_refused(op):
    with pytest.raises(InputError, match=r"^module '.*' is a (Shift|Adder)\w*Conv2d already; give the"):
        augment(create("mobilenet_v2", op=op))


def test_what_draws_no_sample_and_too_few_channels_are_refused():
    augmented = network()
    for generator in (0, None):
        with pytest.raises(InputError, match=f"generator={generator} is not allowed; it must be a torch.Generator"):
            augmented.sample(generator)
    channels = next(layer for _, layer in augmented.wide_layers()).target[0]
    with pytest.raises(InputError, match=f"x has {channels - 1} channels; a layer of this network reads {channels} or"):
        augmented(torch.randn(2, channels - 1, 16, 16))


def test_the_name_of_a_model_is_no_model():
    with pytest.raises(InputError, match=r"^model='mobilenet_v2' is not allowed; it must be a module"):
        augment("mobilenet_v2")


def test_what_cannot_be_followed_is_named():
    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return torch.cat([self.a(x), self.b(x)], 1)

    with pytest.raises(InputError, match="'cat' in the forward of Joined"):
        augment(Joined())
    with pytest.raises(InputError, match=r"'cat' in the forward of Sequential \(module '0'\)"):
        augment(nn.Sequential(Joined(), nn.Conv2d(8, 2, 1)))
    for part, name in (
        (lambda x: x.mean(1, keepdim=True), "mean"),
        (lambda x: x.mean(), "mean"),
        (lambda x: torch.flatten(x), "flatten"),
        (lambda x: x[:, 2:], "getitem"),
        (lambda x: x.view(-1, 4), "view"),
        (lambda x: x.softmax(1), "softmax"),
    ):

        class Part(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 4, 1)

            def forward(self, x):
                return self.part(self.conv(x))

        Part.part = staticmethod(part)
        with pytest.raises(InputError, match=f"'{name}' in the forward of Part"):
            augment(Part())
    with pytest.raises(InputError, match="module '1' is a GroupNorm"):
        augment(nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)))
    with pytest.raises(InputError, match="takes 37 features of 4 channels"):
        augment(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(37, 2)))
    with pytest.raises(InputError, match="module '1' has groups=2 of 4 channels, which is neither dense nor depthwise"):
        augment(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, groups=2)))
    with pytest.raises(InputError, match="no residual block"):
        augment(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)), depth=1)
    with pytest.raises(InputError, match="sample has 1 multiples"):
        network()(images(), Sample((1.0,)))
