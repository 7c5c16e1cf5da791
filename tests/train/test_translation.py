"""Training of translation networks: loss and rates against their definitions, learning, resuming bit for bit."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from repro.datasets.vocabulary import PAD
from repro.errors import InputError
from repro.models import create
from repro.models.translation import xavier
from repro.train.text import TokenPairs
from repro.train.translation import (
    TranslationRecipe,
    TranslationTrainer,
    fit_translation,
    token_loss,
    translation_loss,
    warmed_up_rate,
)

CONFIG = {
    "encoder_ffn": (16,),
    "encoder_heads": (2,),
    "decoder_ffn": (16,),
    "self_heads": (2,),
    "cross_heads": (2,),
    "cross": (-1,),
    "encoder_types": ("attention+add",),
    "encoder_embed": 16,
    "decoder_embed": 16,
    "qkv": 16,
}
RECIPE = TranslationRecipe(epochs=3, batch_tokens=64, lr=0.02, warmup=4)


def reversal(count=48, seed=0):
    """Sentences of three words 4 to 7 whose translation is the same words backwards, with 4 added."""
    words = torch.randint(4, 8, (count, 3), generator=torch.Generator().manual_seed(seed))
    source = tuple(map(tuple, words.tolist()))
    return TokenPairs(source, tuple(tuple(word + 4 for word in row[::-1]) for row in source), ("a", "b"))


def network(**options):
    torch.manual_seed(0)
    return xavier(create("translation", config=CONFIG, source_vocabulary=8, target_vocabulary=12, **options))


def test_the_loss_spreads_a_share_over_all_words_and_leaves_out_the_filling():
    scores = torch.randn(2, 3, 5, dtype=torch.float64)
    words = torch.tensor([[3, 1, PAD], [4, PAD, PAD]])
    log_p = scores - scores.exp().sum(-1, keepdim=True).log()
    each = [0.9 * log_p[n, t, words[n, t]] + 0.1 * log_p[n, t].mean() for n, t in ((0, 0), (0, 1), (1, 0))]
    torch.testing.assert_close(token_loss(scores, words, 0.1), -torch.stack(each).mean())


def test_adam_has_the_papers_decays_or_those_that_are_asked_for():
    for recipe, betas in ((TranslationRecipe(), (0.9, 0.98)), (TranslationRecipe(betas=(0.8, 0.9)), (0.8, 0.9))):
        optimizer = TranslationTrainer(network(), recipe, data=reversal(), seed=0).optimizer
        assert type(optimizer.inner) is torch.optim.Adam
        assert [group["betas"] for group in optimizer.param_groups] == [betas]
    assert TranslationRecipe().label_smoothing == 0.1


@pytest.mark.parametrize("schedule", ["cosine", "inverse_sqrt"])
def test_the_rate_warms_up_and_decays(schedule):
    recipe = TranslationRecipe(lr=0.5, warmup=10, schedule=schedule)
    rates = [warmed_up_rate(recipe, step, 110) for step in range(110)]
    assert rates[:10] == pytest.approx([0.05 * step for step in range(1, 11)])
    assert max(rates) == 0.5 and rates[9:] == sorted(rates[9:], reverse=True)
    expected = {"cosine": 0.25, "inverse_sqrt": 0.5 * math.sqrt(10 / 61)}[schedule]
    assert rates[60] == pytest.approx(expected)


def test_a_small_network_learns_to_reverse():
    model, data = network(), reversal(64)
    recipe = dataclasses.replace(RECIPE, epochs=12)
    history = fit_translation(model, data, reversal(16, seed=1), recipe, seed=0)
    losses = [row["validation_loss"] for row in history.rows]
    assert history.outcome == "finished" and losses[-1] < 0.5 * losses[0]
    assert model.vocabularies == ("a", "b")


def test_the_measured_loss_is_the_mean_over_tokens_whatever_the_batches():
    model, data = network(dropout=0.5), reversal(20)
    longer = TokenPairs((*data.source, (4, 5, 6, 7)), (*data.target, (8,)), data.vocabularies)
    assert translation_loss(model, longer, batch_tokens=5) == pytest.approx(translation_loss(model, longer), rel=1e-5)
    assert model.training


@pytest.mark.parametrize("average", [1, 2])
def test_a_training_continues_bit_for_bit(tmp_path, average):
    recipe, data = dataclasses.replace(RECIPE, average=average), reversal()
    whole = network(dropout=0.1)
    history = fit_translation(whole, data, None, recipe, seed=3)
    for stop_after in (1, 2, None, None):  # the last one finds a finished training
        again = network(dropout=0.1)
        continued = fit_translation(again, data, None, recipe, seed=3, checkpoint=tmp_path / "c", stop_after=stop_after)
    assert [row["train_loss"] for row in continued.rows] == [row["train_loss"] for row in history.rows]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_the_weights_at_the_end_are_the_mean_of_the_last_epochs():
    weights, model = [], network()
    recipe = dataclasses.replace(RECIPE, average=2)
    keep = lambda row: weights.append({k: v.clone() for k, v in model.state_dict().items()})  # noqa: E731
    fit_translation(model, reversal(), None, recipe, seed=0, on_epoch=keep)
    assert model.vocabularies == ("a", "b")
    for name, tensor in model.named_parameters():
        torch.testing.assert_close(tensor.detach(), (weights[1][name] + weights[2][name]) / 2)


def test_a_training_that_diverges_says_where_and_keeps_its_weights():
    model, chosen = network(), []
    with torch.no_grad():
        model.classifier.weight[3, 3] = torch.nan
    history = fit_translation(model, reversal(), None, RECIPE, seed=0, choose=lambda _: chosen.append(1) or "5-7")
    assert history.diverged and "step 0; network 5-7" in history.detail and chosen == [1]
    assert not model.encoder[0].feedforward.linear1.weight.isnan().any()


def test_another_vocabulary_is_one_sentence_and_changes_nothing(tmp_path):
    data = reversal()
    fit_translation(network(), data, None, RECIPE, seed=0, checkpoint=tmp_path / "c", stop_after=1)
    other, model = dataclasses.replace(data, vocabularies=("a", "c")), network()
    with pytest.raises(InputError, match="checkpoint c was written with another target vocabulary"):
        fit_translation(model, other, None, RECIPE, seed=0, checkpoint=tmp_path / "c")
    fewer = dataclasses.replace(data, source=data.source[1:], target=data.target[1:])
    with pytest.raises(InputError, match="checkpoint c was written with another set of sentences"):
        fit_translation(model, fewer, None, RECIPE, seed=0, checkpoint=tmp_path / "c")
    with pytest.raises(InputError, match="encoded with different vocabularies"):
        fit_translation(model, data, other, RECIPE, seed=0)
    assert torch.equal(model.classifier.weight, network().classifier.weight)


def test_sentences_of_another_vocabulary_are_refused_after_a_training():
    data, model = reversal(), network()
    fit_translation(model, data, None, RECIPE, seed=0, stop_after=1)
    other = dataclasses.replace(data, vocabularies=("a", "c"))
    message = "the target vocabulary is that of another network"
    with pytest.raises(InputError, match=message):
        translation_loss(model, other)
    with pytest.raises(InputError, match=message):
        fit_translation(model, other, None, RECIPE, seed=0)
    assert model.vocabularies == ("a", "b") and translation_loss(model, data) > 0


@pytest.mark.parametrize(
    "change", [{"average": 4}, {"schedule": "linear"}, {"betas": (0.9, 1.0)}, {"warmup": 0}, {"label_smoothing": 1}]
)
def test_impossible_recipes_are_one_sentence(change):
    with pytest.raises(InputError, match=f"{next(iter(change))}="):
        dataclasses.replace(RECIPE, **change)


def test_batches_that_make_one_update_are_one_batch_of_all_their_tokens():
    # Twelve sentences of four positions: one batch of 48, or three of 16 that make one update.
    train = reversal(count=12)
    one, many = network(dropout=0.0), network(dropout=0.0)
    recipe = TranslationRecipe(epochs=2, batch_tokens=48, lr=0.02, warmup=4)
    alone, chosen = fit_translation(one, train, None, recipe, seed=0), []
    smaller = dataclasses.replace(recipe, batch_tokens=16, accumulate=3)
    parts = fit_translation(many, train, None, smaller, seed=0, choose=lambda _: chosen.append(1))
    assert len(chosen) == 2  # a supernet draws a network once for an update, whatever its batches
    assert [row["steps"] for row in parts.rows] == [row["steps"] for row in alone.rows] == [1, 1]
    for mine, theirs in zip(alone.rows, parts.rows):
        assert theirs["train_loss"] == pytest.approx(mine["train_loss"], rel=1e-4)


@pytest.mark.parametrize("betas", [(0.9,), 0.9, (0.9, 0.98, 0.99)])
def test_adam_has_two_betas(betas):
    with pytest.raises(InputError, match="it must be two numbers"):
        dataclasses.replace(RECIPE, betas=betas)


def test_the_measured_loss_leaves_each_part_its_mode():
    model = network().train()
    model.encoder[0].eval()
    translation_loss(model, reversal())
    assert model.training and model.decoder[0].training and not model.encoder[0].training


def test_what_cannot_be_trained_is_one_sentence():
    frozen = network().requires_grad_(False)
    with pytest.raises(InputError, match="no trainable parameters"):
        fit_translation(frozen, reversal(), None, RECIPE, seed=0)
    for call in (lambda model: translation_loss(model, reversal()), lambda model: _fitted(model)):
        with pytest.raises(InputError, match="pad=2 of the network"):
            call(network(pad=2))


def _fitted(model):
    return fit_translation(model, reversal(), None, RECIPE, seed=0)
