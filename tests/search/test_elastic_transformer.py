"""Elastic transformers: slices and exports, genomes and configurations, training, refusals."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import pytest
import torch

from repro.cost import translation_cost
from repro.errors import InputError
from repro.models import load_model, save_weights
from repro.models.translation_configs import BLOCK_TYPES, CONFIGS, TranslationConfig
from repro.search import ElasticTransformer, TranslationSpace, evolve, subnet
from repro.train.beam import beam_search
from repro.train.text import TokenPairs
from repro.train.translation import TranslationRecipe, fit_translation, translation_loss

SPACE = TranslationSpace(
    embed=(16, 8), ffn=(16, 8), heads=(4, 2), encoder_layers=(2,), decoder_layers=(2, 1), cross=(-1, 1), qkv=8
)


SHARED = {"source_vocabulary": 11, "share_embeddings": True}


def supernet(seed=0, **options):
    torch.manual_seed(seed)
    model = ElasticTransformer(SPACE, **{"source_vocabulary": 9, "target_vocabulary": 11, **options})
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases that differ from one another
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def genomes(count, seed=0):
    draw = random.Random(seed)
    return [SPACE.largest, *(SPACE.sample(draw) for _ in range(count))]


def words(seed=0):
    torch.manual_seed(seed)
    source = torch.randint(1, 9, (3, 7))
    source[0, 5:] = 0
    return source, torch.randint(1, 11, (3, 5))


@pytest.mark.parametrize("options", [{}, SHARED], ids=["own", "shared"])
def test_an_exported_network_computes_what_the_slice_computes_bit_for_bit(options):
    model, (source, target) = supernet(**options).eval(), words()
    short = torch.randint(1, 9, (3, 6)), torch.randint(1, 11, (3, 6))
    seen = set()
    for genome in genomes(20):
        model.activate(genome)
        network = subnet(model, genome)
        assert torch.equal(model(source, target), network(source, target))
        with torch.no_grad():  # products are then added up in another order
            assert torch.equal(model(source, target), network(source, target))
            assert torch.equal(model(*short), network(*short))
        assert SPACE.genome(network.config) == genome and model.active == genome
        seen |= set(network.config.encoder_types)
    assert seen == set(BLOCK_TYPES)


def test_a_subnet_is_saved_and_read_as_any_network_is(tmp_path):
    model = supernet(op_options={"shift": {"weight_bits": 4}}).eval()
    source, target = words()
    for genome in genomes(4):
        network = subnet(model, genome)
        loaded = load_model(save_weights(network, tmp_path / "subnet.safetensors", card={"data": "grammar"}))
        assert loaded.card == {"data": "grammar"} and loaded.config == network.config
        assert torch.equal(loaded(source, target), network(source, target))


def test_a_slice_is_the_first_rows_and_columns_of_values_and_gates_alike():
    model = supernet()
    small = list(SPACE.largest)
    small[0], small[SPACE.genes.names.index("encoder 0 type")] = 8, "conv"
    small[SPACE.genes.names.index("encoder 1 ffn")] = 8
    network = subnet(model, small)
    light, whole = network.encoder[0].mixer.light, model.mixers["encoder-0-conv"].light
    rows = [*range(8), *range(16, 24)]
    assert torch.equal(light.linear1.weight, whole.linear1.weight[rows, :8])
    assert torch.equal(light.linear1.bias, whole.linear1.bias[rows])
    assert torch.equal(network.source_embedding.weight, model.network.source_embedding.weight[:, :8])
    wide = model.network.encoder[1].feedforward
    assert torch.equal(network.encoder[1].feedforward.linear2.weight, wide.linear2.weight[:8, :8])
    assert torch.equal(network.encoder[1].norm2.bias, model.network.encoder[1].norm2.bias[:8])


def test_a_step_moves_the_active_slice_alone():
    model, (source, target) = supernet(), words()
    genome = list(SPACE.largest)
    genome[1], genome[3] = 8, 1  # narrow decoder of one layer
    model.activate(genome)
    model(source, target).square().mean().backward()
    moved = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert "network.decoder.0.mixer.attention.query.weight" in moved
    assert not [name for name in moved if name.startswith(("mixers", "network.decoder.1"))]
    gradient = moved["network.classifier.weight"]
    assert gradient[:, :8].abs().min() > 0 and not gradient[:, 8:].any()


def test_a_shared_matrix_is_as_wide_as_the_wider_side_and_learns_in_these_columns_alone():
    model, (source, target) = supernet(**SHARED), words()
    matrix = model.network.source_embedding.weight
    for widths in ((16, 8), (8, 16), (8, 8)):
        genome = (*widths, *SPACE.largest[2:])
        network = subnet(model, genome)
        assert torch.equal(network.source_embedding.weight, matrix[:, : max(widths)])
        assert not [name for name in network.state_dict() if name.startswith(("target_embedding", "classifier"))]
        matrix.grad = None
        model.activate(genome)
        model(source, target).square().mean().backward()
        network(source, target).square().mean().backward()
        assert torch.equal(matrix.grad[:, : max(widths)], network.source_embedding.weight.grad)
        assert matrix.grad.any(dim=0).tolist() == [column < max(widths) for column in range(16)]
    with pytest.raises(InputError, match="share_embeddings=True is not allowed"):
        supernet(**SHARED, target_vocabulary=12)


def test_genomes_and_configurations_stand_for_one_another():
    for genome in genomes(20):
        assert SPACE.genome(SPACE.config(genome)) == genome == SPACE.normal(genome)
    shallow = [*SPACE.largest]
    shallow[3] = 1
    assert SPACE.normal(shallow) != tuple(shallow)  # the second decoder layer says nothing
    assert SPACE.config(shallow) == SPACE.config(SPACE.normal(shallow))


def test_the_published_networks_lie_in_the_space_of_the_paper():
    space = TranslationSpace()
    names = [name for name, config in CONFIGS.items() if config.searched]
    for name in names:
        config = CONFIGS[name]
        again = space.config(space.genome(config))
        assert dataclasses.replace(again, name=name, searched=config.searched) == config
    assert len(names) > 3
    with pytest.raises(InputError, match="qkv=1024 is not allowed; all networks of this space have 512"):
        space.genome(CONFIGS["transformer-big"])


def networks_of(space):
    """How many different networks a space has, by its options alone: a layer that is not there chooses nothing."""
    encoder = len(space.encoder_types) * len(space.ffn) * len(space.heads)
    decoder = len(space.decoder_types) * len(space.ffn) * len(space.heads) ** 2 * len(space.cross)
    sides = ((encoder, space.encoder_layers), (decoder, space.decoder_layers))
    return math.prod(len(space.embed) * sum(each**depth for depth in depths) for each, depths in sides)


def test_the_papers_space_has_2e28_networks_and_genomes_stand_for_each_once():
    whole = TranslationSpace()
    assert networks_of(whole) == 3 * 84**6 * 3 * sum(432**depth for depth in range(1, 7))
    assert f"{networks_of(whole):.0e}" == "2e+28"  # the paper says about 1e14
    choices = {"embed": (8,), "ffn": (16, 8), "heads": (2,), "encoder_types": ("attention", "conv")}
    small = dataclasses.replace(SPACE, **choices, encoder_layers=(1,), cross=(-1,), decoder_types=("attention",))
    networks = {small.normal(genome) for genome in small.genes.all_genomes()}
    assert len(networks) == networks_of(small) == 4 * (2 + 4) and small.genes.size > len(networks)


def test_every_option_is_drawn_and_draws_follow_the_generator():
    drawn = [SPACE.sample(torch.Generator().manual_seed(seed)) for seed in range(200)]
    for place, options in enumerate(SPACE.genes.blocks):
        assert {genome[place] for genome in drawn} == set(options)
    assert drawn[7] == SPACE.sample(torch.Generator().manual_seed(7))


def pairs(count=40):
    text = torch.randint(4, 8, (count, 3), generator=torch.Generator().manual_seed(0))
    source = tuple(map(tuple, text.tolist()))
    return TokenPairs(source, tuple(tuple(word + 3 for word in row[::-1]) for row in source), ("a", "b"))


@pytest.mark.parametrize("options", [{}, SHARED], ids=["own", "shared"])
def test_a_supernet_learns_resumes_bit_for_bit_and_its_networks_translate(tmp_path, options):
    data, recipe = pairs(), TranslationRecipe(epochs=4, batch_tokens=40, lr=0.01, warmup=5)
    whole, again = supernet(dropout=0.1, **options), None
    before = translation_loss(whole, data)
    history = fit_translation(whole, data, None, recipe, seed=0, choose=whole.draw)
    for stop_after in (2, None):
        again = supernet(dropout=0.1, **options)
        fit_translation(
            again, data, None, recipe, seed=0, choose=again.draw, checkpoint=tmp_path / "c", stop_after=stop_after
        )
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values()))
    whole.activate(SPACE.largest)
    assert history.outcome == "finished" and translation_loss(whole, data) < before
    network = whole.subnet(genomes(1)[1])
    assert network.vocabularies == ("a", "b")
    found, _ = beam_search(network, torch.tensor([[4, 5, 6, 3]]), beam=2)
    assert len(found) == 1


def test_dropout_follows_the_width():
    model = supernet(dropout=0.4)
    narrow = list(SPACE.largest)
    narrow[1] = 8
    network = model.subnet(narrow)
    assert network.encoder[0].dropout.p == 0.4 and network.decoder[0].dropout.p == 0.2


def test_evolution_finds_a_network_within_a_limit_of_latency():
    model, data = supernet().eval(), pairs(8)

    def score(found):
        return [-translation_loss(model, data) for genome in found if model.activate(genome)]

    def latency_ms(found):
        return [translation_cost(SPACE.config(genome), accounting="corrected", tokens=4).latency_ms for genome in found]

    costs = latency_ms(genomes(10))
    limit = sorted(costs)[5]
    done = evolve(SPACE.genes, score, cost=latency_ms, limit=limit, population=6, rounds=1, seed=0)
    assert done.best.costs["cost"] <= limit and done.best.score == score([done.best.genome])[0]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"qkv": 6}, r"heads=4 is not allowed; it must divide the query width \(6\)"),
        ({"embed": (16, 12), "heads": (8,)}, r"heads=8 is not allowed; it must divide the light branch's width"),
        ({"embed": (15,), "heads": (1,)}, "embed=15 is not allowed; block type attention.* halves the width"),
        ({"cross": (2,)}, "attends to 3 encoder layers, but encoder_layers=.2,. allows networks with 2"),
        ({"encoder_types": ("attention", "lstm")}, "encoder_types='lstm' is not known"),
        ({"decoder_types": ("conv",)}, "decoder_types='conv' is not known"),
        ({"cross": (-1, 3)}, "cross=3 is not allowed"),
        ({"ffn": (8, 8)}, "ffn has the options"),
        ({"decoder_layers": ()}, "decoder layers has the options"),
        ({"embed": (0,)}, "embed=0 is not allowed"),
        ({"embed": 64}, "^embed=64 is not allowed; it must be a list of options.$"),
        ({"heads": None}, "^heads=None is not allowed; it must be a list of options.$"),
        ({"encoder_types": "attention"}, "^encoder_types='attention' is not allowed; it must be a list of options.$"),
        ({"cross": ([1],)}, r"^cross=\[1\] is not allowed; it must be -1, 1 or 2"),
    ],
)
def test_impossible_spaces_are_one_sentence(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(SPACE, **change)


def test_networks_of_another_space_are_refused_and_nothing_changes():
    model = supernet()
    config = SPACE.config(SPACE.largest)
    for path, message in (
        (SPACE.largest[:-1], "must have 20 genes"),
        (("8", *SPACE.largest[1:]), "gene encoder embed='8' is not known; allowed are: 16, 8"),
        (dataclasses.replace(config, encoder_embed=12), "gene encoder embed=12 is not known"),
        (
            TranslationConfig("x", (16,) * 3, (4,) * 3, (16,), (4,), (4,), (-1,), qkv=8),
            "encoder layers=3 is not known|20 genes",
        ),
    ):
        with pytest.raises(InputError, match=message):
            model.activate(path)
        with pytest.raises(InputError, match=message):
            subnet(model, path)
    assert model.active == SPACE.largest


def test_options_that_are_numpys_whole_numbers_are_whole_numbers():
    space = TranslationSpace(embed=tuple(np.array([8, 16])), ffn=(8,), heads=(2,), qkv=8)
    assert space.largest[0] == 16 and all(type(option) is int for option in space.embed)
