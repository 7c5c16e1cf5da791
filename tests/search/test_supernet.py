"""Supernets: a path is the standalone network, weights are shared as stated, batch norm belongs to each candidate."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from repro.errors import InputError
from repro.models import create
from repro.papers.acghostnet.supernet import ghost_space, ghost_supernet
from repro.papers.acghostnet.toy import (
    SIX_BLOCK_FORM,
    six_block_space,
    six_block_supernet,
    two_layer_network,
    two_layer_space,
    two_layer_supernet,
)
from repro.search.supernet import ChoiceBlock, SinglePathSupernet, Slot

SMALL = {"in_channels": 1, "num_classes": 10, "width": 0.25, "head": 32}
IMAGES = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def six_blocks(path, **options):
    return create("acghostnet", choices=path, **SIX_BLOCK_FORM, **options)


def cases():
    torch.manual_seed(0)
    yield (
        "table 3, adder",
        two_layer_supernet("adder", width=4, in_channels=1),
        two_layer_network,
        two_layer_space("adder"),
    )
    yield (
        "table 3, conv",
        two_layer_supernet("conv", width=4, in_channels=1),
        two_layer_network,
        two_layer_space("conv"),
    )
    yield "table 6", six_block_supernet(**SMALL), six_blocks, six_block_space()


@pytest.mark.parametrize("name", ["table 3, adder", "table 3, conv", "table 6"])
def test_subnet_equals_path_and_fits_the_standalone_network(name):
    supernet, make, space = next(case[1:] for case in cases() if case[0] == name)
    options = {"width": 4, "in_channels": 1} if "3" in name else SMALL
    for path in list(space.all_paths())[::7] or list(space.all_paths()):
        supernet.set_path(path)
        subnet, standalone = supernet.subnet(path), make(path, **options)
        standalone.load_state_dict(subnet.state_dict())
        for mode in (True, False):
            outputs = [copy.deepcopy(net).train(mode)(IMAGES) for net in (supernet, subnet, standalone)]
            assert torch.equal(outputs[0], outputs[1]) and torch.equal(outputs[0], outputs[2])


def test_full_space_shares_operations_as_stated():
    supernet = ghost_supernet(num_classes=10, form="cifar", width=0.25, head=32, dropout=0.0)
    space = ghost_space()
    assert space.size == 8**16 and len(supernet.options) == 16 and set(map(len, supernet.options)) == {8}
    # Per block two ghost modules of two primary and four cheap operations each.
    held = [module for module in supernet.modules() if isinstance(module, ChoiceBlock)]
    assert sum(len(module.candidates) for module in held) == 16 * 2 * (2 + 4)
    path = ("AAg1", "CCg2") * 8
    subnet = supernet.subnet(path)
    expected = create("acghostnet", choices=list(path), num_classes=10, form="cifar", width=0.25, head=32, dropout=0.0)
    assert {k: v.shape for k, v in subnet.state_dict().items()} == {
        k: v.shape for k, v in expected.state_dict().items()
    }
    # AAg1 and ACg1 share the adder primary; CAg1 has another.
    first = [supernet.subnet((option,) * 16).state_dict() for option in ("AAg1", "ACg1", "CAg1")]
    name = "blocks.3.ghost1.primary.conv.weight"
    assert torch.equal(first[0][name], first[1][name]) and not torch.equal(first[0][name], first[2][name])


def test_only_the_active_path_gets_gradients_and_statistics():
    torch.manual_seed(0)
    supernet = six_block_supernet(**SMALL)
    path = ("AAg1", "CCg1", "AAg1", "CCg1", "AAg1", "CCg1")
    supernet.set_path(path)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    supernet(IMAGES).sum().backward()
    for name, parameter in supernet.named_parameters():
        if ".candidates." in name:
            block = int(name.split("blocks.")[1].split(".")[0])
            active = name.split(".candidates.")[1].startswith(path[block][0])
            assert (parameter.grad is not None) == active, name
    changed = {name for name, value in supernet.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all("running" in name or "num_batches" in name for name in changed)


def test_training_a_subnet_leaves_the_supernet_alone():
    torch.manual_seed(0)
    supernet = two_layer_supernet("adder", width=4, in_channels=1)
    before = copy.deepcopy(supernet.state_dict())
    subnet = supernet.subnet(("a3", "a5"))
    with torch.no_grad():
        for parameter in subnet.parameters():
            parameter.add_(1.0)
    subnet(IMAGES)
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())


def test_a_copied_supernet_chooses_in_its_own_blocks():
    torch.manual_seed(0)
    supernet = two_layer_supernet("conv", width=4, in_channels=1).eval()
    supernet.set_path(("c3", "c3"))
    expected = supernet(IMAGES)
    clone = copy.deepcopy(supernet)
    clone.set_path(("c5", "c5"))
    assert torch.equal(supernet(IMAGES), expected) and not torch.equal(clone(IMAGES), expected)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda net: net.set_path(("c3", "c4")), r"path\[1\]='c4'.*Did you mean"),
        (lambda net: net.set_path(("c3",)), "must name 2 options"),
        (lambda net: net.subnet("c3c5"), "must name 2 options"),
        (lambda net: ChoiceBlock({}), "candidates is empty"),
        (lambda net: SinglePathSupernet(nn.Identity(), []), "slots is empty"),
        (lambda net: Slot.of(ChoiceBlock({"a": nn.Identity()})).choose("b"), "option='b'"),
        (lambda net: ghost_supernet(["AAg1", "AAg1"]), "each once"),
        (lambda net: ghost_supernet(["AAG3"]), "options='AAG3'"),
        (lambda net: two_layer_supernet("shift"), "family='shift'"),
    ],
)
def test_bad_paths_and_options_are_named(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call(two_layer_supernet("conv", width=2, in_channels=1))
