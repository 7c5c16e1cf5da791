"""Candidate tilings of the row-stationary search: ordered factorisations of each dimension.

The order of the candidates follows the public simulator (large factors first), so that "the first of equals" means
the same tiling there and here.
"""

from __future__ import annotations

import functools

import numpy as np


def prime_factors(number: int) -> list[int]:
    """Prime factors of `number` >= 1 in ascending order with repetition; [1] for 1."""
    factors, divisor = [], 2
    while divisor * divisor <= number:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return [*factors, number] if number > 1 or not factors else factors


@functools.lru_cache(maxsize=4096)
def divisors(number: int) -> tuple[int, ...]:
    """All divisors of `number`, in the order of a walk that first takes, then leaves, each prime factor."""
    found = [1]
    for prime in reversed(prime_factors(number)):
        found = list(dict.fromkeys([prime * d for d in found] + found))
    return tuple(found)


@functools.lru_cache(maxsize=4096)
def factorisations(number: int, parts: int) -> np.ndarray:
    """All ordered tuples of `parts` positive integers whose product is `number`, shape (count, parts), int64."""
    if parts == 1:
        return np.array([[number]], dtype=np.int64)
    blocks = []
    for first in divisors(number):
        rest = factorisations(number // first, parts - 1)
        blocks.append(np.column_stack([np.full(len(rest), first, dtype=np.int64), rest]))
    table = np.concatenate(blocks)
    table.setflags(write=False)
    return table


def drop_while_walking(table: np.ndarray, drop: np.ndarray) -> np.ndarray:
    """What remains when rows marked in `drop` are deleted from a list that is being walked over.

    Each deletion makes the walk skip the row after it, so that every second of a run of marked rows survives. The
    public simulator filters M0 > 16 this way; at 8 bit, where up to 32 is allowed, it loses tilings to this.
    """
    keep: np.ndarray = np.ones(len(table), dtype=bool)
    row = 0
    while row < len(table):
        if drop[row]:
            keep[row] = False
            row += 1
        row += 1
    return table[keep]
