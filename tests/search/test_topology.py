"""Weights of pairs of edges against a sum over all pairs, written out, in float64; temperatures."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from repro.errors import InputError
from repro.search import topology_weights
from repro.search.topology import annealed, input_pairs


def by_hand(beta: list[float], inputs: int, temperature: float, normalize: bool) -> list[float]:
    """Eq. 8 and 9 with loops over pairs."""
    pairs = [(first, second) for second in range(inputs) for first in range(second)]
    exponentials = [math.exp(value / temperature) for value in beta]
    shares = [value / math.fsum(exponentials) for value in exponentials]
    members = 2 if normalize else 1
    return [math.fsum(s / members for pair, s in zip(pairs, shares) if edge in pair) for edge in range(inputs)]


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 10.0])
@pytest.mark.parametrize("inputs", [2, 3, 4, 5])
def test_weights_are_the_sum_over_pairs_that_hold_the_edge(inputs, temperature, normalize):
    beta = torch.randn(inputs * (inputs - 1) // 2, dtype=torch.float64, generator=torch.Generator().manual_seed(inputs))
    found = topology_weights(beta, inputs, temperature=temperature, normalize=normalize)
    expected = by_hand(beta.tolist(), inputs, temperature, normalize)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-13, atol=1e-13)
    assert found.sum().item() == pytest.approx(1 if normalize else 2)


def test_pairs_are_in_the_order_of_their_later_edge():
    assert input_pairs(4) == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    only = torch.tensor([-50.0, -50, -50, 50, -50, -50])
    torch.testing.assert_close(topology_weights(only, 4), torch.tensor([1.0, 0, 0, 1]))


def test_by_default_the_temperature_is_one_and_weights_of_a_node_sum_to_two():
    beta = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    expected = by_hand(beta.tolist(), 3, 1.0, normalize=False)
    assert topology_weights(beta, 3).tolist() == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(("dtype", "temperature"), [(torch.float32, 1e-40), (torch.float16, 1e-5)])
def test_a_temperature_near_zero_leaves_the_largest_pair_alone(dtype, temperature):
    weights = topology_weights(torch.tensor([1.0, 2.0, 0.0], dtype=dtype), 3, temperature=temperature)
    assert weights.tolist() == [1, 0, 1]


def test_the_gradient_is_that_of_the_formula():
    beta = torch.randn(6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda b: topology_weights(b, 4, temperature=0.7, normalize=True), beta)


def test_the_temperature_falls_to_its_end_in_equal_ratios():
    values = [annealed(10, 0.02, step, 20) for step in range(20)]
    assert (values[0], values[-1]) == (10, 0.02)
    ratios = [after / before for before, after in itertools.pairwise(values)]
    assert ratios == pytest.approx([0.721] * 19, abs=5e-4)
    assert annealed(10, 0.02, 0, 1) == 0.02


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: topology_weights(torch.zeros(1), 2, temperature=0), "temperature=0 is not allowed"),
        (
            lambda: topology_weights(torch.zeros(1), 2, temperature=1e-46),
            "temperature=1e-46 is not allowed; in torch.float32 it is no more than 0",
        ),
        (lambda: topology_weights(torch.zeros(1), 1), "inputs=1 is not allowed; it must be a whole number at least 2"),
        (lambda: topology_weights(torch.zeros(1), [2]), r"inputs=\[2\] is not allowed"),
        (lambda: topology_weights(torch.zeros(2), 3), "3 inputs have 3 pairs"),
        (lambda: topology_weights(torch.zeros(3), 10**9), "1000000000 inputs have 499999999500000000 pairs"),
        (lambda: topology_weights(torch.zeros(3), 3, temperature=10**400), "temperature=10{50}.* must be a finite"),
        (lambda: topology_weights(torch.zeros(3), 3, temperature=10**5000), "temperature=a number of thousands of"),
        (lambda: topology_weights(torch.zeros(3), -(10**5000)), "inputs=a number of thousands of digits is not"),
        (lambda: topology_weights([0.0], 2), r"beta=\[0.0\] is not allowed; it must be a floating-point tensor"),
        (lambda: annealed(10, 0, 0, 2), "end=0 is not allowed"),
        (lambda: annealed(10, 1, 2, 2), "step=2 is not allowed"),
    ],
)
def test_what_cannot_be_weighed_is_refused_in_a_sentence(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()
