"""Networks of a trained supernet that translate sentences: what the translation explorer shows, without a widget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from repro.cost import translation_cost
from repro.errors import InputError, check_choice

if TYPE_CHECKING:
    from repro.datasets import Vocabulary
    from repro.search.elastic_transformer import ElasticTransformer
    from repro.train.text import TokenPairs

CHOSEN = "chosen by hand"
"""Name of the network that `Translator.choose` adds."""


class Translator:
    """Networks of a supernet, with the weights that they inherit: those of a record, and any that is chosen by hand.

    Args:
        supernet: trained.
        vocabulary: of both languages.
        networks: name -> {"genome", "validation_bleu", "validation_loss"}, the scores those of the record.
        languages: source and target, as they are shown.
        examples: sentences of the source language, to begin with.
        validation: sentences and their translations, and the same as ids: what `measure` scores with.
    Raises: InputError if there is no network.
    """

    def __init__(
        self,
        supernet: ElasticTransformer,
        vocabulary: Vocabulary,
        networks: Mapping[str, Mapping[str, Any]],
        *,
        languages: tuple[str, str],
        examples: tuple[str, ...] = (),
        validation: tuple[Sequence[str], Sequence[str], TokenPairs] | None = None,
    ):
        if not networks:
            raise InputError("networks is empty; the search found none that could translate.")
        self.vocabulary, self.languages, self.examples = vocabulary, languages, examples
        self.networks = dict(networks)
        self._supernet, self._validation = supernet, validation
        self._measured: dict[tuple, dict[str, float]] = {}

    @property
    def genes(self) -> dict[str, tuple]:
        """Gene -> its options, of every network of the supernet."""
        return dict(zip(self._supernet.space.genes.names, self._supernet.space.genes.blocks))

    def genes_of(self, name: str) -> dict[str, Any]:
        """Gene -> what a network has. Genes of layers that it has not stand at their first option."""
        return self._supernet.space.genes.named(tuple(self._genome(name)))

    def choose(self, genes: Mapping[str, Any]) -> str:
        """Add the network of these genes as `CHOSEN` and return that name; unscored until `measure`.

        Raises: InputError for a gene that is missing or not known, or an option that the space has not.
        """
        known = self.genes
        for name in [*genes, *known]:
            if name not in genes:
                raise InputError(f"gene {name!r} is missing; a network has: {', '.join(known)}.")
            check_choice("gene", name, known)
        space = self._supernet.space
        genome = space.normal(space.genes.check([genes[name] for name in known]))
        of_record = {tuple(each["genome"]): each for key, each in self.networks.items() if key != CHOSEN}
        scores = self._measured.get(genome) or of_record.get(genome) or {}
        unknown = dict.fromkeys(("validation_bleu", "validation_loss"), math.nan)
        self.networks[CHOSEN] = {**unknown, **scores, "genome": genome}
        return CHOSEN

    def measure(self, name: str) -> dict[str, float]:
        """Score a network on the validation sentences now, by greedy BLEU and loss, as the record's networks are.

        Returns: validation_bleu, validation_loss (nats per token). Seconds for hundreds of sentences.
        Raises: InputError for an unknown network or if there are no validation sentences.
        """
        from repro.train import bleu
        from repro.train.beam import translate
        from repro.train.translation import translation_loss

        genome = tuple(self._genome(name))
        if self._validation is None:
            raise InputError("validation is missing; this translator has no sentences to measure BLEU on.")
        source, references, pairs = self._validation
        network = self._supernet.subnet(genome)
        found = translate(network, source, self.vocabulary, self.vocabulary, beam=1)
        scores = {"validation_bleu": bleu(found, references), "validation_loss": translation_loss(network, pairs)}
        self._measured[genome] = scores
        self.networks[name] = {**self.networks[name], **scores}
        return scores

    def _genome(self, name: str):
        return self.networks[check_choice("network", name, self.networks)]["genome"]

    def translate(self, name: str, sentence: str, *, beam: int = 4) -> str:
        """A sentence translated by a network. Raises: InputError for an unknown network or an empty sentence."""
        from repro.train.beam import translate

        genome = self._genome(name)
        if not sentence.strip():
            raise InputError(f"sentence is empty; write one in the source language ({self.languages[0]}).")
        network = self._supernet.subnet(genome)
        return translate(network, [sentence.strip()], self.vocabulary, self.vocabulary, beam=beam)[0]

    def facts(self, name: str, *, accounting: str = "published", bits: int = 32) -> dict[str, float]:
        """Scores and modelled costs of a network at 30 tokens.

        Returns: validation_bleu, validation_loss (nats per token; both NaN before they were measured), params, flops,
            latency_ms, energy_mj.
        Raises: InputError for an unknown network, accounting or word width.
        """
        genome = self._genome(name)
        cost = translation_cost(self._supernet.space.config(genome), accounting=accounting, bits=bits)
        scores = {key: self.networks[name][key] for key in ("validation_bleu", "validation_loss")}
        costs = {"params": cost.params, "flops": cost.flops, "latency_ms": cost.latency_ms, "energy_mj": cost.energy_mj}
        return scores | costs

    def layers(self, name: str) -> list[tuple[str, str, int, int]]:
        """(side, block type, feed-forward width, heads) of each layer of a network."""
        config = self._supernet.space.config(self._genome(name))
        encoder = zip(config.encoder_types, config.encoder_ffn, config.encoder_heads)
        decoder = zip(config.decoder_types, config.decoder_ffn, config.self_heads)
        return [("encoder", *layer) for layer in encoder] + [("decoder", *layer) for layer in decoder]
