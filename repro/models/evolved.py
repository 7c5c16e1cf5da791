"""The cells of the Evolved Transformer (So, Liang & Le 2019, figure 3), of which one stands for two Transformer layers.

Each sublayer normalises what it reads and adds what it computes; what a branch gives fewer channels than its partner is
filled up with zeros. Where the figure leaves a detail open, the form is that of the authors' release in tensor2tensor:
biases, no activation behind the decoder's right branch, a norm inside the decoder's feed-forward. Both stacks end in
a norm (`repro.models.translation`). Dropout is that of the other networks: of each sublayer's output, nowhere else.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repro.errors import InputError
from repro.models.attention import FeedForward, MultiHeadAttention, State
from repro.models.build import Builder

WIDE_HEADS = 16
"""Heads of the decoder's first attention are doubled, but not beyond so many."""


def wide_heads(heads: int) -> int:
    """Heads of the attention beside the decoder's first look at the encoder: twice as many, up to 16."""
    return max(heads, min(2 * heads, WIDE_HEADS))


class TimeConv(nn.Module):
    """Convolution over `kernel` (odd) tokens, (N, T, C) -> (N, T, C'); a separable one is depthwise, then linear."""

    def __init__(self, build: Builder, inputs: int, outputs: int, kernel: int, *, separable: bool, causal: bool):
        super().__init__()
        self.pad = (kernel - 1, 0) if causal else (kernel // 2, kernel // 2)
        if separable:
            self.over = build.conv("over", "depthwise", inputs, inputs, (1, kernel), padding=0, groups=inputs)
            self.across = build.linear("across", "pointwise", inputs, outputs)
        else:
            self.over = build.conv("over", "conv", inputs, outputs, (1, kernel), padding=0, bias=True)
            self.across = nn.Identity()

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """`padding` is True at tokens that are not there, (N, T); they count as zeros, as what lies outside does."""
        if padding is not None:
            x = x.masked_fill(padding[:, :, None], 0.0)
        return self._mix(F.pad(x, (0, 0, *self.pad)))

    def step(self, x: Tensor, state: State) -> Tensor:
        """One more token (N, 1, C) of a causal convolution; `state` holds as many before it as the kernel sees."""
        seen = state.get("seen")
        window = F.pad(x, (0, 0, *self.pad)) if seen is None else torch.cat([seen, x], dim=1)
        state["seen"] = window[:, 1:]
        return self._mix(window)

    def _mix(self, x: Tensor) -> Tensor:
        """(N, T + kernel - 1, C) -> (N, T, C')."""
        return self.across(self.over(x.transpose(1, 2)[:, :, None])[:, :, 0].transpose(1, 2))


def _widened(x: Tensor, channels: int) -> Tensor:
    """x with zeros for the channels that it lacks."""
    return F.pad(x, (0, channels - x.shape[-1]))


def _half(build: Builder, embed: int) -> int:
    if embed % 2:
        raise InputError(f"width {embed} of layer {build.path} is not allowed; an evolved cell halves it: even only.")
    return embed // 2


class EvolvedEncoderCell(nn.Module):
    """Gated linear unit, two branches of widths 4 E and E / 2, self-attention, feed-forward."""

    def __init__(self, build: Builder, embed: int, ffn: int, heads: int, qkv: int, drop: float):
        super().__init__()
        half, wide = _half(build, embed), 4 * embed
        self.norm_gate = nn.LayerNorm(embed)
        self.gate = build.linear("gate", "pointwise", embed, 2 * embed)
        self.norm_branches = nn.LayerNorm(embed)
        self.left = build.linear("left", "pointwise", embed, wide)
        self.right = TimeConv(build.at("right"), embed, half, 3, separable=False, causal=False)
        self.norm_joint = nn.LayerNorm(wide)
        self.joint = TimeConv(build.at("joint"), wide, half, 9, separable=True, causal=False)
        self.norm_attention = nn.LayerNorm(embed)
        self.attention = MultiHeadAttention(build.at("attention"), embed, embed, heads, qkv)
        self.norm_feedforward = nn.LayerNorm(embed)
        self.feedforward = FeedForward(build.at("feedforward"), embed, ffn)
        self.dropout = nn.Dropout(drop)

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """x (N, T, E), padding True at tokens that are not there, (N, T)."""
        blocked = None if padding is None else padding[:, None, None, :]
        x = x + self.dropout(F.glu(self.gate(self.norm_gate(x)), dim=-1))
        x = x + self.dropout(self._branches(self.norm_branches(x), padding))
        normed = self.norm_attention(x)
        x = x + self.dropout(self.attention(normed, normed, blocked))
        return x + self.dropout(self.feedforward(self.norm_feedforward(x)))

    def _branches(self, x: Tensor, padding: Tensor | None) -> Tensor:
        left = torch.relu(self.left(x))
        both = left + _widened(torch.relu(self.right(x, padding)), left.shape[-1])
        return _widened(self.joint(self.norm_joint(both), padding), x.shape[-1])


class EvolvedDecoderCell(nn.Module):
    """Both attentions side by side, two causal branches of widths 2 E and E / 2, both attentions in turn, feed-forward.

    The first self-attention has `wide_heads`; the feed-forward has Swish. Decoding token by token, a cell has `states`
    dictionaries.
    """

    states = 7

    def __init__(
        self,
        build: Builder,
        embed: int,
        memory: int,
        ffn: int,
        self_heads: int,
        cross_heads: int,
        qkv: int,
        drop: float,
    ):
        super().__init__()
        half, wide = _half(build, embed), 2 * embed
        self.norm_first = nn.LayerNorm(embed)
        self.first_attention = MultiHeadAttention(
            build.at("first_attention"), embed, embed, wide_heads(self_heads), qkv
        )
        self.first_cross = MultiHeadAttention(build.at("first_cross"), embed, memory, cross_heads, qkv)
        self.norm_branches = nn.LayerNorm(embed)
        self.left = TimeConv(build.at("left"), embed, wide, 11, separable=True, causal=True)
        self.right = TimeConv(build.at("right"), embed, half, 7, separable=True, causal=True)
        self.norm_joint = nn.LayerNorm(wide)
        self.joint = TimeConv(build.at("joint"), wide, embed, 7, separable=True, causal=True)
        self.norm_attention = nn.LayerNorm(embed)
        self.attention = MultiHeadAttention(build.at("attention"), embed, embed, self_heads, qkv)
        self.norm_cross = nn.LayerNorm(embed)
        self.cross = MultiHeadAttention(build.at("cross"), embed, memory, cross_heads, qkv)
        self.norm_feedforward = nn.LayerNorm(embed)
        self.linear1 = build.linear("linear1", "feedforward", embed, ffn)
        self.norm_hidden = nn.LayerNorm(ffn)
        self.linear2 = build.linear("linear2", "feedforward", ffn, embed, norm=True)
        self.dropout = nn.Dropout(drop)

    def forward(self, x: Tensor, memories: list[Tensor], future: Tensor, padding: Tensor) -> Tensor:
        """x (N, T, E); attends to the last of `memories`, (N, S, E') each, where `padding` (N, S) is False."""
        memory, blocked = memories[-1], padding[:, None, None, :]
        normed = self.norm_first(x)
        first = self.first_attention(normed, normed, future)
        x = x + self.dropout(first) + self.dropout(self.first_cross(normed, memory, blocked))
        normed = self.norm_branches(x)
        x = x + self.dropout(self.joint(self._joined(self.left(normed), self.right(normed))))
        normed = self.norm_attention(x)
        x = x + self.dropout(self.attention(normed, normed, future))
        x = x + self.dropout(self.cross(self.norm_cross(x), memory, blocked))
        return x + self.dropout(self._feedforward(x))

    def _joined(self, left: Tensor, right: Tensor) -> Tensor:
        return self.norm_joint(torch.relu(left) + _widened(right, left.shape[-1]))

    def _feedforward(self, x: Tensor) -> Tensor:
        return self.linear2(self.norm_hidden(F.silu(self.linear1(self.norm_feedforward(x)))))

    def start(self, memories: list[Tensor], padding: Tensor) -> list[State]:
        """The states before the first token: what both attentions to the encoder will see comes first."""
        looks: list[State] = []
        for attention in (self.first_cross, self.cross):
            keys, values = attention.keys_and_values(memories[-1])
            looks.append({"memory keys": keys, "memory values": values, "blocked": padding[:, None, None, :]})
        return [*looks, *({} for _ in range(self.states - len(looks)))]

    def step(self, x: Tensor, *states: State) -> Tensor:
        """One more token, (N, 1, E); evaluation only."""
        first_look, look, first, left, right, joint, second = states
        normed = self.norm_first(x)
        x = x + self.first_attention.step(normed, first) + self.first_cross.look(normed, first_look)
        normed = self.norm_branches(x)
        x = x + self.joint.step(self._joined(self.left.step(normed, left), self.right.step(normed, right)), joint)
        x = x + self.attention.step(self.norm_attention(x), second)
        x = x + self.cross.look(self.norm_cross(x), look)
        return x + self._feedforward(x)
