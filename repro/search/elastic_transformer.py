"""One encoder-decoder transformer that holds many: a genome chooses widths, depths, heads and each layer's block type.

A smaller network computes with the first rows and columns of the largest one's weights (Wang et al. 2020, HAT). Width
of the queries is the same for all, so fewer heads are wider heads. Each block type of a layer has weights of its own;
feed-forward, norms and attention to the encoder are shared by all types of the layer (ShiftAddNAS, section 3.1). With
one vocabulary, encoder, decoder and output may share one matrix, each using as many of its columns as it is wide.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from repro.errors import InputError, check_choice, check_int, check_number
from repro.models.build import Builder, init_weights
from repro.models.registry import create
from repro.models.translation import TokenMixer, TranslationTransformer, kernel_in_time, xavier
from repro.models.translation_configs import (
    ATTENTION,
    BLOCK_TYPES,
    CROSS_LAYERS,
    DECODER_TYPES,
    SPACE,
    TranslationConfig,
    check_cross,
)
from repro.search.evolution import GeneSpace, Genome


@dataclass(frozen=True)
class TranslationSpace:
    """Options of an encoder-decoder transformer; the defaults are the paper's (table 1).

    Attributes:
        embed: widths of encoder and decoder, chosen for each of the two.
        ffn, heads: feed-forward widths and heads, chosen for each layer; a decoder layer chooses heads twice.
        encoder_layers, decoder_layers: depths.
        cross: how many of the last encoder layers a decoder layer attends to, coded -1, 1, 2 for 1, 2, 3 layers.
        encoder_types, decoder_types: block types, chosen for each layer.
        qkv: width of queries, keys and values of all networks.
    Raises: InputError for what is no list, an option that is no whole number or occurs twice, heads that do not divide
        a width, or attention to more encoder layers than the shallowest network has.
    """

    embed: tuple[int, ...] = SPACE["embed"]
    ffn: tuple[int, ...] = SPACE["ffn"]
    heads: tuple[int, ...] = SPACE["heads"]
    encoder_layers: tuple[int, ...] = SPACE["encoder_layers"]
    decoder_layers: tuple[int, ...] = SPACE["decoder_layers"]
    cross: tuple[int, ...] = SPACE["cross"]
    encoder_types: tuple[str, ...] = SPACE["encoder_types"]
    decoder_types: tuple[str, ...] = SPACE["decoder_types"]
    qkv: int = 512

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _tuple(getattr(self, field.name)))
            if field.name != "qkv" and not isinstance(getattr(self, field.name), tuple):
                given = getattr(self, field.name)
                raise InputError(f"{field.name}={given!r} is not allowed; it must be a list of options.")
        for name in ("embed", "ffn", "heads", "encoder_layers", "decoder_layers"):
            options = tuple(check_int(name, option, minimum=1) for option in getattr(self, name))
            object.__setattr__(self, name, options)
        check_int("qkv", self.qkv, minimum=1)
        for name, known in (("encoder_types", BLOCK_TYPES), ("decoder_types", DECODER_TYPES)):
            for option in getattr(self, name):
                check_choice(name, option, known)
        for code in self.cross:
            check_cross(code)
        _ = self.genes  # refuses options that are missing or occur twice
        deepest = max(CROSS_LAYERS[code] for code in self.cross)
        if deepest > min(self.encoder_layers):
            raise InputError(
                f"cross={self.cross} attends to {deepest} encoder layers, but encoder_layers={self.encoder_layers} "
                f"allows networks with {min(self.encoder_layers)}."
            )
        for width, name in self._divided():
            for heads in self.heads:
                if width % heads:
                    raise InputError(f"heads={heads} is not allowed; it must divide {name} ({width}).")

    def _divided(self) -> set[tuple[int, str]]:
        """What all heads must divide, with its name."""
        found = {(self.qkv, "the query width")}
        for block in {*self.encoder_types, *self.decoder_types}:
            parts = block.count("+") + 1
            if parts > 1:
                for width in self.embed:
                    if width % parts:
                        raise InputError(f"embed={width} is not allowed; block type {block} halves the width.")
            if block != ATTENTION:
                found |= {(width // parts, f"the light branch's width in block type {block}") for width in self.embed}
        return found

    @functools.cached_property
    def genes(self) -> GeneSpace:
        """The genes for `evolve`; those of layers that are not there stand at their first option."""
        genes = {
            "encoder embed": self.embed,
            "decoder embed": self.embed,
            "encoder layers": self.encoder_layers,
            "decoder layers": self.decoder_layers,
        }
        for layer in range(max(self.encoder_layers, default=0)):
            for name, options in self._encoder_genes:
                genes[f"encoder {layer} {name}"] = options
        for layer in range(max(self.decoder_layers, default=0)):
            for name, options in self._decoder_genes:
                genes[f"decoder {layer} {name}"] = options
        return GeneSpace(genes, normal=self.normal)

    @property
    def _encoder_genes(self) -> list[tuple[str, tuple]]:
        return [("type", self.encoder_types), ("ffn", self.ffn), ("heads", self.heads)]

    @property
    def _decoder_genes(self) -> list[tuple[str, tuple]]:
        own = [("type", self.decoder_types), ("ffn", self.ffn), ("self heads", self.heads)]
        return [*own, ("cross heads", self.heads), ("cross", self.cross)]

    def _layers(self, genome: Sequence) -> tuple[list[Sequence], list[Sequence]]:
        """Genes of each layer of the deepest encoder and decoder."""
        own, other = len(self._encoder_genes), len(self._decoder_genes)
        middle = 4 + own * max(self.encoder_layers)
        encoder = [genome[start : start + own] for start in range(4, middle, own)]
        return encoder, [genome[start : start + other] for start in range(middle, len(genome), other)]

    def normal(self, genome: Genome) -> Genome:
        """The genome that stands for all of the same network."""
        encoder, decoder = self._layers(genome)
        found = list(genome[:4])
        for depth, layers, genes in (
            (genome[2], encoder, self._encoder_genes),
            (genome[3], decoder, self._decoder_genes),
        ):
            absent = [options[0] for _, options in genes]
            for place, layer in enumerate(layers):
                found += layer if place < depth else absent
        return tuple(found)

    def config(self, genome: Sequence) -> TranslationConfig:
        """The network of a genome. Raises: InputError for a genome of another space."""
        genome = self.genes.check(genome)
        encoder, decoder = self._layers(genome)
        types, ffn, heads = zip(*encoder[: genome[2]])
        decoder_types, decoder_ffn, self_heads, cross_heads, cross = zip(*decoder[: genome[3]])
        return TranslationConfig(
            "subnet",
            encoder_ffn=ffn,
            encoder_heads=heads,
            encoder_types=types,
            decoder_ffn=decoder_ffn,
            self_heads=self_heads,
            cross_heads=cross_heads,
            cross=cross,
            decoder_types=decoder_types,
            encoder_embed=genome[0],
            decoder_embed=genome[1],
            qkv=self.qkv,
            searched=True,
        )

    def genome(self, config: TranslationConfig) -> Genome:
        """The genome of a network. Raises: InputError if it is none of this space."""
        if config.qkv != self.qkv:
            raise InputError(f"qkv={config.qkv} is not allowed; all networks of this space have {self.qkv}.")
        depths = len(config.encoder_ffn), len(config.decoder_ffn)
        encoder_types = config.encoder_types or (ATTENTION,) * depths[0]
        decoder_types = config.decoder_types or (ATTENTION,) * depths[1]
        encoder = zip(encoder_types, config.encoder_ffn, config.encoder_heads)
        decoder = zip(decoder_types, config.decoder_ffn, config.self_heads, config.cross_heads, config.cross)
        found: list[Any] = [config.encoder_embed, config.decoder_embed, *depths]
        for layers, depth, options, genes in (
            (encoder, depths[0], self.encoder_layers, self._encoder_genes),
            (decoder, depths[1], self.decoder_layers, self._decoder_genes),
        ):
            for layer in layers:
                found += layer
            found += [one[0] for _, one in genes] * (max(options) - depth)
        return self.genes.check(found)

    @property
    def largest(self) -> Genome:
        """The network with the most of everything, of each layer's first block type."""
        largest = (max(options) if isinstance(options[0], int) else options[0] for options in self.genes.blocks)
        return tuple(largest)

    def sample(self, draw: random.Random | torch.Generator) -> Genome:
        """A genome, every option of every gene alike likely."""
        if isinstance(draw, torch.Generator):
            draw = random.Random(int(torch.randint(1 << 62, (), generator=draw)))
        return self.normal(tuple(draw.choice(options) for options in self.genes.blocks))


class ElasticTransformer(nn.Module):
    """The weights of all networks of a space, of which the active one computes with a slice.

    Args:
        space: which networks.
        source_vocabulary, target_vocabulary: sizes.
        dropout: of the widest network, below 1; a narrower one drops in proportion to its width, as HAT does.
        op_options: options of the layers by operator, as for `repro.models.create`.
        share_embeddings: one matrix embeds both languages and scores the output; see `TranslationTransformer`.
    State dict: `network.*`, the largest network of the first block types, and `mixers.*` of all other types.
    """

    def __init__(
        self,
        space: TranslationSpace,
        *,
        source_vocabulary: int,
        target_vocabulary: int,
        dropout: float = 0.0,
        op_options: dict | None = None,
        share_embeddings: bool = False,
    ):
        super().__init__()
        self.space, self.dropout = space, check_number("dropout", dropout, minimum=0, below=1)
        self._words: dict[str, Any] = {"source_vocabulary": source_vocabulary, "target_vocabulary": target_vocabulary}
        self._words["share_embeddings"] = share_embeddings
        self._op_options = op_options
        largest = space.config(space.largest)
        self.network = self._built(largest)
        self.mixers = nn.ModuleDict()
        for side, layers, types, embed in (
            ("encoder", len(largest.encoder_ffn), space.encoder_types, largest.encoder_embed),
            ("decoder", len(largest.decoder_ffn), space.decoder_types, largest.decoder_embed),
        ):
            for layer in range(layers):
                for block in types[1:]:
                    build = Builder(op_options=op_options).at(side, layer, "mixer")
                    self.mixers[_key(side, layer, block)] = TokenMixer(
                        build, block, embed, max(space.heads), space.qkv, kernel_in_time(layer), side == "decoder"
                    )
        init_weights(self)
        xavier(self)
        self.activate(space.largest)

    classifier = property(lambda self: self.network.classifier)  # `xavier` asks for it

    @property
    def vocabularies(self) -> tuple[str | None, str | None]:
        """Fingerprints of the vocabularies that it was trained with, as `TranslationTransformer.vocabularies`."""
        return self.network.vocabularies

    @vocabularies.setter
    def vocabularies(self, fingerprints: tuple[str | None, str | None]) -> None:
        self.network.vocabularies = fingerprints

    def _built(self, config: TranslationConfig) -> TranslationTransformer:
        return TranslationTransformer(Builder(op_options=self._op_options), config, **self._words)

    def activate(self, path: Sequence | TranslationConfig) -> Genome:
        """Compute the network of a genome (or configuration) from now on, and return its genome.

        Raises: InputError for one of another space.
        """
        genome = self.space.genome(path) if isinstance(path, TranslationConfig) else self.space.genes.check(path)
        self.active = self.space.normal(genome)
        self._structure: Any = None
        return self.active

    def draw(self, generator: torch.Generator) -> Genome:
        """Activate a network drawn at random; what `fit_translation` takes as `choose`."""
        return self.activate(self.space.sample(generator))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Scores (N, T, vocabulary) of the active network; see `TranslationTransformer.forward`."""
        if self._structure is None:
            config = self.space.config(self.active)
            with torch.device("meta"):
                self._structure = [self._dropping(self._built(config), config)]  # in a list it is no submodule
        (structure,) = self._structure
        return functional_call(structure.train(self.training), self._slices(structure), (source, target))

    @torch.no_grad()
    def subnet(self, path: Sequence | TranslationConfig) -> TranslationTransformer:
        """The network of a genome (or configuration) by itself, its weights copied; it computes what this one does."""
        before = self.active
        config = self.space.config(self.activate(path))
        like = self.network.source_embedding.weight
        with torch.random.fork_rng(devices=[]):
            model = create(
                "translation", config=config, op_options=self._op_options, dropout=self.dropout, **self._words
            )
        model = self._dropping(model, config).to(like)
        model.load_state_dict(self._slices(model))
        self.activate(before)
        return model.train(self.training)

    def _dropping(self, network: TranslationTransformer, config: TranslationConfig) -> TranslationTransformer:
        for side, embed in ((network.encoder, config.encoder_embed), (network.decoder, config.decoder_embed)):
            for layer in side:
                layer.dropout.p = self.dropout * embed / max(self.space.embed)
        return network

    def _slices(self, structure: TranslationTransformer) -> dict[str, Tensor]:
        """For every tensor of the active network its part of ours."""
        ours = self.state_dict(keep_vars=True)
        slices = {}
        for name, tensor in structure.state_dict().items():
            whole = ours[self._place(name)]
            if ".light.linear1." in name:  # two halves, values and gates, each with its own first rows
                parts = zip(whole.chunk(2), tensor.chunk(2))
                slices[name] = torch.cat([_first(part, smaller.shape) for part, smaller in parts])
            else:
                slices[name] = _first(whole, tensor.shape).contiguous()  # else products may be summed in another order
        return slices

    def _place(self, name: str) -> str:
        """Where the weights of the active network's tensor lie: in the largest network or among the other mixers."""
        side, *parts = name.split(".")
        if side not in ("encoder", "decoder") or parts[1] != "mixer":
            return f"network.{name}"
        layer, _, *rest = parts
        encoder, decoder = self.space._layers(self.active)
        block = (encoder if side == "encoder" else decoder)[int(layer)][0]
        key = _key(side, layer, block)
        return ".".join(["mixers", key, *rest]) if key in self.mixers else f"network.{name}"


def subnet(supernet: ElasticTransformer, path: Sequence | TranslationConfig) -> TranslationTransformer:
    """`supernet.subnet(path)`: the network of a genome or configuration by itself, equal to the slice bit for bit."""
    return supernet.subnet(path)


def _key(side: str, layer: object, block: str) -> str:
    return f"{side}-{layer}-{block}"


def _first(tensor: Tensor, shape: torch.Size) -> Tensor:
    return tensor[tuple(slice(want) for want in shape)]


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
