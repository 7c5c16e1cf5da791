"""What is tried for the translation networks of ShiftAddNAS's table 3: the peak rate of each kind, by itself."""

from __future__ import annotations

import dataclasses
import itertools

from repro.models.translation_configs import ATTENTION, LIGHT_TYPES, TranslationConfig
from repro.papers.shiftaddnas import translating
from repro.papers.shiftaddnas.translation_recipes import HAT, HYBRID, RATES, RECIPES, ROWS, kind_of
from repro.papers.shiftaddnas.translation_search import reference
from repro.papers.tuning import Tuning
from repro.search.elastic_transformer import TranslationSpace

PLAIN_ROWS = (1, 2, 9)
"""Rows whose network no search finds: Transformer, Evolved Transformer, Lite Transformer with 8 bits."""
HYBRID_ROW = 4
"""Whose recipe the network with all light branches takes."""


def tuning(dataset: str) -> Tuning:
    """Those rows and one network with all light branches, English to German, by BLEU of the validation sentences.

    No search is done, and no network is compared with another. The highest rate is tried where the one below it was the
    best of three, so not by the Transformer.
    """
    recipe = RECIPES["study", dataset].pair("en-de")
    configs = {row: recipe.fixed(row) for row in PLAIN_ROWS} | {HYBRID_ROW: mixed(recipe.search.space)}
    jobs = {
        f"{kind_of(row)}: {ROWS[row][0] if row in PLAIN_ROWS else config.name}": recipe.job(row, config)
        for row, config in configs.items()
    }
    held_out = {name: dataclasses.replace(job, tested_on="validation") for name, job in jobs.items()}
    skips = frozenset((name, "adam 0.02") for name in jobs if name.startswith(f"{HAT}: "))
    about = {"spec": translating.spec, "measure": "bleu", "quality": "validation_bleu"}
    return Tuning(held_out, RATES, skips=skips, seeds=(0,), **about)


def mixed(space: TranslationSpace) -> TranslationConfig:
    """The Transformer of a space with a light branch beside attention in every layer, each kind in turn."""
    like = reference(space)
    layers = len(like.encoder_ffn), len(like.decoder_ffn)
    blocks = itertools.cycle(f"{ATTENTION}+{light}" for light in LIGHT_TYPES)
    encoder, decoder = (tuple(itertools.islice(blocks, number)) for number in layers)
    return dataclasses.replace(like, name=f"{HYBRID} in turn", encoder_types=encoder, decoder_types=decoder)
