"""Beam search against greedy decoding and against trying everything."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch

from repro.datasets.vocabulary import BEGIN, END, PAD, UNKNOWN, Vocabulary
from repro.errors import InputError
from repro.models import create
from repro.search import ElasticTransformer, TranslationSpace
from repro.train.beam import beam_search, check_vocabularies, translate
from repro.train.loop import Divergence

CONFIG = {
    "encoder_ffn": (8,),
    "encoder_heads": (2,),
    "decoder_ffn": (8, 8),
    "self_heads": (2, 1),
    "cross_heads": (1, 2),
    "cross": (-1, -1),
    "decoder_types": ("attention+conv", "attention+conv"),
    "encoder_embed": 8,
    "decoder_embed": 8,
    "qkv": 8,
}


def network(words=7, seed=0, config=CONFIG):
    torch.manual_seed(seed)
    model = create("translation", config=config, source_vocabulary=9, target_vocabulary=words)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.4)
    return model.double()


SOURCE = torch.tensor([[5, 6, 7, END], [8, END, PAD, PAD]])


def everything(model, source, max_tokens, length_penalty):
    """Score and words of the best of all translations that end within `max_tokens`, each scored as a whole."""
    allowed = [word for word in range(model.target_embedding.num_embeddings) if word not in (PAD, BEGIN, END)]
    scored = []
    for length in range(max_tokens):
        words = torch.tensor([(*each, END) for each in itertools.product(allowed, repeat=length)])
        before = torch.cat([torch.full((len(words), 1), BEGIN), words[:, :-1]], dim=1)
        likelihoods = model(source.expand(len(words), -1), before).log_softmax(-1).gather(2, words[:, :, None])
        scores = likelihoods.sum((1, 2)) / (length + 1) ** length_penalty
        scored.append((scores.max().item(), words[scores.argmax()].tolist()))
    return max(scored)


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.5])
def test_a_beam_that_drops_nothing_finds_the_best_of_all(length_penalty):
    model = network().eval()
    found, scores = beam_search(model, SOURCE, beam=80, length_penalty=length_penalty, max_tokens=4)
    for row in range(2):
        score, words = everything(model, SOURCE[row][SOURCE[row] != PAD], 4, length_penalty)
        assert [*found[row], END] == words and scores[row] == pytest.approx(score)


@pytest.mark.parametrize("seed", range(4))
def test_one_beam_is_greedy(seed):
    model = network(seed=seed).eval()
    found, _ = beam_search(model, SOURCE, beam=1, max_tokens=6)
    for row in range(2):
        words = [BEGIN]
        while len(words) < 6 and words[-1] != END:
            scores = model(SOURCE[row : row + 1], torch.tensor([words]))[0, -1]
            scores[[PAD, BEGIN]] = -torch.inf
            words.append(scores.argmax().item())
        assert found[row] == [word for word in words[1:] if word != END]


@pytest.mark.parametrize("blocks", [("attention", "attention+conv"), ("add", "attention+shiftadd"), ("evolved",) * 2])
@pytest.mark.parametrize("ends", [True, False])
def test_a_sentence_is_translated_the_same_alone_and_in_a_batch(blocks, ends):
    config = {**CONFIG, "encoder_types": blocks[:1], "decoder_types": blocks[1:] * 2}
    model = network(words=9, seed=3, config=config)
    if not ends:
        never_ends(model)
    sentences = [[8, END], [5, 6, 7, 4, END]]
    together, scores = beam_search(model, filled(sentences), beam=3)
    assert model.training
    for sentence, words, score in zip(sentences, together, scores):
        alone, (its_score,) = beam_search(model, torch.tensor([sentence]), beam=3)
        assert alone == [words] and its_score == pytest.approx(score, rel=1e-12)
        assert ends or len(words) == 10 + len(sentence) * 3 // 2 - 1
        assert words == from_scratch(model, torch.tensor([sentence]), 3)


def filled(sentences):
    longest = max(map(len, sentences))
    return torch.tensor([sentence + [PAD] * (longest - len(sentence)) for sentence in sentences])


def never_ends(model):
    """Make END less likely than any other word after every word, by what the last feed-forward's norm adds."""
    bias = model.decoder[-1].norm3.bias if hasattr(model.decoder[-1], "norm3") else model.decoder_norm.bias
    with torch.no_grad():
        bias.copy_(-200 * model.classifier.weight[END])


@torch.no_grad()
def from_scratch(model, source, beam):
    """Words of one sentence's best translation, every word scored by the whole network without its states."""
    model = copy.deepcopy(model).eval()
    going, done = [(0.0, [BEGIN])], []
    for place in range(10 + source.shape[1] * 3 // 2):
        scored = []
        for total, words in going:
            scores = total + model(source, torch.tensor([words]))[0, -1].log_softmax(-1)
            scored += [(scores[word].item(), [*words, word]) for word in (UNKNOWN, *range(END, len(scores)))]
            if place + 1 < 10 + source.shape[1] * 3 // 2:
                continue
            scored = [each for each in scored if each[1][-1] == END]
        scored.sort(reverse=True)
        done += [(s / (place + 1) ** 0.6, w[1:-1]) for s, w in scored[:beam] if w[-1] == END]
        if len(done) >= beam:
            break
        going = [each for each in scored if each[1][-1] != END][:beam]
    return max(done[:beam])[1]


def test_translations_come_in_the_order_of_the_sentences_whatever_the_batches():
    source, target = Vocabulary.learn(["ab ba aab"], 9), Vocabulary.learn(["x y z"], 8)
    torch.manual_seed(0)
    model = create("translation", config=CONFIG, source_vocabulary=len(source), target_vocabulary=len(target)).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    sentences = ["a b", "aab ba ab ba", "b"]
    texts = translate(model, sentences, source, target, beam=2)
    assert texts == translate(model, sentences, source, target, beam=2, batch_tokens=1) and len(set(texts)) > 1
    never_ends(model)
    texts = translate(model, sentences, source, target, beam=2)
    assert texts == translate(model, sentences, source, target, beam=2, batch_tokens=1)
    assert texts == [translate(model, [sentence], source, target, beam=2)[0] for sentence in sentences]
    with pytest.raises(
        InputError, match="the source vocabulary has 8 pieces and the network 9; it is the vocabulary of"
    ):
        check_vocabularies(model, target, source)
    model.vocabularies = (source.fingerprint, target.fingerprint)
    assert model.vocabularies == (source.fingerprint, target.fingerprint)
    again = copy.deepcopy(model)
    again.vocabularies = (None, None)
    assert again.vocabularies == (None, None)
    again.load_state_dict(model.state_dict())
    assert again.vocabularies == model.vocabularies  # weights know their vocabularies
    with pytest.raises(InputError, match="the target vocabulary is that of another network"):
        translate(model, sentences, source, Vocabulary.learn(["u v w"], 8))
    with pytest.raises(InputError, match=r"^sentences='a b' is not allowed; it must be a list of sentences"):
        translate(model, "a b", source, target)


@pytest.mark.parametrize("option", [{"beam": 0}, {"length_penalty": -1}, {"max_tokens": 0}])
def test_numbers_out_of_range_are_one_sentence(option):
    with pytest.raises(InputError, match=f"{next(iter(option))}="):
        beam_search(network(), SOURCE, **option)


def test_scores_that_are_nan_end_the_search_and_are_no_empty_translation():
    model = network()
    torch.nn.init.constant_(model.classifier.weight, float("nan"))
    with pytest.raises(Divergence, match="word 1 are NaN"):
        beam_search(model, SOURCE)


def test_each_part_keeps_its_own_mode():
    model = network().train()
    model.encoder[0].eval()
    beam_search(model, SOURCE)
    assert model.training and model.decoder[0].training and not model.encoder[0].training


def test_what_cannot_be_translated_is_one_sentence():
    filled_with_one = create("translation", config=CONFIG, source_vocabulary=9, target_vocabulary=7, pad=1)
    genes = {"encoder_layers": (2,), "decoder_layers": (1,), "cross": (-1,), "embed": (8,), "ffn": (8,), "heads": (2,)}
    elastic = ElasticTransformer(TranslationSpace(**genes, qkv=8), source_vocabulary=9, target_vocabulary=7)
    for model, source, told in (
        (filled_with_one, SOURCE, "pad=1 of the network"),
        (elastic, SOURCE, "ElasticTransformer.*subnet"),
        (network(), torch.tensor([[5, END], [PAD, PAD]]), "sentence 1 of source holds nothing but filling"),
        (network(), SOURCE.to(torch.int16), "int64 or int32"),
        (network(), [[5, END]], "source is list"),
        (network(), SOURCE[:0], "token ids"),
    ):
        with pytest.raises(InputError, match=told):
            beam_search(model, source)
