"""Networks of a trained supernet that translate sentences: what the translation explorer shows, without a widget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from repro.cost import translation_cost
from repro.errors import InputError, check_choice

if TYPE_CHECKING:
    from repro.datasets import Vocabulary
    from repro.search.elastic_transformer import ElasticTransformer


class Translator:
    """Some networks of a supernet, with the weights that they inherit.

    Args:
        supernet: trained.
        vocabulary: of both languages.
        networks: name -> {"genome", "validation_bleu", "validation_loss"}, the scores those of the record.
        languages: source and target, as they are shown.
        examples: sentences of the source language, to begin with.
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
    ):
        if not networks:
            raise InputError("networks is empty; the search found none that could translate.")
        self.vocabulary, self.networks, self.languages, self.examples = vocabulary, networks, languages, examples
        self._supernet = supernet

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
        """Recorded scores and modelled costs of a network at 30 tokens.

        Returns: validation_bleu, validation_loss (nats per token), params, flops, latency_ms, energy_mj.
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
