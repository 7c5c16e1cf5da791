"""Beam search: the most likely translations of a network, found token by token with what earlier tokens left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from repro.datasets.vocabulary import BEGIN, END, PAD, Vocabulary
from repro.errors import InputError, check_int, check_number, check_texts
from repro.models.translation import TranslationTransformer
from repro.train.evaluate import evaluating
from repro.train.loop import Divergence
from repro.train.translation import refuse_other_filling


@torch.no_grad()
def beam_search(
    model: TranslationTransformer,
    source: Tensor,
    *,
    beam: int = 4,
    length_penalty: float = 0.6,
    max_tokens: int | None = None,
) -> tuple[list[list[int]], list[float]]:
    """The best translation of each sentence, ids without END, and its score.

    A score is the log-likelihood of the tokens, END among them, over their number to the power `length_penalty`. A
    sentence is done when `beam` translations of it have ended; the longest ones must end at `max_tokens`. A
    sentence's translation depends neither on the others nor on its filling, but for rounding.

    Args:
        model: evaluated as it is in evaluation mode; the modes of all its parts are put back.
        source: (N, S) token ids, filled up with PAD.
        beam: unfinished translations kept per sentence; 1 is greedy.
        length_penalty: 0 prefers short translations, larger values longer ones.
        max_tokens: the most in a translation, END among them; None: 10 more than 1.5 times its own source's.
    Raises: InputError for a number out of range, ids outside the vocabulary, a sentence without tokens, another
        network (of an elastic one take a subnet) or one with another PAD; Divergence for scores that are NaN.
    """
    check_int("beam", beam, minimum=1)
    check_number("length_penalty", length_penalty, minimum=0)
    if max_tokens is not None:
        check_int("max_tokens", max_tokens, minimum=1)
    if not hasattr(model, "start"):
        hint = "; take a network out of it with `subnet`" if hasattr(model, "subnet") else ""
        raise InputError(f"model is a {type(model).__name__}; it must be a translation network{hint}.")
    refuse_other_filling(model)
    _check_source(source)
    with evaluating(model):
        return _search(model, source, beam, length_penalty, max_tokens)


def _check_source(source: Tensor) -> None:
    ids = isinstance(source, Tensor) and source.ndim == 2 and source.dtype in (torch.int32, torch.int64)
    if not ids or not len(source):
        told = f"{tuple(source.shape)} of {source.dtype}" if isinstance(source, Tensor) else type(source).__name__
        raise InputError(f"source is {told}; it must be token ids (sentences, tokens) in int64 or int32.")
    empty = (source == PAD).all(dim=1).nonzero().flatten().tolist()
    if empty:
        raise InputError(f"sentence {empty[0]} of source holds nothing but filling; each needs a token, END at least.")


def _search(model, source, beam, length_penalty, max_tokens):
    count, device = len(source), source.device
    states = [
        {key: tensor.repeat_interleave(beam, 0) for key, tensor in state.items()} for state in model.start(source)
    ]
    own = (source != PAD).sum(dim=1)
    limits = 10 + own * 3 // 2 if max_tokens is None else torch.full_like(own, max_tokens)
    first_row = torch.arange(count, device=device)[:, None] * beam
    tokens = torch.full((count, beam, 1), BEGIN, device=device)  # BEGIN and what follows
    sums = torch.full((count, beam), -math.inf, device=device, dtype=model.source_embedding.weight.dtype)
    sums[:, 0] = 0.0  # all are the same so far
    best: list[list[int]] = [[] for _ in range(count)]
    scores, ended = [-math.inf] * count, [0] * count
    for place in range(int(limits.max())):
        logits = model.step(tokens[:, :, -1].flatten(), place, states).unflatten(0, (count, beam))
        if logits.isnan().any():
            raise Divergence(f"the network's scores of word {place + 1} are NaN")
        total = sums[:, :, None] + logits.log_softmax(dim=-1)
        total[:, :, [PAD, BEGIN]] = -math.inf
        last = (limits <= place + 1)[:, None, None]
        total[:, :, :END].masked_fill_(last, -math.inf)
        total[:, :, END + 1 :].masked_fill_(last, -math.inf)
        words = total.shape[2]
        likely, index = total.flatten(1).topk(min(2 * beam, beam * words))  # the best, END or not
        ends = index % words == END
        for row, rank in (ends & likely.isfinite())[:, :beam].nonzero().tolist():
            score = likely[row, rank].item() / (place + 1) ** length_penalty
            if ended[row] < beam and score > scores[row]:
                best[row], scores[row] = tokens[row, index[row, rank] // words, 1:].tolist(), score
            ended[row] += 1
        ended = [max(found, beam * over) for found, over in zip(ended, last.flatten().tolist())]
        if min(ended) >= beam:
            break
        sums, kept = likely.masked_fill(ends, -math.inf).topk(beam)
        chosen = index.gather(1, kept)
        parents = chosen // words
        tokens = torch.cat(
            [tokens.gather(1, parents[:, :, None].expand(-1, -1, place + 1)), chosen[:, :, None] % words], 2
        )
        rows = (first_row + parents).flatten()
        for state in states:
            for key in state.keys() & {"keys", "values", "seen"}:  # the source is the same for all of a sentence
                state[key] = state[key].index_select(0, rows)
    return best, scores


def translate(
    model: TranslationTransformer,
    sentences: Sequence[str],
    source: Vocabulary,
    target: Vocabulary,
    *,
    beam: int = 4,
    length_penalty: float = 0.6,
    batch_tokens: int = 4096,
) -> list[str]:
    """Translations of sentences, in their order, by `beam_search`.

    Args:
        source, target: vocabularies that the network was trained with.
        batch_tokens: source tokens of a batch, filling and all beams included; changes speed only.
    Raises: InputError for the vocabulary of another network, what is no list of texts, or a number out of range.
    """
    check_texts("sentences", sentences)
    check_vocabularies(model, source, target)
    check_int("batch_tokens", batch_tokens, minimum=1)
    encoded = [[*source.encode(sentence), END] for sentence in sentences]
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
    found: dict[int, Any]
    device, found = model.source_embedding.weight.device, {}
    while order:
        longest = len(encoded[order[-1]])
        rows = max(1, batch_tokens // (longest * check_int("beam", beam, minimum=1)))
        order, batch = order[:-rows], order[-rows:]
        filled = torch.tensor([encoded[i] + [PAD] * (longest - len(encoded[i])) for i in batch], device=device)
        best, _ = beam_search(model, filled, beam=beam, length_penalty=length_penalty)
        found.update(zip(batch, map(target.decode, best)))
    return [found[i] for i in range(len(encoded))]


def check_vocabularies(model: TranslationTransformer, source: Vocabulary, target: Vocabulary) -> None:
    """InputError unless these are the vocabularies that the network was trained with, or could be."""
    for name, vocabulary, rows, known in zip(
        ("source", "target"),
        (source, target),
        model.vocabulary_sizes,
        model.vocabularies,
    ):
        if rows != len(vocabulary):
            raise InputError(
                f"the {name} vocabulary has {len(vocabulary)} pieces and the network {rows}; "
                "it is the vocabulary of another network."
            )
        if known is not None and known != vocabulary.fingerprint:
            raise InputError(
                f"the {name} vocabulary is that of another network: it has other pieces than the one of its training."
            )
