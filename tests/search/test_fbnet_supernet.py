"""Paths of the FBNet space with operators: which there are, and that one computes and trains what its network does."""

import pytest
import torch
from torch.nn import functional as F

from repro.errors import InputError
from repro.models import create
from repro.models.fbnet import FBNet
from repro.ops import reference
from repro.search.fbnet_supernet import FBNetSpace, FBNetSupernet
from repro.search.hybrid_supernet import fit_paths
from repro.search.inherit import evaluate_paths
from repro.search.weight_sharing import WeightSharing
from repro.train import TensorData, TrainRecipe

SPACE = FBNetSpace(((16, 1, 1), (24, 2, 2)), kinds=("k3_e1", "k5_e1_g2", "skip"), head=8)
RECIPE = TrainRecipe(epochs=2, batch_size=16, lr=5e-3, optimizer="adam", adaptive="none", weight_decay=0.05)
PATH = ("skip", "k5_e1_g2:adder", "k3_e1:shift")


def data(count=32):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 1, 6, 6, generator=generator)
    return TensorData(images, torch.randint(3, (count,), generator=generator))


def supernet(seed=0, **sharing):
    torch.manual_seed(seed)
    return FBNetSupernet(SPACE, WeightSharing(pieces=20, **sharing), in_channels=1, num_classes=3)


def test_a_block_may_be_skipped_only_where_it_keeps_the_shape():
    blocks = [f"{kind}:{operator}" for kind in ("k3_e1", "k5_e1_g2") for operator in ("conv", "shift", "adder")]
    assert SPACE.shapes == [(16, 16, 1), (16, 24, 2), (24, 24, 1)]
    assert SPACE.paths.blocks == ((*blocks, "skip"), tuple(blocks), (*blocks, "skip"))
    assert SPACE.paths.size == 7 * 6 * 7
    with pytest.raises(InputError, match="skip"):
        supernet().set_path(("k3_e1:conv", "skip", "skip"))


def test_the_whole_space_is_fbnets():
    whole = FBNetSpace()
    assert len(whole.shapes) == 22 and whole.shapes[-1] == (184, 352, 1)
    assert len(whole.paths.blocks[0]) == 8 * 3 + 1 and len(whole.paths.blocks[1]) == 8 * 3
    with pytest.raises(InputError, match="kinds='k3_e2' is not known"):
        FBNetSpace(kinds=("k3_e2",))
    with pytest.raises(InputError, match="a block needs one"):
        FBNetSpace(kinds=("skip",))


def test_residual_blocks_start_with_gamma_zero_and_the_others_with_one():
    norms = {True: [], False: []}
    for layer in supernet().layers:
        for cell in layer.values():
            for block in cell.choices.values():
                norms[block.residual].append(block.project.norm.weight)
    assert norms[True] and not any(weight.any() for weight in norms[True])
    assert norms[False] and all((weight == 1).all() for weight in norms[False])


@pytest.mark.parametrize("shared", [True, False])
def test_a_path_computes_what_its_own_network_does(shared):
    """With trained statistics and gammas, also where the path before left other ones."""
    net, images = supernet(shared=shared), data().images
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
    for path in (PATH, ("k3_e1:adder", "k3_e1:conv", "skip")):
        net.train().set_path(path)
        net(images)
        net.eval()
        alone = net.subnet(path)
        assert type(alone) is FBNet and not alone.training
        assert torch.equal(net(images), alone(images))
        named = create("fbnet", **SPACE.options(path), in_channels=1, num_classes=3)
        assert {k: v.shape for k, v in named.state_dict().items()} == {
            k: v.shape for k, v in alone.state_dict().items()
        }


def test_operators_of_a_kind_share_its_filters_and_kinds_do_not():
    """Convolution as the pool is, adder T(pool); by hand through one depthwise layer."""
    net, x = supernet(), torch.randn(2, 24, 5, 5, generator=torch.Generator().manual_seed(1))
    cell, other = net.cell(2, "k3_e1:conv")[0], net.cell(2, "k5_e1_g2:conv")[0]
    pool, kernel = cell.pool["depthwise_conv"], cell.kernels["depthwise_conv"]
    alone = {op: net.subnet(("skip", "k3_e1:conv", f"k3_e1:{op}")).blocks[2].depthwise.conv for op in ("conv", "adder")}
    torch.testing.assert_close(alone["conv"](x), F.conv2d(x, pool, padding=1, groups=24))
    added = reference.adder_conv2d_fwd(x, kernel(pool), (1, 1), (1, 1), (1, 1), 24)
    torch.testing.assert_close(alone["adder"](x), added)
    assert set(cell.pool) == {"expand_conv", "depthwise_conv", "project_conv"} == set(other.pool)
    assert other.pool["depthwise_conv"].shape != pool.shape
    assert not len(supernet(shared=False).cell(2, "k3_e1:conv")[0].pool)


def test_the_divergence_is_that_of_the_blocks_of_the_path():
    net = supernet()
    net.set_path(("skip", "k3_e1:shift", "k3_e1:adder"))
    adder = net.cell(2, "k3_e1:adder")[0].filters("adder")
    terms = [net.sharing.term(weight, "adder") for weight in adder.values()]
    torch.testing.assert_close(net.divergence(), torch.stack(terms).mean())
    net.set_path(("skip", "k3_e1:shift", "skip"))
    assert net.divergence() is None


def test_training_resumes_bit_for_bit_and_moves_what_is_shared(tmp_path):
    whole = supernet()
    fit_paths(whole, data(), RECIPE, seed=3)
    fit_paths(supernet(), data(), RECIPE, seed=3, checkpoint=tmp_path / "training", stop_after=1)
    resumed = supernet(seed=9)
    fit_paths(resumed, data(), RECIPE, seed=3, checkpoint=tmp_path / "training")
    state = resumed.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in whole.state_dict().items())
    changed = [key for key, tensor in supernet().state_dict().items() if not torch.equal(tensor, state[key])]
    assert any("pool" in key for key in changed) and any("kernels" in key for key in changed)
    first, second = evaluate_paths(resumed, [PATH, ("k3_e1:conv",) * 3], data(), calibration=data())
    assert first["path"] == PATH and first["loss"] != second["loss"]
