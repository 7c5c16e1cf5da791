"""Cost of the encoder-decoder translation networks of ShiftAddNAS table 3 on the row-stationary accelerator.

The translation script prices a whole sentence at once: 30 source and 30 target tokens, every linear layer and
attention product fully connected with the tokens (times heads) as batch, arrays of 168 PEs, 32 bit. Embedding, output
projection, softmax and LayerNorm are free. A "attention+x" block splits the channels in half, one half to attention
(which keeps its query width), the other to the light branch: linear, time mixing, linear.

What the published accounting does besides, and "corrected" undoes:

- The two linears of every light branch, also of the multiplicative one, move 10-bit words and take half a cycle a tap;
  their taps cost a multiplication except in the shift-add branch.
- The time mixing of every light branch pays neither DRAM nor buffer nor input and weight transport. It is priced as a
  dense convolution over the heads with a square kernel of side floor(sqrt(k)) for k taps in time.
- The gated linear unit's doubled first linear is priced at single width.
- Baselines (HAT, Transformer) always attend to one encoder layer, also where the network attends to two or three, and
  Transformer-big is priced at query width 512 although it has 1024.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pandas as pd

from repro.cost.eyeriss import Hardware, LayerShape, Pricing, price, pricing
from repro.errors import InputError, check_choice

ATTENTION = "attention"
LIGHT_TYPES = ("conv", "add", "shiftadd")
BLOCK_TYPES = (ATTENTION, *LIGHT_TYPES, *(f"{ATTENTION}+{light}" for light in LIGHT_TYPES))
TIME_KERNELS = (3, 7, 15, 31, 31, 31)
CROSS_LAYERS = {-1: 1, 1: 2, 2: 3}  # HAT's coding of how many encoder layers a decoder layer attends to
TOKENS = 30
PE_LIMIT = 168


@dataclass(frozen=True)
class TranslationConfig:
    """Dimensions of one network; tuples have one entry per layer.

    Attributes:
        encoder_ffn, encoder_heads, encoder_types: feed-forward width, heads and block type of each encoder layer.
        decoder_ffn, self_heads, cross_heads, decoder_types: the same for the decoder.
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
        for block in (*self.encoder_types, *self.decoder_types):
            check_choice("block type", block, BLOCK_TYPES)
        for choice in self.cross:
            if choice not in CROSS_LAYERS:
                raise InputError(f"cross={choice!r} is not allowed; it must be -1, 1 or 2 (the last 1, 2 or 3 layers).")


@dataclass(frozen=True)
class _Layer:
    name: str
    shape: LayerShape
    role: str  # "linear", "matmul", "light linear" or "light mixing"
    light: str = ""  # operator of the light branch
    weights: int = 0
    macs: int = 0


def _linear(name: str, tokens: int, inputs: int, outputs: int, role: str = "linear", light: str = "") -> _Layer:
    shape = LayerShape(tokens, inputs, 1, 1, outputs, 1, 1, 1, 1, fc=True)
    return _Layer(name, shape, role, light, inputs * outputs, shape.taps)


def _product(name: str, rows: int, inner: int, columns: int) -> _Layer:
    shape = LayerShape(rows, inner, 1, 1, columns, 1, 1, 1, 1, fc=True)
    return _Layer(name, shape, "matmul", macs=shape.taps)


def _attention(name: str, embed: int, memory: int, heads: int, qkv: int, tokens: int, memory_tokens: int):
    if qkv % heads:
        raise InputError(f"heads={heads} of layer {name} is not allowed; it must divide the query width {qkv}.")
    width = qkv // heads
    return [
        _linear(f"{name}.query", tokens, embed, qkv),
        _linear(f"{name}.key", memory_tokens, memory, qkv),
        _linear(f"{name}.value", memory_tokens, memory, qkv),
        _product(f"{name}.scores", tokens * heads, width, memory_tokens),
        _product(f"{name}.context", tokens * heads, memory_tokens, width),
        _linear(f"{name}.out", tokens, qkv, embed),
    ]


def _light(name: str, light: str, embed: int, heads: int, kernel: int, tokens: int, published: bool):
    if embed % heads:
        raise InputError(f"heads={heads} of layer {name} is not allowed; it must divide the branch width {embed}.")
    side = math.isqrt(kernel)
    if published:
        mixing = LayerShape(embed // heads, heads, tokens, 1, heads, side, 1, tokens, 1)
    else:
        mixing = LayerShape(embed, 1, tokens, 1, 1, side, 1, tokens, 1)
    first = _linear(f"{name}.linear1", tokens, embed, embed if published else 2 * embed, "light linear", light)
    return [
        replace(first, weights=2 * embed * embed, macs=2 * embed * embed * tokens),
        _Layer(f"{name}.mixing", mixing, "light mixing", light, heads * kernel, tokens * embed * kernel),
        _linear(f"{name}.linear2", tokens, embed, embed, "light linear", light),
    ]


def _self_block(name: str, block: str, embed: int, heads: int, qkv: int, kernel: int, tokens: int, published: bool):
    """Self-attention, the light branch, or both on half the channels."""
    parts = block.split("+")
    width = embed // len(parts)
    layers = []
    for part in parts:
        if part == ATTENTION:
            layers += _attention(f"{name}.attention", width, width, heads, qkv, tokens, tokens)
        else:
            layers += _light(f"{name}.light", part, width, heads, kernel, tokens, published)
    return layers


def _layers(config: TranslationConfig, tokens: int, qkv: int, cross: tuple[int, ...], published: bool) -> list[_Layer]:
    layers = []
    encoder_types = config.encoder_types or (ATTENTION,) * len(config.encoder_ffn)
    decoder_types = config.decoder_types or (ATTENTION,) * len(config.decoder_ffn)
    for i, (block, ffn, heads) in enumerate(zip(encoder_types, config.encoder_ffn, config.encoder_heads)):
        name, embed = f"encoder.{i}", config.encoder_embed
        layers += _self_block(name, block, embed, heads, qkv, TIME_KERNELS[min(i, 5)], tokens, published)
        layers += [_linear(f"{name}.ffn1", tokens, embed, ffn), _linear(f"{name}.ffn2", tokens, ffn, embed)]
    for i, (block, ffn, heads) in enumerate(zip(decoder_types, config.decoder_ffn, config.self_heads)):
        name, embed = f"decoder.{i}", config.decoder_embed
        layers += _self_block(name, block, embed, heads, qkv, TIME_KERNELS[min(i, 5)], tokens, published)
        layers += _attention(
            f"{name}.cross", embed, config.encoder_embed, config.cross_heads[i], qkv, tokens, tokens * cross[i]
        )
        layers += [_linear(f"{name}.ffn1", tokens, embed, ffn), _linear(f"{name}.ffn2", tokens, ffn, embed)]
    return layers


def _pricing(layer: _Layer, accounting: str, bits: int) -> Pricing:
    if not layer.light:
        return pricing("fc", bits, accounting)
    mixing = "conv" if layer.light == "conv" else "add"
    if accounting != "published":
        linear = "shift" if layer.light == "shiftadd" else "fc"
        op = linear if layer.role == "light linear" else mixing
        return pricing(op, bits, accounting, shift_cycle_share=0.5)
    shift, add = pricing("shift", bits, shift_cycle_share=0.5), pricing("add", bits)
    multiplication = pricing("fc", bits).tap_pj
    if layer.role == "light linear":
        return shift if layer.light == "shiftadd" else replace(shift, tap_pj=multiplication)
    return replace(add, tap_pj=multiplication) if mixing == "conv" else add


@dataclass(frozen=True)
class TranslationCost:
    """Cost of one network for one sentence.

    Attributes:
        params: weights without embeddings, biases and LayerNorm.
        macs: multiply-accumulates (or shift/adder taps) without embedding and output projection.
        energy_mj, latency_ms: modelled.
        layers: one row per layer: name, role, light, params, macs, energy_mj, latency_ms.
    """

    params: int
    macs: int
    energy_mj: float
    latency_ms: float
    layers: pd.DataFrame

    @property
    def flops(self) -> int:
        """2 x MACs, the unit of table 3."""
        return 2 * self.macs


def translation_cost(
    config: TranslationConfig,
    *,
    accounting: str = "published",
    bits: int = 32,
    tokens: int = TOKENS,
    pe_limit: int = PE_LIMIT,
) -> TranslationCost:
    """Parameters, MACs, energy and latency of a translation network.

    Args:
        accounting: "published" with every peculiarity of the script, "corrected" without them (each layer at its own
            operator, true query width and number of encoder layers), or "unbiased" (see `repro.cost.eyeriss`).
        bits: 32 or 8.
        tokens: source and target tokens.
        pe_limit: mappings use strictly fewer PEs.
    Raises: InputError on unknown accounting or heads that do not divide a width.
    """
    published = accounting == "published"
    true_cross = tuple(CROSS_LAYERS[choice] for choice in config.cross)
    priced_cross = true_cross if config.searched or not published else (1,) * len(true_cross)
    priced_qkv = (config.priced_qkv or config.qkv) if published else config.qkv
    counted = _layers(config, tokens, config.qkv, true_cross, published)
    rows = []
    for layer, true in zip(_layers(config, tokens, priced_qkv, priced_cross, published), counted):
        cost = price(layer.shape, _pricing(layer, accounting, bits), Hardware(pe_limit=pe_limit), any_e1=not published)
        rows.append((layer.name, layer.role, layer.light, true.weights, true.macs, cost.energy_mj, cost.latency_ms))
    table = pd.DataFrame(rows, columns=["name", "role", "light", "params", "macs", "energy_mj", "latency_ms"])
    return TranslationCost(
        params=int(table["params"].sum()),
        macs=int(table["macs"].sum()),
        energy_mj=float(table["energy_mj"].sum()),
        latency_ms=float(table["latency_ms"].sum()),
        layers=table,
    )


def _types(text: str) -> tuple[str, ...]:
    return tuple("+".join({"A": ATTENTION}.get(part, part) for part in word.split("+")) for word in text.split())


def _hat(name: str, encoder_ffn, encoder_heads, decoder_ffn, self_heads, cross_heads, cross) -> TranslationConfig:
    return TranslationConfig(name, encoder_ffn, encoder_heads, decoder_ffn, self_heads, cross_heads, cross)


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


# Transformer (Vaswani et al. 2017), HAT (Wang et al. 2020, sub-transformer configurations as published with it), and
# the searched networks whose energies the ShiftAddNAS repository records, named by their latency constraint.
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
