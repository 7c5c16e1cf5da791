"""The adder's definition against cases worked by hand and against loops over its formula."""

from __future__ import annotations

import itertools

import torch

from repro.geometry import output_sizes
from repro.ops import reference

ONE = ((1, 1), (0, 0), (1, 1), 1)


def image(rows):
    return torch.tensor(rows, dtype=torch.float64)[None, None]


def test_two_by_two_worked_by_hand():
    x, weight = image([[1.0, 2.0], [3.0, 4.0]]), image([[0.0, 4.0], [3.5, -1.0]])
    # |1 - 0| + |2 - 4| + |3 - 3.5| + |4 + 1| = 8.5
    assert reference.adder_conv2d_fwd(x, weight, *ONE).item() == -8.5
    grad_out = image([[2.0]])
    # HardTanh(w - x) = HT(-1, 2, 0.5, -5) = (-1, 1, 0.5, -1), times 2
    assert reference.adder_conv2d_bwd_input(grad_out, x, weight, *ONE).tolist() == [[[[-2.0, 2.0], [1.0, -2.0]]]]
    # x - w = (1, -2, -0.5, 5), times 2: neither clipped nor a sign
    assert reference.adder_conv2d_bwd_weight(grad_out, x, weight, *ONE).tolist() == [[[[2.0, -4.0], [-1.0, 10.0]]]]


def test_a_padded_position_contributes_the_filter_itself():
    weight = image([[0.5, -2.0, 1.0], [3.0, 0.25, 0.0], [1.0, 1.0, -1.0]])
    y = reference.adder_conv2d_fwd(image([[0.25]]), weight, (1, 1), (1, 1), (1, 1), 1)
    assert y.item() == -(weight.abs().sum() - 0.25).item()


def test_output_is_never_positive_and_zero_where_patch_equals_filter():
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    weight = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    weight[1] = x[1, :, 2:4, 1:3]
    y = reference.adder_conv2d_fwd(x, weight, *ONE)
    assert (y <= 0).all()
    assert y[1, 1, 2, 1] == 0
    assert (y == 0).sum() == 1


def test_permuting_filters_permutes_outputs():
    x, weight = torch.randn(2, 3, 5, 4), torch.randn(4, 3, 2, 2)
    order = torch.tensor([2, 0, 3, 1])
    y = reference.adder_conv2d_fwd(x, weight, *ONE)
    assert torch.equal(reference.adder_conv2d_fwd(x, weight[order], *ONE), y[:, order])


def loops(x, weight, stride, padding, dilation, groups):
    """The formula, one scalar at a time: y, and both surrogate gradients for an upstream gradient of ones."""
    n, _, h, w = x.shape
    filters, per_group, kh, kw = weight.shape
    size = output_sizes(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    y, dx, dw = torch.zeros(n, filters, *size, dtype=x.dtype), torch.zeros_like(x), torch.zeros_like(weight)
    spans = map(range, (n, filters, *size, per_group, kh, kw))
    for b, t, m, q, c, i, j in itertools.product(*spans):
        row, col = m * stride[0] - padding[0] + i * dilation[0], q * stride[1] - padding[1] + j * dilation[1]
        channel = t // (filters // groups) * per_group + c
        inside = 0 <= row < h and 0 <= col < w
        value = x[b, channel, row, col] if inside else x.new_zeros(())
        y[b, t, m, q] -= (value - weight[t, c, i, j]).abs()
        dw[t, c, i, j] += value - weight[t, c, i, j]
        if inside:
            dx[b, channel, row, col] += (weight[t, c, i, j] - value).clamp(-1, 1)
    return y, dx, dw


def test_reference_equals_the_formula_summed_by_loops():
    settings = ((2, 1), (1, 2), (1, 2), 2)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 5, 4, generator=generator, dtype=torch.float64)
    weight = torch.randn(6, 2, 3, 2, generator=generator, dtype=torch.float64)
    y, dx, dw = loops(x, weight, *settings)
    ones = torch.ones_like(y)
    torch.testing.assert_close(reference.adder_conv2d_fwd(x, weight, *settings), y)
    torch.testing.assert_close(reference.adder_conv2d_bwd_input(ones, x, weight, *settings), dx)
    torch.testing.assert_close(reference.adder_conv2d_bwd_weight(ones, x, weight, *settings), dw)


def test_linear_is_the_one_by_one_convolution():
    x, weight = torch.randn(5, 7, dtype=torch.float64), torch.randn(3, 7, dtype=torch.float64)
    grad_out = torch.randn(5, 3, dtype=torch.float64)
    as_image = (grad_out[:, :, None, None], x[:, :, None, None], weight[:, :, None, None])
    pairs = {
        "fwd": (reference.adder_linear_fwd(x, weight), reference.adder_conv2d_fwd(*as_image[1:], *ONE)),
        "input": (
            reference.adder_linear_bwd_input(grad_out, x, weight),
            reference.adder_conv2d_bwd_input(*as_image, *ONE),
        ),
        "weight": (
            reference.adder_linear_bwd_weight(grad_out, x, weight),
            reference.adder_conv2d_bwd_weight(*as_image, *ONE),
        ),
    }
    for linear, conv in pairs.values():
        torch.testing.assert_close(linear, conv.reshape(linear.shape))


def test_int8_reference_counts_exactly():
    x = torch.tensor([[[[-127, 127], [3, -4]]]], dtype=torch.int8)
    weight = torch.tensor([[[[127, -127], [3, 4]]]], dtype=torch.int8)
    y = reference.adder_conv2d_int8(x, weight, *ONE)
    assert y.dtype == torch.int32 and y.item() == -(254 + 254 + 0 + 8)
    assert reference.adder_linear_int8(x.reshape(1, 4), weight.reshape(1, 4)).item() == y.item()
