"""Paths of a hybrid supernet: which there are, that one computes what its network does, and that training resumes."""

import collections
import dataclasses

import pytest
import torch
from torch.nn import functional as F

from repro.errors import InputError
from repro.layers import AdderConv2d
from repro.ops import reference, round_to_power_of_two
from repro.papers.shiftaddnas.sharing import PAPER_SPACE
from repro.search.evolution import evolve
from repro.search.hybrid_space import HybridSpace, Level
from repro.search.hybrid_supernet import (
    HybridBlock,
    HybridNetwork,
    HybridSupernet,
    PathTrainer,
    entrances_of,
    fit_paths,
)
from repro.search.inherit import evaluate_paths
from repro.search.weight_sharing import WeightSharing
from repro.train import TensorData, TrainRecipe
from repro.train.data import generator_for

SPACE = HybridSpace((Level(4, 1, 2, "CS+", stride=1), Level(4, 1, 2)), layers=3)
RECIPE = TrainRecipe(epochs=2, batch_size=16, lr=5e-3, optimizer="adam", adaptive="none", weight_decay=0.05)
PLAIN = {"remap": "none", "divergence": "none"}
SHARINGS = {
    "own": WeightSharing(shared=False),
    "naive": WeightSharing(start="he", **PLAIN),
    "HWS": WeightSharing(pieces=20),
    "released": WeightSharing(remap="released", factors="random", pieces=10, divergence="softmax", weight=10.0),
}


def data(count=48):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 1, 6, 6, generator=generator)
    return TensorData(images, torch.randint(3, (count,), generator=generator))


def supernet(name, seed=0):
    torch.manual_seed(seed)
    return HybridSupernet(SPACE, SHARINGS[name], in_channels=1, num_classes=3)


def test_the_papers_space_has_66_divisions_and_about_a_billion_paths():
    assert len(PAPER_SPACE.splits) == 66 and round(PAPER_SPACE.size / 1e9, 2) == 1.31


def test_every_path_is_drawn_equally_often_and_none_else():
    paths = list(SPACE.all_paths())
    assert len(paths) == len(set(paths)) == SPACE.size == 3 * 16 + 9 * 4
    generator = torch.Generator().manual_seed(0)
    counts = collections.Counter(SPACE.sample(generator) for _ in range(84 * 25))
    assert counts.keys() <= set(paths) and len(counts) == len(paths)
    assert max(counts.values()) < 25 + 5 * 5  # five standard deviations of a count
    assert all(SPACE.check(path) == path for path in paths)


@pytest.mark.parametrize(
    "path, message",
    [
        (("0C", "1C"), "it must name 3 blocks, one per layer"),
        ("0C1C1C", "it must name 3 blocks"),
        (None, "path=None is not allowed; it must name 3 blocks"),
        (("0A", "1C", "1C"), "path\\[0\\]='0A' is not allowed; at its resolution allowed are: 0C, 0S, 0\\+"),
        (("0C", "2C", "1C"), "path\\[1\\]='2C' is not allowed; it names a resolution and a letter"),
        (("0C", "1C", "0C"), "resolutions go from 0 up, with 1 to 2 at 0, 1 to 2 at 1 blocks"),
        (("1C", "1C", "1C"), "resolutions go from 0 up"),
    ],
)
def test_an_impossible_path_is_one_sentence(path, message):
    net = supernet("naive")
    before = net.path
    with pytest.raises(InputError, match=message):
        net.set_path(path)
    assert net.path == before


def test_an_impossible_space_is_one_sentence():
    with pytest.raises(InputError, match="layers=9 is not allowed; the levels take 1 to 2 blocks"):
        HybridSpace((Level(4, 1, 2),), layers=9)
    with pytest.raises(InputError, match="heads=3 is not allowed; it must divide planes=4"):
        Level(4, 1, 2, heads=3)


def test_genomes_stand_for_paths_and_evolution_keeps_to_the_space():
    adders = [path.count("0+") + path.count("1+") for path in map(SPACE.path, SPACE.genes.all_genomes())]
    assert len(adders) == SPACE.size  # a genome for each path
    found = evolve(
        SPACE.genes,
        lambda genomes: [sum(block.endswith("+") for block in SPACE.path(g)) for g in genomes],
        cost=lambda genomes: [1.0 + sum(block[0] == "0" for block in SPACE.path(g)) for g in genomes],
        limit=2.0,
        population=8,
        rounds=4,
        seed=0,
    )
    assert SPACE.path(found.best.genome) == ("0+", "1+", "1+") and SPACE.stages(("0+", "1+", "1+")) == ("+", "++")


def test_levels_without_a_common_operator_are_searched():
    """One genome in 500 that are drawn gene by gene keeps to this space."""
    space = HybridSpace((Level(8, 1, 9, "C"), Level(16, 1, 9, "A+")), layers=10)
    options = {"cost": lambda genomes: [float(g[0][0]) for g in genomes], "limit": 8.0, "population": 8}
    found = evolve(space.genes, lambda genomes: [g.count("A") for g in genomes], **options, rounds=8, seed=0)
    assert space.path(found.best.genome) == ("0C", *["1A"] * 9)
    whole = space.genes.normal(((4, 6), *"AC+CCCCC+C"))
    assert whole == ((4, 6), *"CCCC", *"+A+A+A") and space.genes.normal(whole) == whole


@pytest.mark.parametrize("name", SHARINGS)
def test_a_path_computes_what_its_own_network_does(name):
    """With trained statistics and gammas, also where the path before left other ones."""
    net, images = supernet(name), data().images
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
    for path in (("0C", "0+", "1A"), ("0S", "1+", "1S"), ("0+", "1C", "1+")):
        net.train().set_path(path)
        net(images)
        net.eval()
        alone = net.subnet(path)
        assert type(alone) is HybridNetwork and not alone.training
        assert torch.equal(net(images), alone(images))


def test_operators_take_from_one_pool_what_the_paper_says():
    """Convolution as it is, shift rounded to powers of two, adder T(pool); by hand through one 3x3 layer."""
    net, x = supernet("HWS"), torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(1))
    cell, _ = net.cell(1, "1C")
    pool, kernel = cell.pool["conv_conv"], cell.kernels["conv_conv"]
    alone = {letter: net.subnet(("0C", f"1{letter}", "1C")).blocks[1].conv.conv for letter in "CS+"}
    torch.testing.assert_close(alone["C"](x), F.conv2d(x, pool, padding=1))
    rounded = round_to_power_of_two(pool, alone["S"].weight_bits)
    torch.testing.assert_close(alone["S"](x), F.conv2d(x, rounded, padding=1), atol=1e-3, rtol=0)  # 16.16 inputs
    added = reference.adder_conv2d_fwd(x, kernel(pool), (1, 1), (1, 1), (1, 1), 1)
    torch.testing.assert_close(alone["+"](x), added)
    own = supernet("own").cell(1, "1C")[0]
    three = [own.choices[operator].conv.conv.weight for operator in ("conv", "shift", "adder")]
    assert not len(own.pool) and len({id(weight) for weight in three}) == 3


def test_each_layer_and_resolution_has_a_pool_of_its_own_and_each_operator_its_depthwise_filters_and_norms():
    cells = {
        (layer, level): cell for layer, cells in enumerate(supernet("HWS").layers) for level, cell in cells.items()
    }
    assert set(cells) == {(0, "0"), (1, "0"), (1, "1"), (2, "1")}
    pools = [tensor for cell in cells.values() for tensor in cell.pool.values()]
    assert len({tensor.data_ptr() for tensor in pools}) == len(pools)
    for (_, level), cell in cells.items():
        assert set(cell.choices) == {"conv", "shift", "adder"} | ({"attention"} if level == "1" else set())
        shared = {name for name in cell.pool}
        assert {"conv_conv", "leave_conv"} < shared and not [name for name in shared if "position" in name]
        owned = {name: dict(cell.choices[name].named_parameters()) for name in ("conv", "shift", "adder")}
        for own in owned.values():
            depthwise = [name for name in own if name.endswith("position.conv.weight")]
            assert len(depthwise) == len(cell.choices["conv"].enter)
            assert {"conv.norm.weight", "leave.norm.bias"} < set(own) and "conv.conv.weight" not in own
        assert owned["conv"].keys() == owned["shift"].keys() == owned["adder"].keys()
        pointers = [tensor.data_ptr() for own in owned.values() for tensor in own.values()]
        assert len(set(pointers)) == len(pointers)


def test_every_step_draws_a_path_and_trains_its_weights_alone(monkeypatch):
    net, drawn = supernet("HWS"), []
    with torch.no_grad():
        for norm in last_norms(net):
            norm.weight.fill_(1.0)  # else nothing inside a block has a gradient
    choose = net.set_path
    monkeypatch.setattr(net, "set_path", lambda path: drawn.append(path) or choose(path))
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    one = dataclasses.replace(RECIPE, epochs=1, batch_size=48)
    fit_paths(net, data(), one, seed=3)
    (path,) = drawn
    mine = ["stem.", "classifier."]
    for layer, block in enumerate(path):
        cell, operator = f"layers.{layer}.{block[:-1]}.", net.cell(layer, block)[1]
        mine += [f"{cell}choices.{operator}.", *([] if operator == "attention" else [f"{cell}pool."])]
        mine += [f"{cell}kernels."] if operator == "adder" else []
    changed = [name for name, parameter in net.named_parameters() if not torch.equal(parameter, before[name])]
    assert not [name for name in changed if not name.startswith(tuple(mine))]
    assert not [place for place in mine if not any(name.startswith(place) for name in changed)]
    drawn.clear()
    fit_paths(net, data(), RECIPE, seed=3)
    generators = [generator_for("paths", 3, epoch) for epoch in range(2)]
    assert drawn == [SPACE.sample(generator) for generator in generators for _ in range(3)]
    assert len(set(drawn)) > 3


def test_the_divergence_counts_by_its_weight_and_moves_the_pool():
    """Where the last gamma is 0 the images give the filters inside a block no gradient: what moves them is it alone."""
    path, told, moved = ("0C", "1+", "1C"), {}, {}
    for weight in (0.0, 0.25, 1.0):
        torch.manual_seed(0)
        sharing = WeightSharing(pieces=20, weight=weight)
        space = HybridSpace(tuple(dataclasses.replace(level, operators="C") for level in SPACE.levels), layers=3)
        told[weight] = HybridSupernet(SPACE, sharing, in_channels=1, num_classes=3)
        told[weight].set_path(path)
        net = HybridSupernet(space, sharing, in_channels=1, num_classes=3)
        before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
        fit_paths(net, data(), dataclasses.replace(RECIPE, epochs=1, batch_size=48, weight_decay=0.0), seed=0)
        inside = [name for name in before if name.endswith("pool.conv_conv")]
        moved[weight] = [name for name in inside if not torch.equal(net.get_parameter(name), before[name])]
    whole = told[1.0].divergence()
    torch.testing.assert_close(told[0.25].divergence(), 0.25 * whole)
    assert whole > 0 and not moved[0.0] and len(moved[1.0]) == 3


def test_gradients_reach_the_pool_from_every_operator_and_the_factors_from_adders():
    net = supernet("HWS")
    cell, _ = net.cell(1, "1C")
    for letter in "CS+":
        net.zero_grad()
        net.set_path(("0C", f"1{letter}", "1C"))
        with torch.no_grad():
            cell.choices[{"C": "conv", "S": "shift", "+": "adder"}[letter]].leave.norm.weight.fill_(1.0)
        net(data().images).square().sum().backward()
        assert cell.pool["conv_conv"].grad.abs().sum() > 0
        assert (cell.kernels["conv_conv"].alpha.grad is not None) == (letter == "+")


def test_the_divergence_is_the_mean_over_a_paths_tensors():
    net, sharing = supernet("HWS"), SHARINGS["HWS"]
    net.set_path(("0C", "1+", "1S"))
    first, second = net.cell(0, "0C")[0], net.cell(1, "1+")[0]
    conv, adder = first.filters("conv", "finer"), second.filters("adder", "finer")
    assert set(conv) == {"enter.finer.reduce", "enter.finer.shortcut.conv", "conv.conv", "leave.conv"}
    terms = [sharing.term(weight, "conv") for weight in conv.values()]
    terms += [sharing.term(weight, "adder") for weight in adder.values()]
    torch.testing.assert_close(net.divergence(), torch.stack(terms).mean())
    assert sharing.term(conv["conv.conv"], "shift") is None and supernet("naive").divergence() is None


def last_norms(network):
    kinds = {"HybridBlock", "AttentionBlock"}
    return [module.leave.norm for module in network.modules() if type(module).__name__ in kinds]


@pytest.mark.parametrize("name", ["own", "HWS"])
def test_every_block_starts_with_gamma_zero(name):
    """So that a block begins as its shortcut, and any gradient passes."""
    net = supernet(name)
    alone = HybridNetwork(SPACE, ("0C", "1A", "1+"), in_channels=1, num_classes=3)
    for network in (net, alone):
        norms = last_norms(network)
        assert len(norms) >= 3 and all(not norm.weight.any() for norm in norms)
    others = [m for m in alone.modules() if isinstance(m, torch.nn.BatchNorm2d) and m not in last_norms(alone)]
    assert others and all((norm.weight == 1).all() for norm in others)


@pytest.mark.parametrize("name", SHARINGS)
def test_shortcuts_of_adder_blocks_may_be_convolutions(name):
    torch.manual_seed(0)
    net = HybridSupernet(SPACE, SHARINGS[name], in_channels=1, num_classes=3, projection="conv")
    kinds = {}
    for module in net.modules():
        if isinstance(module, HybridBlock):
            for entrance in module.enter.values():
                if entrance.shortcut is not None:
                    kinds.setdefault(type(module.conv.conv), set()).add(type(entrance.shortcut.conv))
    assert kinds.pop(AdderConv2d) == {torch.nn.Conv2d} and all(found == {own} for own, found in kinds.items())
    path = next(path for path in SPACE.all_paths() if path[0] == "0+" and path[-1] == "1+")
    net.set_path(path)
    cell, _ = net.cell(0, "0+")
    filters = cell.filters("adder", "finer")
    if net.sharing.shared:  # T acts on what adds, not on the convolution beside it
        assert filters["enter.finer.shortcut.conv"] is cell.pool["enter_finer_shortcut_conv"]
        assert (filters["conv.conv"] is cell.pool["conv_conv"]) == (net.sharing.remap == "none")
    images = data(3).images
    with torch.no_grad():
        assert torch.equal(net.eval()(images), net.subnet(path).eval()(images))
    with pytest.raises(InputError, match="projection='pool' is not known; allowed are: operator, conv"):
        HybridSupernet(SPACE, SHARINGS[name], in_channels=1, num_classes=3, projection="pool")


def test_the_divergence_asks_a_gaussian_of_convolutions_on_adder_shortcuts():
    sharing = WeightSharing(pieces=20, divergence="closed")
    net = HybridSupernet(SPACE, sharing, in_channels=1, num_classes=3, projection="conv")
    net.set_path(("0+", "1+", "1+"))
    terms = []
    for cell, entrance in zip((net.layers[0]["0"], net.layers[1]["1"], net.layers[2]["1"]), entrances_of(net.path)):
        for part, weight in cell.filters("adder", entrance).items():
            terms.append(sharing.term(weight, "conv" if part.endswith("shortcut.conv") else "adder"))
    torch.testing.assert_close(net.divergence(), sharing.weight * torch.stack(terms).mean())


def test_entrances_follow_the_resolutions():
    assert entrances_of(("0C", "0S", "1A", "1+")) == ["finer", "same", "finer", "same"]


@pytest.mark.parametrize("name", ["HWS", "released"])
def test_training_resumes_bit_for_bit(name, tmp_path):
    whole = supernet(name)
    fit_paths(whole, data(), RECIPE, seed=3)
    stopped = supernet(name)
    history = fit_paths(stopped, data(), RECIPE, seed=3, checkpoint=tmp_path / "training", stop_after=1)
    assert history.outcome == "stopped"
    resumed = supernet(name, seed=9)
    history = fit_paths(resumed, data(), RECIPE, seed=3, checkpoint=tmp_path / "training")
    assert len(history.rows) == 2 and not history.diverged
    state = resumed.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in whole.state_dict().items())
    changed = [key for key, tensor in supernet(name).state_dict().items() if not torch.equal(tensor, state[key])]
    assert any("pool" in key for key in changed) and any("kernels" in key for key in changed)
    with pytest.raises(InputError, match="was written with another sharing"):
        fit_paths(supernet("naive"), data(), RECIPE, seed=3, checkpoint=tmp_path / "training")


def test_filters_are_decayed_norms_and_factors_are_not():
    net = supernet("HWS")
    groups = PathTrainer(net, RECIPE, examples=48, seed=0).optimizer.param_groups
    decay = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    named = dict(net.named_parameters())
    assert {decay[id(each)] for name, each in named.items() if ".pool." in name} == {0.05}
    free = [name for name, each in named.items() if decay[id(each)] == 0]
    assert {name for name in named if name.endswith("alpha") or ".norm." in name} <= set(free)


def test_another_optimiser_is_refused():
    with pytest.raises(InputError, match="paths are trained with 'adam'"):
        fit_paths(supernet("naive"), data(), TrainRecipe(epochs=1), seed=0)


def test_scores_do_not_change_the_supernet_and_depend_on_the_path_alone():
    net, paths = supernet("HWS"), [("0C", "1A", "1+"), ("0+", "0S", "1C")]
    fit_paths(net, data(), RECIPE, seed=0)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    both = evaluate_paths(net, paths, data(), calibration=data())
    (second,) = evaluate_paths(net, paths[1:], data(), calibration=data())
    assert both[1]["loss"] == second["loss"] and both[0]["loss"] != second["loss"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
