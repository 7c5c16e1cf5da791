"""The output size is PyTorch's, for every size, filter, stride, padding and dilation; nothing else computes it."""

import ast

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from repro.geometry import output_size, output_sizes
from repro.paths import repo_root


@given(st.integers(1, 20), st.integers(1, 5), st.integers(1, 4), st.integers(0, 4), st.integers(1, 3))
@settings(max_examples=200, deadline=None)
def test_it_is_the_size_that_pytorch_gives(size, kernel, stride, padding, dilation):
    assume(size + 2 * padding >= dilation * (kernel - 1) + 1)
    y = torch.nn.functional.conv1d(torch.zeros(1, 1, size), torch.zeros(1, 1, kernel), None, stride, padding, dilation)
    assert y.shape[-1] == output_size(size, kernel, stride, padding, dilation)


def test_a_filter_that_does_not_fit_gives_less_than_one():
    assert output_size(2, 5, 1, 0, 1) < 1


def test_rows_and_columns_each_have_their_own_settings():
    x, weight = torch.zeros(1, 1, 9, 12), torch.zeros(1, 1, 3, 2)
    y = torch.nn.functional.conv2d(x, weight, None, (2, 1), (1, 0), (1, 3))
    assert tuple(y.shape[2:]) == output_sizes(x.shape[2:], weight.shape[2:], (2, 1), (1, 0), (1, 3))


def adds_one_to_a_quotient_of_padding(node):
    """Whether an expression is `(... padding ...) // ... + 1`."""
    return (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Add)
        and isinstance(node.left, ast.BinOp)
        and isinstance(node.left.op, ast.FloorDiv)
        and ast.unparse(node.right) == "1"
        and "padding" in ast.unparse(node.left.left)
    )


def test_no_other_module_writes_the_formula_again():
    package = repo_root() / "repro"
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if any(map(adds_one_to_a_quotient_of_padding, ast.walk(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert found == {"geometry.py"}
