"""Which two edges enter a node: weights over all pairs of incoming edges, and their temperature (AutoShiftNet 4.2)."""

from __future__ import annotations

import functools
from itertools import combinations

import torch
from torch import Tensor

from repro.errors import InputError, check_flag, check_int, check_number, refuse


@functools.lru_cache
def input_pairs(inputs: int) -> tuple[tuple[int, int], ...]:
    """All pairs of `inputs` incoming edges by their later one: (0, 1), (0, 2), (1, 2), (0, 3), …

    Raises: InputError for fewer than two inputs.
    """
    check_int("inputs", inputs, minimum=2)
    return tuple(sorted(combinations(range(inputs), 2), key=lambda pair: pair[::-1]))


@functools.lru_cache
def _membership(inputs: int) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(edge in pair) for edge in range(inputs)) for pair in input_pairs(inputs))


def topology_weights(beta: Tensor, inputs: int, *, temperature: float = 1.0, normalize: bool = False) -> Tensor:
    """Weight of each edge that enters one node: the softmax over pairs, summed over the pairs that hold the edge.

    Args:
        beta: one value for each pair of inputs, (inputs (inputs - 1) / 2,), in the order of `input_pairs`.
        inputs: incoming edges of the node, at least 2.
        temperature: beta is divided by it (eq. 8); above 0, in beta's type too.
        normalize: divide by the two edges of a pair, the 1 / N(c) of eq. 9: weights sum to 1. Without it, as in DOTS,
            they sum to 2, like the two edges of weight 1 that the network has in the end.
    Returns: (inputs,), differentiable.
    Raises: InputError for another number of values, what is no floating-point tensor, fewer than two inputs or a
        temperature that is not positive.
    Source: AutoShiftNet, eq. 8 and 9; DOTS (Gu et al., 2021).
    """
    refuse_other_pairs(beta, inputs)
    pairs = input_pairs(check_int("inputs", inputs, minimum=2))
    check_number("temperature", temperature, above=0)
    check_flag("normalize", normalize)
    if not isinstance(beta, Tensor) or not beta.is_floating_point():
        raise InputError(f"beta={beta!r} is not allowed; it must be a floating-point tensor.")
    if beta.shape != (len(pairs),):
        raise InputError(f"beta has shape {tuple(beta.shape)}; {inputs} inputs have {len(pairs)} pairs.")
    refuse(
        beta.new_tensor(temperature) == 0,
        f"temperature={temperature!r} is not allowed; in {beta.dtype} it is no more than 0.",
    )
    # Less the largest first: divided by a small temperature, beta itself may leave its type's range.
    weights = torch.softmax((beta - beta.detach().max()) / temperature, dim=0) @ beta.new_tensor(_membership(inputs))
    return weights / 2 if normalize else weights


def refuse_other_pairs(beta: object, inputs: object) -> None:
    """InputError if `beta` has another number of values than `inputs` have pairs: told before so many are listed."""
    edges = check_int("inputs", inputs, minimum=2)
    pairs = edges * (edges - 1) // 2
    if isinstance(beta, Tensor) and beta.is_floating_point() and beta.shape != (pairs,):
        raise InputError(f"beta has shape {tuple(beta.shape)}; {edges} inputs have {pairs} pairs.")


def annealed(start: float, end: float, step: int, steps: int) -> float:
    """Temperature T0 theta^step, theta such that the last of `steps` steps (numbered from 0) has exactly `end`.

    A search of one step has `end`: what is cut after it is what it trained.
    """
    check_number("start", start, above=0)
    check_number("end", end, above=0)
    check_int("step", step, minimum=0, maximum=check_int("steps", steps, minimum=1) - 1)
    return float(end if step == steps - 1 else start * (end / start) ** (step / (steps - 1)))
