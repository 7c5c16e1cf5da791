"""Cost of the encoder-decoder translation networks of ShiftAddNAS table 3 on the row-stationary accelerator.

The translation script prices a whole sentence at once: 30 source and 30 target tokens, every linear layer and
attention product fully connected with the tokens (times heads) as batch, arrays of 168 PEs, 32 bit. Embedding, output
projection, softmax and LayerNorm are free. A "attention+x" block splits the channels in half, one half to attention
(which keeps its query width), the other to the light branch: linear, time mixing, linear.

An Evolved Transformer is counted but has no energy or latency: the script has no convolution over time like those of
its cells, and a square kernel of their 3, 7 or 11 taps does not exist.

What the published accounting does besides, and "corrected" undoes:

- The two linears of every light branch, also of the multiplicative one, move 10-bit words and take half a cycle a tap;
  their taps cost a multiplication except in the shift-add branch.
- The time mixing of every light branch pays neither DRAM nor buffer nor input and weight transport. It is priced as a
  dense convolution over the heads with a square kernel of side floor(sqrt(k)) for k taps in time. "corrected" prices
  one channel after the other, but the same square kernel, as the model has none over time: 1 tap of 3, 25 of 31.
- The gated linear unit's doubled first linear is priced at single width.
- Baselines (HAT, Transformer) always attend to one encoder layer, also where the network attends to two or three, and
  Transformer-big is priced at query width 512 although it has 1024.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pandas as pd

from repro.cost.eyeriss import Hardware, LayerShape, Pricing, price, pricing
from repro.errors import InputError, check_int
from repro.models.evolved import wide_heads
from repro.models.translation_configs import (
    ATTENTION,
    CROSS_LAYERS,
    EVOLVED,
    TIME_KERNELS,
    TranslationConfig,
    translation_config,
)

TOKENS = 30
PE_LIMIT = 168


@dataclass(frozen=True)
class _Layer:
    name: str
    shape: LayerShape | None  # None: not priced
    role: str  # "linear", "matmul", "light linear", "light mixing" or "time"
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


def _over_time(name: str, inputs: int, outputs: int, kernel: int, tokens: int) -> _Layer:
    """A convolution over time, depthwise where it has as many outputs as inputs."""
    weights = kernel * inputs * (1 if inputs == outputs else outputs)
    return _Layer(name, None, "time", "", weights, tokens * weights)


def _separable(name: str, inputs: int, outputs: int, kernel: int, tokens: int):
    depthwise = _over_time(f"{name}.over", inputs, inputs, kernel, tokens)
    return [depthwise, _linear(f"{name}.across", tokens, inputs, outputs)]


def _evolved_encoder(name: str, embed: int, heads: int, qkv: int, tokens: int):
    """An encoder cell without its feed-forward."""
    return [
        _linear(f"{name}.gate", tokens, embed, 2 * embed),
        _linear(f"{name}.left", tokens, embed, 4 * embed),
        _over_time(f"{name}.right.over", embed, embed // 2, 3, tokens),
        *_separable(f"{name}.joint", 4 * embed, embed // 2, 9, tokens),
        *_attention(f"{name}.attention", embed, embed, heads, qkv, tokens, tokens),
    ]


def _evolved_decoder(name: str, embed: int, memory: int, self_heads: int, cross_heads: int, qkv: int, tokens: int):
    """A decoder cell without its feed-forward and its second attention to the encoder."""
    return [
        *_attention(f"{name}.first_attention", embed, embed, wide_heads(self_heads), qkv, tokens, tokens),
        *_attention(f"{name}.first_cross", embed, memory, cross_heads, qkv, tokens, tokens),
        *_separable(f"{name}.left", embed, 2 * embed, 11, tokens),
        *_separable(f"{name}.right", embed, embed // 2, 7, tokens),
        *_separable(f"{name}.joint", 2 * embed, embed, 7, tokens),
        *_attention(f"{name}.attention", embed, embed, self_heads, qkv, tokens, tokens),
    ]


def _layers(config: TranslationConfig, tokens: int, qkv: int, cross: tuple[int, ...], published: bool) -> list[_Layer]:
    layers = []
    encoder_types = config.encoder_types or (ATTENTION,) * len(config.encoder_ffn)
    decoder_types = config.decoder_types or (ATTENTION,) * len(config.decoder_ffn)
    for i, (block, ffn, heads) in enumerate(zip(encoder_types, config.encoder_ffn, config.encoder_heads)):
        name, embed = f"encoder.{i}", config.encoder_embed
        if block == EVOLVED:
            layers += _evolved_encoder(name, embed, heads, qkv, tokens)
        else:
            layers += _self_block(name, block, embed, heads, qkv, TIME_KERNELS[min(i, 5)], tokens, published)
        layers += [_linear(f"{name}.ffn1", tokens, embed, ffn), _linear(f"{name}.ffn2", tokens, ffn, embed)]
    for i, (block, ffn, heads) in enumerate(zip(decoder_types, config.decoder_ffn, config.self_heads)):
        name, embed, memory = f"decoder.{i}", config.decoder_embed, config.encoder_embed
        if block == EVOLVED:
            layers += _evolved_decoder(name, embed, memory, heads, config.cross_heads[i], qkv, tokens)
        else:
            layers += _self_block(name, block, embed, heads, qkv, TIME_KERNELS[min(i, 5)], tokens, published)
        layers += _attention(f"{name}.cross", embed, memory, config.cross_heads[i], qkv, tokens, tokens * cross[i])
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
        energy_mj, latency_ms: modelled; NaN for an Evolved Transformer.
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
    config: str | TranslationConfig,
    *,
    accounting: str = "published",
    bits: int = 32,
    tokens: int = TOKENS,
    pe_limit: int = PE_LIMIT,
) -> TranslationCost:
    """Parameters, MACs, energy and latency of a translation network.

    Args:
        config: a network of `repro.models.translation_configs` or its name.
        accounting: "published" with every peculiarity of the script, "corrected" without them (each layer at its own
            operator, true query width and number of encoder layers), or "unbiased" (see `repro.cost.eyeriss`).
        bits: 32 or 8.
        tokens: source and target tokens.
        pe_limit: mappings use strictly fewer PEs.
    Raises: InputError on an unknown name or accounting, a bad number, or heads that do not divide a width.
    """
    check_int("tokens", tokens, minimum=1)
    check_int("pe_limit", pe_limit, minimum=2)
    config, published = translation_config(config), accounting == "published"
    true_cross = tuple(CROSS_LAYERS[choice] for choice in config.cross)
    priced_cross = true_cross if config.searched or not published else (1,) * len(true_cross)
    priced_qkv = (config.priced_qkv or config.qkv) if published else config.qkv
    counted = _layers(config, tokens, config.qkv, true_cross, published)
    rows = []
    for layer, true in zip(_layers(config, tokens, priced_qkv, priced_cross, published), counted):
        energy_mj = latency_ms = math.nan
        if layer.shape is not None:
            cost = price(
                layer.shape, _pricing(layer, accounting, bits), Hardware(pe_limit=pe_limit), any_rows=not published
            )
            energy_mj, latency_ms = cost.energy_mj, cost.latency_ms
        rows.append((layer.name, layer.role, layer.light, true.weights, true.macs, energy_mj, latency_ms))
    table = pd.DataFrame(rows, columns=["name", "role", "light", "params", "macs", "energy_mj", "latency_ms"])
    return TranslationCost(
        params=int(table["params"].sum()),
        macs=int(table["macs"].sum()),
        energy_mj=float(table["energy_mj"].sum(min_count=len(table))),
        latency_ms=float(table["latency_ms"].sum(min_count=len(table))),
        layers=table,
    )
