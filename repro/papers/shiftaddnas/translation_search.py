"""The search of translation networks as a run (Sec. 3.4, 4.1): elastic supernet, latency predictor, evolution.

Networks are judged by their validation loss with inherited weights, as HAT does; the released code subtracts an
estimate of FLOPs from it, so that more FLOPs are a reward, which the paper does not say. Limits are shares of the
latency and FLOPs of the largest network of attention alone. Latency is that of the accelerator model with the slips of
the paper's script corrected (most favour light branches), predicted from features of the path; FLOPs are counted.
Table 3 shows the found networks by the script's own accounting, as it prints them, beside both others.
"""

from __future__ import annotations

import dataclasses
import functools
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from repro.cost import LatencyPredictor, TranslationCost, path_features, translation_cost
from repro.errors import InputError
from repro.models.translation_configs import ATTENTION, TranslationConfig
from repro.papers.data import device
from repro.papers.kinds import spec_of
from repro.papers.text_data import TextRecipe, TextSplits, load_text
from repro.runs import Outcome, RunContext, RunSpec
from repro.search.elastic_transformer import ElasticTransformer, TranslationSpace
from repro.search.evolution import Evolution, Genome, evolve
from repro.train import bleu, load_checkpoint, save_checkpoint
from repro.train.beam import translate
from repro.train.text import TokenPairs
from repro.train.translation import TranslationRecipe, fit_translation, translation_loss

WEIGHTS = "supernet"
"""File of the trained supernet's weights in the folder of its run."""
ACCOUNTING = "corrected"
"""Of latency and energy in limits, predictor and what a run records; vision searches have it too."""
SHOWN = 4
"""Random networks whose validation BLEU a run keeps beside those that it found."""


@dataclasses.dataclass(frozen=True)
class SearchRun:
    """One search.

    Attributes:
        limits: shares of the reference's latency and FLOPs (both must hold), one evolution each.
        window: a network has at least limit - window of the reference's FLOPs, so that each limit gives a size of its
            own: supernets that are trained for short prefer small networks. 1: no least size, as in the paper.
        population, rounds, parents, mutation: of each evolution; the paper's code has 125, 30, 25 of 125, 0.3.
        known_networks: random networks that the latency predictor learns from; a quarter as many others test it (code:
            2000 in all).
        scored_sentences: the first so many validation sentences judge a candidate; None: all.
        share_embeddings: of all networks, one matrix embeds both languages and scores the output (code).
    """

    data: TextRecipe
    space: TranslationSpace
    train: TranslationRecipe
    limits: tuple[float, ...]
    population: int = 125
    rounds: int = 30
    parents: float = 0.2
    mutation: float = 0.3
    known_networks: int = 1600
    scored_sentences: int | None = None
    dropout: float = 0.1
    window: float = 1.0
    share_embeddings: bool = False


def spec(run: SearchRun, seed: int) -> RunSpec:
    """One search."""
    return spec_of("translation_search", run, seed, model="translation", parallel=True)


def reference(space: TranslationSpace) -> TranslationConfig:
    """The largest network of a space with attention alone, which sees the last encoder layer: a Transformer."""
    config = space.config(space.largest)
    encoder, decoder = len(config.encoder_ffn), len(config.decoder_ffn)
    return dataclasses.replace(
        config,
        name="transformer",
        cross=(-1,) * decoder,
        encoder_types=(ATTENTION,) * encoder,
        decoder_types=(ATTENTION,) * decoder,
        searched=False,
    )


def search(run: SearchRun, seed: int, context: RunContext) -> dict[str, Any]:
    """Run function: fit the predictor, train the supernet, evolve under every limit. Resumes the last two.

    Returns: {"outcome", "detail", "found": {limit: network}, "subnets": [network], "predictor_error_pct" (held-out
        networks), "scored" (networks judged, those before an interruption among them), "seconds" by
        activity}. A network is {"genome", "validation_loss",
        "validation_bleu" (greedy, inherited weights), "latency_ms", "predicted_ms", "flops", "energy_mj"}.
    """
    started = time.perf_counter()
    predictor, error = latency_predictor(run.space, run.known_networks, seed=seed)
    seconds = {"predictor": time.perf_counter() - started}
    limited = _evolutions(run, predictor, seed)
    for evolution in limited.values():  # a limit that no network meets is told before anything is trained
        evolution(lambda genomes: [0.0] * len(genomes), population=2, rounds=0)
    text = load_text(run.data)
    torch.manual_seed(seed)
    supernet = _supernet(run, text)
    history = fit_translation(
        supernet,
        text.train,
        None,
        run.train,
        seed=seed,
        choose=supernet.draw,
        on_epoch=lambda row: context.log(**row),
        checkpoint=context.checkpoint / "training",
    )
    seconds["supernet"] = sum(row["seconds"] for row in history.rows)
    if history.diverged:
        return {"outcome": "diverged", "detail": history.detail, "found": {}, "subnets": [], "seconds": seconds}
    save_checkpoint(context.folder / WEIGHTS, supernet)

    started = time.perf_counter()
    judge = _Judge(supernet, _first(text.validation, run.scored_sentences))
    sizes = {"population": run.population, "rounds": run.rounds}
    evolved = {
        share: evolution(judge, **sizes, checkpoint=context.checkpoint / f"evolution{number}")
        for number, (share, evolution) in enumerate(limited.items())
    }
    best = {share: found.best.genome for share, found in evolved.items()}
    judged = {each.genome for found in evolved.values() for part in found.rounds for each in part.population}
    draw = random.Random(seed)
    shown = dict.fromkeys([*best.values(), *(run.space.sample(draw) for _ in range(SHOWN))])
    described = {genome: _described(run, text, supernet, predictor, genome) for genome in shown}
    seconds["evolution"] = time.perf_counter() - started
    return {
        "outcome": "done",
        "detail": "",
        "found": {f"{share:g}": described[genome] for share, genome in best.items()},
        "subnets": list(described.values()),
        "predictor_error_pct": error,
        "scored": len(judged),
        "seconds": seconds,
    }


def _evolutions(run: SearchRun, predictor: LatencyPredictor, seed: int) -> dict[float, Callable[..., Evolution]]:
    """For each limit what evolves under it; it takes a score and the sizes of `evolve`."""
    whole = translation_cost(reference(run.space), accounting=ACCOUNTING)

    def latency(genomes: Sequence[Genome]) -> list[float]:
        return predictor.predict([_features(run.space, genome) for genome in genomes]).tolist()

    def flops(genomes: Sequence[Genome]) -> list[float]:
        return [cost_of(run.space, genome).flops for genome in genomes]

    found = {}
    for share in run.limits:
        cost = {"latency_ms": latency, "flops": flops}
        limit = {"latency_ms": share * whole.latency_ms, "flops": share * whole.flops}
        if share > run.window:
            least = (share - run.window) * whole.flops
            cost["least FLOPs / FLOPs"] = lambda genomes, least=least: [least / each for each in flops(genomes)]
            limit["least FLOPs / FLOPs"] = 1.0
        options = {"cost": cost, "limit": limit, "parents": run.parents, "mutation": run.mutation, "seed": seed}
        found[share] = functools.partial(evolve, run.space.genes, **options)
    return found


def _supernet(run: SearchRun, text: TextSplits) -> ElasticTransformer:
    words = len(text.vocabulary)
    supernet = ElasticTransformer(
        run.space,
        source_vocabulary=words,
        target_vocabulary=words,
        dropout=run.dropout,
        share_embeddings=run.share_embeddings,
    )
    return supernet.to(device())


def _first(pairs: TokenPairs, rows: int | None) -> TokenPairs:
    return pairs if rows is None else TokenPairs(pairs.source[:rows], pairs.target[:rows], pairs.vocabularies)


class _Judge:
    """Minus the validation loss of networks with inherited weights; a network is judged once."""

    def __init__(self, supernet: ElasticTransformer, pairs: TokenPairs):
        self.supernet, self.pairs, self.known = supernet, pairs, {}

    def __call__(self, genomes: Sequence[Genome]) -> list[float]:
        for genome in genomes:
            if genome not in self.known:
                self.supernet.activate(genome)
                self.known[genome] = -translation_loss(self.supernet, self.pairs)
        return [self.known[genome] for genome in genomes]


def cost_of(space: TranslationSpace, genome: Sequence, bits: int = 32) -> TranslationCost:
    """Cost of a network of a space, as searches count it."""
    return translation_cost(space.config(genome), accounting=ACCOUNTING, bits=bits)


def _features(space: TranslationSpace, genome: Sequence):
    return path_features(space.config(genome), layers=max(*space.encoder_layers, *space.decoder_layers))


def latency_predictor(space: TranslationSpace, networks: int, *, seed: int) -> tuple[LatencyPredictor, float]:
    """A predictor fitted to so many random networks of a space, and its error (%) on a quarter as many others."""
    draw, wanted = random.Random(seed), networks + max(1, networks // 4)
    drawn = dict.fromkeys(space.sample(draw) for _ in range(4 * wanted))
    if len(drawn) <= networks:
        raise InputError(f"known_networks={networks} is not allowed; {len(drawn)} networks of the space were drawn.")
    drawn = list(drawn)[:wanted]
    features = [_features(space, genome) for genome in drawn]
    latencies = [cost_of(space, genome).latency_ms for genome in drawn]
    predictor = LatencyPredictor(seed=seed).fit(features[:networks], latencies[:networks])
    return predictor, predictor.error_pct(features[networks:], latencies[networks:])


def _described(run: SearchRun, text: TextSplits, supernet, predictor: LatencyPredictor, genome: Genome) -> dict:
    cost = cost_of(run.space, genome)
    network = supernet.subnet(genome)
    source, references = text.validation_text
    found = translate(network, source, text.vocabulary, text.vocabulary, beam=1)
    return {
        "genome": list(genome),
        "validation_loss": translation_loss(network, text.validation),
        "validation_bleu": bleu(found, references),
        "latency_ms": cost.latency_ms,
        "predicted_ms": float(predictor.predict([_features(run.space, genome)])[0]),
        "flops": cost.flops,
        "energy_mj": cost.energy_mj,
    }


# ------------------------------------------------------------------ what came of it


def config_found(outcome: Outcome, share: float) -> TranslationConfig | None:
    """The network that a search found under a limit; None if it failed or diverged."""
    found = (outcome.value or {}).get("found", {}).get(f"{share:g}")
    return None if found is None else outcome.spec.recipe.space.config(found["genome"])


def supernet_of(outcome: Outcome) -> tuple[ElasticTransformer, TextSplits]:
    """The trained supernet of a finished search and its sentences.

    Raises: InputError if its weights are not in the run's folder; DamagedError if they cannot be read.
    """
    run = outcome.spec.recipe
    text = load_text(run.data)
    supernet = _supernet(run, text)
    try:
        load_checkpoint(outcome.folder / WEIGHTS, supernet)
    except FileNotFoundError:
        raise InputError(
            "the weights of this search's supernet are not in its run folder; repeat the search with --fresh."
        ) from None
    return supernet.eval(), text
