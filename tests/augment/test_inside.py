"""A target inside a given network: its slice, its depth, its operators, its training, refusals."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from repro.augment import AugmentRecipe, Window, augment_inside, fit_augmented, remapping
from repro.augment.remapping import LaplaceRemap
from repro.errors import InputError
from repro.layers import AdderConv2d, ShiftConv2d
from repro.models import create
from repro.models.mobile import BlockSpec, MobileSpec
from repro.train import TensorData, TrainRecipe


def blocks(channels, first, mids):
    outs = [first, *channels]
    return (
        BlockSpec(0, 3, first, first, first, expand=False),
        BlockSpec(1, 5, outs[0], mids[0], outs[1], 2),
        BlockSpec(1, 3, outs[1], mids[1], outs[1], residual=True),
        BlockSpec(1, 3, outs[1], mids[2], outs[1], residual=True),
        BlockSpec(2, 3, outs[1], mids[3], outs[2], 2),
        BlockSpec(2, 7, outs[2], mids[4], outs[2], residual=True),
    )


AROUND = MobileSpec(8, 2, blocks((8, 12), 8, (24, 32, 24, 32, 36)), head=12)
TARGET = MobileSpec(3, 2, blocks((4, 5), 3, (6, 9, 8, 7, 11)), head=5)
KEEP = (True, True, True, False, True, False)
RECIPE = TrainRecipe(epochs=4, batch_size=16, lr=0.05, nesterov=True)


def around(spec=AROUND):
    torch.manual_seed(3)
    model = create("mobilenet_v2", spec=spec, in_channels=1, num_classes=4)
    model(images())  # statistics away from their start
    return model.eval()


def images(count=6):
    return torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(1))


def inside(op="shift", target=TARGET, keep=KEEP, **options):
    return augment_inside(target, keep, around(), op=op, **options)


def test_the_widest_network_is_the_one_around_bit_for_bit():
    given = around()
    network = augment_inside(TARGET, KEEP, given, op="conv").eval()
    assert torch.equal(network(images(), "full"), given(images()))
    assert network.parameter_counts()["training"] == sum(p.numel() for p in given.parameters())
    network.network.stem.conv.weight.data.zero_()
    assert given.stem.conv.weight.abs().sum() > 0  # a copy


def test_gates_are_as_wide_as_those_of_the_network_around():
    def gated(spec, *hidden):
        blocks = [dataclasses.replace(block, se=se) for block, se in zip(spec.blocks, hidden)]
        return dataclasses.replace(spec, blocks=tuple(blocks))

    given = around(gated(AROUND, 0, 16, 20, 0, 9, 0))
    network = augment_inside(gated(TARGET, 0, 4, 9, 0, 5, 0), KEEP, given, op="conv").eval()
    assert torch.equal(network(images(), "full"), given(images()))
    assert torch.equal(network.export_target()(images()), network(images()))


@pytest.mark.parametrize("op", ["conv", "shift", "adder", {"stem": "shift", "blocks.1.expand.*": "adder"}], ids=str)
def test_the_exported_target_computes_the_targets_numbers_bit_for_bit(op):
    network = inside(op, remap=remapping("laplace")).eval()
    network.set_mutation(len(network.units))
    exported = network.export_target()
    assert torch.equal(exported(images()), network(images()))
    assert exported.spec == dataclasses.replace(TARGET, blocks=tuple(b for b, k in zip(TARGET.blocks, KEEP) if k))
    again = create(
        exported.recipe["name"],
        **{k: v for k, v in exported.recipe.items() if k != "name"} | {"keep": exported.recipe["keep"] or None},
    )
    again.load_state_dict(exported.state_dict())
    assert torch.equal(again.eval()(images()), exported(images()))


def test_every_stage_may_have_an_operator_of_its_own():
    network = inside({"blocks.1.depthwise.*": "conv", "blocks.1.*": "adder", "blocks.3.*": "shift"})
    network.set_mutation(len(network.units))
    kinds = {name: type(module) for name, module in network.export_target().named_modules()}
    assert kinds["blocks.1.expand.conv"] is AdderConv2d and kinds["blocks.3.depthwise.conv"] is ShiftConv2d
    assert kinds["blocks.1.depthwise.conv"] is kinds["blocks.2.expand.conv"] is torch.nn.Conv2d


def test_only_blocks_that_do_not_multiply_in_the_end_wait_for_their_turn_to_mutate():
    hybrid = inside({"blocks.1.*": "adder", "head": "shift"})
    assert hybrid.units == ["blocks.1", "head"] and len(inside("shift").units) == 7
    hybrid.set_mutation(1)
    assert hybrid.mutated == 1 and type(hybrid.export_target().blocks[1].expand.conv) is AdderConv2d


def test_the_target_is_the_first_channels_of_the_first_blocks():
    network, given = inside("conv"), around().state_dict()
    target = network.export_target().state_dict()
    assert torch.equal(target["blocks.3.project.conv.weight"], given["blocks.4.project.conv.weight"][:5, :7])
    assert torch.equal(target["blocks.2.depthwise.norm.running_var"], given["blocks.2.depthwise.norm.running_var"][:9])
    assert [len(block.blocks_of_depth) for block in network._deepened] == [1, 1]


def test_samples_lie_between_the_target_and_the_network_around():
    network, generator = inside("conv").eval(), torch.Generator().manual_seed(0)
    least, most = network._target, network.sizes(network.full)
    assert most == network._widest
    seen = [network.sizes(network.sample(generator)) for _ in range(40)]
    assert all(a <= b <= c for sizes in seen for a, b, c in zip(least, sizes, most)) and len(set(seen)) > 20
    narrow = network.sample(generator, width=False, expand=False)
    assert network.sizes(narrow) == least
    widths = network.sizes(network.sample(generator, width=False))
    assert all(size == base for size, base, group in zip(widths, least, network.groups) if group.kind == "width")
    assert network(images(), narrow).shape == (6, 4)


def test_reordering_keeps_the_network_around():
    network = inside("conv").eval()
    before = network(images(), "full")
    assert sum(network.reorder_().values()) > 0
    torch.testing.assert_close(network(images(), "full"), before, rtol=1e-4, atol=1e-5)


def test_training_drops_the_extra_blocks_and_mutates_the_target():
    labels = torch.arange(48) % 4
    patterns = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    train = TensorData(patterns[labels] + 0.3 * torch.randn(48, 1, 16, 16), labels)
    network, window, depths = inside("shift", remap=remapping("laplace")), Window(0.2, 0.6), []

    def note(row):
        depths.append((network.extra_blocks_of_target, sum(m.multiplicative for _, m in network.wide_layers())))

    asked = AugmentRecipe(mutation=window, depth=window)
    history = fit_augmented(network, train, RECIPE, asked, seed=0, on_epoch=note)
    extra, conv = zip(*depths)
    assert history.outcome == "finished" and history.rows[-1]["train_loss"] < history.rows[0]["train_loss"]
    assert extra[0] > 0 == extra[-1] and conv[0] > conv[-1] == 6  # two extra blocks of three layers stay convolutions
    exported = network.export_target()
    assert not any(type(module) is torch.nn.Conv2d for module in exported.modules())


@pytest.mark.parametrize(
    ("target", "keep", "sentence"),
    [
        (dataclasses.replace(TARGET, stem=9), KEEP, "stem has 9 channels, more than the 8 of the network around it"),
        (
            dataclasses.replace(TARGET, blocks=blocks((4, 5), 3, (6, 33, 8, 7, 11))),
            KEEP,
            r"block 2 \(mid\) has 33 channels, more than the 32 of the network around it",
        ),
        (TARGET, (True, False, True, False, True, True), "keep leaves out block 1, which has no shortcut"),
        (TARGET, KEEP[:5], "keep 5 entries; the network around has 6 blocks"),
        (
            dataclasses.replace(TARGET, blocks=(*TARGET.blocks[:-1], dataclasses.replace(TARGET.blocks[-1], kernel=3))),
            KEEP,
            "block 5 of the target differs from that of the network around in more than width",
        ),
    ],
)
def test_what_does_not_fit_inside_is_said(target, keep, sentence):
    with pytest.raises(InputError, match=sentence):
        inside(target=target, keep=keep)


def test_a_remap_by_name_or_as_one_module_is_said_to_be_none():
    given = {"remap='laplace' is not allowed; it must be what": "laplace", "remap is one LaplaceRemap": LaplaceRemap()}
    for sentence, remap in given.items():
        with pytest.raises(InputError, match=sentence):
            inside(remap=remap)
    with pytest.raises(InputError, match="generator=3 is not allowed"):
        inside().sample(3)


def test_a_window_outside_training_is_refused():
    with pytest.raises(InputError, match=r"stop=1\.2 is not allowed"):
        Window(0.1, 1.2)
