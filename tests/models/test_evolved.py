"""The Evolved Transformer: its cells word by word in float64, masks, decoding token by token, size, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from repro.cost import path_features, translation_cost
from repro.datasets.vocabulary import BEGIN, PAD
from repro.errors import InputError
from repro.models import create
from repro.models.trace import trace
from repro.models.translation_configs import CONFIGS, EVOLVED, TranslationConfig, evolved_config
from repro.search import TranslationSpace
from repro.train.beam import beam_search
from repro.train.text import TextBatch, TokenPairs
from repro.train.translation import TranslationRecipe, TranslationTrainer, fit_translation

CONFIG = {
    "encoder_ffn": (12, 20),
    "encoder_heads": (2, 1),
    "encoder_types": (EVOLVED,) * 2,
    "decoder_ffn": (16, 12),
    "self_heads": (2, 1),
    "cross_heads": (1, 4),
    "cross": (-1, -1),
    "decoder_types": (EVOLVED,) * 2,
    "encoder_embed": 8,
    "decoder_embed": 6,
    "qkv": 8,
}


def network(seed: int = 0, **options) -> torch.nn.Module:
    """A small network in float64 whose every parameter matters."""
    torch.manual_seed(seed)
    options = {"config": CONFIG, "source_vocabulary": 11, "target_vocabulary": 9} | options
    model = create("translation", **options)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.4)
    return model.double().eval()


def pairs() -> TokenPairs:
    """Sentences and themselves as their translations."""
    draw = torch.Generator().manual_seed(0)
    sentences = tuple(torch.randint(4, 9, (3 + length % 4,), generator=draw).tolist() for length in range(24))
    return TokenPairs(sentences, sentences, ("a", "b"))


@pytest.fixture(scope="module")
def copier():
    """A network in float64 that has learnt to copy, and the rows of its training."""
    torch.manual_seed(0)
    config = evolved_config("small", embed=16, layers=(2, 2), heads=2)
    model = create("translation", config=config, source_vocabulary=9, target_vocabulary=9)
    recipe = TranslationRecipe(epochs=30, batch_tokens=64, lr=1e-2, warmup=5, label_smoothing=0.0)
    rows = fit_translation(model, pairs(), None, recipe, seed=0).rows
    return model.double().eval(), rows


# the cells by hand: NumPy, one word at a time


class Hand:
    """Layers of a cell by their names in its state dict, for one sentence (words, channels)."""

    def __init__(self, cell: torch.nn.Module):
        self.weights = {name: tensor.numpy() for name, tensor in cell.state_dict().items()}

    def linear(self, name, x):
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, name, x):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def over(self, name, x, before):
        """A convolution over words, `before` of its taps to the left; words outside are zeros."""
        kernels = self.weights[f"{name}.over.weight"][:, :, 0]  # (outputs, inputs or 1, taps)
        outputs, inputs, taps = kernels.shape
        found = np.zeros((len(x), outputs))
        for word in range(len(x)):
            for tap in range(taps):
                place = word + tap - before
                if 0 <= place < len(x):
                    depthwise = inputs == 1 and x.shape[1] > 1
                    found[word] += kernels[:, 0, tap] * x[place] if depthwise else kernels[:, :, tap] @ x[place]
        return found

    def separable(self, name, x, before):
        return self.linear(f"{name}.across", self.over(name, x, before))

    def attention(self, name, x, memory, heads, *, causal=False):
        queries, keys, values = (
            self.linear(f"{name}.{what}", words) for what, words in (("query", x), ("key", memory), ("value", memory))
        )
        width = queries.shape[1] // heads
        gathered = np.zeros_like(queries)
        for word in range(len(x)):
            seen = word + 1 if causal else len(memory)
            for head in range(heads):
                own = slice(head * width, (head + 1) * width)
                scores = np.exp([queries[word, own] @ keys[other, own] / width**0.5 for other in range(seen)])
                gathered[word, own] = sum(s * values[other, own] for other, s in enumerate(scores / scores.sum()))
        return self.linear(f"{name}.out", gathered)


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def widened(x, channels):
    return np.concatenate([x, np.zeros((len(x), channels - x.shape[1]))], axis=1)


def encoder_by_hand(cell, x, heads):
    hand, embed = Hand(cell), x.shape[1]
    values, gates = np.split(hand.linear("gate", hand.norm("norm_gate", x)), 2, axis=1)
    x = x + values * sigmoid(gates)
    normed = hand.norm("norm_branches", x)
    right = hand.over("right", normed, 1) + hand.weights["right.over.bias"]
    assert right.shape[1] == embed // 2
    both = relu(hand.linear("left", normed)) + widened(relu(right), 4 * embed)
    joint = hand.separable("joint", hand.norm("norm_joint", both), 4)
    assert joint.shape[1] == embed // 2
    x = x + widened(joint, embed)
    normed = hand.norm("norm_attention", x)
    x = x + hand.attention("attention", normed, normed, heads)
    hidden = relu(hand.linear("feedforward.linear1", hand.norm("norm_feedforward", x)))
    return x + hand.linear("feedforward.linear2", hidden)


def decoder_by_hand(cell, x, memory, self_heads, cross_heads):
    hand, embed = Hand(cell), x.shape[1]
    normed = hand.norm("norm_first", x)
    first = hand.attention("first_attention", normed, normed, 2 * self_heads, causal=True)
    x = x + first + hand.attention("first_cross", normed, memory, cross_heads)
    normed = hand.norm("norm_branches", x)
    left, right = relu(hand.separable("left", normed, 10)), hand.separable("right", normed, 6)
    assert (left.shape[1], right.shape[1]) == (2 * embed, embed // 2)
    x = x + hand.separable("joint", hand.norm("norm_joint", left + widened(right, 2 * embed)), 6)
    normed = hand.norm("norm_attention", x)
    x = x + hand.attention("attention", normed, normed, self_heads, causal=True)
    x = x + hand.attention("cross", hand.norm("norm_cross", x), memory, cross_heads)
    hidden = hand.linear("linear1", hand.norm("norm_feedforward", x))
    return x + hand.linear("linear2", hand.norm("norm_hidden", hidden * sigmoid(hidden)))


@pytest.mark.parametrize("words", [1, 5, 13])
def test_an_encoder_cell_computes_its_sublayers_word_by_word(words):
    x = torch.randn(1, words, 8, dtype=torch.float64)
    for cell, heads in zip(network().encoder, CONFIG["encoder_heads"]):
        np.testing.assert_allclose(
            cell(x, None)[0].detach(), encoder_by_hand(cell, x[0].numpy(), heads), rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("words", [1, 5, 13])
def test_a_decoder_cell_computes_its_sublayers_word_by_word(words):
    x, memory = torch.randn(1, words, 6, dtype=torch.float64), torch.randn(1, 4, 8, dtype=torch.float64)
    future, padding = torch.ones(words, words).triu(1).bool(), torch.zeros(1, 4, dtype=torch.bool)
    for place, cell in enumerate(network().decoder):
        heads = CONFIG["self_heads"][place], CONFIG["cross_heads"][place]
        expected = decoder_by_hand(cell, x[0].numpy(), memory[0].numpy(), *heads)
        np.testing.assert_allclose(cell(x, [memory], future, padding)[0].detach(), expected, rtol=1e-9, atol=1e-9)


def test_both_stacks_end_in_a_norm():
    model = network()
    source, target = torch.randint(1, 11, (2, 5)), torch.randint(1, 9, (2, 3))
    seen = {}
    for name in ("encoder_norm", "decoder_norm"):
        getattr(model, name).register_forward_hook(lambda *hooked, name=name: seen.update({name: hooked[1:]}))
    scores = model(source, target)
    (inputs,), memory = seen["encoder_norm"]
    assert torch.equal(model.encode(source)[0][-1], memory) and not torch.allclose(inputs, memory)
    assert torch.allclose(scores, seen["decoder_norm"][1] @ model.classifier.weight.T)


# masks


def test_a_decoder_does_not_see_the_future():
    model = network()
    source, target = torch.randint(1, 11, (2, 5)), torch.randint(1, 9, (2, 16))
    scores = model(source, target)
    for place in (1, 8, 15):
        changed = target.clone()
        changed[:, place:] = 1 + changed[:, place:] % 8
        other = model(source, changed)
        torch.testing.assert_close(other[:, :place], scores[:, :place], rtol=0, atol=1e-12)
        assert ((other - scores)[:, place:].abs().amax(-1) > 1e-6).all()


def test_a_sentence_has_the_same_scores_alone_and_filled_up_in_a_batch():
    model = network()
    lengths = (7, 3, 1)
    source, target = torch.randint(1, 11, (3, 7)), torch.randint(1, 9, (3, 5))
    for row, length in enumerate(lengths):
        source[row, length:] = PAD
    together = model(source, target)
    for row, length in enumerate(lengths):
        alone = model(source[row : row + 1, :length], target[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-12, atol=1e-12)
    longer = model(torch.cat([source, torch.full((3, 9), PAD)], dim=1), target)
    torch.testing.assert_close(longer, together, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", ["right", "joint"])
def test_words_that_are_not_there_do_not_reach_a_convolution(kernel):
    cell = network().encoder[0]
    layer = getattr(cell, kernel)
    x = torch.randn(2, 6, layer.over.in_channels, dtype=torch.float64)
    padding = torch.tensor([[False] * 4 + [True] * 2, [False] * 6])
    shown = layer(x, padding)
    torch.testing.assert_close(shown[:1, :4], layer(x[:1, :4]), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(layer(x)[:1, :4], shown[:1, :4])


# decoding


@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
def test_decoding_token_by_token_computes_the_trained_network(shared):
    model = network(target_vocabulary=11, share_embeddings=shared)
    source, target = torch.randint(1, 11, (3, 6)), torch.randint(1, 11, (3, 17))
    source[1, 4:] = PAD
    states = model.start(source)
    scores = torch.stack([model.step(target[:, place], place, states) for place in range(17)], dim=1)
    torch.testing.assert_close(scores, model(source, target), rtol=1e-10, atol=1e-10)


class Uncached(torch.nn.Module):
    """A network that computes every token from the whole sentence so far, for `beam_search`."""

    def __init__(self, model):
        super().__init__()
        self.model, self.source_embedding = model, model.source_embedding

    def start(self, source):
        return [{"source": source, "keys": torch.empty(len(source), 0, dtype=torch.long)}]

    def step(self, tokens, place, states):
        (state,) = states
        state["keys"] = torch.cat([state["keys"], tokens[:, None]], dim=1)
        return self.model(state["source"], state["keys"])[:, -1]


@pytest.mark.parametrize("beam", [1, 2, 5])
def test_beam_search_with_a_cache_finds_what_it_finds_without(copier, beam):
    model, _ = copier
    source = torch.tensor([[5, 6, 7, 8, 8, 4], [8, 4, 6, PAD, PAD, PAD], [7, 8, 4, 4, 5, PAD]])
    found, scores = beam_search(model, source, beam=beam)
    expected, likely = beam_search(Uncached(model), source, beam=beam)
    assert found == expected and scores == pytest.approx(likely, rel=1e-10)
    assert len({tuple(words) for words in found}) == 3 and all(len(set(words)) > 2 for words in found)


# training


def test_one_step_of_a_training_moves_every_parameter():
    model = network()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    trainer = TranslationTrainer(model, TranslationRecipe(epochs=1, warmup=1), data=pairs(), seed=0)
    words = torch.randint(4, 9, (4, 6))
    batch = TextBatch(words, torch.cat([torch.full((4, 1), BEGIN), words[:, :-1]], dim=1), words)
    loss, _ = trainer.step([batch])
    assert np.isfinite(loss)
    still = [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])]
    assert still == []


def test_it_learns_to_copy(copier):
    _, rows = copier
    assert rows[-1]["train_loss"] < 0.4 * rows[0]["train_loss"]


# size


@pytest.mark.parametrize(
    ("name", "params_m", "flops_g"),
    [("evolved-base", 46.91, 2.850), ("evolved-big", 187.41, 11.315)],
)
def test_sizes_follow_from_the_cells(name, params_m, flops_g):
    """21.5 E^2 + 36 E weights of each of 3 encoder cells, 28.5 E^2 + 32 E of each of 4 decoder cells."""
    cost, embed = translation_cost(name), CONFIGS[name].encoder_embed
    assert cost.params == 178.5 * embed**2 + 236 * embed == pytest.approx(1e6 * params_m, rel=1e-4)
    products = 19 * 2 * 30 * 30 * embed  # of 3 + 16 attentions
    assert cost.flops == 2 * (30 * cost.params + products) == pytest.approx(1e9 * flops_g, rel=1e-4)
    assert np.isnan([cost.energy_mj, cost.latency_ms]).all()


@pytest.mark.parametrize("config", ["evolved-base", CONFIG], ids=["base", "two widths"])
def test_counts_equal_those_of_the_model(config):
    tokens = torch.ones(1, 30, dtype=torch.long)
    with torch.device("meta"):
        model = create("translation", config=config)
    layers = [layer for layer in trace(model, (tokens, tokens)) if layer.role != "classifier"]
    weights = sum(
        module.weight.numel()
        for module in model.modules()
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d) and module is not model.classifier
    )
    cost = translation_cost({"name": "small", **config} if isinstance(config, dict) else config)
    assert (cost.macs, cost.params) == (sum(layer.taps for layer in layers), weights)


def test_cells_stand_for_layers():
    config = evolved_config("x", embed=10, layers=(2, 2), heads=2, qkv=6)
    assert (config.encoder_ffn, config.decoder_ffn, config.qkv) == ((40,), (40,), 6)
    base = CONFIGS["evolved-base"]
    assert (len(base.encoder_ffn), len(base.decoder_ffn), base.qkv) == (3, 4, 512)


# refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder_embed": 9}, "width 9 of layer encoder.0 is not allowed; an evolved cell halves it"),
        ({"decoder_embed": 7}, "width 7 of layer decoder.0 is not allowed; an evolved cell halves it"),
        ({"encoder_heads": (2, 3)}, "heads=3 of layer encoder.1.attention is not allowed; it must divide the query"),
        (
            {"self_heads": (8, 1)},
            "heads=16 of layer decoder.0.first_attention is not allowed; it must divide",
        ),
        ({"cross_heads": (5, 1)}, "heads=5 of layer decoder.0.first_cross is not allowed; it must divide the query"),
        ({"cross": (-1, 1)}, r"cross=\(-1, 1\) is not allowed; evolved cells attend to the last encoder layer"),
        ({"decoder_types": ()}, "block type evolved beside attention is not allowed; all layers"),
        ({"encoder_types": ("conv", EVOLVED)}, "block type evolved beside conv is not allowed; all layers"),
        ({"encoder_embed": 0}, "encoder_embed=0 is not allowed"),
    ],
)
def test_networks_that_cannot_be_are_one_sentence(change, message):
    with pytest.raises(InputError, match=message):
        network(config=CONFIG | change)


def test_an_evolved_cell_is_no_choice_of_the_elastic_space():
    with pytest.raises(InputError, match="block type='evolved' is not"):
        path_features("evolved-base")
    with pytest.raises(InputError, match="encoder_types='evolved' is not"):
        TranslationSpace(encoder_types=(EVOLVED,))
    with pytest.raises(InputError, match="layers=0 is not allowed"):
        evolved_config("x", embed=8, layers=(0, 2), heads=1)
    assert isinstance(CONFIGS["evolved-big"], TranslationConfig)
