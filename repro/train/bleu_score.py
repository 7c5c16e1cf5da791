"""BLEU of translations as SacreBLEU counts it: detokenised text, "13a" tokens, upper and lower case apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repro.errors import InputError, check_int, check_number, check_texts


def bleu(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """BLEU in 0 to 100 of a corpus, one reference per sentence.

    Args:
        hypotheses, references: detokenised sentences, the same number of each.
    Raises: InputError for unequal numbers, no sentence, or what is no text.
    Source: Papineni et al. 2002; Post 2018 (SacreBLEU: nrefs:1, case:mixed, eff:no, tok:13a, smooth:exp).
    """
    return bleu_of_counts(sentence_counts(hypotheses, references).sum(axis=0))


def bleu_interval(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Lowest and highest BLEU that the choice of test sentences explains: percentiles over resampled corpora.

    Args:
        confidence: share of the resampled scores that lie inside, above 0 and below 1.
        resamples: corpora drawn, as many sentences as given, with replacement.
        seed: of the draws.
    Raises: InputError as `bleu`, and for a number outside its range.
    Source: Koehn 2004. It says nothing of how another training of the same network would score.
    """
    check_number("confidence", confidence, above=0, below=1)
    check_int("resamples", resamples, minimum=1)
    counts = sentence_counts(hypotheses, references)
    draw = np.random.default_rng(check_int("seed", seed, minimum=0))
    scores = [
        bleu_of_counts(counts[draw.integers(len(counts), size=len(counts))].sum(axis=0)) for _ in range(resamples)
    ]
    low: float
    high: float
    low, high = np.quantile(scores, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def sentence_counts(hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """(sentences, 10) whole numbers: tokens of both, then matched and possible 1- to 4-grams; a corpus is their sum.

    Raises: InputError as `bleu`.
    """
    from sacrebleu.metrics import BLEU

    for name, texts in (("hypotheses", hypotheses), ("references", references)):
        check_texts(name, texts)
    if len(hypotheses) != len(references) or not len(hypotheses):
        raise InputError(
            f"{len(hypotheses)} hypotheses and {len(references)} references do not fit; "
            "BLEU needs one reference for each hypothesis, and at least one."
        )
    metric = BLEU(tokenize="13a", effective_order=True)  # the latter only silences a warning; counts are the same
    scores = (metric.sentence_score(text, [reference]) for text, reference in zip(hypotheses, references))
    return np.array([[score.sys_len, score.ref_len, *score.counts, *score.totals] for score in scores])


def bleu_of_counts(counts: np.ndarray) -> float:
    """BLEU of a corpus from the sum, (10,), of its `sentence_counts`."""
    from sacrebleu.metrics import BLEU

    tokens, reference_tokens, *grams = counts.tolist()
    return BLEU.compute_bleu(grams[:4], grams[4:], tokens, reference_tokens, smooth_method="exp").score
