"""One translation network trained by itself and tested by BLEU, as `repro.papers.jobs` for networks that tell classes.

A run keeps of every test sentence what BLEU counts: BLEU is no mean over sentences, so what it would be with other ones
is found by drawing sentences anew and adding up their counts (`bleu_draws`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from repro.errors import check_choice
from repro.layers.low_bit import low_bit
from repro.models.registry import create
from repro.models.translation import TranslationTransformer, xavier
from repro.models.translation_configs import TranslationConfig
from repro.papers.data import device
from repro.papers.kinds import spec_of
from repro.papers.resampling import resampled_scores
from repro.papers.text_data import TextRecipe, TextSplits, load_text
from repro.papers.weights import keep_weights
from repro.report.examples import pack_counts, unpack_counts
from repro.runs import Outcome, RunContext, RunSpec
from repro.train.beam import translate
from repro.train.bleu_score import bleu_interval, bleu_of_counts, sentence_counts
from repro.train.loop import Divergence
from repro.train.translation import TranslationRecipe, fit_translation, translation_loss

COUNTS = 10
"""What is kept of a sentence; see `sentence_counts`."""


@dataclasses.dataclass(frozen=True)
class TranslationJob:
    """A translation network and how it is trained and tested.

    Attributes:
        bits: 8 trains with 8-bit inputs, weights and gradients (`repro.layers.low_bit`); 32: with none of it.
        beam, length_penalty: of the test, as in the paper's code.
        share_embeddings: one matrix embeds both languages and scores the output, as in the paper's code.
        tested_on: "test", or "validation" for choices that must not see the test sentences.
    Raises: InputError for other sentences to test on.
    """

    data: TextRecipe
    config: TranslationConfig
    train: TranslationRecipe
    dropout: float = 0.1
    bits: int = 32
    beam: int = 4
    length_penalty: float = 0.6
    share_embeddings: bool = False
    tested_on: str = "test"

    def __post_init__(self) -> None:
        check_choice("tested_on", self.tested_on, ("test", "validation"))


def spec(job: TranslationJob, seed: int) -> RunSpec:
    """One training of a translation network."""
    return spec_of("translation", job, seed, model="translation", parallel=True)


def train_translation(job: TranslationJob, seed: int, context: RunContext) -> dict[str, Any]:
    """Run function: what `tested` says of the network after its last epoch, or the outcome "diverged"."""
    text = load_text(job.data)
    if job.tested_on == "validation":
        text = dataclasses.replace(text, test_text=text.validation_text)
    torch.manual_seed(seed)
    words = len(text.vocabulary)
    model = create(
        "translation",
        config=job.config,
        source_vocabulary=words,
        target_vocabulary=words,
        dropout=job.dropout,
        share_embeddings=job.share_embeddings,
    )
    xavier(model)
    if job.bits != 32:
        floating = () if job.share_embeddings else ("classifier",)  # an embedding is no layer with few bits anyway
        low_bit(model, bits=job.bits, gradient_bits=job.bits, skip=floating)
    model.to(device())
    history = fit_translation(
        model,
        text.train,
        text.validation,
        job.train,
        seed=seed,
        on_epoch=lambda row: context.log(**row),
        checkpoint=context.checkpoint / "training",
    )
    if history.diverged:
        return {"outcome": "diverged", "detail": history.detail, "bleu": None, "examples": 0, "counts": ""}
    value = tested(model, text, beam=job.beam, length_penalty=job.length_penalty)
    if value["examples"] and job.bits == 32:  # no recipe builds a network again that computes with few bits
        keep_weights(context, model, job, seed, value)
    return value


def tested(model: TranslationTransformer, text: TextSplits, *, beam: int, length_penalty: float) -> dict[str, Any]:
    """Scores of a trained network.

    Returns: {"outcome", "detail", "validation_loss" (nats per token), "bleu" (SacreBLEU 13a, test sentences),
        "bleu_interval" (95 %, over test sentences), "examples", "counts" (packed `sentence_counts`), "first" (the first
        translations)}. outcome is "done", "dead" (the same translation of every sentence), or "diverged" (NaN).
    """
    source, references = text.test_text
    vocabulary = text.vocabulary
    try:
        found = translate(model, source, vocabulary, vocabulary, beam=beam, length_penalty=length_penalty)
    except Divergence as problem:
        return {"outcome": "diverged", "detail": str(problem), "bleu": None, "examples": 0, "counts": ""}
    counts = sentence_counts(found, references)
    dead = len(set(found)) == 1
    return {
        "outcome": "dead" if dead else "done",
        "detail": "every sentence has the same translation" if dead else "",
        "validation_loss": translation_loss(model, text.validation),
        "bleu": bleu_of_counts(counts.sum(axis=0)),
        "bleu_interval": list(bleu_interval(found, references)),
        "examples": len(counts),
        "counts": pack_counts(counts),
        "first": found[:5],
    }


def counts_of(outcome: Outcome) -> np.ndarray | None:
    """What BLEU counts of each test sentence of a run, (sentences, 10); None if it has no result."""
    value = outcome.value or {}
    return unpack_counts(value["counts"], (value["examples"], COUNTS)) if value.get("examples") else None


def bleu_of(outcome: Outcome) -> float:
    """BLEU of a training; NaN where it diverged or failed."""
    value = (outcome.value or {}).get("bleu")
    return float("nan") if value is None else value


def bleu_draws(rows: Iterable[tuple[Mapping[str, Any], str, Sequence[Outcome]]]) -> pd.DataFrame:
    """The extra frame `draws` of an entry: BLEU with other test sentences (`repro.papers.resampling`).

    Args: rows: (key, data set, outcomes of its seeds).
    """
    counted = ((key, dataset, [counts_of(outcome) for outcome in outcomes]) for key, dataset, outcomes in rows)

    def score(sums: np.ndarray) -> np.ndarray:
        return np.array([bleu_of_counts(one) for one in sums])

    return resampled_scores(counted, score, column="bleu")
