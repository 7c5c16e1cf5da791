"""Dimensions of translation networks: ShiftAddNAS's elastic space and searched networks, HAT's, Transformer-big's and
the Evolved Transformer's.

Every layer has its own feed-forward width, heads and block type; a decoder layer also says how many of the last encoder
layers it attends to (table 1 of the paper).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from repro.errors import InputError, check_choice, check_int, nearest

ATTENTION = "attention"
LIGHT_TYPES = ("conv", "add", "shiftadd")
BLOCK_TYPES = (ATTENTION, *LIGHT_TYPES, *(f"{ATTENTION}+{light}" for light in LIGHT_TYPES))
DECODER_TYPES = (ATTENTION, *(f"{ATTENTION}+{light}" for light in LIGHT_TYPES))
EVOLVED = "evolved"  # a cell of the Evolved Transformer; no choice of the space
TIME_KERNELS = (3, 7, 15, 31, 31, 31)  # taps in time of the light branch, by layer
CROSS_LAYERS = {-1: 1, 1: 2, 2: 3}  # HAT's coding of how many encoder layers a decoder layer attends to

SPACE: dict[str, Any] = {
    "embed": (1024, 768, 512),
    "ffn": (4096, 3072, 2048, 1024),
    "heads": (16, 8, 4),
    "encoder_layers": (6,),
    "decoder_layers": (6, 5, 4, 3, 2, 1),
    "cross": (-1, 1, 2),
    "encoder_types": BLOCK_TYPES,
    "decoder_types": DECODER_TYPES,
}
"""Choices of the supernet (table 1); the query width is 512 throughout."""


def check_cross(code: object) -> int:
    """Return HAT's code of encoder layers that are attended to, else raise InputError."""
    if not isinstance(code, int) or code not in CROSS_LAYERS:
        raise InputError(f"cross={code!r} is not allowed; it must be -1, 1 or 2 (the last 1, 2 or 3 layers).")
    return code


@dataclass(frozen=True)
class TranslationConfig:
    """Dimensions of one network; tuples have one entry per layer.

    Attributes:
        encoder_ffn, encoder_heads, encoder_types: feed-forward width, heads and block type of each encoder layer.
        decoder_ffn, self_heads, cross_heads, decoder_types: the same for the decoder. Block type "evolved" is that of
            all layers or of none, and attends to the last encoder layer.
        cross: -1, 1 or 2 per decoder layer: attends to the last 1, 2 or 3 encoder layers.
        encoder_embed, decoder_embed, qkv: embedding and query widths.
        searched: a network of ShiftAddNAS (its script prices attention to several encoder layers).
        priced_qkv: query width in the published pricing, if it differs from the network's.
    """

    name: str
    encoder_ffn: tuple[int, ...]
    encoder_heads: tuple[int, ...]
    decoder_ffn: tuple[int, ...]
    self_heads: tuple[int, ...]
    cross_heads: tuple[int, ...]
    cross: tuple[int, ...]
    encoder_types: tuple[str, ...] = ()
    decoder_types: tuple[str, ...] = ()
    encoder_embed: int = 512
    decoder_embed: int = 512
    qkv: int = 512
    searched: bool = False
    priced_qkv: int | None = None

    def __post_init__(self) -> None:
        lengths = {
            "encoder_heads": (self.encoder_heads, self.encoder_ffn),
            "encoder_types": (self.encoder_types or self.encoder_ffn, self.encoder_ffn),
            "self_heads": (self.self_heads, self.decoder_ffn),
            "cross_heads": (self.cross_heads, self.decoder_ffn),
            "cross": (self.cross, self.decoder_ffn),
            "decoder_types": (self.decoder_types or self.decoder_ffn, self.decoder_ffn),
        }
        for name, (given, layers) in lengths.items():
            if len(given) != len(layers):
                raise InputError(f"{name} has {len(given)} entries; it needs one for each of {len(layers)} layers.")
        for name in ("encoder_embed", "decoder_embed", "qkv"):
            check_int(name, getattr(self, name), minimum=1)
        for name in ("encoder_ffn", "encoder_heads", "decoder_ffn", "self_heads", "cross_heads"):
            if not getattr(self, name):
                raise InputError(f"{name}=() is not allowed; encoder and decoder need at least one layer.")
            for number in getattr(self, name):
                check_int(name, number, minimum=1)
        for block in self.encoder_types:
            check_choice("encoder block type", block, (*BLOCK_TYPES, EVOLVED))
        for block in self.decoder_types:
            check_choice("decoder block type", block, (*DECODER_TYPES, EVOLVED))
        for choice in self.cross:
            check_cross(choice)
            if CROSS_LAYERS[choice] > len(self.encoder_ffn):
                raise InputError(
                    f"cross={choice} is not allowed; it attends to {CROSS_LAYERS[choice]} encoder layers, "
                    f"and the network has {len(self.encoder_ffn)}."
                )
        types = {*(self.encoder_types or (ATTENTION,)), *(self.decoder_types or (ATTENTION,))}
        if EVOLVED in types and len(types) > 1:
            raise InputError(
                f"block type {EVOLVED} beside {', '.join(sorted(types - {EVOLVED}))} is not allowed; all layers of "
                "encoder and decoder have it, or none."
            )
        if EVOLVED in types and {*self.cross} != {-1}:
            raise InputError(f"cross={self.cross} is not allowed; evolved cells attend to the last encoder layer (-1).")


def _types(text: str) -> tuple[str, ...]:
    return tuple("+".join({"A": ATTENTION}.get(part, part) for part in word.split("+")) for word in text.split())


def _hat(name: str, encoder_ffn, encoder_heads, decoder_ffn, self_heads, cross_heads, cross) -> TranslationConfig:
    return TranslationConfig(name, encoder_ffn, encoder_heads, decoder_ffn, self_heads, cross_heads, cross)


def evolved_config(
    name: str, *, embed: int, layers: tuple[int, int], heads: int, qkv: int | None = None
) -> TranslationConfig:
    """The Evolved Transformer (So et al. 2019) in place of a Transformer.

    Args:
        embed: width of both sides; feed-forward layers have 4 times as much.
        layers: those of the Transformer's encoder and decoder. Half as many cells make the encoder, two thirds as many
            the decoder, at least one: for 6 and 6 layers the authors have 3 and 4.
        heads: of all attentions but the decoder's first; see `repro.models.evolved`.
        qkv: query width; None: `embed`.
    """
    encoder, decoder = (check_int("layers", number, minimum=1) for number in layers)
    encoder, decoder = max(1, encoder // 2), max(1, 2 * decoder // 3)
    return TranslationConfig(
        name,
        (4 * embed,) * encoder,
        (heads,) * encoder,
        (4 * embed,) * decoder,
        (heads,) * decoder,
        (heads,) * decoder,
        (-1,) * decoder,
        (EVOLVED,) * encoder,
        (EVOLVED,) * decoder,
        encoder_embed=embed,
        decoder_embed=embed,
        qkv=embed if qkv is None else qkv,
    )


def _searched(name, encoder_ffn, encoder_heads, encoder_types, decoder_ffn, self_heads, cross_heads, decoder_types):
    return TranslationConfig(
        name,
        encoder_ffn,
        encoder_heads,
        decoder_ffn,
        self_heads,
        cross_heads,
        (2,) * len(decoder_ffn),
        _types(encoder_types),
        _types(decoder_types),
        searched=True,
    )


# Transformer (Vaswani et al. 2017), Evolved Transformer (So et al. 2019), HAT (Wang et al. 2020, sub-transformer
# configurations as published with it), and the searched networks whose energies the ShiftAddNAS repository records,
# named by their latency constraint.
CONFIGS: dict[str, TranslationConfig] = {
    config.name: config
    for config in (
        TranslationConfig(
            "transformer-big",
            (4096,) * 6,
            (16,) * 6,
            (4096,) * 6,
            (16,) * 6,
            (16,) * 6,
            (-1,) * 6,
            encoder_embed=1024,
            decoder_embed=1024,
            qkv=1024,
            priced_qkv=512,
        ),
        evolved_config("evolved-base", embed=512, layers=(6, 6), heads=8),
        evolved_config("evolved-big", embed=1024, layers=(6, 6), heads=16),
        _hat(
            "hat-ende-28.2",
            (3072,) * 6,
            (4, 4, 4, 8, 8, 4),
            (2048, 2048, 3072, 3072),
            (4, 8, 8, 4),
            (4, 8, 8, 8),
            (-1, -1, 1, -1),
        ),
        _hat("hat-ende-27.6", (3072,) * 6, (4, 8, 8, 4, 8, 8), (3072,) * 2, (8, 8), (8, 8), (-1, 1)),
        _hat("hat-ende-25.8", (1024, 3072, 3072, 2048, 2048, 2048), (4, 8, 4, 4, 4, 8), (3072,), (8,), (8,), (-1,)),
        _hat(
            "hat-enfr-41.4",
            (3072,) * 6,
            (8,) * 6,
            (3072,) * 5,
            (8, 8, 8, 8, 4),
            (4, 8, 8, 8, 8),
            (-1, 2, 1, 2, -1),
        ),
        _hat("hat-enfr-41.1", (3072,) * 6, (8,) * 6, (3072,) * 4, (8,) * 4, (4, 8, 8, 8), (-1, 2, 1, -1)),
        _hat("hat-enfr-39.1", (3072,) * 6, (8,) * 6, (3072,), (8,), (8,), (-1,)),
        _searched(
            "shiftaddnas-350ms",
            (3072, 2048, 4096, 2048, 4096, 4096),
            (16, 4, 4, 16, 4, 16),
            "A+add A A+add A+add A A",
            (4096, 4096, 3072),
            (4, 16, 8),
            (4, 4, 4),
            "A+conv A A",
        ),
        _searched(
            "shiftaddnas-250ms",
            (2048, 2048, 4096, 4096, 1024, 4096),
            (8, 4, 16, 16, 8, 4),
            "A+conv A+conv A+add A+add A A",
            (4096, 3072, 3072),
            (4, 16, 8),
            (4, 16, 4),
            "A+conv A A",
        ),
        _searched(
            "shiftaddnas-200ms",
            (2048, 4096, 2048, 1024, 1024, 3072),
            (8, 4, 4, 4, 4, 8),
            "A A+shiftadd A+conv A+conv A+conv A",
            (4096,) * 3,
            (4, 8, 16),
            (4, 4, 4),
            "A+conv A A",
        ),
        _searched(
            "shiftaddnas-180ms",
            (4096, 4096, 4096, 2048, 1024, 1024),
            (8, 8, 4, 4, 8, 8),
            "A A+conv A+shiftadd A A A",
            (4096,) * 2,
            (4, 16),
            (16, 4),
            "A+conv A",
        ),
        _searched(
            "shiftaddnas-150ms",
            (2048, 1024, 3072, 1024, 1024, 4096),
            (4, 16, 8, 16, 8, 4),
            "A+conv A A+conv A+conv A A",
            (4096,) * 2,
            (4, 16),
            (4, 4),
            "A+conv A",
        ),
        _searched(
            "shiftaddnas-120ms",
            (1024, 3072, 1024, 1024, 2048, 4096),
            (8, 8, 4, 8, 8, 8),
            "A+add A+conv A A+conv A+shiftadd A+conv",
            (4096,),
            (8,),
            (4,),
            "A",
        ),
    )
}


def translation_config(value: str | TranslationConfig | dict) -> TranslationConfig:
    """A configuration from the name of a published network, itself, or its fields as a dictionary."""
    if isinstance(value, TranslationConfig):
        return value
    if isinstance(value, dict):
        fields = TranslationConfig.__dataclass_fields__
        for key in value:
            if key not in fields:
                raise InputError(
                    f"config has the unknown field {key!r}; its fields are: {', '.join(fields)}.{nearest(key, fields)}"
                )
        frozen: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
        try:
            return TranslationConfig(**{"name": "custom", **frozen})
        except TypeError as error:
            raise InputError(f"config is not complete: {error}.") from error
    return CONFIGS[check_choice("config", value, CONFIGS)]
