"""ShiftAddNAS's encoder-decoder transformer for translation, of any configuration of its elastic space.

An encoder layer mixes tokens by attention, by a light branch, or by both on half of the channels each. The light branch
(Wu et al. 2020, Lite Transformer) is a linear layer, a gated linear unit, a convolution over time whose weights are
shared within each head, and a linear layer. Light add replaces the convolution by an adder, light shift-add also the
linear layers by shifts. Norms follow their sublayer, as in HAT. The time convolution is not normalised by a softmax.

A network of block type "evolved" is an Evolved Transformer: cells of `repro.models.evolved`, and a norm behind both
stacks.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repro.errors import InputError, check_flag, check_int, check_number
from repro.models.attention import FeedForward, MultiHeadAttention, State
from repro.models.build import Builder
from repro.models.evolved import EvolvedDecoderCell, EvolvedEncoderCell
from repro.models.registry import register
from repro.models.translation_configs import (
    ATTENTION,
    CROSS_LAYERS,
    EVOLVED,
    TIME_KERNELS,
    TranslationConfig,
    translation_config,
)

# Operators of (linear layers, time convolution) by light type; None leaves the choice to the builder.
LIGHT_OPERATORS = {"conv": (None, None), "add": (None, "adder"), "shiftadd": ("shift", "adder")}
KEEP = ("attention", "classifier")


class LightBranch(nn.Module):
    """Linear, gated linear unit, convolution over time with one kernel per head, linear: (N, T, E) -> (N, T, E)."""

    def __init__(self, build: Builder, light: str, embed: int, heads: int, kernel: int, causal: bool):
        super().__init__()
        if embed % heads:
            raise InputError(f"heads={heads} of layer {build.path} is not allowed; it must divide {embed} channels.")
        linear, mixing = LIGHT_OPERATORS[light]
        self.heads = heads
        self.pad = (kernel - 1, 0) if causal else (kernel // 2, (kernel - 1) // 2)
        self.linear1 = build.linear("linear1", "pointwise", embed, 2 * embed, op=linear)
        self.mixing = build.conv(
            "mixing", "depthwise", heads, heads, (1, kernel), padding=0, groups=heads, norm=mixing == "adder", op=mixing
        )
        # An adder's outputs are all negative and grow with the kernel; without a norm the last layer saturates.
        self.norm = nn.LayerNorm(embed) if mixing == "adder" else nn.Identity()
        self.linear2 = build.linear("linear2", "pointwise", embed, embed, op=linear)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """`padding` is True at tokens that are not there, (N, T)."""
        x = F.glu(self.linear1(x), dim=-1)
        if padding is not None:
            x = x.masked_fill(padding[:, :, None], 0.0)
        return self._mix(F.pad(x, (0, 0, *self.pad)))

    def step(self, x: Tensor, state: State) -> Tensor:
        """One more token (N, 1, E) of a causal branch; `state` holds as many before it as the kernel sees."""
        x = F.glu(self.linear1(x), dim=-1)
        seen = state.get("seen")
        window = F.pad(x, (0, 0, *self.pad)) if seen is None else torch.cat([seen, x], dim=1)
        state["seen"] = window[:, 1:]
        return self._mix(window)

    def _mix(self, x: Tensor) -> Tensor:
        """(N, T + kernel - 1, E) -> (N, T, E)."""
        n, t, e = x.shape
        x = x.transpose(1, 2).reshape(n, self.heads, e // self.heads, t).transpose(1, 2)
        x = self.mixing(x.reshape(-1, self.heads, 1, t))  # (N E/heads, heads, 1, T)
        x = x.reshape(n, e // self.heads, self.heads, -1).transpose(1, 2).reshape(n, e, -1)
        # In one piece: torch adds up a product of strided numbers in another order where no gradients are kept.
        return self.linear2(self.norm(x.transpose(1, 2).contiguous()))


class TokenMixer(nn.Module):
    """The self-attention sublayer of a block type: one branch, or two on half of the channels each."""

    def __init__(self, build: Builder, block: str, embed: int, heads: int, qkv: int, kernel: int, causal: bool):
        super().__init__()
        parts = block.split("+")
        if embed % len(parts):
            raise InputError(
                f"width {embed} of layer {build.path} is not allowed; block type {block} halves it, so it must be even."
            )
        width = embed // len(parts)
        self.attention: Any
        self.light: Any
        self.attention = self.light = None
        for part in parts:
            if part == ATTENTION:
                self.attention = MultiHeadAttention(build.at("attention"), width, width, heads, qkv)
            else:
                self.light = LightBranch(build.at("light"), part, width, heads, kernel, causal)

    def forward(self, x: Tensor, blocked: Tensor | None, padding: Tensor | None) -> Tensor:
        if self.light is None:
            return self.attention(x, x, blocked)
        if self.attention is None:
            return self.light(x, padding)
        first, second = x.chunk(2, dim=-1)
        return torch.cat([self.attention(first, first, blocked), self.light(second, padding)], dim=-1)

    def step(self, x: Tensor, state: State) -> Tensor:
        """One more token, (N, 1, E), of a causal mixer."""
        branches = [branch for branch in (self.attention, self.light) if branch is not None]
        parts = x.chunk(len(branches), dim=-1)
        return torch.cat([branch.step(part, state) for branch, part in zip(branches, parts)], dim=-1)


class EncoderLayer(nn.Module):
    """Token mixing and feed-forward, each with residual and a norm behind it."""

    def __init__(
        self, build: Builder, block: str, embed: int, ffn: int, heads: int, qkv: int, kernel: int, drop: float
    ):
        super().__init__()
        self.mixer = TokenMixer(build.at("mixer"), block, embed, heads, qkv, kernel, causal=False)
        self.feedforward = FeedForward(build.at("feedforward"), embed, ffn)
        self.norm1, self.norm2 = nn.LayerNorm(embed), nn.LayerNorm(embed)
        self.dropout = nn.Dropout(drop)

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        blocked = None if padding is None else padding[:, None, None, :]
        x = self.norm1(x + self.dropout(self.mixer(x, blocked, padding)))
        return self.norm2(x + self.dropout(self.feedforward(x)))


class DecoderLayer(nn.Module):
    """Causal token mixing, attention to the last `looks` encoder layers (joined in time), feed-forward."""

    states = 1

    def __init__(
        self,
        build: Builder,
        block: str,
        embed: int,
        memory: int,
        ffn: int,
        self_heads: int,
        cross_heads: int,
        qkv: int,
        kernel: int,
        looks: int,
        drop: float,
    ):
        super().__init__()
        self.looks = looks
        self.mixer = TokenMixer(build.at("mixer"), block, embed, self_heads, qkv, kernel, causal=True)
        self.cross = MultiHeadAttention(build.at("cross"), embed, memory, cross_heads, qkv)
        self.feedforward = FeedForward(build.at("feedforward"), embed, ffn)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(embed), nn.LayerNorm(embed), nn.LayerNorm(embed)
        self.dropout = nn.Dropout(drop)

    def forward(self, x: Tensor, memories: list[Tensor], future: Tensor, padding: Tensor) -> Tensor:
        x = self.norm1(x + self.dropout(self.mixer(x, future, None)))
        x = self.norm2(x + self.dropout(self.cross(x, *self._looked(memories, padding))))
        return self.norm3(x + self.dropout(self.feedforward(x)))

    def _looked(self, memories: list[Tensor], padding: Tensor) -> tuple[Tensor, Tensor]:
        looked = memories[-self.looks :]
        return torch.cat(looked, dim=1), padding.repeat(1, len(looked))[:, None, None, :]

    def start(self, memories: list[Tensor], padding: Tensor) -> list[State]:
        """The state before the first token: what it will see of the encoder."""
        memory, blocked = self._looked(memories, padding)
        keys, values = self.cross.keys_and_values(memory)
        return [{"memory keys": keys, "memory values": values, "blocked": blocked}]

    def step(self, x: Tensor, state: State) -> Tensor:
        """One more token, (N, 1, E); evaluation only."""
        x = self.norm1(x + self.mixer.step(x, state))
        x = self.norm2(x + self.cross.look(x, state))
        return self.norm3(x + self.feedforward(x))


def sinusoids(tokens: int, embed: int, like: Tensor) -> Tensor:
    """Position encoding of Vaswani et al. 2017, (tokens, embed), on the device and in the dtype of `like`."""
    rates = torch.exp(torch.arange(0, embed, 2, device=like.device) * (-math.log(10000.0) / embed))
    angles = torch.arange(tokens, device=like.device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :embed].to(like.dtype)


class TranslationTransformer(nn.Module):
    """Embeddings with sinusoidal positions, encoder, decoder, projection to the target vocabulary.

    Token `pad` fills short sentences and is never attended to. Weights of the layers, without embeddings, biases and
    norms, are what the paper's parameter column counts. With `share_embeddings` one matrix, `source_embedding`, as wide
    as the wider side, embeds both languages and scores the output words: each use takes its first columns (HAT).
    """

    def __init__(
        self,
        build: Builder,
        config: TranslationConfig,
        *,
        source_vocabulary: int,
        target_vocabulary: int,
        dropout: float = 0.0,
        pad: int = 0,
        share_embeddings: bool = False,
    ):
        super().__init__()
        check_int("source_vocabulary", source_vocabulary, minimum=2)
        check_int("target_vocabulary", target_vocabulary, minimum=2)
        check_int("pad", pad, minimum=0, maximum=min(source_vocabulary, target_vocabulary) - 1)
        check_number("dropout", dropout, minimum=0, below=1)
        if check_flag("share_embeddings", share_embeddings) and source_vocabulary != target_vocabulary:
            raise InputError(
                "share_embeddings=True is not allowed; it needs one vocabulary for both languages, and "
                f"source_vocabulary={source_vocabulary}, target_vocabulary={target_vocabulary}."
            )
        self.config, self.pad = config, pad
        self.vocabulary_sizes = source_vocabulary, target_vocabulary
        self.register_buffer("fingerprints", torch.zeros(2, 64, dtype=torch.uint8))
        memory, embed = config.encoder_embed, config.decoder_embed
        width = max(memory, embed) if share_embeddings else memory
        self.source_embedding = nn.Embedding(source_vocabulary, width, pad)
        self.target_embedding = None if share_embeddings else nn.Embedding(target_vocabulary, embed, pad)
        for embedding in (self.source_embedding, self.target_embedding):
            if embedding is not None:
                nn.init.normal_(embedding.weight, 0.0, embedding.embedding_dim**-0.5)
        encoder_types = config.encoder_types or (ATTENTION,) * len(config.encoder_ffn)
        decoder_types = config.decoder_types or (ATTENTION,) * len(config.decoder_ffn)
        self.encoder = nn.ModuleList(
            EvolvedEncoderCell(build.at("encoder", i), memory, ffn, heads, config.qkv, dropout)
            if block == EVOLVED
            else EncoderLayer(build.at("encoder", i), block, memory, ffn, heads, config.qkv, kernel_in_time(i), dropout)
            for i, (block, ffn, heads) in enumerate(zip(encoder_types, config.encoder_ffn, config.encoder_heads))
        )
        self.decoder = nn.ModuleList(
            EvolvedDecoderCell(
                build.at("decoder", i),
                embed,
                memory,
                config.decoder_ffn[i],
                config.self_heads[i],
                config.cross_heads[i],
                config.qkv,
                dropout,
            )
            if block == EVOLVED
            else DecoderLayer(
                build.at("decoder", i),
                block,
                embed,
                memory,
                config.decoder_ffn[i],
                config.self_heads[i],
                config.cross_heads[i],
                config.qkv,
                kernel_in_time(i),
                CROSS_LAYERS[config.cross[i]],
                dropout,
            )
            for i, block in enumerate(decoder_types)
        )
        evolved = EVOLVED in encoder_types  # then in all layers; their sums are not normalised yet
        self.encoder_norm = nn.LayerNorm(memory) if evolved else nn.Identity()
        self.decoder_norm = nn.LayerNorm(embed) if evolved else nn.Identity()
        self.classifier = None
        if not share_embeddings:
            self.classifier = build.linear("classifier", "classifier", embed, target_vocabulary, bias=False)

    @property
    def vocabularies(self) -> tuple[str | None, str | None]:
        """Fingerprints of the vocabularies of source and target that it was trained with; None before a training.

        They are in the state dict, so weights know theirs wherever they are loaded.
        """
        texts = (bytes(row).rstrip(b"\0").decode() for row in self.fingerprints.tolist())
        source, target = (text or None for text in texts)
        return source, target

    @vocabularies.setter
    def vocabularies(self, fingerprints: tuple[str | None, str | None]) -> None:
        rows = [list((text or "").encode()[:64].ljust(64, b"\0")) for text in fingerprints]
        self.fingerprints.copy_(torch.tensor(rows, dtype=torch.uint8))

    def _embed_source(self, tokens: Tensor) -> Tensor:
        return self._embed(self.source_embedding, self.config.encoder_embed, tokens)

    def _embed_target(self, tokens: Tensor, place: int = 0) -> Tensor:
        embedding = self.source_embedding if self.target_embedding is None else self.target_embedding
        return self._embed(embedding, self.config.decoder_embed, tokens, place)

    @staticmethod
    def _embed(embedding: nn.Embedding, width: int, tokens: Tensor, place: int = 0) -> Tensor:
        if tokens.ndim != 2 or tokens.is_floating_point():
            raise InputError(
                f"token ids of shape {tuple(tokens.shape)} and {tokens.dtype} are not allowed; they must be whole "
                "numbers, (sentences, tokens)."
            )
        try:
            x = embedding(tokens)[..., :width] * math.sqrt(width)
        except IndexError as error:
            raise InputError(
                f"token ids run from {int(tokens.min())} to {int(tokens.max())}; "
                f"allowed are 0 to {embedding.num_embeddings - 1}."
            ) from error
        return x + sinusoids(place + tokens.shape[1], width, x)[place:]

    def _scores(self, x: Tensor) -> Tensor:
        """Scores of the target words, (..., E) -> (..., vocabulary)."""
        x = self.decoder_norm(x)
        if self.classifier is None:
            return F.linear(x, self.source_embedding.weight[:, : x.shape[-1]])
        return self.classifier(x)

    def encode(self, source: Tensor) -> tuple[list[Tensor], Tensor]:
        """(N, S) token ids -> outputs of all encoder layers, (N, S, E) each, and where the source is padding (N, S)."""
        padding = source == self.pad
        x, memories = self._embed_source(source), []
        for layer in self.encoder:
            x = layer(x, padding)
            memories.append(x)
        memories[-1] = self.encoder_norm(x)
        return memories, padding

    def decode(self, target: Tensor, memories: list[Tensor], padding: Tensor) -> Tensor:
        """(N, T) target tokens so far -> scores of each next token, (N, T, vocabulary)."""
        x = self._embed_target(target)
        tokens = target.shape[1]
        future = torch.ones(tokens, tokens, dtype=torch.bool, device=target.device).triu(1)
        for layer in self.decoder:
            x = layer(x, memories, future, padding)
        return self._scores(x)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Scores (N, T, vocabulary) for source (N, S) and the target shifted right (N, T)."""
        if len(source) != len(target):
            raise InputError(f"{len(source)} sources and {len(target)} targets do not fit; each source needs one.")
        return self.decode(target, *self.encode(source))

    def start(self, source: Tensor) -> list[State]:
        """Encode (N, S) token ids: the states of all decoder layers before the first target token."""
        encoded = self.encode(source)
        return [state for layer in self.decoder for state in layer.start(*encoded)]

    def step(self, tokens: Tensor, place: int, states: list[State]) -> Tensor:
        """Scores (N, vocabulary) of what follows target token number `place` (from 0), (N,), in evaluation mode.

        `states` come from `start` and advance by a token. Each layer computes the operator that `decode` does.
        """
        x, unused = self._embed_target(tokens[:, None], place), iter(states)
        for layer in self.decoder:
            x = layer.step(x, *itertools.islice(unused, layer.states))
        return self._scores(x)[:, 0]


def kernel_in_time(layer: int) -> int:
    """Taps of the light branch of a layer, counted from 0."""
    return TIME_KERNELS[min(layer, len(TIME_KERNELS) - 1)]


@torch.no_grad()
def xavier(model: TranslationTransformer) -> TranslationTransformer:
    """Initialise for training, in place: Xavier uniform for linear layers, N(0, 1 / width) for embeddings and output.

    On Multi30k it learns clearly faster than N(0, 0.01^2). Adder, shift and convolution layers keep what they have.
    """
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, 0.0, module.embedding_dim**-0.5)
        elif type(module) is nn.Linear:
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if model.classifier is not None:
        nn.init.normal_(model.classifier.weight, 0.0, model.classifier.in_features**-0.5)
    return model


@register("translation", keep={"adder": KEEP, "shift": KEEP, "shiftadd": KEEP}, paper="ShiftAddNAS table 3")
def translation(
    build: Builder,
    *,
    config: str | TranslationConfig | dict = "shiftaddnas-250ms",
    source_vocabulary: int = 32000,
    target_vocabulary: int = 32000,
    dropout: float = 0.0,
    pad: int = 0,
    share_embeddings: bool = False,
) -> TranslationTransformer:
    """The transformer of a `TranslationConfig`, of a published network's name, or of the fields of one."""
    return TranslationTransformer(
        build,
        translation_config(config),
        source_vocabulary=source_vocabulary,
        target_vocabulary=target_vocabulary,
        dropout=dropout,
        pad=pad,
        share_embeddings=share_embeddings,
    )
