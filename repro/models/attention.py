"""What layers of translation networks share: attention of several heads, and the feed-forward sublayer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from repro.errors import InputError
from repro.models.build import Builder, MatMul

State = dict[str, Tensor]
"""What a decoder layer keeps of the tokens before and of the source; the first axis is the sentence."""


class MultiHeadAttention(nn.Module):
    """softmax(q k^T / sqrt(d)) v with query width `qkv` whatever the embedding widths."""

    def __init__(self, build: Builder, embed: int, memory: int, heads: int, qkv: int):
        super().__init__()
        if qkv % heads:
            raise InputError(
                f"heads={heads} of layer {build.path} is not allowed; it must divide the query width {qkv}."
            )
        self.heads = heads
        self.query = build.linear("query", "attention", embed, qkv)
        self.key = build.linear("key", "attention", memory, qkv)
        self.value = build.linear("value", "attention", memory, qkv)
        self.scores, self.context = MatMul(), MatMul()
        self.out = build.linear("out", "attention", qkv, embed)

    def forward(self, x: Tensor, memory: Tensor, blocked: Tensor | None = None) -> Tensor:
        """x (N, T, E), memory (N, S, E'), blocked True where a query must not look, broadcast to (N, 1, T, S)."""
        return self.attend(self._heads(self.query(x)), *self.keys_and_values(memory), blocked)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (N, heads, tokens, d)

    def keys_and_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """What queries are compared with and what they gather, both (N, heads, S, d)."""
        return self._heads(self.key(memory)), self._heads(self.value(memory))

    def attend(self, query: Tensor, keys: Tensor, values: Tensor, blocked: Tensor | None) -> Tensor:
        """Queries (N, heads, T, d) to outputs (N, T, E)."""
        scores = self.scores(query, keys.transpose(2, 3)) / math.sqrt(query.shape[-1])
        if blocked is not None:
            scores = scores.masked_fill(blocked, torch.finfo(scores.dtype).min)
        return self.out(self.context(scores.softmax(dim=-1), values).transpose(1, 2).flatten(2))

    def step(self, x: Tensor, state: State) -> Tensor:
        """Self-attention of one more token (N, 1, E) to those before it, which `state` holds."""
        query, (keys, values) = self._heads(self.query(x)), self.keys_and_values(x)
        if "keys" in state:
            keys, values = torch.cat([state["keys"], keys], 2), torch.cat([state["values"], values], 2)
        state["keys"], state["values"] = keys, values
        return self.attend(query, keys, values, None)

    def look(self, x: Tensor, state: State) -> Tensor:
        """Attention of one token (N, 1, E) to a memory whose keys and values `state` holds."""
        return self.attend(self._heads(self.query(x)), state["memory keys"], state["memory values"], state["blocked"])


class FeedForward(nn.Module):
    """Linear, ReLU, linear."""

    def __init__(self, build: Builder, embed: int, hidden: int):
        super().__init__()
        self.linear1 = build.linear("linear1", "feedforward", embed, hidden)
        self.linear2 = build.linear("linear2", "feedforward", hidden, embed, norm=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(torch.relu(self.linear1(x)))
