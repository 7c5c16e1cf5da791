"""Every model with every operator: a training step at toy size, odd inputs, and what is special to a family."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from repro.errors import InputError
from repro.layers import AdderConv2d, ShiftConv2d
from repro.models import create, list_models
from repro.models.build import Builder
from repro.models.cells import drop_path
from repro.models.genotypes import AMOEBANET, OPERATIONS, Genotype, genotype
from repro.models.mobile import mobile_spec
from repro.models.segmentation import dilated
from repro.models.translation import LightBranch
from repro.models.translation_configs import CROSS_LAYERS, DECODER_TYPES, LIGHT_TYPES, SPACE, translation_config
from repro.ops import round_to_power_of_two

CONFIG = {
    "encoder_ffn": (16,) * 4,
    "encoder_heads": (2,) * 4,
    "encoder_types": ("attention", "add", "attention+shiftadd", "conv"),
    "decoder_ffn": (16, 8),
    "self_heads": (2, 1),
    "cross_heads": (2, 2),
    "cross": (1, 2),
    "decoder_types": ("attention+add", "attention+conv"),
    "encoder_embed": 8,
    "decoder_embed": 12,
    "qkv": 8,
}
SMALL = {
    "acghostnet": {"width": 0.25, "form": "cifar", "blocks": "toy", "head": 16, "choices": ["AAg2", "CCg1"] * 3},
    "adder_ghostnet": {"width": 0.25, "form": "cifar", "blocks": (1,) * 6, "head": 16},
    "ghostnet": {"width": 0.25, "form": "cifar", "blocks": (1,) * 6, "head": 16},
    "cells": {"layers": 3, "channels": 4},
    "fbnet": {"width": 0.1, "head": 16, "choices": ["k3_e1_g2", "skip"] * 11},
    "googlenet": {"width": 0.05, "form": "cifar"},
    "shufflenet_v2": {"width": 0.1, "form": "cifar"},
    "squeezenet": {"width": 0.1, "form": "cifar", "batch_norm": True},
    "translation": {"config": CONFIG, "source_vocabulary": 7, "target_vocabulary": 9},
    "vgg16": {"width": 0.05, "form": "cifar"},
    "vgg19": {"width": 0.05, "form": "cifar"},
    "resnet101": {"width": 0.05, "form": "cifar"},
    "resnet152": {"width": 0.05, "form": "cifar"},
    "mobilenet_v2_seg": {"width": 0.1, "channels": 8},
    "proxylessnas_mobile_seg": {"width": 0.1, "channels": 8},
}
DEEP = ("resnet101", "resnet152", "resnet56", "vgg19", "resnet32", "bossnas_t1", "shiftaddnas_t1_rank2")


def small(name: str, **options) -> torch.nn.Module:
    """The model at a size that trains in a fraction of a second, same structure."""
    torch.manual_seed(0)
    settings = SMALL.get(name, {"width": 0.1})
    if name.startswith(("shiftaddnas", "bossnas")):
        letters = ("S", "CA", "+", "A") if "rank2" in name else ("C", "A", "CA", "A")
        settings = {"width": 0.125, "form": "cifar", "stages": letters}
    if name != "translation":
        settings = {**settings, "num_classes": 4}
    return create(name, **{**settings, **options})


def step(model: torch.nn.Module, name: str, side: int = 17) -> tuple[float, float]:
    """Loss before and after one small step of normalised gradient descent on one batch."""
    generator = torch.Generator().manual_seed(1)
    if name == "translation":
        source = torch.randint(1, 7, (3, 6), generator=generator)
        target = torch.randint(1, 9, (3, 5), generator=generator)
        inputs, labels = (source, target), target
    else:
        inputs = (torch.randn(4, 3, side, side, generator=generator),)
        shape = (4, side, side) if name.endswith("_seg") else (4,)
        labels = torch.randint(0, 4, shape, generator=generator)

    def loss() -> torch.Tensor:
        scores = model(*inputs)
        return F.cross_entropy(scores.transpose(1, 2) if name == "translation" else scores, labels)

    before = loss()
    before.backward()
    return before.item(), loss().item()


@pytest.mark.parametrize("op", ["conv", "shift", "adder", "shiftadd"])
@pytest.mark.parametrize("name", [name for name in list_models() if name not in DEEP])
def test_one_training_step_reaches_every_parameter(name, op):
    model = small(name, op=op)
    model.train()
    before, again = step(model, name)
    assert torch.isfinite(torch.tensor([before, again])).all()
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None, path
        assert torch.isfinite(parameter.grad).all(), path


@pytest.mark.parametrize("name", DEEP)
def test_deep_relatives_train_too(name):
    model = small(name)
    before, _ = step(model, name)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert 0 < before < 20


@pytest.mark.parametrize("op", ["conv", "adder", "shift"])
def test_a_small_network_learns_one_batch(op):
    torch.manual_seed(0)
    model = create("resnet20", width=0.25, num_classes=4, op=op)
    images, labels = torch.randn(8, 3, 8, 8), torch.arange(8) % 4
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("side", [33, 45])
@pytest.mark.parametrize("name", [name for name in list_models() if name not in (*DEEP, "translation")])
def test_odd_sizes_give_scores_of_the_right_shape(name, side):
    with torch.device("meta"):
        model = small(name).eval()
    scores = model(torch.empty(2, 3, side, side, device="meta"))
    assert scores.shape == ((2, 4, side, side) if name.endswith("_seg") else (2, 4))


def test_one_channel_and_digits_size():
    model = create("acghostnet", blocks="toy", form="cifar", width=0.5, head=32, in_channels=1, num_classes=10)
    assert model(torch.randn(2, 1, 8, 8)).shape == (2, 10)


def test_same_seed_same_weights():
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        states.append(create("ghostnet", width=0.25, op="adder").state_dict())
    assert all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values()))


def test_adder_layers_start_as_addernet_starts():
    torch.manual_seed(0)
    weight = create("resnet20", op="adder").stages[2][1].conv1.conv.weight
    assert abs(weight.mean().item()) < 0.02 and abs(weight.std().item() - 1) < 0.02


# cells


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_keeps_and_halves_maps(name):
    edges = ((name, 0), (name, 1))
    model = create("cells", genotype=Genotype(edges, edges, (2,), (2,)), layers=3, channels=4)
    assert model(torch.randn(2, 3, 13, 13)).shape == (2, 10)


def test_autoshiftnets_cells_are_known_by_name():
    cifar10 = genotype("autoshiftnet_cifar10")
    assert cifar10.normal[-1] == ("dil_conv_5x5", 4) and cifar10.reduce[3] == ("max_pool_3x3", 1)
    cifar100 = genotype("autoshiftnet_cifar100")
    assert cifar100.normal[0] == ("sep_conv_3x3", 0) and len(cifar100.reduce) == 8
    assert genotype({"normal": list(cifar10.normal), "reduce": list(cifar10.reduce)}) == cifar10


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"normal": [("sep_conv_3x3", 0)]}, ["normal", "two (operation, input) pairs"]),
        ({"normal": [("sep_conv_3x3", 0), ("sep_conv_3x4", 1)]}, ["edge 2 of node 1", "Did you mean 'sep_conv_3x3'"]),
        ({"normal": [("skip_connect", 0), ("skip_connect", 2)]}, ["input 2", "0 to 1"]),
        ({"normal": ["skip_connect", "skip_connect"]}, ["edge 1 of node 1", "pair"]),
        ({"normal_concat": (2, 7)}, ["normal_concat=(2, 7)", "2 to 6"]),
        ({"reduce_concat": (3, 3)}, ["reduce_concat", "different"]),
        ({"normals": ()}, ["'normals'", "fields"]),
    ],
)
def test_malformed_genotypes_get_one_sentence(fields, words):
    good = {"normal": AMOEBANET.normal, "reduce": AMOEBANET.reduce, "normal_concat": (4, 5, 6), "reduce_concat": (3,)}
    with pytest.raises(InputError) as caught:
        genotype({**good, **({"normal_concat": (2,)} if "normal" in fields else {}), **fields})
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_auxiliary_tower_speaks_in_training_only():
    model = create("cells", auxiliary=True, layers=6, channels=4)
    scores, auxiliary = model(torch.randn(2, 3, 32, 32))
    assert scores.shape == auxiliary.shape == (2, 10)
    assert model.eval()(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_drop_path_drops_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    dropped = drop_path(torch.ones(4000, 2, 3, 3), 0.2)
    assert set(dropped.unique().tolist()) == {0.0, 1.25}
    assert torch.equal(dropped.amin((1, 2, 3)), dropped.amax((1, 2, 3)))
    assert abs(dropped.mean().item() - 1) < 0.03
    model = create("cells", layers=3, channels=4, drop_path=0.5)
    images = torch.randn(2, 3, 8, 8)
    assert not torch.equal(model(images), model(images))
    assert torch.equal(model.eval()(images), model(images))


# ShiftAddNAS


def test_block_letters_choose_the_operators():
    model = create("shiftaddnas_t0", stages=("C", "S+", "A", "C"), width=0.125)
    kinds = [type(block.conv.conv) if hasattr(block, "conv") else None for block in model.blocks]
    assert kinds == [torch.nn.Conv2d, ShiftConv2d, AdderConv2d, None, torch.nn.Conv2d]
    assert type(model.blocks[1].se.reduce) is torch.nn.Conv2d


def test_attention_weighs_all_pixels():
    torch.manual_seed(0)
    block = create("shiftaddnas_t0", stages=("A",), strides=(1,), width=0.25).blocks[0].eval()
    x = torch.randn(1, block.qkv.in_channels, 3, 5)
    q, k, v = block.qkv(x).flatten(2).reshape(1, 3, -1, 15).unbind(1)
    expected = F.scaled_dot_product_attention(q.mT, k.mT, v.mT).mT.reshape(x.shape)
    assert torch.allclose(block.attend(x), expected, atol=1e-6)


# translation


def make_translation(**options) -> torch.nn.Module:
    torch.manual_seed(0)
    options = {"config": CONFIG, "source_vocabulary": 11, "target_vocabulary": 13} | options
    return create("translation", **options).eval()


def test_decoder_does_not_see_the_future_nor_padding():
    model = make_translation()
    source, target = torch.randint(1, 11, (2, 7)), torch.randint(1, 13, (2, 5))
    source[0, 5:] = 0
    scores = model(source, target)
    changed = target.clone()
    changed[:, 3:] = 1 + changed[:, 3:] % 12
    other = model(source, changed)
    assert torch.allclose(scores[:, :3], other[:, :3], atol=1e-5)
    assert not torch.allclose(scores[:, 3:], other[:, 3:], atol=1e-5)
    assert torch.allclose(scores[:1], model(source[:1, :5], target[:1]), atol=1e-5)


def by_hand(branch, x, light: str, left: int) -> np.ndarray:
    """A light branch in float64, word by word; `left`: how many words before its own a kernel sees."""

    def linear(layer, values):
        weight = layer.weight.detach()
        if light == "shiftadd":
            weight = round_to_power_of_two(weight, layer.weight_bits)
        return values @ weight.double().numpy().T + layer.bias.detach().double().numpy()

    values, gates = np.split(linear(branch.linear1, x), 2, axis=-1)
    gated = values / (1 + np.exp(-gates))
    kernels = branch.mixing.weight.detach().double().numpy().reshape(branch.heads, -1)
    bias = 0.0 if branch.mixing.bias is None else branch.mixing.bias.detach().double().numpy()
    count, words, width = gated.shape
    mixed = np.zeros_like(gated)
    for place, tap in itertools.product(range(words), range(kernels.shape[1])):
        seen = place + tap - left
        word = gated[:, seen] if 0 <= seen < words else np.zeros((count, width))
        weight = np.repeat(kernels[:, tap], width // branch.heads)  # channels of a head share its kernel
        mixed[:, place] += word * weight if light == "conv" else -np.abs(word - weight)
    mixed += np.repeat(np.broadcast_to(bias, branch.heads), width // branch.heads)
    if light != "conv":
        mixed = (mixed - mixed.mean(-1, keepdims=True)) / np.sqrt(mixed.var(-1, keepdims=True) + branch.norm.eps)
    return linear(branch.linear2, mixed)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("light", LIGHT_TYPES)
def test_a_light_branch_computes_its_operators_word_by_word(light, causal):
    """Linear, gate, convolution (or adder) over time with a kernel per head, linear (or shift)."""
    torch.manual_seed(0)
    branch = LightBranch(Builder(), light, 6, heads=2, kernel=3, causal=causal).eval()
    for layer in (branch.linear1, branch.mixing, branch.linear2):
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter)
    x = torch.randn(2, 5, 6)
    expected = by_hand(branch, x.double().numpy(), light, left=2 if causal else 1)
    tolerance = 5e-3 if light == "shiftadd" else 1e-5  # inputs of shift layers are 16.16 numbers
    np.testing.assert_allclose(branch(x).detach().numpy(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("code", "layers"), CROSS_LAYERS.items())
def test_a_decoder_layer_attends_to_as_many_of_the_last_encoder_layers_as_it_says(code, layers):
    config = {**CONFIG, "decoder_ffn": (16,), "self_heads": (2,), "cross_heads": (2,), "cross": (code,)}
    model = make_translation(config={**config, "decoder_types": ("attention",)})
    outputs, padding = model.encode(torch.randint(1, 11, (2, 4)))
    leaves = [torch.randn_like(each, requires_grad=True) for each in outputs]
    model.decode(torch.randint(1, 13, (2, 3)), leaves, padding).square().sum().backward()
    seen = [leaf.grad is not None and bool(leaf.grad.any()) for leaf in leaves]
    assert seen == [False] * (4 - layers) + [True] * layers


def test_tokens_outside_the_vocabulary_are_one_sentence():
    model, target = make_translation(), torch.ones(1, 2, dtype=torch.long)
    for bad in (-1, 11):
        with pytest.raises(InputError, match=rf"token ids run from .*{bad}.*; allowed are 0 to 10\."):
            model(torch.tensor([[1, bad]]), target)
    with pytest.raises(InputError, match="pad=11 is not allowed"):
        make_translation(pad=11)
    for source, message in (
        (torch.ones(2, 3, dtype=torch.long), "2 sources and 1 targets do not fit"),
        (torch.ones(1, 3), r"token ids of shape \(1, 3\) and torch.float32 are not allowed"),
        (torch.ones(1, dtype=torch.long), r"token ids of shape \(1,\) and torch.int64 are not allowed"),
    ):
        with pytest.raises(InputError, match=message):
            model(source, target)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dropout": 1.5}, "dropout=1.5 is not allowed"),
        (
            {"encoder_embed": 9, "encoder_heads": (1,) * 4},
            "width 9 of layer encoder.2.mixer is not allowed; block type attention.shiftadd halves it",
        ),
        ({"decoder_embed": 0}, "decoder_embed=0 is not allowed"),
        ({"self_heads": (2, 0)}, "self_heads=0 is not allowed"),
        ({"self_heads": (2, 3)}, "heads=3 of layer decoder.1.mixer.attention is not allowed; it must divide the query"),
        ({"encoder_heads": (2, 3, 2, 2)}, "heads=3 of layer encoder.1.mixer.light is not allowed; it must divide 8"),
        ({"encoder_ffn": (), "encoder_heads": (), "encoder_types": ()}, r"encoder_ffn=\(\) is not allowed"),
        (
            {"encoder_ffn": (8,), "encoder_heads": (2,), "encoder_types": ("conv",)},
            "cross=1 is not allowed; it attends to 2 encoder layers, and the network has 1",
        ),
    ],
)
def test_networks_that_cannot_be_are_one_sentence(change, message):
    dropout = {name: change[name] for name in change if name == "dropout"}
    with pytest.raises(InputError, match=message):
        make_translation(config=CONFIG | {name: change[name] for name in change if name != "dropout"}, **dropout)


SHARED = {"source_vocabulary": 13, "share_embeddings": True}


@pytest.mark.parametrize("options", [{}, SHARED], ids=["own", "shared"])
@pytest.mark.parametrize("decoder_type", DECODER_TYPES)
def test_decoding_token_by_token_computes_the_trained_operator(decoder_type, options):
    config = {**CONFIG, "decoder_types": (decoder_type,) * len(CONFIG["decoder_ffn"])}
    model = make_translation(config=config, **options)
    source, target = torch.randint(1, 11, (3, 6)), torch.randint(1, 13, (3, 9))
    source[1, 4:] = 0
    states = model.start(source)
    scores = torch.stack([model.step(target[:, place], place, states) for place in range(9)], dim=1)
    torch.testing.assert_close(scores, model(source, target), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("widths", [(16, 8), (8, 16), (16, 16)], ids=str)
def test_a_shared_matrix_stands_for_three_that_are_its_first_columns(widths):
    config = {**CONFIG, "encoder_embed": widths[0], "decoder_embed": widths[1]}
    shared = make_translation(config=config, **SHARED)
    own = make_translation(config=config, source_vocabulary=13)
    matrix = shared.source_embedding.weight
    assert matrix.shape == (13, max(widths))
    columns = dict(zip(("source_embedding", "target_embedding", "classifier"), (*widths, widths[1])))
    known = {f"{name}.weight": matrix[:, :width] for name, width in columns.items()}
    own.load_state_dict({**shared.state_dict(), **known})
    source, target = torch.randint(1, 13, (2, 7)), torch.randint(1, 13, (2, 5))
    torch.testing.assert_close(shared(source, target), own(source, target))
    fewer = sum(p.numel() for p in own.parameters()) - sum(p.numel() for p in shared.parameters())
    assert fewer == 13 * (sum(columns.values()) - max(widths))
    for model in (shared, own):
        model(source, target).square().mean().backward()
    expected = torch.zeros_like(matrix)
    for name, width in columns.items():
        expected[:, :width] += getattr(own, name).weight.grad
    torch.testing.assert_close(matrix.grad, expected)


def test_a_shared_matrix_needs_one_vocabulary():
    with pytest.raises(InputError, match=r"share_embeddings=True .* one vocabulary .*=13, target_vocabulary=14"):
        make_translation(**SHARED, target_vocabulary=14)
    with pytest.raises(InputError, match="share_embeddings='no' is not allowed"):
        make_translation(share_embeddings="no")


def test_every_network_of_the_elastic_space_can_be_built():
    def chosen(key: str, depth: int, turn: int) -> tuple:
        return tuple(SPACE[key][(layer + turn) % len(SPACE[key])] for layer in range(depth))

    tokens = torch.zeros(1, 4, dtype=torch.long, device="meta")
    (encoder,) = SPACE["encoder_layers"]
    for turn, decoder in enumerate(SPACE["decoder_layers"]):
        config = {
            "encoder_types": chosen("encoder_types", encoder, turn),
            "encoder_ffn": chosen("ffn", encoder, turn),
            "encoder_heads": chosen("heads", encoder, turn),
            "decoder_types": chosen("decoder_types", decoder, turn),
            "decoder_ffn": chosen("ffn", decoder, turn),
            "self_heads": chosen("heads", decoder, turn),
            "cross_heads": chosen("heads", decoder, turn + 1),
            "cross": chosen("cross", decoder, turn),
            "encoder_embed": SPACE["embed"][turn % 3],
            "decoder_embed": SPACE["embed"][turn // 2],
        }
        with torch.device("meta"):
            model = create("translation", config=config, source_vocabulary=20, target_vocabulary=30)
        assert model(tokens, tokens).shape == (1, 4, 30)


def test_decoders_have_no_block_without_attention():
    with pytest.raises(InputError, match="decoder block type"):
        translation_config({**CONFIG, "decoder_types": ("conv", "attention")})


# segmentation, mobile networks


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_dilation_replaces_strides_beyond_the_output_stride(stride):
    geometry = dilated(mobile_spec("mobilenet_v2", 0.35), stride)
    total = 2
    for step_, _ in geometry:
        total *= step_
    assert total == stride
    assert geometry[-1][1] == 32 // stride


def test_wider_mobile_specs_are_multiples_of_eight():
    for name in ("mobilenet_v2", "mobilenet_v3_large", "proxylessnas_mobile", "mcunet_in3"):
        for width in (0.1, 0.35, 1.0, 2.2):
            spec = mobile_spec(name, width)
            assert all(block.out % 8 == block.mid % 8 == 0 for block in spec.blocks)
            assert all(a.out == b.in_channels for a, b in zip(spec.blocks, spec.blocks[1:]))


@pytest.mark.parametrize("rate", ["a", float("nan"), 1.0, True])
def test_a_rate_of_dropped_paths_is_a_number_below_1(rate):
    with pytest.raises(InputError, match="drop_path="):
        create("cells", layers=3, channels=4, drop_path=rate)
